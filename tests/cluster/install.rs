//! `kubectl apply -k manifests` and nothing else.

use serde_json::{Value, json};
use testbed::folder::workspace_root;

use crate::bed::Bed;

fn folder(name: &str) -> String {
    workspace_root().join("manifests").join(name).to_str().unwrap().to_owned()
}

/// Every object of the recommended install.
fn objects(bed: &Bed) -> Vec<Value> {
    let said = bed.kubectl(&["create", "--dry-run=client", "--output", "json", "-k", &folder("")]);
    assert!(said.ok, "{}", said.err);
    let stream = serde_json::Deserializer::from_str(&said.out).into_iter::<Value>();
    stream.map(Result::unwrap).collect()
}

#[test]
fn everything_passes_strict_validation_and_applies_twice_by_either_side() {
    let bed = Bed::shared();
    for side in [&["--server-side", "--force-conflicts"][..], &[]] {
        for round in 1..=2 {
            let mut args = vec!["apply", "--dry-run=server", "--validate=strict", "-k"];
            let manifests = folder("");
            args.push(&manifests);
            args.extend(side);
            let said = bed.kubectl(&args);
            assert!(said.ok, "round {round}: {}", said.err);
        }
    }
    let said = bed.kubectl(&["apply", "-k", &folder("")]);
    assert!(said.ok, "{}", said.err);
    assert!(
        said.out.lines().filter(|line| line.contains("webhookconfiguration")).all(|line| line.contains("unchanged")),
        "{}",
        said.out
    );
}

/// Everything but namespaces, without which the API server takes nothing that is in them, comes backwards.
#[test]
fn objects_are_accepted_in_any_order_and_work() {
    let mut bed = Bed::without_manifests(3);
    let (mut in_order, mut others): (Vec<_>, Vec<_>) =
        objects(&bed).into_iter().partition(|object| object["kind"] == "Namespace");
    assert!(others.len() > 15, "{}", others.len());
    others.reverse();
    in_order.append(&mut others);
    for object in &in_order {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        let said = bed.kubectl_on(&["create", "--dry-run=server", "--validate=strict"], object);
        assert!(said.ok && !said.err.contains("Warning"), "{name}: {}", said.err);
        for first in [true, false] {
            let said = bed.kubectl_on(&["apply"], object);
            // kubectl 1.34 writes a budget anew whenever it is applied.
            let is_rewritten = !first && object["kind"] == "PodDisruptionBudget";
            assert!(
                said.ok && (said.out.contains("created") == first || is_rewritten),
                "{name}: {}{}",
                said.out,
                said.err
            );
        }
    }
    bed.start_webhook();
    let set = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
    bed.wait_for("three cache servers", set, |set| set["status"]["readyReplicas"] == 3);
}

#[test]
fn every_component_applies() {
    let bed = Bed::shared();
    let components = std::fs::read_dir(workspace_root().join("manifests/components")).unwrap();
    let names: Vec<_> = components.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 3, "{names:?}");
    bed.know_cert_manager();
    bed.know_prometheus();
    for name in names {
        let said = bed.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-k", &bed.overlay(&name)]);
        assert!(said.ok, "{name}: {}", said.err);
    }
}

#[test]
fn caches_and_proxies_become_ready_under_pod_security_restricted() {
    let bed = Bed::shared();
    let namespace = bed.get("/api/v1/namespaces/cache");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let set = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
    bed.wait_for("three cache servers", set, |set| set["status"]["readyReplicas"] == 3);
    let daemons = "/apis/apps/v1/namespaces/cache/daemonsets/memcached-proxy";
    bed.wait_for("a proxy on each node", daemons, |set| set["status"]["numberReady"] == 3);
    let (_, pods) =
        bed.control_plane.get("/api/v1/namespaces/cache/pods?labelSelector=memcached.io/cluster=memcached").unwrap();
    let mut nodes: Vec<_> =
        pods["items"].as_array().unwrap().iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "each server on a node of its own");
}

#[test]
fn the_ca_bundle_is_put_in_place_and_repaired() {
    let bed = Bed::shared();
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/memcached-injector";
    let bundles = |config: &Value| -> Vec<String> {
        let entries = config["webhooks"].as_array().unwrap().iter();
        entries.map(|entry| entry["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let before = bundles(&bed.get(path));
    assert_eq!(before.len(), 12);
    assert!(before.iter().all(|bundle| !bundle.is_empty() && *bundle == before[0]));
    // Entries that nothing else in these tests depends on for the moment that it takes.
    let broken = "[{\"op\": \"replace\", \"path\": \"/webhooks/8/clientConfig/caBundle\", \"value\": null}]";
    let said =
        bed.kubectl(&["patch", "mutatingwebhookconfiguration", "memcached-injector", "--type=json", "--patch", broken]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("the caBundle to be repaired", path, |config| bundles(config) == before);
}

#[test]
fn the_injectors_own_identity_may_write_no_other_configmap() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let as_injector = ["create", "--as=system:serviceaccount:memcached-injector:memcached-injector"];
    let map = |name: &str, immutable: bool, key: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": shop}, "immutable": immutable, "data": {key: "x"}});
    for wrong in [
        map("other", true, "library.lua"),
        map("memcached-proxy-x", false, "library.lua"),
        map("memcached-proxy-x", true, "app.conf"),
    ] {
        let said = bed.kubectl_on(&as_injector, &wrong);
        assert!(!said.ok && said.err.contains("memcached-injector-configmaps"), "{}", said.err);
    }
    let said = bed.kubectl_on(&as_injector, &map("memcached-proxy-x", true, "library.lua"));
    assert!(said.ok, "{}", said.err);
}
