//! A Kubernetes control plane as processes: etcd, API server, controller manager, scheduler. Owns start order, readiness
//! and the way to talk to it; has no nodes ([`super::kwok`], [`super::nodes`]) and applies no manifests by itself.

mod kubectl;
mod secrets;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::fetch::{self, Binaries};
use crate::folder::RunFolder;
use crate::https;
use crate::ports::{self, Port};
use crate::process::{Process, Spec};
use crate::wait::Look;
use secrets::Secrets;

/// etcd answers in well under a second; a machine that builds something at the same time gets this long.
const ETCD_BOUND: Duration = Duration::from_secs(30);
/// The API server was ready 1-10 s after its start on two cores.
const READY_BOUND: Duration = Duration::from_secs(90);

/// A running control plane. Dropping it stops all of its processes; several can run at the same time.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: clients before their server, everything before its files and ports.
    _scheduler: Process,
    _controller_manager: Process,
    api_server: Mutex<Option<Process>>,
    _etcd: Process,
    admin: https::Client,
    binaries: Binaries,
    secrets: Secrets,
    place: Place,
    ports: Ports,
    folder: RunFolder,
}

/// Where a control plane listens.
#[derive(Debug, Clone)]
struct Place {
    /// A named network namespace; this process's own otherwise.
    network: Option<String>,
    listen: IpAddr,
    /// What an EndpointSlice, which the API server writes for itself, can hold: no loopback address.
    advertised: IpAddr,
}

impl Place {
    /// The child in this place's network.
    fn put(&self, spec: Spec) -> Spec {
        match &self.network {
            Some(network) => spec.in_network(network),
            None => spec,
        }
    }
}

impl ControlPlane {
    /// Starts a control plane. Ready means that `/readyz` is ok and that the controllers have made the `default` service
    /// account of the namespace `default`, without which no pod can be created there.
    ///
    /// # Errors
    /// When a program is missing ([`fetch::kubernetes`]) or does not become ready; the message shows its log.
    pub fn start() -> Result<Self> {
        Self::start_at(Place { network: None, listen: Ipv4Addr::LOCALHOST.into(), advertised: machine_address()? })
    }

    /// As [`ControlPlane::start`], in a named network namespace, on an address there that this process can reach. Needs root.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_in(network: &str, address: IpAddr) -> Result<Self> {
        Self::start_at(Place { network: Some(network.to_owned()), listen: address, advertised: address })
    }

    fn start_at(place: Place) -> Result<Self> {
        let binaries = fetch::kubernetes()?;
        let folder = RunFolder::new("control-plane")?;
        let ports = Ports::lease()?;
        let api = SocketAddr::from((place.listen, ports.api.number()));
        let secrets = Secrets::make(&folder, api, place.advertised)?;
        let etcd = start_etcd(&binaries, &folder, &ports, &place)?;
        let admin = https::Client::tls(api, &place.listen.to_string(), &secrets.ca)?.with_token(&secrets.admin_token);
        let api_server = start_api_server(&binaries, &folder, &ports, &secrets, &place, &admin)?;
        check_version(&admin, binaries.version)?;
        let controller_manager = start_controller_manager(&binaries, &folder, &secrets, &place)?;
        let scheduler = Spec::new("kube-scheduler", &binaries.kube_scheduler)
            .arg("--kubeconfig")
            .arg(&secrets.kubeconfig)
            .args(["--leader-elect=false", "--secure-port=0"])
            .grace(Duration::ZERO);
        let scheduler = place.put(scheduler).spawn(folder.path())?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        controller_manager.wait_ready("the default service account", READY_BOUND, || expect_ok(&admin, account))?;
        Ok(Self {
            _scheduler: scheduler,
            _controller_manager: controller_manager,
            api_server: Mutex::new(Some(api_server)),
            _etcd: etcd,
            admin,
            binaries,
            secrets,
            place,
            ports,
            folder,
        })
    }

    /// The API server's URL.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.place.listen, self.ports.api.number())
    }

    /// Path of a kubeconfig with every right (group `system:masters`).
    pub fn kubeconfig(&self) -> &Path {
        &self.secrets.kubeconfig
    }

    /// The API server's own address that is not loopback (this machine's, without a network of its own): what an EndpointSlice can hold and the API server can dial.
    pub fn machine_address(&self) -> IpAddr {
        self.place.advertised
    }

    /// The folder with the control plane's files and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Path of the kubectl that belongs to this control plane.
    pub fn kubectl_path(&self) -> &Path {
        &self.binaries.kubectl
    }

    /// A client of the API with every right, for what outlives a borrow of the control plane.
    pub fn client(&self) -> https::Client {
        self.admin.clone()
    }

    /// GET of an API path as administrator: status and parsed body; an answer that is not JSON comes back as a JSON
    /// string, as the API server answers 404 in plain text for kinds that it does not know yet. Much cheaper than
    /// starting kubectl.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.admin.get_json(path)
    }

    /// POST of a JSON object to an API path as administrator: status and parsed body.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn post(&self, path: &str, object: &Value) -> Result<(u16, Value)> {
        self.admin.post_json(path, object)
    }

    /// Stops the API server; everything else runs on. Does nothing when it is stopped already.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn stop_api_server(&self) -> Result<()> {
        match self.lock_api_server().take() {
            Some(process) => process.stop(),
            None => Ok(()),
        }
    }

    /// Starts the API server again on its old port, with its old certificate and tokens. Does nothing when it runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_api_server(&self) -> Result<()> {
        let mut api_server = self.lock_api_server();
        if api_server.is_none() {
            *api_server = Some(start_api_server(
                &self.binaries,
                &self.folder,
                &self.ports,
                &self.secrets,
                &self.place,
                &self.admin,
            )?);
        }
        Ok(())
    }

    /// What the API server has logged since it was started last; empty while it is stopped.
    pub fn api_server_log(&self) -> String {
        self.lock_api_server().as_ref().map(Process::log).unwrap_or_default()
    }

    /// Writes a kubeconfig that acts as a service account, with a token that the API server issued for an hour.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn kubeconfig_for_service_account(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = self.kubectl_text(["create", "token", account, "--namespace", namespace, "--duration=1h"])?;
        self.kubeconfig_for_token(&format!("{namespace}-{account}"), token.trim())
    }

    /// Writes a kubeconfig called `<name>.kubeconfig` that presents a bearer token, and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_for_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.secrets.write_kubeconfig(&self.folder, name, &self.url(), token)
    }

    fn lock_api_server(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic of another thread leaves the handle whole.
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ports of one control plane. Controller manager and scheduler serve nothing.
#[derive(Debug)]
struct Ports {
    api: Port,
    etcd_client: Port,
    etcd_peer: Port,
}

impl Ports {
    fn lease() -> Result<Self> {
        Ok(Self { api: ports::free()?, etcd_client: ports::free()?, etcd_peer: ports::free()? })
    }

    fn etcd_url(&self, place: &Place) -> String {
        format!("http://{}:{}", place.listen, self.etcd_client.number())
    }
}

fn start_etcd(binaries: &Binaries, folder: &RunFolder, ports: &Ports, place: &Place) -> Result<Process> {
    let client = ports.etcd_url(place);
    let peer = format!("http://{}:{}", place.listen, ports.etcd_peer.number());
    let spec = Spec::new("etcd", &binaries.etcd)
        .arg("--data-dir")
        .arg(folder.path().join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .arg("--unsafe-no-fsync") // the data is thrown away
        .grace(Duration::ZERO);
    let process = place.put(spec).spawn(folder.path())?;
    let health = https::Client::plain(SocketAddr::from((place.listen, ports.etcd_client.number())));
    process.wait_ready("etcd to be healthy", ETCD_BOUND, || expect_ok(&health, "/health"))?;
    Ok(process)
}

fn start_api_server(
    binaries: &Binaries,
    folder: &RunFolder,
    ports: &Ports,
    secrets: &Secrets,
    place: &Place,
    admin: &https::Client,
) -> Result<Process> {
    let spec = Spec::new("kube-apiserver", &binaries.kube_apiserver)
        .args(["--etcd-servers", &ports.etcd_url(place)])
        .args(["--bind-address", &place.listen.to_string(), "--secure-port", &ports.api.number().to_string()])
        .args(["--advertise-address", &place.advertised.to_string()])
        .arg("--tls-cert-file")
        .arg(&secrets.server_certificate)
        .arg("--tls-private-key-file")
        .arg(&secrets.server_key)
        .arg("--service-account-key-file")
        .arg(&secrets.account_public_key)
        .arg("--service-account-signing-key-file")
        .arg(&secrets.account_key)
        .args(["--service-account-issuer", "https://kubernetes.default.svc"])
        .args(["--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "RBAC", "--allow-privileged"])
        .arg("--token-auth-file")
        .arg(&secrets.tokens)
        // A webhook's Service is called by its endpoints: there is no kube-proxy beside the API server.
        .arg("--enable-aggregator-routing=true")
        // Names of nodes are in no DNS.
        .arg("--kubelet-preferred-address-types=InternalIP")
        .grace(Duration::ZERO);
    let process = place.put(spec).spawn(folder.path())?;
    process.wait_ready("the API server to be ready", READY_BOUND, || expect_ok(admin, "/readyz"))?;
    Ok(process)
}

fn start_controller_manager(
    binaries: &Binaries,
    folder: &RunFolder,
    secrets: &Secrets,
    place: &Place,
) -> Result<Process> {
    let spec = Spec::new("kube-controller-manager", &binaries.kube_controller_manager)
        .arg("--kubeconfig")
        .arg(&secrets.kubeconfig)
        .arg("--service-account-private-key-file")
        .arg(&secrets.account_key)
        .arg("--root-ca-file")
        .arg(&secrets.ca)
        .args(["--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0"])
        // Tests wait for controllers: the defaults (20 and 30 requests a second) throttle a start of many objects.
        .args(["--kube-api-qps=200", "--kube-api-burst=300"])
        .grace(Duration::ZERO);
    place.put(spec).spawn(folder.path())
}

/// A test that is for one release of Kubernetes proves nothing on another.
fn check_version(admin: &https::Client, wanted: Option<&str>) -> Result<()> {
    let (_, version) = admin.get("/version")?;
    match wanted {
        Some(wanted) if !version.contains(&format!("\"v{wanted}\"")) => {
            bail!("the API server is to be Kubernetes {wanted}, and says {version}")
        }
        _ => Ok(()),
    }
}

/// A look that is ready when a GET answers 200.
fn expect_ok(client: &https::Client, path: &str) -> Result<Look<()>> {
    Ok(match client.get(path) {
        Ok((200, _)) => Look::Ready(()),
        Ok((status, body)) => Look::NotYet(format!("GET {path} answers {status}: {body}")),
        Err(error) => Look::NotYet(format!("{error:#}")),
    })
}

/// The address that this machine would send from; nothing is sent. 192.0.2.1 is reserved for documentation (RFC 5737).
fn machine_address() -> Result<IpAddr> {
    let address = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        })
        .map_err(|error| {
            anyhow!("this machine has no route, so no address of its own that Kubernetes accepts: {error}")
        })?;
    if address.ip().is_loopback() {
        bail!(
            "this machine has only loopback addresses, which Kubernetes refuses in EndpointSlices; add one with `ip addr add 10.255.255.1/32 dev lo`"
        );
    }
    Ok(address.ip())
}
