//! The binary under test, as a process: alone (`--standalone`), or as the webhook of a control plane. Owns its certificate
//! folder, how its addresses are learnt, and its entry among the Service's endpoints; never looks inside it.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use crate::folder::{RunFolder, workspace_root};
use crate::https;
use crate::process::{self, Process, Spec};
use crate::wait::{self, Look};

/// Names a built memcached-injector.
pub const BINARY: &str = "MEMCACHED_INJECTOR";
/// Namespace, Service, service account and Deployment of the webhook are all called this.
pub const NAME: &str = "memcached-injector";

/// The webhook starts in well under a second; in a cluster it first makes its certificate and waits for the API server.
const START_BOUND: Duration = Duration::from_secs(30);

/// A running webhook. Dropping it takes it out of the Service's endpoints and stops it.
#[derive(Debug)]
pub struct Injector {
    // Fields are dropped in this order: out of the endpoints, then stopped, then its files.
    endpoint: Option<Endpoint>,
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
        let mut spec = Spec::new("injector", binary)
            .args(["webhook", "--standalone", "--tls-dir"])
            .arg(&certificates);
        for manifest in manifests {
            spec = spec.arg("-f").arg(manifest);
        }
        let loopback = "127.0.0.1:0";
        let process = spec
            .args(["--listen", loopback, "--health-listen", loopback])
            .spawn(folder.path())?;
        let mut injector = Self::when_ready(process, folder)?;
        let ca = certificates.join("ca.crt");
        injector.reviews = Some(https::Client::tls(
            injector.admission,
            &service_name(),
            &ca,
        )?);
        Ok(injector)
    }

    /// Starts the webhook beside a control plane on which the manifests were applied: as the service account of the
    /// manifests, with its rights and no more. Once it is ready it becomes an endpoint of the webhook's Service.
    ///
    /// It takes the place of the manifests' Deployment, which is scaled to zero: its image does not run here, and on fake
    /// nodes its pods would be endpoints that nobody can reach. Several may be started; all become endpoints.
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
    pub fn in_cluster_with(
        binary: &Path,
        control_plane: &ControlPlane,
        more: &[&str],
    ) -> Result<Self> {
        make_room(control_plane)?;
        let folder = RunFolder::new("injector")?;
        let kubeconfig = control_plane
            .kubeconfig_for_service_account(NAME, NAME)
            .context("the manifests must be applied first")?;
        // The API server calls an endpoint's address, which may not be loopback.
        let listen = SocketAddr::new(control_plane.machine_address(), 0);
        let process = Spec::new("injector", binary)
            .args([
                "webhook",
                "--namespace",
                NAME,
                "--listen",
                &listen.to_string(),
                "--health-listen",
                "127.0.0.1:0",
            ])
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", NAME)
            .spawn(folder.path())?;
        let mut injector = Self::when_ready(process, folder)?;
        let endpoint = Endpoint::add(control_plane, injector.admission);
        injector.endpoint = Some(endpoint.with_context(|| injector.process.tail())?);
        Ok(injector)
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
        self.reviews.as_ref().ok_or_else(|| {
            anyhow!("in a cluster the API server sends the reviews: create a pod instead")
        })
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
        Ok(Self {
            endpoint: None,
            process,
            admission,
            health,
            reviews: None,
            _folder: folder,
        })
    }
}

/// The memcached-injector to run: `MEMCACHED_INJECTOR`, or built by cargo from this workspace (cargo shows its progress).
///
/// # Errors
/// When the variable names no file, or the build fails.
pub fn injector_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "{BINARY} is {}, which is no file; unset it to have cargo build one",
                path.display()
            );
        }
        return Ok(path);
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace_root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.args([
        "build",
        "--package",
        NAME,
        "--bin",
        NAME,
        "--message-format",
        "json-render-diagnostics",
    ]);
    let build = process::spawn_bound_to_us(command).context("start cargo")?;
    let output = build.wait_with_output().context("wait for cargo")?;
    if !output.status.success() {
        bail!(
            "`cargo build --package {NAME} --bin {NAME}` failed ({})",
            output.status
        );
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = |line: &str| {
        Some(PathBuf::from(
            serde_json::from_str::<Value>(line).ok()?["executable"].as_str()?,
        ))
    };
    messages
        .lines()
        .filter_map(executable)
        .next_back()
        .context("cargo built no executable")
}

/// The DNS name that the API server dials, and that the certificate must be for.
fn service_name() -> String {
    format!("{NAME}.{NAME}.svc")
}

fn make_certificates(binary: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    command
        .args(["certs", "--out"])
        .arg(folder)
        .args(["--dns", &service_name()]);
    let output = process::run(command)?;
    if !output.status.success() {
        bail!(
            "`{} certs` failed: {}",
            binary.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The address that the webhook says a listener has: a log line with message, listener and address, in JSON.
fn listener(process: &Process, name: &str) -> Result<SocketAddr> {
    process.wait_for(
        &format!("the address of the {name} listener"),
        START_BOUND,
        |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let field = |field: &str| {
                line[field]
                    .as_str()
                    .or_else(|| line["fields"][field].as_str())
            };
            if field("message")? != "listening" || field("listener")? != name {
                return None;
            }
            field("address")?.parse().ok()
        },
    )
}

/// Scales the manifests' Deployment to zero and waits until none of its pods is an endpoint.
fn make_room(control_plane: &ControlPlane) -> Result<()> {
    let path = format!("/apis/apps/v1/namespaces/{NAME}/deployments/{NAME}");
    if control_plane.get(&path)?.0 == 404 {
        return Ok(());
    }
    control_plane.kubectl_text([
        "scale",
        "deployment",
        NAME,
        "--namespace",
        NAME,
        "--replicas=0",
    ])?;
    control_plane.wait_for(
        "the webhook's Deployment to have no pods",
        &path,
        START_BOUND,
        |deployment| {
            let seen = deployment["status"]["observedGeneration"].as_u64()
                >= deployment["metadata"]["generation"].as_u64();
            seen && deployment["status"]["replicas"].as_u64().unwrap_or(0) == 0
        },
    )?;
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices?labelSelector=kubernetes.io/service-name={NAME},endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"
    );
    control_plane.wait_for(
        "the pods to leave the webhook's endpoints",
        &slices,
        START_BOUND,
        |list| {
            let slices = list["items"].as_array();
            slices.is_some_and(|all| {
                all.iter()
                    .all(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty))
            })
        },
    )?;
    Ok(())
}

/// One address among the endpoints of the webhook's Service, taken out on drop.
#[derive(Debug)]
struct Endpoint {
    client: https::Client,
    path: String,
}

impl Endpoint {
    fn add(control_plane: &ControlPlane, address: SocketAddr) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{NAME}-testbed-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let family = if matches!(address.ip(), IpAddr::V4(_)) {
            "IPv4"
        } else {
            "IPv6"
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": NAME,
                "labels": {"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "testbed"},
            },
            "addressType": family,
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            // The API server looks for the name that the Service's port has.
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        });
        let all = format!("/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices");
        let (status, answer) = control_plane.post(&all, &slice)?;
        if status != 201 {
            bail!("the API server refused the webhook's EndpointSlice ({status}): {answer}");
        }
        Ok(Self {
            client: control_plane.client(),
            path: format!("{all}/{name}"),
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // A control plane that is gone has no endpoints either.
        let _ = self.client.delete(&self.path);
    }
}

/// Waits until a pod is really sent to the webhook: the API server learns of endpoints and configurations by watches, a
/// few milliseconds after they were written. `pod` is created as a server-side dry run until `admitted` says yes.
///
/// # Errors
/// When it does not happen within 30 s; the message has the API server's last answer.
pub fn wait_until_admitting(
    control_plane: &ControlPlane,
    pod: &Value,
    admitted: impl Fn(&Value) -> bool,
) -> Result<()> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    wait::until("a pod to be sent to the webhook", START_BOUND, || {
        let (status, answer) = control_plane.post(&path, pod)?;
        let there = status == 201 && admitted(&answer);
        Ok(if there {
            Look::Ready(())
        } else {
            Look::NotYet(format!("POST {path} answers {status}: {answer}"))
        })
    })
}
