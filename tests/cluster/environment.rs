//! Namespaces and pods with rules of their own: Pod Security, quotas, QoS classes, pod-level resources.

use serde_json::{Value, json};

use crate::bed::{Bed, is_injected, pod};

const ASKS: &str = "memcached.io/mode";

/// What Pod Security `restricted` wants of a container.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn with_resources(namespace: &str, name: &str, mode: &str, resources: Value) -> Value {
    let mut pod = pod(namespace, name, json!({ASKS: mode}));
    pod["spec"]["containers"][0]["resources"] = resources;
    pod
}

#[test]
fn pod_security_restricted_lets_every_mode_in() {
    let bed = Bed::shared();
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let shop = bed.namespace(labels, json!({}));
    for mode in ["replicated", "failover", "sharded"] {
        let mut asks = pod(&shop, mode, json!({ASKS: mode}));
        asks["spec"]["containers"][0]["securityContext"] = restricted();
        let said = bed.create(&asks);
        assert!(said.ok && !said.err.contains("Warning"), "{}", said.err);
    }
}

#[test]
fn a_quota_and_a_limit_range_let_the_sidecars_in() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let hard = json!({"requests.cpu": "2", "requests.memory": "2Gi", "limits.cpu": "8", "limits.memory": "4Gi"});
    let bounds =
        json!({"type": "Container", "min": {"cpu": "5m", "memory": "8Mi"}, "max": {"cpu": "2", "memory": "1Gi"}});
    for object in [
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota", "namespace": shop}, "spec": {"hard": hard}}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds", "namespace": shop}, "spec": {"limits": [bounds]}}),
    ] {
        let said = bed.create(&object);
        assert!(said.ok, "{}", said.err);
    }
    let quota = format!("/api/v1/namespaces/{shop}/resourcequotas/quota");
    bed.wait_for("the quota to be counted", &quota, |quota| quota["status"]["hard"]["limits.cpu"] == "8");
    let resources =
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}});
    let stored = bed.created(&with_resources(&shop, "web", "failover", resources));
    assert!(is_injected(&stored));
    let limits = &stored["spec"]["initContainers"][1]["resources"]["limits"];
    assert!(limits["cpu"].is_string() && limits["memory"].is_string(), "{limits}");
}

#[test]
fn the_qos_class_is_kept() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let guaranteed = json!({"limits": {"cpu": "500m", "memory": "256Mi"}});
    let burstable = json!({"requests": {"cpu": "100m"}});
    for (name, class, resources) in
        [("g", "Guaranteed", guaranteed), ("b", "Burstable", burstable), ("n", "BestEffort", json!({}))]
    {
        for mode in ["replicated", "failover"] {
            let stored = bed.created(&with_resources(&shop, &format!("{name}-{mode}"), mode, resources.clone()));
            assert!(is_injected(&stored));
            assert_eq!(stored["status"]["qosClass"], class, "{mode}");
        }
    }
}

#[test]
fn pod_level_resources_are_shared_and_respected() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut roomy = with_resources(&shop, "roomy", "failover", json!({"requests": {"cpu": "100m", "memory": "64Mi"}}));
    roomy["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "512Mi"}});
    let stored = bed.created(&roomy);
    assert!(is_injected(&stored));
    let mut guaranteed = pod(&shop, "guaranteed", json!({ASKS: "replicated"}));
    guaranteed["spec"]["resources"] =
        json!({"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "1", "memory": "512Mi"}});
    assert_eq!(bed.created(&guaranteed)["status"]["qosClass"], "Guaranteed");
    let mut tight = pod(&shop, "tight", json!({ASKS: "failover"}));
    tight["spec"]["resources"] = json!({"limits": {"memory": "100Mi"}});
    let said = bed.create(&tight);
    assert!(!said.ok && said.err.contains("spec.resources.limits.memory is 100Mi"), "{}", said.err);
}
