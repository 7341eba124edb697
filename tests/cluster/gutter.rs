//! The component `gutter`: its stand-ins run, apart from the servers where there are nodes for it, and every proxy is told of
//! them, those of running pods too.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bed::{Bed, pod};

const STAND_INS: &str = "/api/v1/namespaces/cache/pods?labelSelector=app.kubernetes.io/name=memcached-gutter";
const SERVERS: &str = "/api/v1/namespaces/cache/pods?labelSelector=memcached.io/cluster=memcached";
const PROXIES: &str = "/api/v1/namespaces/cache/pods?labelSelector=app.kubernetes.io/component=proxy";

fn told_of(pod: &Value) -> usize {
    let config = pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap_or_default();
    config.matches(".memcached-gutter-headless.cache.svc.cluster.local.:11211").count()
}

fn nodes(bed: &Bed, pods: &str) -> BTreeSet<String> {
    let list = bed.get(pods);
    list["items"].as_array().unwrap().iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect()
}

#[test]
fn the_component_gutter_brings_stand_ins_and_every_proxy_is_told_of_them() {
    let mut bed = Bed::without_manifests(5);
    let said = bed.kubectl(&["apply", "-k", &bed.overlay("gutter")]);
    assert!(said.ok && !said.err.contains("Warning"), "{}", said.err);
    bed.start_webhook();
    let set = "/apis/apps/v1/namespaces/cache/statefulsets/memcached-gutter";
    bed.wait_for("two stand-ins", set, |set| set["status"]["readyReplicas"] == 2);
    let servers = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
    bed.wait_for("three servers", servers, |set| set["status"]["readyReplicas"] == 3);
    let together: Vec<_> = nodes(&bed, STAND_INS).intersection(&nodes(&bed, SERVERS)).cloned().collect();
    assert!(together.is_empty(), "both kinds on {together:?}");

    let shop = bed.namespace(json!({}), json!({}));
    let created = bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "sharded"})));
    assert_eq!(told_of(&created), 2, "{created:#}");
    let told = |list: &Value, of: usize| {
        let pods = list["items"].as_array().unwrap();
        !pods.is_empty() && pods.iter().all(|pod| told_of(pod) == of)
    };
    bed.wait_for("the proxies of the DaemonSet to be told", PROXIES, |list| told(list, 2));

    let said = bed.kubectl(&["scale", "statefulset", "memcached-gutter", "--namespace", "cache", "--replicas=3"]);
    assert!(said.ok, "{}", said.err);
    bed.pods(&shop, "the running pod to be told of a third", |pod| told_of(pod) == 3);
    bed.wait_for("the proxies of the DaemonSet to be told of a third", PROXIES, |list| told(list, 3));
}
