//! A node dies with a webhook replica on it that leads: who creates pods meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::parts::nodes::Death;

use crate::app::container;
use crate::bed::{Bed, node_of};

/// Before and after the death.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(25);
/// Creations may fail for 5 s; a busy machine gets four times as long.
const LONGEST: Duration = Duration::from_secs(4 * 5);

pub(crate) fn a_node_with_the_leader_dies_and_pods_are_created(bed: &Bed) -> String {
    bed.wait_installed();
    let namespace = bed.namespace();
    let lease = bed.get("/apis/coordination.k8s.io/v1/namespaces/memcached-injector/leases/memcached-injector");
    let leader = lease["spec"]["holderIdentity"].as_str().expect("somebody leads").to_owned();
    let pod = bed.get(&format!("/api/v1/namespaces/memcached-injector/pods/{leader}"));
    let victim = node_of(&pod);
    let start = Instant::now();
    let (made, failed) = thread::scope(|scope| {
        let creating = scope.spawn(|| create_for(bed, &namespace, BEFORE + AFTER));
        thread::sleep(BEFORE); // of creations that must succeed
        bed.nodes.kill(victim, Death::Silent).unwrap();
        creating.join().unwrap()
    });
    assert!(start.elapsed() >= BEFORE + AFTER);
    bed.nodes.revive(victim).unwrap();
    bed.wait_installed();
    let (first, last) = (failed.first().map(|(began, ..)| *began), failed.last().map(|(_, ended, _)| *ended));
    let window = last.unwrap_or_default().saturating_sub(first.unwrap_or_default());
    assert!(window <= LONGEST, "creations failed for {window:?}: {failed:?}");
    assert!(first.is_none_or(|first| first >= BEFORE.saturating_sub(Duration::from_secs(1))), "{failed:?}");
    assert!(made > 50, "only {made} pods were created, and these not: {failed:?}");
    format!("{made} creations, {} failed, within {:.1} s", failed.len(), window.as_secs_f64())
}

/// Asks for a pod ten times a second, each from a thread of its own, since one that fails takes seconds. Dry runs: they
/// are injected and not kept. Returns how many were made, and for those that were not when they began and ended, and why.
fn create_for(bed: &Bed, namespace: &str, length: Duration) -> (usize, Vec<(Duration, Duration, String)>) {
    let start = Instant::now();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let mut asking = Vec::new();
        while start.elapsed() < length {
            asking.push(scope.spawn(|| {
                let began = start.elapsed();
                let said = create(bed, namespace);
                (began, start.elapsed(), said)
            }));
            thread::sleep(Duration::from_millis(100)); // the rate
        }
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let all = outcomes.len();
    let failed: Vec<_> =
        outcomes.into_iter().filter_map(|(began, ended, said)| Some((began, ended, said.err()?))).collect();
    (all - failed.len(), failed)
}

fn create(bed: &Bed, namespace: &str) -> Result<(), String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "asked-", "namespace": namespace, "annotations": {"memcached.io/mode": "replicated"}},
        "spec": {"containers": [container("app", "sleep 1")]},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    match bed.nodes.control_plane().post(&path, &pod) {
        Ok((201, made)) if injected(&made) => Ok(()),
        Ok((201, made)) => Err(format!("created without a sidecar: {made}")),
        Ok((status, said)) => Err(format!("{status}: {}", said["message"])),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn injected(pod: &Value) -> bool {
    pod["metadata"]["labels"]["memcached.io/injected"] == "true"
}
