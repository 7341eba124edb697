//! The readiness gate `memcached.io/synced` of cache pods (component resync): closed while a server is not whole, open after its
//! bound in any case, with a metric, and open at once where no copy exists. Real memcached servers stand in for the cache
//! pods. What rolling updates, drains and the real kubelet make of the gate is proved on nodes.

use std::collections::BTreeMap;

use serde_json::Value;
use testbed::parts::injector::Injector;
use testbed::parts::memcached::Server;
use testbed::parts::names::Names;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed};
use crate::fleet::{binary, metric};

/// A cache's pod, whatever it is by now.
fn cache(number: usize) -> String {
    format!("/api/v1/namespaces/cache/pods/memcached-{number}")
}

/// Status and reason of a pod's gate.
fn gate(pod: &Value) -> (&str, &str) {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let gate = conditions.iter().find(|condition| condition["type"] == "memcached.io/synced");
    let text = |field: &str| gate.and_then(|gate| gate[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}

fn wait_gate(bed: &Bed, number: usize, wanted: (&str, &str)) -> Value {
    bed.wait_for(&format!("the gate of memcached-{number} to be {wanted:?}"), &cache(number), |pod| gate(pod) == wanted)
}

/// Waits until the leader's metrics say how many servers are not whole, and how many gates are open all the same.
fn wait_counted(leader: &Injector, unsynced: f64, overdue: f64) {
    let wanted = (unsynced, overdue);
    until(&format!("{wanted:?} servers unsynced and overdue"), BOUND, || {
        let counted = (metric(leader, "cache_servers_unsynced"), metric(leader, "resync_overdue"));
        Ok(if counted == wanted { Look::Ready(()) } else { Look::NotYet(format!("{counted:?}")) })
    })
    .unwrap();
}

#[test]
fn a_gate_opens_after_its_bound_in_any_case_and_at_once_where_no_copy_exists() {
    let bed = Bed::without_manifests(3);
    let said = bed.kubectl(&["apply", "-k", &bed.overlay("resync")]);
    assert!(said.ok, "{}", said.err);
    let said = bed.kubectl(&["annotate", "statefulset", "memcached", "-n", "cache", "memcached.io/copies=1"]);
    assert!(said.ok, "{}", said.err);
    let servers: Vec<Server> = (0..3).map(|_| Server::start().unwrap()).collect();
    let host = |number: usize| format!("memcached-{number}.memcached-headless.cache.svc.cluster.local.");
    let hosts: BTreeMap<_, _> = servers.iter().enumerate().map(|(number, one)| (host(number), one.address())).collect();
    let names = Names::new(&hosts).unwrap();
    let leader = names.wrap(binary()).unwrap();
    let leader = Injector::in_cluster_with(&leader, &bed.control_plane, &["--resync", "--resync-bound", "8s"]).unwrap();
    (0..3).for_each(|number| drop(wait_gate(&bed, number, ("True", "Synced"))));
    wait_counted(&leader, 0.0, 0.0);

    // What it holds can't be known, so nobody calls it whole.
    let frozen = servers[1].freeze().unwrap();
    wait_gate(&bed, 1, ("False", "Syncing"));
    wait_counted(&leader, 1.0, 0.0);
    wait_gate(&bed, 1, ("True", "Overdue"));
    wait_counted(&leader, 1.0, 1.0);
    assert_eq!(gate(&bed.get(&cache(0))), ("True", "Synced"), "the others' gates are their own");
    drop(frozen);
    wait_gate(&bed, 1, ("True", "Synced"));
    wait_counted(&leader, 0.0, 0.0);

    let before = bed.get(&cache(2))["metadata"]["uid"].clone();
    servers[2].restart_empty().unwrap();
    let said = bed.kubectl(&["delete", "pod", "memcached-2", "-n", "cache"]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("the new pod's gate to open", &cache(2), |pod| {
        let (status, reason) = gate(pod);
        assert_ne!(status, "False", "{reason}: there is no copy to wait for");
        pod["metadata"]["uid"] != before && (status, reason) == ("True", "Synced")
    });
}
