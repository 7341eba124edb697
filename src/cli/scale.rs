//! `scale`: gives a cluster more or fewer cache servers under traffic and loses no key. Decides nothing: topology/scaling.rs
//! says what comes next, and the webhook's leader changes the ring.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::duration;
use crate::names::{DEFAULT_CACHE_NAMESPACE, label};
use crate::settings::Settings;
use crate::topology::scaling::{self, Next, Write};
use crate::topology::{Cluster, ClusterId, cluster_of, discover};

/// Keys would be lost; nothing was written.
const REFUSED: u8 = 3;
/// The time was up; what was written stays, and the same command goes on with it.
const TIME_UP: u8 = 4;
/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Longest silence, and longest wait for one answer of the API server.
const SILENCE: Duration = Duration::from_secs(10);

/// Up: servers are added, and hold keys once all pods know them. Down: their keys are brought elsewhere first. Can be ended
/// and called again at any time; the webhook has to run. Progress goes to standard error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 refused because keys would be lost, 4 the time was up."
)]
pub(super) struct Args {
    /// The cluster: [NAMESPACE/]NAME, in the namespace `cache` by default
    cluster: String,
    /// Servers of each of its StatefulSets
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    servers: u64,
    /// How long to wait, such as 90s or 30m; after that it goes on by itself but is not waited for
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "15m")]
    timeout: Duration,
    /// The kubeconfig's context (the current one when it is not given; KUBECONFIG names the file)
    #[arg(long)]
    context: Option<String>,
    /// How to print the result, on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A sentence
    Text,
    /// One JSON document
    Json,
}

/// How it ended.
enum End {
    Done { epoch: u64, changed: bool },
    Refused(String),
    TimeUp(String),
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS: with no provider its first use panics.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start the runtime")?;
    let start = Instant::now();
    let id = ClusterId::parse(&args.cluster, DEFAULT_CACHE_NAMESPACE).with_context(|| format!("{:?}", args.cluster))?;
    let end = runtime.block_on(scale(&args, &id, start)).with_context(|| format!("cluster {id}"))?;
    print(&args, &id, &end, start.elapsed());
    Ok(match end {
        End::Done { .. } => ExitCode::SUCCESS,
        End::Refused(_) => ExitCode::from(REFUSED),
        End::TimeUp(_) => ExitCode::from(TIME_UP),
    })
}

async fn scale(args: &Args, id: &ClusterId, start: Instant) -> anyhow::Result<End> {
    let api = Api::<StatefulSet>::namespaced(client(args.context.as_deref()).await?, &id.namespace);
    let mut progress = Progress { start, told: String::new(), when: start };
    let mut changed = false;
    loop {
        let waits = match look(&api, id).await {
            Ok((sets, cluster)) => {
                if let Err(refused) = scaling::check(sets.len(), cluster.copies, args.servers) {
                    return Ok(End::Refused(refused.to_string()));
                }
                match scaling::next(&sets, args.servers) {
                    Next::Done(epoch) => return Ok(End::Done { epoch, changed }),
                    Next::Wait(why) => why,
                    Next::Write(write) => match patch(&api, &write).await? {
                        true => {
                            changed = true;
                            progress.tell(&write.what);
                            continue;
                        }
                        false => "somebody else has changed it: looking again".to_owned(),
                    },
                }
            }
            Err(Look::Never(error)) => return Err(error),
            Err(Look::Later(error)) => format!("the API server does not answer: {error}"),
        };
        progress.tell(&waits);
        if start.elapsed() >= args.timeout {
            return Ok(End::TimeUp(waits));
        }
        tokio::time::sleep(EVERY.min(args.timeout.saturating_sub(start.elapsed()))).await;
    }
}

async fn client(context: Option<&str>) -> anyhow::Result<Client> {
    let mut config = match context {
        None => Config::infer().await.context("no access to a Kubernetes API server")?,
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            let file = Kubeconfig::read().context("no kubeconfig")?;
            Config::from_custom_kubeconfig(file, &options).await.with_context(|| format!("context {context:?}"))?
        }
    };
    (config.connect_timeout, config.read_timeout) = (Some(SILENCE), Some(SILENCE));
    Client::try_from(config).context("no access to a Kubernetes API server")
}

/// Why there is nothing to go by.
enum Look {
    /// And will not be.
    Never(anyhow::Error),
    /// For now.
    Later(kube::Error),
}

/// The cluster's StatefulSets that hold data, and the cluster that they make.
async fn look(api: &Api<StatefulSet>, id: &ClusterId) -> Result<(Vec<Value>, Cluster), Look> {
    let never = |problem: String| Look::Never(anyhow!(problem));
    let all = match api.list(&ListParams::default().labels(label::CLUSTER)).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
            let rights = "get, list and patch of statefulsets in the namespace are needed";
            return Err(Look::Never(anyhow!(status.message.clone()).context(rights)));
        }
        Err(error) => return Err(Look::Later(error)),
    };
    let sets: Vec<Value> = all.iter().filter_map(|set| serde_json::to_value(set).ok()).collect();
    let mut topology = discover(&sets, &Settings::default());
    let cluster = match topology.clusters.remove(id) {
        Some(Ok(cluster)) => cluster,
        Some(Err(problem)) => return Err(never(problem)),
        None => {
            let others: Vec<String> = topology.clusters.keys().map(ClusterId::to_string).collect();
            let others = if others.is_empty() { "no cluster at all".to_owned() } else { others.join(", ") };
            let namespace = &id.namespace;
            return Err(never(format!(
                "no StatefulSet in namespace {namespace} has the label {}={}; there is {others}",
                label::CLUSTER,
                id.name
            )));
        }
    };
    Ok((sets.into_iter().filter(|set| cluster_of(set).as_ref() == Some(id)).collect(), cluster))
}

/// `false` when what it relies on has changed.
async fn patch(api: &Api<StatefulSet>, write: &Write) -> anyhow::Result<bool> {
    let patch = Patch::Json::<()>(serde_json::from_value(write.patch.clone())?);
    match api.patch(&write.set, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(true),
        // A `test` that failed is 422.
        Err(kube::Error::Api(status)) if status.code == 422 || status.is_conflict() => Ok(false),
        Err(kube::Error::Api(status)) => bail!("{}: {}", write.what, status.message),
        // Whether it was written says the next look.
        Err(_) => Ok(false),
    }
}

/// Says what goes on: what is new at once, and the same again from time to time.
struct Progress {
    start: Instant,
    told: String,
    when: Instant,
}

impl Progress {
    fn tell(&mut self, what: &str) {
        if self.told != what || self.when.elapsed() >= SILENCE {
            eprintln!("{:>4} s  {what}", self.start.elapsed().as_secs());
            (self.told, self.when) = (what.to_owned(), Instant::now());
        }
    }
}

fn print(args: &Args, id: &ClusterId, end: &End, took: Duration) {
    let servers = args.servers;
    let (result, message, epoch) = match end {
        End::Done { epoch, changed: true } => (
            "done",
            format!("it has {servers} servers now; give your manifests the same number, or the next apply undoes it"),
            Some(*epoch),
        ),
        End::Done { epoch, changed: false } => ("unchanged", format!("it has {servers} servers already"), Some(*epoch)),
        End::Refused(why) => ("refused", format!("nothing was changed: {why}"), None),
        End::TimeUp(waits) => (
            "time-up",
            format!(
                "not done within {} s: {waits}. No key is lost. The same command goes on; what the leader waits for is in \
                 its log: kubectl -n memcached-injector logs deployment/memcached-injector --all-pods",
                args.timeout.as_secs()
            ),
            None,
        ),
    };
    match args.output {
        Output::Json => {
            let seconds = took.as_secs_f64();
            println!(
                "{}",
                json!({
                    "cluster": id.to_string(), "servers": servers, "result": result, "message": message,
                    "epoch": epoch, "seconds": (seconds * 10.0).round() / 10.0,
                })
            );
        }
        Output::Text if matches!(end, End::Done { .. }) => println!("cluster {id}: {message}"),
        Output::Text => eprintln!("error: cluster {id}: {message}"),
    }
}
