//! `webhook`: serves admission, and looks after its own certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;

use super::files;
use crate::controller::certificates::Certificates;
use crate::controller::clusters::Clusters;
use crate::controller::libraries::Libraries;
use crate::controller::namespaces::Namespaces;
use crate::manifest::Stream;
use crate::offline::topology_of;
use crate::settings::{Settings, SettingsArgs};
use crate::webhook::metrics::Metrics;
use crate::webhook::server::{self, Listen};
use crate::webhook::{App, Readiness, tls};

/// Serves until SIGTERM, then for the shutdown delay.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the API server reaches us, with TLS
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where kubelet and Prometheus reach us, without TLS: /healthz, /readyz, /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    health_listen: SocketAddr,
    /// The namespace that we run in
    #[arg(long, env = "POD_NAMESPACE", default_value = "memcached-injector")]
    namespace: String,
    /// The name of our Service and of our webhook configurations
    #[arg(long, default_value = "memcached-injector")]
    service: String,
    /// Seconds to go on answering after SIGTERM, until no API server dials us any more
    #[arg(long, default_value_t = 8)]
    shutdown_delay: u64,
    /// Run without a cluster: no watches, no ConfigMaps; certificates from --tls-dir
    #[arg(long, requires = "tls_dir")]
    standalone: bool,
    /// The folder with tls.crt and tls.key, as `certs` writes them
    #[arg(long, value_name = "FOLDER", requires = "standalone")]
    tls_dir: Option<PathBuf>,
    /// Manifests that describe the caches and namespaces (repeatable; the built-in cluster when there are none)
    #[arg(short, long, value_name = "FILE", requires = "standalone")]
    filename: Vec<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Before anything uses TLS: with no provider, or two, its first use panics.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let runtime = tokio::runtime::Runtime::new().context("can't start the runtime")?;
    runtime.block_on(serve(args))?;
    // Watches and loops hold nothing that must be put down.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let listen = Listen {
        admission: args.listen,
        health: args.health_listen,
        shutdown_delay: Duration::from_secs(args.shutdown_delay),
    };
    let settings = Arc::new(args.settings.check(Some(&args.namespace))?);
    let (metrics, registry) = Metrics::new();
    let readiness = Readiness::default();
    server::serve_health(listen, readiness.clone(), registry)?;
    let (app, tls) = match &args.tls_dir {
        Some(folder) => standalone(folder, &args.filename, settings, metrics, readiness)?,
        None => in_cluster(&args.service, &args.namespace, settings, metrics, readiness).await?,
    };
    server::serve_admission(listen, app, tls).await
}

fn standalone(
    folder: &Path,
    files: &[String],
    settings: Arc<Settings>,
    metrics: Metrics,
    readiness: Readiness,
) -> anyhow::Result<(App, RustlsConfig)> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path)
            .with_context(|| format!("can't read {}; `memcached-injector certs` makes it", path.display()))
    };
    let config = tls::server_config(&read("tls.crt")?, &read("tls.key")?)?;
    let stream = if files.is_empty() { Stream::default() } else { files::read(files)? };
    let app = App {
        clusters: Clusters::fixed(topology_of(&stream, &settings)?),
        namespaces: Namespaces::fixed(stream.namespaces()?),
        libraries: Libraries::without_cluster(),
        settings,
        metrics,
        readiness,
    };
    Ok((app, RustlsConfig::from_config(config)))
}

async fn in_cluster(
    service: &str,
    namespace: &str,
    settings: Arc<Settings>,
    metrics: Metrics,
    readiness: Readiness,
) -> anyhow::Result<(App, RustlsConfig)> {
    let client = kube::Client::try_default().await.context("no access to a Kubernetes API server")?;
    let certificates = Certificates::obtain(client.clone(), service, namespace, metrics.clone()).await;
    let tls = certificates.tls();
    tokio::spawn(certificates.keep());
    let app = App {
        clusters: Clusters::watched(client.clone(), settings.clone(), metrics.clone()).await?,
        namespaces: Namespaces::watched(client.clone(), metrics.clone()).await?,
        libraries: Libraries::kept(client, metrics.clone()),
        settings,
        metrics,
        readiness,
    };
    Ok((app, tls))
}
