//! The demo's story. Steps are numbered as they are told: caches, webhook, a pod that asks, its containers, traffic, a dead
//! server, the table. Owns their order; nothing here knows how a part works.

mod ask;
mod cluster;
mod diff;
mod keep;
mod story;
mod traffic;

use std::time::Instant;

use anyhow::Result;
use testbed::fetch;
use testbed::parts::injector::injector_binary;
use testbed::parts::kubelet::Pod;
use testbed::parts::memcached::Server;

use crate::Mode;
use ask::{Asked, Asker};
use story::Story;
use traffic::Outcome;

/// How many cache servers the built-in cluster has.
const SERVERS: usize = 3;

/// Tells the whole story; `true` when every promise was kept.
pub(crate) fn run(modes: &[Mode], cluster: bool, keep: bool) -> Result<bool> {
    let mut story = Story::new();
    let started = Instant::now();
    story.title("A pod that asks gets its memcached: on localhost, and it survives its servers.");
    fetch::memcached()?; // what must be fetched is fetched before the story begins
    let binary = injector_binary()?;
    let servers = start_servers(&mut story)?;
    let asker = if cluster {
        Asker::in_cluster(&mut story, &binary)?
    } else {
        Asker::standalone(&mut story, &binary)?
    };
    let mut outcomes = Vec::new();
    let mut pods = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        let brief = number > 0;
        if brief {
            story.chapter(&format!(
                "And the same in short for mode {}: {}",
                mode.name(),
                mode.meaning()
            ));
            servers.iter().try_for_each(Server::restart_empty)?;
        }
        let asked = asker.ask(&mut story, *mode, brief)?;
        let pod = start_pod(&mut story, &asked, &servers, brief)?;
        outcomes.push(traffic::run(&mut story, *mode, &pod, &servers, brief)?);
        pods.push((*mode, pod));
    }
    let kept = traffic::conclude(&mut story, &outcomes);
    story.note(&format!(
        "The whole demo took {} s.",
        started.elapsed().as_secs()
    ));
    if keep {
        keep::until_interrupted(&mut story, &pods, &servers, &asker)?;
    }
    Ok(kept)
}

fn start_servers(story: &mut Story) -> Result<Vec<Server>> {
    story.step("Three cache servers");
    let servers = (0..SERVERS)
        .map(|_| Server::start())
        .collect::<Result<Vec<_>>>()?;
    story.say(
        "Real memcached processes. They stand for the pods of the StatefulSet cache/memcached:",
    );
    for (number, server) in servers.iter().enumerate() {
        story.item(
            &format!("memcached-{number}"),
            &format!("{} (process {})", server.address(), server.pid()),
        );
    }
    Ok(servers)
}

/// Runs the injected containers' own commands.
fn start_pod(story: &mut Story, asked: &Asked, servers: &[Server], brief: bool) -> Result<Pod> {
    let pod = Pod::start(&asked.pod, &asked.host(servers))?;
    if !brief {
        story.step("The pod starts");
        story.say("The injected containers' own commands, as processes, in order, each waited for by its own startup probe.");
        story.say("A kubelet would do the same; its volume is a folder here, and the servers' DNS names are their addresses:");
        for (name, command) in pod.commands() {
            story.item(name, &story::shorten(&command.join(" ")));
        }
        story.say(&format!(
            "The app now has a memcached on {}.",
            pod.address()
        ));
    }
    Ok(pod)
}

impl Mode {
    /// As pods ask for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replicated => "replicated",
            Self::Failover => "failover",
            Self::Sharded => "sharded",
        }
    }

    /// In a few words.
    fn meaning(self) -> &'static str {
        match self {
            Self::Replicated => "every key on all servers, and it behaves like one memcached",
            Self::Failover => {
                "a small cache in the pod first, then the cluster, which keeps one copy"
            }
            Self::Sharded => "the memory of all servers as one cache, one copy a key",
        }
    }

    /// What is promised when one of three servers dies under traffic.
    fn promise(self) -> &'static str {
        match self {
            Self::Replicated => "no client error, no refused write, no lost or stale key",
            Self::Failover => "no client error, no stale key",
            Self::Sharded => "reads never fail: a dead server's keys are misses",
        }
    }

    /// Whether an outcome keeps that promise.
    fn keeps_promise(self, outcome: &Outcome) -> bool {
        let sum = |count: fn(&testbed::workload::Tally) -> u64| {
            outcome
                .phases
                .iter()
                .map(|(_, tally)| count(tally))
                .sum::<u64>()
        };
        let clean = sum(|tally| tally.errors) == 0 && sum(|tally| tally.wrong) == 0;
        match self {
            Self::Replicated => {
                clean && sum(|tally| tally.refused) == 0 && sum(|tally| tally.misses) == 0
            }
            Self::Failover | Self::Sharded => clean,
        }
    }
}
