//! `webhook`: serves admission, and looks after its own certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;

use super::{duration, files};
use crate::certificate::Lifetimes;
use crate::controller::certificates::{Ageing, Files};
use crate::controller::clusters::Clusters;
use crate::controller::follow::{self, Rate};
use crate::controller::injected::SharedPods;
use crate::controller::libraries::Libraries;
use crate::controller::namespaces::Namespaces;
use crate::controller::placement;
use crate::controller::resync::{self, Limits, Manner};
use crate::controller::ring;
use crate::controller::upkeep::{self, Replica, Source};
use crate::manifest::Stream;
use crate::offline::topology_of;
use crate::settings::{Settings, SettingsArgs};
use crate::webhook::metrics::Metrics;
use crate::webhook::{App, Readiness, server};

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
    /// This replica's name, another one for each: the pod's (the host's name and the process id when it is not given)
    #[arg(long, env = "POD_NAME")]
    name: Option<String>,
    /// The pod's uid, so that its heartbeat goes with it
    #[arg(long, env = "POD_UID")]
    pod_uid: Option<String>,
    /// The address at which the API server reaches this replica: the pod's (--listen's when that is given and not 0.0.0.0)
    #[arg(long, env = "POD_IP", value_name = "IP[:PORT]", value_parser = advertised)]
    advertise: Option<Advertised>,
    /// Seconds to go on answering after SIGTERM, until no API server dials us any more
    #[arg(long, default_value_t = 8)]
    shutdown_delay: u64,
    /// Who makes the certificates: `own` (we, in a Secret, caBundle included) or `external` (cert-manager or an operator,
    /// caBundle included; read from --tls-dir, again when they change)
    #[arg(long, value_enum, default_value_t = CertificateSource::Own)]
    certificates: CertificateSource,
    /// Life of a CA that we make, such as 3650d; replaced when a third of it is left
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "3650d")]
    ca_life: Duration,
    /// Life of a serving certificate that we make, such as 365d; replaced when a third of it is left
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "365d")]
    serving_life: Duration,
    /// How long a new CA is published before it is used, and used everywhere before the old one goes
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    ca_settle: Duration,
    /// Run without a cluster: no watches, no ConfigMaps; certificates from --tls-dir
    #[arg(long, requires = "tls_dir")]
    standalone: bool,
    /// The folder with tls.crt and tls.key, as `certs` writes them, or as a Secret is mounted
    #[arg(long, value_name = "FOLDER")]
    tls_dir: Option<PathBuf>,
    /// Manifests that describe the caches and namespaces (repeatable; the built-in cluster when there are none)
    #[arg(short, long, value_name = "FILE", requires = "standalone")]
    filename: Vec<String>,
    /// Running pods a second that are given a changed configuration; 0 for none, and a metric counts who is behind
    #[arg(long, default_value_t = 20)]
    follow_rate: u32,
    /// Refill cache servers that came back empty or missed writes, and open their pods' gates memcached.io/synced
    #[arg(long)]
    resync: bool,
    /// Values that a refill copies, in MB a second
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=10_000), default_value_t = 50)]
    resync_rate: u64,
    /// Items that a refill looks at, a second
    #[arg(long, value_name = "ITEMS", value_parser = clap::value_parser!(u64).range(100..), default_value_t = 100_000)]
    resync_items: u64,
    /// After that time a gate opens though the server is not whole, so that nothing waits for ever
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "5m")]
    resync_bound: Duration,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// A proxy that has marked a server waits for at most 60 s before it repairs it; then it has some seconds.
const SILENCE: Duration = Duration::from_secs(75);

/// Who makes the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CertificateSource {
    Own,
    External,
}

/// Where the API server finds this replica.
#[derive(Debug, Clone, Copy)]
struct Advertised {
    ip: IpAddr,
    /// The one that is listened on when `None`.
    port: Option<u16>,
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
    let settings = Arc::new(args.settings.clone().check(Some(&args.namespace))?);
    let (metrics, registry) = Metrics::new();
    let readiness = Readiness::default();
    server::serve_health(args.health_listen, readiness.clone(), registry)?;
    // Bound before anything else, because its port is part of what the other replicas are told.
    let listener = server::bind_admission(args.listen)?;
    let (app, tls) = if args.standalone {
        standalone(&args, settings, metrics, readiness)?
    } else {
        let address = listener.local_addr().context("admission listener")?;
        in_cluster(&args, address, settings, metrics, readiness).await?
    };
    server::serve_admission(listener, app, tls, Duration::from_secs(args.shutdown_delay)).await
}

fn standalone(
    args: &Args,
    settings: Arc<Settings>,
    metrics: Metrics,
    readiness: Readiness,
) -> anyhow::Result<(App, RustlsConfig)> {
    let certificates = Files::open(folder(args)?, metrics.clone())?;
    let tls = certificates.tls();
    tokio::spawn(certificates.keep());
    let stream = if args.filename.is_empty() { Stream::default() } else { files::read(&args.filename)? };
    // There is nobody to tell.
    readiness.set_announced();
    let app = App {
        clusters: Clusters::fixed(topology_of(&stream, &settings)?),
        namespaces: Namespaces::fixed(stream.namespaces()?),
        libraries: Libraries::without_cluster(),
        settings,
        metrics,
        readiness,
    };
    Ok((app, tls))
}

async fn in_cluster(
    args: &Args,
    listening: SocketAddr,
    settings: Arc<Settings>,
    metrics: Metrics,
    readiness: Readiness,
) -> anyhow::Result<(App, RustlsConfig)> {
    let client = kube::Client::try_default().await.context("no access to a Kubernetes API server")?;
    let replica = replica(args, listening)?;
    let ageing = Ageing {
        lives: Lifetimes { ca: wide(args.ca_life)?, serving: wide(args.serving_life)? },
        settle: args.ca_settle,
    };
    let source = match args.certificates {
        CertificateSource::Own => Source::Own(ageing),
        CertificateSource::External => Source::Files(folder(args)?),
    };
    let (tls, leadership) = upkeep::start(client.clone(), replica, source, readiness.clone(), metrics.clone()).await?;
    let clusters = Clusters::watched(client.clone(), settings.clone(), metrics.clone()).await?;
    let pods = SharedPods::default();
    tokio::spawn(ring::keep(client.clone(), clusters.clone(), pods.clone(), leadership.clone(), metrics.clone()));
    let rate = Rate { per_second: args.follow_rate };
    tokio::spawn(follow::keep(client.clone(), clusters.clone(), pods, leadership.clone(), rate, metrics.clone()));
    tokio::spawn(placement::keep(client.clone(), clusters.clone(), leadership.clone(), metrics.clone()));
    if args.resync {
        let limits = Limits { bytes: args.resync_rate << 20, items: args.resync_items, patience: SILENCE };
        let manner = Manner { limits, bound: args.resync_bound };
        tokio::spawn(resync::keep(client.clone(), clusters.clone(), leadership, manner, metrics.clone()));
    }
    let app = App {
        clusters,
        namespaces: Namespaces::watched(client.clone(), metrics.clone()).await?,
        libraries: Libraries::kept(client, metrics.clone()),
        settings,
        metrics,
        readiness,
    };
    Ok((app, tls))
}

/// Who we are among the replicas.
fn replica(args: &Args, listening: SocketAddr) -> anyhow::Result<Replica> {
    let given = Advertised { ip: listening.ip(), port: None };
    let advertised = args
        .advertise
        .or_else(|| Some(given).filter(|given| !given.ip.is_unspecified()))
        .context("the address at which the API server reaches this replica is not known: set POD_IP or --advertise")?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
            format!("{}-{}", host.trim().to_lowercase(), std::process::id())
        }
    };
    anyhow::ensure!(name != args.service, "--name {name:?} is the name of the leader's Lease: use the pod's name");
    Ok(Replica {
        name,
        pod_uid: args.pod_uid.clone(),
        service: args.service.clone(),
        namespace: args.namespace.clone(),
        address: SocketAddr::new(advertised.ip, advertised.port.unwrap_or(listening.port())),
    })
}

fn folder(args: &Args) -> anyhow::Result<&Path> {
    args.tls_dir.as_deref().context("--certificates external needs --tls-dir, the folder with tls.crt and tls.key")
}

/// An address with or without a port.
fn advertised(text: &str) -> Result<Advertised, String> {
    if let Ok(ip) = text.parse() {
        return Ok(Advertised { ip, port: None });
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is no address such as 192.0.2.1, 192.0.2.1:8443 or [2001:db8::1]:8443"))?;
    Ok(Advertised { ip: address.ip(), port: Some(address.port()) })
}

fn wide(life: Duration) -> anyhow::Result<time::Duration> {
    anyhow::ensure!(
        !life.is_zero(),
        "--ca-life and --serving-life: a certificate that lives for 0 seconds serves nobody"
    );
    Ok(time::Duration::try_from(life)?)
}
