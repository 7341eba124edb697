//! The webhook is gone: whom that may block, and whom never.

use serde_json::{Value, json};

use crate::bed::{Bed, is_injected, pod};

#[test]
fn without_the_webhook_only_pods_that_ask_wait() {
    let mut bed = Bed::without_webhook();
    bed.start_webhook();
    let labelled = bed.namespace(json!({"memcached.io/inject": "replicated"}), json!({}));
    let plain = bed.namespace(json!({}), json!({}));
    let secret = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
    let certificate = bed.get(secret)["data"].clone();
    bed.stop_webhook();

    assert!(!is_injected(&bed.created(&pod(&plain, "plain", json!({})))));
    assert!(!is_injected(&bed.created(&pod(&plain, "team", json!({"team": "shop"})))));
    assert!(!is_injected(&bed.created(&pod(&labelled, "out", json!({"memcached.io/mode": "none"})))));
    let system = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s", "namespace": "kube-system", "annotations": {"memcached.io/mode": "replicated"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let account = "/api/v1/namespaces/kube-system/serviceaccounts/default";
    bed.wait_for("kube-system's service account", account, |account: &Value| !account.is_null());
    assert!(!is_injected(&bed.created(&system)));
    let asks = bed.create(&pod(&plain, "web", json!({"memcached.io/mode": "replicated"})));
    assert!(!asks.ok && asks.err.contains("annotated.memcached.io"), "{}", asks.err);
    // A label that nobody could check: it gets in, and does nothing.
    let wrong = bed.namespace(json!({"memcached.io/inject": "replicatd"}), json!({}));

    bed.start_webhook();
    assert!(!is_injected(&bed.created(&pod(&wrong, "web", json!({})))));
    let (_, metrics) = bed.injector().health("/metrics").unwrap();
    assert!(metrics.contains("memcached_injector_namespaces_mislabelled 1"), "{metrics}");
    assert!(is_injected(&bed.created(&pod(&plain, "web", json!({"memcached.io/mode": "replicated"})))));
    assert_eq!(bed.get(secret)["data"], certificate, "a restart makes no new certificate");
}

#[test]
fn a_deployment_that_asked_meanwhile_gets_its_pods_when_the_webhook_is_back() {
    let mut bed = Bed::without_webhook();
    let shop = bed.namespace(json!({}), json!({}));
    let selector = json!({"matchLabels": {"app": "web"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": shop},
        "spec": {"replicas": 1, "selector": selector, "template": crate::bed::template("replicated")},
    });
    let said = bed.create(&deployment);
    assert!(said.ok, "{}", said.err);
    let path = format!("/apis/apps/v1/namespaces/{shop}/deployments/web");
    bed.wait_for("its pods to be refused", &path, |deployment| {
        let conditions = deployment["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == "ReplicaFailure"))
    });
    bed.start_webhook();
    bed.pods(&shop, "the pod to be injected", is_injected);
}

#[test]
fn with_fail_open_a_pod_that_slips_through_is_created_and_named() {
    let mut bed = Bed::without_webhook();
    let applied = bed.kubectl(&["apply", "-k", &bed.overlay("fail-open")]);
    assert!(applied.ok, "{}", applied.err);
    let shop = bed.namespace(json!({}), json!({}));
    let labelled = bed.namespace(json!({"memcached.io/inject": "replicated"}), json!({}));
    let asks = |name: &str| pod(&shop, name, json!({"memcached.io/mode": "replicated"}));
    let warned = |object: &Value| {
        let said = bed.create(object);
        assert!(said.ok, "{}", said.err);
        said.err.contains("asks for a memcached and goes without one")
    };
    let watched = testbed::wait::until("the policy to be in force", crate::bed::BOUND, || {
        let said = bed.kubectl_on(&["create", "--dry-run=server"], &asks("probe"));
        let holds = said.ok && said.err.contains("goes without one");
        Ok(if holds { testbed::wait::Look::Ready(()) } else { testbed::wait::Look::NotYet(said.err) })
    });
    watched.unwrap();
    assert!(warned(&asks("web")));
    assert!(warned(&pod(&labelled, "web", json!({}))));
    assert!(!warned(&pod(&shop, "plain", json!({}))));
    assert!(!warned(&pod(&labelled, "out", json!({"memcached.io/mode": "none"}))));

    let deny = "{\"spec\": {\"validationActions\": [\"Deny\"]}}";
    let binding = "validatingadmissionpolicybinding";
    let said = bed.kubectl(&["patch", binding, "memcached-injector-slipped-through", "--patch", deny]);
    assert!(said.ok, "{}", said.err);
    let denied = testbed::wait::until("the pod to be denied", crate::bed::BOUND, || {
        let said = bed.kubectl_on(&["create", "--dry-run=server"], &asks("probe"));
        Ok(if said.ok { testbed::wait::Look::NotYet(said.out) } else { testbed::wait::Look::Ready(said.err) })
    });
    assert!(denied.unwrap().contains("goes without one"));

    bed.start_webhook();
    let said = bed.create(&asks("back"));
    assert!(said.ok && !said.err.contains("Warning"), "{}", said.err);
}
