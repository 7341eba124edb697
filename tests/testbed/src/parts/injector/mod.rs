//! The binary under test, as a process: alone (`--standalone`), or as the webhook of a control plane. Owns its certificate
//! folder, and how its addresses are learnt; never looks inside it.

mod binary;
mod endpoint;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::control_plane::ControlPlane;
use super::relay::Relay;
use crate::folder::RunFolder;
use crate::https;
use crate::ports;
use crate::process::{self, Process, Spec};
use crate::wait::Look;
pub use binary::{BINARY, injector_binary, library_config_maps};
pub use endpoint::{addresses, addresses_of, endpoint_slices, wait_until_admitting};

/// Namespace, Service, service account and Deployment of the webhook are all called this.
pub const NAME: &str = "memcached-injector";

/// The webhook starts in well under a second; in a cluster it first makes its certificate and waits for the API server.
const START_BOUND: Duration = Duration::from_secs(30);

/// A running webhook. Dropping it kills it, as a node's death would: its leader, or the next one, takes it out of the
/// Service's endpoints.
#[derive(Debug)]
pub struct Injector {
    // Fields are dropped in this order: stopped, then its files.
    process: Process,
    admission: SocketAddr,
    health: SocketAddr,
    reviews: Option<https::Client>,
    _folder: RunFolder,
}

impl Injector {
    /// Starts the webhook with no Kubernetes at all: a certificate made by the binary itself, topology from `manifests`
    /// (none: the built-in default cluster). Ready means `/readyz` answers 200.
    ///
    /// # Errors
    /// When it does not become ready; the message shows its log.
    pub fn standalone(binary: &Path, manifests: &[&Path]) -> Result<Self> {
        let folder = RunFolder::new("injector")?;
        let certificates = folder.path().join("tls");
        make_certificates(binary, &certificates)?;
        let mut spec = Spec::new("injector", binary).args(["webhook", "--standalone", "--tls-dir"]).arg(&certificates);
        for manifest in manifests {
            spec = spec.arg("-f").arg(manifest);
        }
        let loopback = "127.0.0.1:0";
        let process = spec
            .args(["--listen", loopback, "--health-listen", loopback])
            .grace(Duration::ZERO) // after SIGTERM it would serve on for seconds, as it must in a real cluster
            .spawn(folder.path())?;
        let mut injector = Self::when_ready(process, folder)?;
        let ca = certificates.join("ca.crt");
        injector.reviews = Some(https::Client::tls(injector.admission, &service_name(), &ca)?);
        Ok(injector)
    }

    /// Starts the webhook beside a control plane on which the manifests were applied: as the service account of the
    /// manifests, with its rights and no more. Returns once it is an endpoint of the webhook's Service.
    ///
    /// It runs beside the pods of the manifests' Deployment, which on fake nodes do nothing. Several may be started.
    ///
    /// # Errors
    /// When the manifests were not applied, or it does not become ready; the message shows its log.
    pub fn in_cluster(binary: &Path, control_plane: &ControlPlane) -> Result<Self> {
        Self::in_cluster_with(binary, control_plane, &[])
    }

    /// As [`Injector::in_cluster`], with more arguments for `webhook`.
    ///
    /// # Errors
    /// As [`Injector::in_cluster`].
    pub fn in_cluster_with(binary: &Path, control_plane: &ControlPlane, more: &[&str]) -> Result<Self> {
        let (process, folder) = Self::spawn_in_cluster(binary, control_plane, more)?;
        Self::when_listed(process, folder, control_plane, None)
    }

    /// As [`Injector::in_cluster`], with a relay where the API server finds it, so that its address can go dark.
    ///
    /// # Errors
    /// As [`Injector::in_cluster`].
    pub fn in_cluster_behind_relay(binary: &Path, control_plane: &ControlPlane) -> Result<(Self, Relay)> {
        let port = ports::free()?;
        let listen = SocketAddr::new(control_plane.machine_address(), port.number());
        let relay = Relay::start_at(listen.ip(), listen)?;
        let advertise = relay.address().to_string();
        let (process, folder) = Self::spawn_at(binary, control_plane, listen, &["--advertise", &advertise])?;
        Ok((Self::when_listed(process, folder, control_plane, Some(relay.address()))?, relay))
    }

    /// As [`Injector::in_cluster_with`], but returns at once, for a webhook that is not to become ready.
    ///
    /// # Errors
    /// When the manifests were not applied.
    pub fn spawn_in_cluster(
        binary: &Path,
        control_plane: &ControlPlane,
        more: &[&str],
    ) -> Result<(Process, RunFolder)> {
        // The API server calls an endpoint's address, which may not be loopback; what is listened on is advertised.
        Self::spawn_at(binary, control_plane, SocketAddr::new(control_plane.machine_address(), 0), more)
    }

    fn spawn_at(
        binary: &Path,
        control_plane: &ControlPlane,
        listen: SocketAddr,
        more: &[&str],
    ) -> Result<(Process, RunFolder)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = RunFolder::new("injector")?;
        let kubeconfig =
            control_plane.kubeconfig_for_service_account(NAME, NAME).context("the manifests must be applied first")?;
        let name = format!("{NAME}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let process = Spec::new("injector", binary)
            .args(["webhook", "--namespace", NAME, "--name", &name])
            .args(["--listen", &listen.to_string(), "--health-listen", "127.0.0.1:0"])
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .grace(Duration::ZERO) // after SIGTERM it would serve on for seconds, as it must in a real cluster
            .spawn(folder.path())?;
        Ok((process, folder))
    }

    /// Where it serves admission.
    pub fn admission_address(&self) -> SocketAddr {
        self.admission
    }

    /// Where it serves `/healthz`, `/readyz` and `/metrics`, by plain HTTP.
    pub fn health_address(&self) -> SocketAddr {
        self.health
    }

    /// The process, for its log and for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// GET on the health address: status and body.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn health(&self, path: &str) -> Result<(u16, String)> {
        https::Client::plain(self.health).get(path)
    }

    /// Sends an AdmissionReview by HTTPS, with the certificate verified as the API server does; status and answer. A body
    /// that is not JSON comes back as a JSON string. Standalone only: in a cluster the API server sends the reviews.
    ///
    /// # Errors
    /// When there is no answer, or this is not a standalone webhook.
    pub fn review(&self, path: &str, review: &Value) -> Result<(u16, Value)> {
        self.https()?.post_json(path, review)
    }

    /// The HTTPS client behind [`Injector::review`], for malformed requests.
    ///
    /// # Errors
    /// When this is not a standalone webhook.
    pub fn https(&self) -> Result<&https::Client> {
        self.reviews
            .as_ref()
            .ok_or_else(|| anyhow!("in a cluster the API server sends the reviews: create a pod instead"))
    }

    fn when_listed(
        process: Process,
        folder: RunFolder,
        control_plane: &ControlPlane,
        advertised: Option<SocketAddr>,
    ) -> Result<Self> {
        let injector = Self::when_ready(process, folder)?;
        endpoint::wait_until_listed(control_plane, advertised.unwrap_or(injector.admission))
            .map_err(|error| injector.process.explain(&error))?;
        Ok(injector)
    }

    fn when_ready(process: Process, folder: RunFolder) -> Result<Self> {
        let admission = listener(&process, "admission")?;
        let health = listener(&process, "health")?;
        let client = https::Client::plain(health);
        process.wait_ready("the webhook's /readyz", START_BOUND, || {
            Ok(match client.get("/readyz") {
                Ok((200, _)) => Look::Ready(()),
                Ok((status, body)) => Look::NotYet(format!("/readyz answers {status}: {body}")),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })?;
        Ok(Self { process, admission, health, reviews: None, _folder: folder })
    }
}

/// The DNS name that the API server dials, and that the certificate must be for.
fn service_name() -> String {
    format!("{NAME}.{NAME}.svc")
}

fn make_certificates(binary: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["certs", "--out"]).arg(folder).args(["--dns", &service_name()]);
    let output = process::run(command)?;
    if !output.status.success() {
        bail!("`{} certs` failed: {}", binary.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The address that the webhook says a listener has: a log line with message, listener and address, in JSON.
fn listener(process: &Process, name: &str) -> Result<SocketAddr> {
    process.wait_for(&format!("the address of the {name} listener"), START_BOUND, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let field = |field: &str| line[field].as_str().or_else(|| line["fields"][field].as_str());
        if field("message")? != "listening" || field("listener")? != name {
            return None;
        }
        field("address")?.parse().ok()
    })
}
