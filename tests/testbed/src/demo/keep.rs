//! `--keep`: how to reach what runs, and the wait for Ctrl-C. Stops nothing itself: the parts do when they are dropped.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testbed::parts::kubelet::Pod;
use testbed::parts::memcached::Server;

use super::ask::Asker;
use super::story::Story;
use crate::Mode;

/// Tells how to reach everything and returns at Ctrl-C (or SIGTERM).
pub(super) fn until_interrupted(
    story: &mut Story,
    pods: &[(Mode, Pod)],
    servers: &[Server],
    asker: &Asker,
) -> Result<()> {
    let mut items = Vec::new();
    for (mode, pod) in pods {
        items.push((format!("a pod's memcached, {}", mode.name()), pod.address().to_string()));
    }
    for (number, server) in servers.iter().enumerate() {
        let state = if server.stats().is_ok() { "" } else { " (killed)" };
        items.push((format!("memcached-{number}"), format!("{}{state}", server.address())));
    }
    match asker {
        Asker::Standalone { injector, .. } => {
            items.push(("webhook".to_owned(), format!("https://{}/inject", injector.admission_address())));
            items.push(("its metrics".to_owned(), format!("http://{}/metrics", injector.health_address())));
        }
        Asker::Cluster(cluster) => {
            let control_plane = cluster.control_plane();
            items.push(("cluster".to_owned(), format!("export KUBECONFIG={}", control_plane.kubeconfig().display())));
            items.push(("kubectl".to_owned(), control_plane.kubectl_path().display().to_string()));
        }
    }
    let example = pods.first().map(|(mode, pod)| {
        let address = pod.address();
        let request = format!("get {}-1\\r\\nquit\\r\\n", mode.name());
        format!("printf '{request}' | nc {} {}", address.ip(), address.port())
    });
    wait(story, &items, example)
}

/// Tells `items` and an example command, and returns at Ctrl-C (or SIGTERM).
pub(super) fn wait(story: &mut Story, items: &[(String, String)], example: Option<String>) -> Result<()> {
    // Registered before anything is said, so that whoever reads it may interrupt at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for Ctrl-C")?;
    story.step("Everything is left running");
    story.items(items);
    if let Some(example) = example {
        story.say(&format!("For example: {example}"));
    }
    story.say("Ctrl-C stops everything.");
    signals.forever().next();
    story.say("Stopping.");
    Ok(())
}
