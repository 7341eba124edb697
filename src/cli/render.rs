//! `render`: prints what a proxy of a mode would read, or the library that gives it meaning.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::files;
use crate::admission::response::reasons;
use crate::decide::{Decision, Subject, decide};
use crate::manifest::Stream;
use crate::names::annotation;
use crate::namespace::Namespace;
use crate::offline::topology_of;
use crate::routing;
use crate::settings::{Settings, SettingsArgs};

/// Prints to standard output.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What localhost:11211 is to be: replicated, failover or sharded
    #[arg(long, required_unless_present = "library")]
    mode: Option<String>,
    /// The cluster: [NAMESPACE/]NAME
    #[arg(long)]
    cluster: Option<String>,
    /// A file with labelled StatefulSets; `-` is standard input (repeatable; the built-in cluster when there is none)
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<String>,
    /// Print the library instead: the Lua that reads the configuration
    #[arg(long, conflicts_with_all = ["mode", "cluster", "filename"])]
    library: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = if args.library { routing::library::library().text.clone() } else { configuration(args)? };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("can't write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Goes the way that a pod goes, so that it says what a pod would get.
fn configuration(args: Args) -> anyhow::Result<String> {
    let settings: Settings = args.settings.check(None)?;
    let stream = if args.filename.is_empty() { Stream::default() } else { files::read(&args.filename)? };
    let mut annotations = json!({ annotation::MODE: args.mode });
    if let Some(cluster) = args.cluster {
        annotations[annotation::CLUSTER] = json!(cluster);
    }
    let pod = json!({"metadata": {"name": "render", "annotations": annotations}, "spec": {}});
    let namespace = Namespace { name: "render".to_owned(), ..Namespace::default() };
    let subject = Subject { pod: &pod, is_pod_create: true, namespace: &namespace };
    match decide(subject, &topology_of(&stream, &settings)?, &settings).decision {
        Decision::Inject(plan) => Ok(routing::config::render(&plan.request, &plan.backing)),
        Decision::Deny(problems) => bail!(reasons(&problems)),
        Decision::Skip(skip) => bail!("{skip}"),
    }
}
