//! Upgrade and rollback: the release before and this one side by side, under load, with pods of both.

use serde_json::{Value, json};
use testbed::fetch;
use testbed::folder::workspace_root;
use testbed::parts::injector::{Injector, wait_until_admitting};
use testbed::parts::proxy::Proxy;
use testbed::process::Signal;

use crate::bed::{BOUND, Bed, is_injected, pod};
use crate::fleet::{binary, the_leader};
use crate::load::{Load, none_failed};

const SECRET: &str = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
const SET: &str = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
const ASKS: &str = "memcached.io/mode";
const SLOWLY: [&str; 2] = ["--shutdown-delay", "8"];

#[test]
fn an_upgrade_and_a_rollback_fail_no_pod_and_pods_of_either_release_go_on() {
    let previous = fetch::previous_release().unwrap();
    let bed = Bed::of_manifests(5, &previous.manifests);
    let start = |binary| Injector::in_cluster_with(binary, &bed.control_plane, &SLOWLY).unwrap();
    let mut replicas = vec![start(&previous.binary), start(&previous.binary)];
    let shop = bed.namespace(json!({}), json!({}));
    wait_until_admitting(&bed.control_plane, &pod(&shop, "probe", json!({ASKS: "replicated"})), is_injected).unwrap();
    let old = bed.created(&pod(&shop, "old", json!({ASKS: "failover"})));
    let set =
        bed.wait_for("the first ring", SET, |set| set["metadata"]["annotations"]["memcached.io/ring"].is_string());
    let ring = set["metadata"]["annotations"]["memcached.io/ring"].clone();
    let certificate = bed.get(SECRET)["data"].clone();

    // Up: the manifests as `kubectl apply -k` brings them, then the servers one by one.
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    apply(&bed, &workspace_root().join("manifests"));
    roll(&mut replicas, || start(binary()));
    load.wait_for_successes(40);
    none_failed("an upgrade", &load.stop());
    the_leader(&replicas);
    assert_eq!(bed.get(SECRET)["data"], certificate, "the certificates are taken over");
    assert_eq!(config(&stored(&bed, &shop, "old")), config(&old), "nothing changed, so nothing is written");
    let new = bed.created(&pod(&shop, "new", json!({ASKS: "failover"})));

    // A pod of the release before is followed in the format that its library reads.
    consistency(&bed, "fastest");
    let old = followed(&bed, &shop, "old", "fastest");
    assert_eq!(format_of(&old), format_of_release(&previous.binary), "{}", config(&old));
    assert_ne!(format_of(&new), format_of(&old), "this release writes another");
    Proxy::start(&library(&bed, &shop, &old), config(&old)).expect("the old library reads the new configuration");
    assert_eq!(format_of(&followed(&bed, &shop, "new", "fastest")), format_of(&new));

    // And back.
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    apply(&bed, &previous.manifests);
    roll(&mut replicas, || start(&previous.binary));
    load.wait_for_successes(40);
    none_failed("a rollback", &load.stop());
    the_leader(&replicas);
    assert_eq!(bed.get(SECRET)["data"], certificate, "the certificates are taken back");
    let mut again = new.clone();
    again["metadata"] = json!({
        "name": "again", "namespace": shop, "labels": new["metadata"]["labels"],
        "annotations": new["metadata"]["annotations"],
    });
    again["spec"].as_object_mut().unwrap().remove("nodeName");
    bed.created(&again);
    let said = bed.create(&pod(&shop, "newer", json!({ASKS: "replicated", "memcached.io/compression": "zstd"})));
    assert!(said.ok && said.err.contains("Warning"), "what the older one does not know only warns: {}", said.err);
    // It follows its own, and leaves alone what it does not read.
    consistency(&bed, "coherent");
    followed(&bed, &shop, "old", "coherent");
    assert_eq!(config(&stored(&bed, &shop, "new")), config(&followed(&bed, &shop, "new", "fastest")));
    assert_eq!(bed.get(SET)["metadata"]["annotations"]["memcached.io/ring"], ring, "the ring is as it was");
}

fn apply(bed: &Bed, manifests: &std::path::Path) {
    let said = bed.kubectl(&["apply", "-k", manifests.to_str().unwrap()]);
    assert!(said.ok, "{}", said.err);
}

/// As the Deployment does it: one more first, then one less.
fn roll(replicas: &mut Vec<Injector>, start: impl Fn() -> Injector) {
    for _ in 0..replicas.len() {
        let new = start();
        let ending = replicas.remove(0);
        ending.process().signal(Signal::TERM).unwrap();
        assert!(ending.process().wait_exit(BOUND).unwrap().success());
        replicas.push(new);
    }
}

fn consistency(bed: &Bed, value: &str) {
    let annotation = format!("memcached.io/consistency={value}");
    let said = bed.kubectl(&["annotate", "--overwrite", "statefulset", "memcached", "-n", "cache", &annotation]);
    assert!(said.ok, "{}", said.err);
}

fn stored(bed: &Bed, namespace: &str, name: &str) -> Value {
    bed.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))
}

fn config(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap_or_default()
}

/// Waits until a pod's configuration says so.
fn followed(bed: &Bed, namespace: &str, name: &str, consistency: &str) -> Value {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let wanted = format!("consistency = {consistency:?},");
    bed.wait_for(&format!("{name} to be {consistency}"), &path, |pod| config(pod).contains(&wanted))
}

fn format_of(pod: &Value) -> String {
    config(pod).lines().find(|line| line.contains("format = ")).unwrap_or_default().trim().to_owned()
}

/// The format that a release writes.
fn format_of_release(binary: &std::path::Path) -> String {
    let mut command = std::process::Command::new(binary);
    command.args(["render", "--mode", "replicated"]);
    let output = testbed::process::run(command).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find(|line| line.contains("format = ")).unwrap().trim().to_owned()
}

/// The library that a pod mounts.
fn library(bed: &Bed, namespace: &str, pod: &Value) -> String {
    let status = pod["metadata"]["annotations"]["memcached.io/status"].as_str().unwrap();
    let status: Value = serde_json::from_str(status).unwrap();
    let name = format!("memcached-proxy-{}", status["library"].as_str().unwrap());
    let map = bed.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}"));
    map["data"]["library.lua"].as_str().unwrap().to_owned()
}
