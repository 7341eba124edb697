//! `--keep`: how to reach what runs, and the wait for Ctrl-C. Stops nothing itself: the parts do when they are dropped.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testbed::parts::kubelet::Pod;
use testbed::parts::memcached::Server;

use super::ask::Asker;
use super::story::Story;
use crate::Mode;

/// Tells how to reach everything, and returns at Ctrl-C (or SIGTERM).
pub(crate) fn until_interrupted(
    story: &mut Story,
    pods: &[(Mode, Pod)],
    servers: &[Server],
    asker: &Asker,
) -> Result<()> {
    // Registered before anything is said, so that whoever reads it may interrupt at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for Ctrl-C")?;
    story.step("Everything is left running");
    for (mode, pod) in pods {
        let address = pod.address();
        story.item(
            &format!("the pod's memcached ({})", mode.name()),
            &format!(
                "{address}, try: printf 'get {}-1\\r\\nquit\\r\\n' | nc {} {}",
                mode.name(),
                address.ip(),
                address.port()
            ),
        );
    }
    for (number, server) in servers.iter().enumerate() {
        let state = if server.stats().is_ok() {
            ""
        } else {
            " (killed)"
        };
        story.item(
            &format!("memcached-{number}"),
            &format!("{}{state}", server.address()),
        );
    }
    match asker {
        Asker::Standalone { injector, .. } => {
            story.item(
                "webhook",
                &format!(
                    "https://{} and http://{}/metrics",
                    injector.admission_address(),
                    injector.health_address()
                ),
            );
        }
        Asker::Cluster(cluster) => {
            let control_plane = cluster.control_plane();
            story.item(
                "cluster",
                &format!("export KUBECONFIG={}", control_plane.kubeconfig().display()),
            );
            story.item(
                "kubectl",
                &control_plane.kubectl_path().display().to_string(),
            );
        }
    }
    story.say("Ctrl-C stops everything.");
    signals.forever().next();
    story.say("Stopping.");
    Ok(())
}
