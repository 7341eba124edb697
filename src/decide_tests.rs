//! The truth table of decide.rs, a test for each row and for the order of the rows.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::topology::built_in;

/// A plain pod with these annotations.
fn pod(annotations: Value) -> Value {
    json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {"containers": [{"name": "app"}]}})
}

fn namespace(inject: Option<&str>) -> Namespace {
    Namespace { name: "shop".to_owned(), inject: inject.map(str::to_owned), ..Namespace::default() }
}

fn verdict(pod: &Value, namespace: &Namespace) -> Verdict {
    let settings = Settings::default();
    decide(Subject { pod, is_pod_create: true, namespace }, &built_in(&settings), &settings)
}

fn codes(pod: &Value, inject: Option<&str>) -> Vec<&'static str> {
    verdict(pod, &namespace(inject)).codes()
}

fn sentence(pod: &Value, inject: Option<&str>) -> String {
    match verdict(pod, &namespace(inject)).decision {
        Decision::Skip(skip) => skip.to_string(),
        Decision::Deny(problems) => problems.iter().map(|problem| problem.to_string() + "\n").collect(),
        Decision::Inject(_) => panic!("it was injected"),
    }
}

fn replicated() -> Value {
    pod(json!({"memcached.io/mode": "replicated"}))
}

#[test]
fn row_1_only_the_creation_of_pods_counts() {
    let settings = Settings::default();
    let subject = Subject { pod: &replicated(), is_pod_create: false, namespace: &namespace(None) };
    assert_eq!(decide(subject, &built_in(&settings), &settings).code(), "not-a-pod-create");
    let mirror = pod(json!({"memcached.io/mode": "replicated", "kubernetes.io/config.mirror": "x"}));
    assert_eq!(codes(&mirror, None), ["mirror-pod"]);
}

#[test]
fn row_2_excluded_namespaces_are_left_alone_whatever_a_pod_says() {
    let system = Namespace { name: "kube-system".to_owned(), ..namespace(Some("replicated")) };
    assert_eq!(verdict(&pod(json!({"memcached.io/mode": "wrong"})), &system).code(), "excluded-namespace");
}

#[test]
fn row_3_opting_out_wins_over_the_namespace_and_over_wrong_values() {
    let out = pod(json!({"memcached.io/mode": "none", "memcached.io/port": "wrong"}));
    assert_eq!(codes(&out, Some("replicated")), ["opted-out"]);
    assert_eq!(codes(&out, Some("disabled")), ["opted-out"]);
}

#[test]
fn row_4_a_wrong_mode_is_refused_with_the_one_meant() {
    let slip = pod(json!({"memcached.io/mode": "replicatd"}));
    assert_eq!(codes(&slip, None), ["unknown-mode"]);
    let more =
        pod(json!({"memcached.io/mode": "replicatd", "memcached.io/port": "80", "memcached.io/local-ttl": "10"}));
    assert_eq!(codes(&more, None), ["unknown-mode", "invalid-annotation", "invalid-annotation"]);
    assert_eq!(
        sentence(&slip, None),
        "annotation memcached.io/mode: \"replicatd\" is not a mode; did you mean \"replicated\"? It is one of replicated, failover, sharded, none\n"
    );
}

#[test]
fn row_4_a_key_close_to_one_of_ours_is_refused_and_another_only_warned_of() {
    let slip = pod(json!({"memcached.io/mod": "replicated"}));
    assert_eq!(codes(&slip, None), ["unknown-annotation"]);
    assert!(sentence(&slip, None).contains("did you mean memcached.io/mode?"));
    let newer = pod(json!({"memcached.io/mode": "replicated", "memcached.io/compression": "zstd"}));
    let verdict = verdict(&newer, &namespace(None));
    assert_eq!(verdict.code(), "asked-by-pod");
    assert_eq!(verdict.warnings, [Warning::UnknownKey("memcached.io/compression".to_owned())]);
}

#[test]
fn row_4_disabled_is_final_for_pods_that_ask() {
    assert_eq!(codes(&replicated(), Some("disabled")), ["namespace-disabled"]);
    assert_eq!(codes(&pod(json!({})), Some("disabled")), ["namespace-disabled"]);
    assert_eq!(verdict(&pod(json!({})), &namespace(Some("disabled"))).outcome(), "skip");
}

#[test]
fn row_4_every_wrong_value_is_named_at_once() {
    let wrong = pod(json!({
        "memcached.io/mode": "failover", "memcached.io/port": "80", "memcached.io/local-ttl": "10",
        "memcached.io/local-cache": "contaner", "memcached.io/local-cache-memory": "64Mi",
        "memcached.io/cluster": "a/b/c", "memcached.io/proxy-cpu-request": "lots",
        "memcached.io/proxy-memory-limit": "1Mi", "memcached.io/proxy-image": "no image",
    }));
    assert_eq!(codes(&wrong, None), ["invalid-annotation"; 8]);
    assert!(sentence(&wrong, None).contains("did you mean \"container\"?"));
}

#[test]
fn row_5_the_label_decides_where_the_pod_says_nothing() {
    for (label, mode) in
        [("failover", ModeName::Failover), ("sharded", ModeName::Sharded), ("enabled", ModeName::Replicated)]
    {
        let Decision::Inject(plan) = verdict(&pod(json!({})), &namespace(Some(label))).decision else {
            panic!("{label} did not inject");
        };
        assert_eq!((plan.asked, plan.request.mode.name()), (Asked::ByNamespace, mode));
    }
    let Decision::Inject(plan) = verdict(&replicated(), &namespace(Some("sharded"))).decision else {
        panic!("the pod's own mode did not inject");
    };
    assert_eq!((plan.asked, plan.request.mode.name()), (Asked::ByPod, ModeName::Replicated));
}

#[test]
fn row_5_a_wrong_label_skips_with_the_right_one_named() {
    assert_eq!(codes(&pod(json!({})), Some("replicatd")), ["unknown-namespace-label"]);
    assert!(sentence(&pod(json!({})), Some("replicatd")).contains("did you mean \"replicated\"?"));
    assert_eq!(codes(&replicated(), Some("replicatd")), ["asked-by-pod"]);
}

#[test]
fn row_5_namespace_annotations_are_defaults_and_named_when_wrong() {
    let mut shop = namespace(Some("replicated"));
    shop.annotations.insert("memcached.io/port".to_owned(), "22122".to_owned());
    let Decision::Inject(plan) = verdict(&pod(json!({})), &shop).decision else { panic!("not injected") };
    assert_eq!(plan.request.port, 22122);
    let own = pod(json!({"memcached.io/port": "11311"}));
    let Decision::Inject(plan) = verdict(&own, &shop).decision else { panic!("not injected") };
    assert_eq!(plan.request.port, 11311);
    shop.annotations.insert("memcached.io/port".to_owned(), "eleven".to_owned());
    let Decision::Deny(problems) = verdict(&pod(json!({})), &shop).decision else { panic!("not refused") };
    assert!(problems[0].to_string().starts_with("namespace shop: annotation memcached.io/port"));
}

#[test]
fn row_6_a_pod_that_does_not_ask_is_left_alone() {
    assert_eq!(codes(&pod(json!({"team": "shop"})), None), ["nothing-asked"]);
    let options = verdict(&pod(json!({"memcached.io/port": "11311"})), &namespace(None));
    assert_eq!(options.code(), "nothing-asked");
    assert_eq!(options.warnings, [Warning::OptionsWithoutMode(vec!["memcached.io/port".to_owned()])]);
}

#[test]
fn row_7_a_status_without_its_containers_is_not_injected() {
    let annotations =
        json!({"memcached.io/mode": "replicated", "memcached.io/status": "{}", "memcached.io/proxy-config": "{}"});
    let mut injected = pod(annotations);
    assert_eq!(codes(&injected, None), ["asked-by-pod"]);
    injected["spec"]["initContainers"] = json!([{"name": "memcached-proxy"}]);
    assert_eq!(codes(&injected, None), ["already-injected"]);
}

#[test]
fn row_8_every_obstacle_is_named_at_once() {
    let mut hopeless = pod(json!({"memcached.io/mode": "failover", "memcached.io/cluster": "cache/memcachd"}));
    hopeless["spec"] = json!({
        "hostNetwork": true, "dnsPolicy": "Default", "os": {"name": "windows"},
        "containers": [
            {"name": "memcached-proxy", "ports": [{"containerPort": 11212}]},
            {"name": "app", "ports": [{"containerPort": 11211}]},
        ],
        "volumes": [{"name": "memcached-proxy"}],
        "resources": {"limits": {"memory": "64Mi"}},
    });
    assert_eq!(
        codes(&hopeless, None),
        [
            "host-network",
            "container-name-taken",
            "volume-name-taken",
            "port-taken",
            "port-taken",
            "windows",
            "dns-policy",
            "pod-resources",
            "unknown-cluster",
        ]
    );
    assert!(sentence(&hopeless, None).contains("did you mean \"cache/memcached\"?"));
}

#[test]
fn row_8_a_refused_pod_is_told_the_warnings_too() {
    let mut pod = pod(json!({
        annotation::MODE: "replicated", "memcached.io/proxy-cpu-request": "10m", "memcached.io/proxy-cpu-limit": "50m",
    }));
    let budget = json!({"cpu": "1", "memory": "1Gi"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": budget, "limits": budget});
    pod["spec"]["hostNetwork"] = json!(true);
    let Verdict { decision, warnings } = verdict(&pod, &namespace(None));
    assert!(matches!(decision, Decision::Deny(_)), "{decision:?}");
    assert!(warnings.contains(&Warning::RequestFollowsLimit("cpu")), "{warnings:?}");
}

#[test]
fn row_8_a_mode_that_does_not_fit_the_clusters_copies_is_refused() {
    let settings = Settings::default();
    let refused = |copies: Copies, mode: &str| {
        let mut topology = built_in(&settings);
        for cluster in topology.clusters.values_mut() {
            cluster.as_mut().unwrap().copies = copies;
        }
        let asks = pod(json!({"memcached.io/mode": mode}));
        decide(Subject { pod: &asks, is_pod_create: true, namespace: &namespace(None) }, &topology, &settings).code()
    };
    use crate::topology::Copies;
    assert_eq!(refused(Copies::Undeclared, "sharded"), "asked-by-pod");
    assert_eq!(refused(Copies::Number(2), "sharded"), "impossible-copies");
    assert_eq!(refused(Copies::All, "sharded"), "impossible-copies");
    assert_eq!(refused(Copies::Number(4), "replicated"), "impossible-copies");
    assert_eq!(refused(Copies::Number(1), "replicated"), "impossible-copies");
    assert_eq!(refused(Copies::Number(2), "failover"), "asked-by-pod");
}

#[test]
fn a_pod_with_null_or_wrong_types_is_refused_with_its_field() {
    for (broken, field) in [
        (json!({"metadata": {"annotations": {"memcached.io/mode": 5}}}), "metadata.annotations"),
        (json!({"spec": {"containers": "app"}}), "spec.containers"),
        (json!({"spec": {"containers": [null]}}), "spec.containers[0]"),
        (
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "many"}}}]}}),
            "spec.containers[0]",
        ),
        (json!("pod"), "."),
        (json!([]), "."),
        (json!({"metadata": ["web", null, null, null]}), "metadata"),
    ] {
        assert_eq!(codes(&broken, None), ["malformed-pod"], "{broken}");
        assert!(sentence(&broken, None).contains(field), "{}", sentence(&broken, None));
    }
    let nulls =
        json!({"metadata": {"annotations": null, "labels": null}, "spec": {"containers": null, "volumes": null}});
    assert_eq!(codes(&nulls, Some("replicated")), ["asked-by-namespace"]);
}
