//! Who is injected, who is not, and who is refused with which words.

use serde_json::json;

use crate::bed::{Bed, is_injected, mode, pod, sidecars};

#[test]
fn a_pod_that_asks_by_annotation_gets_its_proxy_first() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut asks = pod(&shop, "web", json!({"memcached.io/mode": "replicated"}));
    asks["spec"]["initContainers"] = json!([{"name": "migrate", "image": "shop/migrate:1.0"}]);
    let stored = bed.created(&asks);
    assert_eq!(sidecars(&stored), ["memcached-proxy", "migrate"]);
    assert_eq!(stored["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(mode(&stored), "replicated");
    assert_eq!(bed.libraries(&shop).len(), 1);
    bed.pods(&shop, "the pod to be scheduled and ready", testbed::parts::kwok::is_ready);
}

#[test]
fn failover_puts_the_local_cache_before_the_proxy() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let stored = bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "failover"})));
    assert_eq!(sidecars(&stored), ["memcached-local", "memcached-proxy"]);
    let inside = json!({"memcached.io/mode": "failover", "memcached.io/local-cache": "internal"});
    assert_eq!(sidecars(&bed.created(&pod(&shop, "inside", inside))), ["memcached-proxy"]);
}

#[test]
fn every_value_of_the_namespace_label_means_what_it_says() {
    let bed = Bed::shared();
    for (label, expected) in
        [("replicated", "replicated"), ("failover", "failover"), ("sharded", "sharded"), ("enabled", "replicated")]
    {
        let shop = bed.namespace(json!({"memcached.io/inject": label}), json!({}));
        let stored = bed.created(&pod(&shop, "web", json!({})));
        assert_eq!(mode(&stored), expected, "{label}");
        let own = bed.created(&pod(&shop, "own", json!({"memcached.io/mode": "sharded"})));
        assert_eq!(mode(&own), "sharded", "the pod's own mode in {label}");
        let out = bed.created(&pod(&shop, "out", json!({"memcached.io/mode": "none"})));
        assert!(!is_injected(&out), "{label}");
    }
}

#[test]
fn a_disabled_namespace_refuses_a_pod_that_asks_and_leaves_others_alone() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({"memcached.io/inject": "disabled"}), json!({}));
    let said = bed.create(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})));
    assert!(
        !said.ok && said.err.contains(&format!("namespace {shop} is labelled memcached.io/inject: disabled")),
        "{}",
        said.err
    );
    assert!(!is_injected(&bed.created(&pod(&shop, "plain", json!({})))));
}

#[test]
fn a_wrong_namespace_label_is_refused_with_the_right_one_named() {
    let bed = Bed::shared();
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "mislabelled", "labels": {"memcached.io/inject": "replicatd"}},
    });
    let said = bed.create(&namespace);
    assert!(!said.ok && said.err.contains("did you mean \"replicated\"?"), "{}", said.err);
    let shop = bed.namespace(json!({}), json!({}));
    let said = bed.kubectl(&["label", "namespace", &shop, "memcached.io/inject=on"]);
    assert!(
        !said.ok && said.err.contains("use one of replicated, failover, sharded, enabled, disabled"),
        "{}",
        said.err
    );
}

#[test]
fn namespace_annotations_are_defaults_for_its_pods() {
    let bed = Bed::shared();
    let defaults = json!({"memcached.io/port": "22122", "memcached.io/local-ttl": "30s"});
    let shop = bed.namespace(json!({"memcached.io/inject": "failover"}), defaults);
    let stored = bed.created(&pod(&shop, "web", json!({})));
    let config = stored["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap();
    assert!(config.contains("server = \"127.0.0.1:22123\", ttl = 30"), "{config}");
    let own = bed.created(&pod(&shop, "own", json!({"memcached.io/port": "11311"})));
    let config = own["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap();
    assert!(config.contains("server = \"127.0.0.1:11312\", ttl = 30"), "{config}");
}

#[test]
fn a_wrong_value_is_refused_with_its_suggestion() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let said = bed.create(&pod(&shop, "web", json!({"memcached.io/mode": "replicatd"})));
    let expected = format!(
        "pod {shop}/web: annotation memcached.io/mode: \"replicatd\" is not a mode; did you mean \"replicated\"?"
    );
    assert!(!said.ok && said.err.contains(&expected), "{}", said.err);
    let said = bed.create(&pod(&shop, "web", json!({"memcached.io/mod": "replicated"})));
    assert!(!said.ok && said.err.contains("did you mean memcached.io/mode?"), "{}", said.err);
}

#[test]
fn every_obstacle_is_named_in_one_refusal() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut hopeless =
        pod(&shop, "web", json!({"memcached.io/mode": "replicated", "memcached.io/cluster": "cache/other"}));
    hopeless["spec"]["hostNetwork"] = json!(true);
    hopeless["spec"]["containers"][0]["ports"] = json!([{"containerPort": 11211}]);
    let said = bed.create(&hopeless);
    assert!(!said.ok, "{}", said.out);
    for part in ["3 reasons", "hostNetwork is on", "container app has port 11211", "cluster cache/other is not known"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
}

#[test]
fn an_unknown_key_warns_and_injects() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let newer = pod(&shop, "web", json!({"memcached.io/mode": "replicated", "memcached.io/compression": "zstd"}));
    let said = bed.create(&newer);
    assert!(said.ok && said.err.contains("Warning: annotation memcached.io/compression is not known"), "{}", said.err);
}

#[test]
fn a_dry_run_is_injected_and_leaves_no_configmap() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let said = bed.kubectl_on(
        &["create", "--dry-run=server", "--output", "json"],
        &pod(&shop, "web", json!({"memcached.io/mode": "replicated"})),
    );
    assert!(said.ok, "{}", said.err);
    assert!(is_injected(&serde_json::from_str(&said.out).unwrap()));
    assert_eq!(bed.libraries(&shop), Vec::<String>::new());
}

#[test]
fn a_copied_pod_that_is_injected_already_gets_its_library_and_no_second_proxy() {
    let bed = Bed::shared();
    let (shop, copy) = (bed.namespace(json!({}), json!({})), bed.namespace(json!({}), json!({})));
    let mut stored = bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})));
    stored["metadata"] = json!({
        "name": "web", "namespace": copy, "labels": stored["metadata"]["labels"],
        "annotations": stored["metadata"]["annotations"],
    });
    stored["spec"].as_object_mut().unwrap().remove("nodeName");
    let stored = bed.created(&stored);
    assert_eq!(sidecars(&stored), ["memcached-proxy"]);
    assert_eq!(bed.libraries(&copy).len(), 1);
}

#[test]
fn the_audit_trail_and_the_metrics_tell_the_reason() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    bed.create(&pod(&shop, "web", json!({"memcached.io/mode": "mirrored"})));
    let (status, metrics) = bed.injector().health("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("decisions_total{decision=\"deny\",reason=\"unknown-mode\"}"), "{metrics}");
    let log = bed.injector().process().log();
    assert!(log.lines().any(|line| line.contains(&format!("{shop}/web")) && line.contains("unknown-mode")), "{log}");
}
