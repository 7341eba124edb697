//! The demo's story. Steps are numbered as they are told: caches, webhook, a pod that asks, its containers, traffic, a dead
//! server, the table. Owns their order; nothing here knows how a part works.

mod ask;
mod cluster;
mod diff;
mod keep;
mod nodes;
mod promise;
mod story;
mod traffic;

use std::time::Instant;

use anyhow::Result;
use testbed::fetch;
use testbed::parts::injector::injector_binary;
use testbed::parts::kubelet::Pod;
use testbed::parts::memcached::Server;

use crate::Mode;
use ask::Asker;
pub(crate) use nodes::run as run_on_nodes;
use story::Story;

/// How many cache servers the built-in cluster has.
const SERVERS: usize = 3;

/// Tells the whole story; `true` when every promise was kept.
pub(crate) fn run(modes: &[Mode], cluster: bool, keep: bool) -> Result<bool> {
    let mut story = Story::new();
    story.heading("A pod that asks gets its memcached: on localhost, and it survives its servers.");
    fetch::memcached()?; // what must be fetched or built is there before the story begins
    let binary = injector_binary()?;
    let started = Instant::now();
    let servers = start_servers(&mut story)?;
    let asker = if cluster { Asker::in_cluster(&mut story, &binary)? } else { Asker::standalone(&mut story, &binary)? };
    let mut outcomes = Vec::new();
    let mut all_pods = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        let brief = number > 0;
        if brief {
            story.step(&format!("In short, the same for mode {}: {}", mode.name(), mode.meaning()));
            servers.iter().try_for_each(Server::restart_empty)?;
        }
        let pods = start_pods(&mut story, &asker, *mode, &servers, brief)?;
        outcomes.push(traffic::run(&mut story, *mode, &pods, &servers, brief)?);
        all_pods.extend(pods.into_iter().map(|pod| (*mode, pod)));
    }
    let kept = promise::conclude(&mut story, &outcomes);
    story.note(&format!("The demo took {} s.", started.elapsed().as_secs()));
    if keep {
        keep::until_interrupted(&mut story, &all_pods, &servers, &asker)?;
    }
    Ok(kept)
}

fn start_servers(story: &mut Story) -> Result<Vec<Server>> {
    story.step("Three cache servers");
    let servers = (0..SERVERS).map(|_| Server::start()).collect::<Result<Vec<_>>>()?;
    story.say("Real memcached processes. They stand for the pods of the StatefulSet cache/memcached:");
    let place = |server: &Server| format!("{} (process {})", server.address(), server.pid());
    let items: Vec<_> =
        servers.iter().enumerate().map(|(number, server)| (format!("memcached-{number}"), place(server))).collect();
    story.items(&items);
    Ok(servers)
}

/// Has pods admitted and runs their sidecars: one in brief and where each pod has a cache of its own, otherwise two.
fn start_pods(story: &mut Story, asker: &Asker, mode: Mode, servers: &[Server], brief: bool) -> Result<Vec<Pod>> {
    let name = if brief { format!("web-{}", mode.name()) } else { "web".to_owned() };
    let asked = asker.ask(story, mode, &name, brief)?;
    let pod = Pod::start(&asked.pod, &asked.host(servers))?;
    if brief {
        return Ok(vec![pod]);
    }
    story.step("The pod starts");
    story.say(
        "The injected containers' own commands, as processes, in order, each waited for by its own startup probe.",
    );
    story.say(
        "A kubelet would do the same; its volume is a folder here, and the servers' DNS names are their addresses:",
    );
    let commands = pod.commands().iter().map(|(name, command)| (name, story::shorten(&command.join(" "))));
    story.items(&commands.collect::<Vec<_>>());
    story.say(&format!("The app now has a memcached on {}.", pod.address()));
    if mode == Mode::Failover {
        return Ok(vec![pod]);
    }
    let asked = asker.ask(story, mode, "worker", true)?;
    let second = Pod::start(&asked.pod, &asked.host(servers))?;
    story.say(&format!("A second Deployment, worker, asked too: its pod's memcached is on {}.", second.address()));
    Ok(vec![pod, second])
}
