//! `kubectl apply -k manifests` on real nodes, and the way back.

use std::time::Instant;

use serde_json::Value;

use crate::bed::{APPS, Bed, manifests};

pub(crate) fn everything_comes_up_ready_by_itself(bed: &Bed) -> String {
    let start = Instant::now();
    bed.wait_installed();
    for namespace in ["cache", "memcached-injector"] {
        let labels = &bed.get(&format!("/api/v1/namespaces/{namespace}"))["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        for pod in bed.get(&format!("/api/v1/namespaces/{namespace}/pods"))["items"].as_array().unwrap() {
            assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
        }
    }
    let caches = bed.pods("cache", "memcached.io/cluster=memcached", 3);
    let nodes: Vec<&Value> = caches.iter().map(|pod| &pod["spec"]["nodeName"]).collect();
    assert_eq!(nodes, ["node-1", "node-2", "node-3"], "each cache server on a node of its own");
    format!("{:.1} s after the apply, no restarts", start.elapsed().as_secs_f64())
}

/// kubectl says "configured" of a PodDisruptionBudget although nothing changes, so the objects' own generations count.
pub(crate) fn applied_again_nothing_changes(bed: &Bed) -> String {
    let format = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{\"\\n\"}{end}";
    let generations = || bed.kubectl(&["get", "-k", &manifests(), "--output", format]);
    let before = generations();
    bed.kubectl(&["apply", "-k", &manifests()]);
    assert_eq!(before, generations());
    bed.wait_installed();
    format!("{} objects unchanged", before.lines().count())
}

pub(crate) fn deleted_nothing_is_left(bed: &Bed) -> String {
    // By the kustomization that was applied, as docs/operations.md says; kubectl passes over what was not.
    let overlay = bed.overlay(&["resync", "cache-spread-soft"]);
    let before = ours(bed);
    assert!(before.len() > 15, "{before:?}");
    let start = Instant::now();
    bed.kubectl(&["delete", "--ignore-not-found", "-k", &overlay]);
    let took = start.elapsed().as_secs_f64();
    let left = ours(bed);
    assert!(left.is_empty(), "{left:?}");
    format!("{} objects gone in {took:.1} s", before.len())
}

/// Objects whose namespace does not exist yet are refused by every API server, so there are two rounds, as a tool that
/// retries would make them.
pub(crate) fn in_any_order(bed: &Bed) -> String {
    let all = bed.kubectl(&["create", "--dry-run=client", "--output", "json", "-k", &manifests()]);
    let mut objects: Vec<Value> =
        serde_json::Deserializer::from_str(&all).into_iter::<Value>().map(Result::unwrap).collect();
    objects.reverse();
    let mut refused = Vec::new();
    for _ in 0..2 {
        let outcomes = objects.iter().map(|object| bed.nodes.control_plane().apply(&object.to_string()));
        refused = outcomes.filter_map(Result::err).collect();
    }
    assert!(refused.is_empty(), "{refused:?}");
    let start = Instant::now();
    bed.wait_installed();
    bed.kubectl(&["delete", "-k", &manifests()]);
    format!("ready {:.1} s after the last object, deleted again", start.elapsed().as_secs_f64())
}

/// Everything in the cluster that is called after us, outside of apps' namespaces, which keep what their running pods need.
fn ours(bed: &Bed) -> Vec<String> {
    let kinds = bed.kubectl(&["api-resources", "--verbs=list", "--output", "name"]);
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.contains("metrics")).collect();
    let columns = "custom-columns=NS:.metadata.namespace,KIND:.kind,NAME:.metadata.name";
    let all = bed.kubectl(&["get", &kinds.join(","), "--all-namespaces", "--no-headers", "--output", columns]);
    let of_ours = |line: &&str| line.contains("memcached") || line.starts_with("cache ");
    all.lines().filter(|line| !line.starts_with(APPS)).filter(of_ours).map(str::to_owned).collect()
}
