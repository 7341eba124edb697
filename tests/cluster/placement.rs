//! Where the real scheduler puts cache servers, for each layout of the manifests: whatever node dies, no key loses all its
//! copies; and where that can't be, the metric behind the alert says so, as what is reckoned here from the pods themselves.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbed::parts::injector::Injector;
use testbed::parts::kwok::is_ready;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed};

const PODS: &str = "/api/v1/namespaces/cache/pods?labelSelector=app.kubernetes.io/component=cache";

/// Servers that hold the same keys.
type Group = Vec<String>;

/// Copies on neighbours: three servers, two copies.
fn rotated() -> Vec<Group> {
    (0..3).map(|first| vec![server("memcached", first), server("memcached", (first + 1) % 3)]).collect()
}

/// Everything on all three.
fn everywhere() -> Vec<Group> {
    vec![(0..3).map(|ordinal| server("memcached", ordinal)).collect()]
}

/// The same ordinal of both StatefulSets.
fn aligned() -> Vec<Group> {
    (0..3).map(|ordinal| vec![server("memcached", ordinal), server("memcached-b", ordinal)]).collect()
}

fn server(set: &str, ordinal: u32) -> String {
    format!("{set}-{ordinal}")
}

/// Where each server is that is ready.
fn nodes(bed: &Bed) -> BTreeMap<String, String> {
    let list = bed.get(PODS);
    let ready = list["items"].as_array().unwrap().iter().filter(|pod| is_ready(pod));
    let there = ready.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    there.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect()
}

/// Waits until so many servers are ready, and no more can be: the rest has no node.
fn wait_for_servers(bed: &Bed, ready: usize, pending: usize) -> BTreeMap<String, String> {
    bed.wait_for(&format!("{ready} servers ready and {pending} without a node"), PODS, |list| {
        let pods = list["items"].as_array().unwrap();
        let unschedulable = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == "Unschedulable"))
        };
        pods.len() == ready + pending
            && pods.iter().filter(|pod| is_ready(pod)).count() == ready
            && pods.iter().filter(unschedulable).count() == pending
    });
    nodes(bed)
}

/// For each place that holds servers, how many of the groups have all their living members there.
fn reckoned(groups: &[Group], places: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
    let mut lost: BTreeMap<String, usize> = places.values().map(|place| (place.clone(), 0)).collect();
    for group in groups {
        let mut held: Vec<&String> = group.iter().filter_map(|server| places.get(server)).collect();
        held.dedup();
        if let [place] = held[..] {
            *lost.get_mut(place).unwrap() += 1;
        }
    }
    lost
}

/// What the leader says, in groups of so many: how many of them each place's loss would take.
fn told(replica: &Injector, kind: &str, groups: usize) -> BTreeMap<String, usize> {
    let (_, text) = replica.health("/metrics").unwrap();
    let prefix = format!("memcached_injector_keys_at_risk_ratio{{cluster=\"cache/memcached\",kind=\"{kind}\",place=\"");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    let counted = |share: &str| (share.parse::<f64>().unwrap() * groups as f64).round() as usize;
    lines.map(|(place, share)| (place.to_owned(), counted(share))).collect()
}

/// Waits until the metric says what is reckoned; returns the sum: how many groups some node's death would take.
fn at_risk(bed: &Bed, replica: &Injector, groups: &[Group]) -> usize {
    let wanted = reckoned(groups, &nodes(bed));
    until(&format!("the metric to say {wanted:?}"), BOUND, || {
        let told = told(replica, "node", groups.len());
        Ok(if told == wanted { Look::Ready(()) } else { Look::NotYet(format!("{told:?}")) })
    })
    .unwrap();
    wanted.values().sum()
}

/// As for good: its pods are gone, and so is the node.
fn die(bed: &Bed, node: &str) {
    let pods = nodes(bed).into_iter().filter(|(_, where_)| where_ == node).map(|(pod, _)| pod);
    let pods: Vec<String> = pods.collect();
    let said = bed.kubectl(&["delete", "node", node]);
    assert!(said.ok, "{}", said.err);
    for pod in pods {
        let said = bed.kubectl(&["delete", "pod", &pod, "-n", "cache", "--force", "--grace-period=0"]);
        assert!(said.ok, "{}", said.err);
    }
}

/// A new node, like one that is there.
fn join(bed: &Bed, name: &str, like: &str) {
    let mut node = bed.get(&format!("/api/v1/nodes/{like}"));
    let metadata = node["metadata"].clone();
    node["metadata"] = json!({"name": name, "labels": metadata["labels"], "annotations": metadata["annotations"]});
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
    node["spec"] = json!({});
    let status = node["status"].clone();
    node["status"] = json!({"allocatable": status["allocatable"], "capacity": status["capacity"]});
    bed.created(&node);
}

fn annotate(bed: &Bed, annotation: &str) {
    let said = bed.kubectl(&["annotate", "--overwrite", "statefulset", "memcached", "-n", "cache", annotation]);
    assert!(said.ok, "{}", said.err);
}

fn with_component(nodes: usize, component: &str) -> Bed {
    let bed = Bed::without_manifests(nodes);
    let said = bed.kubectl(&["apply", "-k", &bed.overlay(component)]);
    assert!(said.ok, "{}", said.err);
    bed
}

#[test]
fn with_copies_on_neighbours_no_nodes_death_takes_a_key_while_there_is_a_node_for_each_server() {
    let bed = with_component(4, "cache-two-copies");
    let replica = bed.replica(&[]);
    let placed = wait_for_servers(&bed, 3, 0);
    assert_eq!(at_risk(&bed, &replica, &rotated()), 0, "{placed:?}");
    // The fourth node takes over.
    die(&bed, &placed["memcached-1"]);
    let placed = wait_for_servers(&bed, 3, 0);
    assert_eq!(at_risk(&bed, &replica, &rotated()), 0, "{placed:?}");
    // Now there are fewer nodes than servers: never two on one, so one has none, and its neighbours are the last.
    die(&bed, &placed["memcached-1"]);
    let placed = wait_for_servers(&bed, 2, 1);
    assert_eq!(at_risk(&bed, &replica, &rotated()), 2, "{placed:?}");
    // Copies on all servers, as they are where nothing is declared, have one left.
    annotate(&bed, "memcached.io/copies-");
    assert_eq!(at_risk(&bed, &replica, &everywhere()), 0, "{placed:?}");
    annotate(&bed, "memcached.io/copies=2");
    join(&bed, "spare", &placed["memcached-0"]);
    let placed = wait_for_servers(&bed, 3, 0);
    assert_eq!(at_risk(&bed, &replica, &rotated()), 0, "{placed:?}");
}

#[test]
fn aligned_copies_never_share_a_node_however_few_there_are_nor_a_zone_where_there_are_two() {
    let bed = with_component(4, "cache-aligned");
    let replica = bed.replica(&[]);
    // A gutter stands in and holds nothing, so where it runs does not matter.
    bed.created(&gutter());
    let mut placed = wait_for_servers(&bed, 6, 0);
    assert_eq!(at_risk(&bed, &replica, &aligned()), 0, "{placed:?}");
    for left in [3, 2] {
        die(&bed, &placed["memcached-0"]);
        placed = wait_for_servers(&bed, 6, 0);
        assert_eq!(at_risk(&bed, &replica, &aligned()), 0, "{left} nodes: {placed:?}");
    }
    // One node has no room for a second copy.
    die(&bed, &placed["memcached-0"]);
    placed = wait_for_servers(&bed, 3, 3);
    assert_eq!(at_risk(&bed, &replica, &aligned()), 3, "{placed:?}");
    join(&bed, "spare", &placed.values().next().unwrap().clone());
    placed = wait_for_servers(&bed, 6, 0);
    assert_eq!(at_risk(&bed, &replica, &aligned()), 0, "{placed:?}");
}

#[test]
fn aligned_copies_are_in_two_zones_where_there_are_two() {
    let bed = Bed::without_manifests(4);
    let zone_of = |node: &str| format!("zone-{}", if node < "node-2" { "a" } else { "b" });
    for node in ["node-0", "node-1", "node-2", "node-3"] {
        let label = format!("topology.kubernetes.io/zone={}", zone_of(node));
        let said = bed.kubectl(&["label", "node", node, &label]);
        assert!(said.ok, "{}", said.err);
    }
    let said = bed.kubectl(&["apply", "-k", &bed.overlay("cache-aligned")]);
    assert!(said.ok, "{}", said.err);
    let replica = bed.replica(&[]);
    let placed = wait_for_servers(&bed, 6, 0);
    assert_eq!(at_risk(&bed, &replica, &aligned()), 0, "{placed:?}");
    let zones = placed.iter().map(|(server, node)| (server.clone(), zone_of(node))).collect();
    let wanted = reckoned(&aligned(), &zones);
    assert_eq!(wanted.values().sum::<usize>(), 0, "{placed:?}");
    assert_eq!(told(&replica, "zone", 3), wanted);
}

#[test]
fn servers_that_may_share_a_node_are_told_of() {
    let bed = with_component(1, "cache-spread-soft");
    let replica = bed.replica(&[]);
    let placed = wait_for_servers(&bed, 3, 0);
    assert_eq!(at_risk(&bed, &replica, &everywhere()), 1, "{placed:?}");
    // One copy of a key goes with its server, wherever that runs: nothing that another placement could save.
    annotate(&bed, "memcached.io/copies=1");
    until("the metric to say nothing", BOUND, || {
        let told = told(&replica, "node", 1);
        Ok(if told.is_empty() { Look::Ready(()) } else { Look::NotYet(format!("{told:?}")) })
    })
    .unwrap();
}

/// The two StatefulSets differ in name and labels and nothing else: what one server is, is said twice.
#[test]
fn aligned_servers_are_the_same_under_two_names() {
    let bed = Bed::shared();
    let said = bed.kubectl(&["apply", "--dry-run=server", "-o", "json", "-k", &bed.overlay("cache-aligned")]);
    assert!(said.ok, "{}", said.err);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    let spec = |name: &str| {
        let is_it = |object: &&Value| object["kind"] == "StatefulSet" && object["metadata"]["name"] == name;
        let mut set = list["items"].as_array().unwrap().iter().find(is_it).unwrap().clone();
        set["spec"]["selector"] = Value::Null;
        set["spec"]["template"]["metadata"] = Value::Null;
        set["spec"].clone()
    };
    assert_eq!(spec("memcached"), spec("memcached-b"));
}

fn gutter() -> Value {
    let labels = json!({"caches": "spare"});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": "spare", "namespace": "cache",
            "labels": {"memcached.io/cluster": "memcached", "memcached.io/role": "gutter"},
        },
        "spec": {
            "replicas": 1, "serviceName": "spare", "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "memcached", "image": "memcached:1.6.45",
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            },
        },
    })
}
