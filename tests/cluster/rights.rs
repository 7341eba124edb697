//! What the webhook's service account may do is the least that works: without any one rule something clear is said and
//! counted, and nothing crashes.

use serde_json::{Value, json};
use testbed::https::Client;
use testbed::parts::injector::Injector;
use testbed::process::Process;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, pod};
use crate::fleet::binary;

/// Kind, name and index of a rule; what it is about; the metric that counts its absence.
type Case = (&'static str, &'static str, usize, &'static str, &'static str);

const OWN: &str = "memcached-injector";
const REPLICAS: &str = "memcached-injector-replicas";
const CA: &str = "memcached-injector-ca";

/// In this order: the first one needs a cluster that has no Secret yet.
const CASES: [Case; 12] = [
    ("role", OWN, 0, "secrets", "upkeep_errors_total{task=\"certificate\"}"),
    ("role", OWN, 1, "secrets", "watch_errors_total{resource=\"secrets\"}"),
    ("role", REPLICAS, 0, "leases", "upkeep_errors_total{task=\"heartbeat\"}"),
    ("role", REPLICAS, 1, "leases", "upkeep_errors_total{task=\"lease\"}"),
    ("role", REPLICAS, 2, "endpointslices", "watch_errors_total{resource=\"endpointslices\"}"),
    ("clusterrole", OWN, 0, "statefulsets", "watch_errors_total{resource=\"statefulsets\"}"),
    ("clusterrole", OWN, 1, "namespaces", "watch_errors_total{resource=\"namespaces\"}"),
    ("clusterrole", OWN, 2, "configmaps", "library_configmaps_total{result=\"error\"}"),
    ("clusterrole", OWN, 3, "pods", "upkeep_errors_total{task=\"follow\"}"),
    ("clusterrole", OWN, 4, "nodes", "upkeep_errors_total{task=\"placement\"}"),
    ("clusterrole", OWN, 5, "validatingadmissionpolicies", "upkeep_errors_total{task=\"follow\"}"),
    (
        "clusterrole",
        CA,
        0,
        "mutatingwebhookconfigurations",
        "watch_errors_total{resource=\"mutatingwebhookconfigurations\"}",
    ),
];

#[test]
fn without_any_one_rule_something_clear_is_said_and_counted_and_nothing_crashes() {
    let bed = Bed::without_webhook();
    let shop = bed.namespace(json!({}), json!({}));
    for (kind, name, index, resource, metric) in CASES {
        let what = format!("{kind} {name} without rule {index} ({resource})");
        let role = roles(&bed, kind, name);
        assert!(role["rules"][index]["resources"].as_array().unwrap().contains(&json!(resource)), "{what}: {role}");
        patch(&bed, kind, name, &json!([{"op": "remove", "path": format!("/rules/{index}")}]));
        let (process, _folder) = Injector::spawn_in_cluster(binary(), &bed.control_plane, &[]).unwrap();
        let health = Client::plain(health_address(&process));
        until(&format!("{what}: {metric}"), BOUND, || {
            if resource == "configmaps" {
                // Only a pod that asks, and that is no dry run, needs one.
                let asks = pod(&shop, "web", json!({"memcached.io/mode": "replicated"}));
                let said = bed.create(&asks);
                assert!(!said.ok, "{what}: {}", said.out);
            }
            let (_, text) = health.get("/metrics")?;
            let count = text.lines().find_map(|line| line.strip_prefix(&format!("memcached_injector_{metric} ")));
            let counted = count.is_some_and(|count| count != "0");
            let log = process.log();
            // A pod that is refused is told so itself.
            let told = resource == "configmaps"
                || log.lines().any(|line| line.contains("forbidden") && line.contains(resource));
            let seen = || format!("counted {count:?}, told {told}\n{}", process.tail());
            Ok(if counted && told { Look::Ready(()) } else { Look::NotYet(seen()) })
        })
        .unwrap();
        if resource == "configmaps" {
            let said = bed.create(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})));
            assert!(!said.ok && said.err.contains("forbidden"), "{what}: {}", said.err);
        }
        assert!(process.exited().unwrap().is_none(), "{what}: it ended\n{}", process.tail());
        assert_eq!(health.get("/healthz").unwrap().0, 200, "{what}");
        // The whole list: an empty one is left out, so nothing can be added to it.
        patch(&bed, kind, name, &json!([{"op": "add", "path": "/rules", "value": role["rules"]}]));
    }
    let rules: usize = [("role", OWN), ("role", REPLICAS), ("clusterrole", OWN), ("clusterrole", CA)]
        .into_iter()
        .map(|(kind, name)| roles(&bed, kind, name)["rules"].as_array().unwrap().len())
        .sum();
    assert_eq!(rules, CASES.len(), "a rule without a case");
}

fn roles(bed: &Bed, kind: &str, name: &str) -> Value {
    let group = "/apis/rbac.authorization.k8s.io/v1";
    bed.get(&match kind {
        "role" => format!("{group}/namespaces/memcached-injector/roles/{name}"),
        _ => format!("{group}/clusterroles/{name}"),
    })
}

fn patch(bed: &Bed, kind: &str, name: &str, operations: &Value) {
    let patch = operations.to_string();
    let said = bed.kubectl(&["patch", kind, name, "-n", "memcached-injector", "--type=json", "--patch", &patch]);
    assert!(said.ok, "{}", said.err);
}

fn health_address(process: &Process) -> std::net::SocketAddr {
    let line = process.wait_for_line("\"listener\":\"health\"", BOUND).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}
