//! `cargo demo`: shows what memcached-injector is for, on real parts, in about a minute. Owns the order of the story; each
//! step is told by a file of `demo/`, each part is the library's. Ends with 1 when a promise broke, 2 when a part is missing.

mod demo;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Starts the webhook and three cache servers, gives a pod its memcached, kills a server, and shows what the app noticed.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
struct Args {
    /// What to show: `replicated` and then, briefly, `failover`; or one mode alone.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// The same on a real Kubernetes control plane: manifests applied, the pod admitted by the API server.
    #[arg(long)]
    cluster: bool,
    /// On three real nodes (kubelet, containerd), one of which dies; mode `replicated`. Needs root.
    #[arg(long, conflicts_with_all = ["cluster", "mode"])]
    nodes: bool,
    /// Leave everything running until Ctrl-C and print how to reach it.
    #[arg(long)]
    keep: bool,
}

/// A mode that a pod can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every key on all servers: any server may die.
    Replicated,
    /// A small cache in the pod, then the cluster.
    Failover,
    /// The memory of all servers as one cache, one copy a key.
    Sharded,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let modes = args.mode.map_or_else(|| vec![Mode::Replicated, Mode::Failover], |mode| vec![mode]);
    let outcome = if args.nodes { demo::run_on_nodes(args.keep) } else { demo::run(&modes, args.cluster, args.keep) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe demo could not go on: {error:#}");
            ExitCode::from(2)
        }
    }
}
