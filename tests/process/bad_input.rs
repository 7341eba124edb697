//! What is no question gets a clear error with the right HTTP status; nothing makes the webhook panic or fall silent.

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use testbed::admission::{Verdict, admit, review_of};
use testbed::parts::injector::Injector;

use crate::binary;

fn webhook() -> Injector {
    Injector::standalone(binary(), &[]).unwrap()
}

fn pod(annotations: Value) -> Value {
    json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {"containers": [{"name": "app"}]}})
}

fn post(webhook: &Injector, path: &str, body: &[u8]) -> (u16, String) {
    webhook.https().unwrap().post(path, "application/json", body).unwrap()
}

fn metric(webhook: &Injector, name: &str) -> String {
    let (_, metrics) = webhook.health("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no metric {name} in {metrics}")).rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn what_is_no_question_is_refused_with_its_reason() {
    let webhook = webhook();
    let mut no_object = review_of(&pod(json!({})), "shop");
    no_object["request"]["object"] = Value::Null;
    let mut beta = review_of(&pod(json!({})), "shop");
    beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut other = review_of(&pod(json!({})), "shop");
    other["kind"] = json!("TokenReview");
    for (body, status, reason) in [
        (Vec::new(), 400, "EOF"),
        (b"{\"apiVersion\": ".to_vec(), 400, "no AdmissionReview"),
        (b"[]".to_vec(), 400, "no AdmissionReview"),
        (b"\xff\xfe".to_vec(), 400, "no AdmissionReview"),
        (beta.to_string().into_bytes(), 400, "\"admission.k8s.io/v1beta1\" is not \"admission.k8s.io/v1\""),
        (other.to_string().into_bytes(), 400, "\"TokenReview\" is not \"AdmissionReview\""),
        (br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#.to_vec(), 400, "has no request"),
        (no_object.to_string().into_bytes(), 400, "has no object"),
        (vec![b' '; (8 << 20) + 1], 413, "limit"),
    ] {
        let (answered, text) = post(&webhook, "/inject", &body);
        assert_eq!(answered, status, "{text}");
        assert!(text.contains(reason), "{reason}: {text}");
    }
    assert_eq!(post(&webhook, "/inject/mirrored", b"{}").0, 404);
    assert_eq!(webhook.https().unwrap().get("/inject").unwrap().0, 405);
    assert_eq!(metric(&webhook, "memcached_injector_bad_requests_total{status=\"413\"}"), "1");
    assert!(matches!(admit(&webhook, "/inject", &pod(json!({})), "shop").unwrap(), Verdict::Allowed(_)));
}

#[test]
fn a_body_just_within_the_limit_is_answered() {
    let webhook = webhook();
    let mut large = pod(json!({"memcached.io/mode": "replicated"}));
    large["metadata"]["annotations"]["team"] = json!("x".repeat((8 << 20) - 4096));
    let Verdict::Allowed(admitted) = admit(&webhook, "/inject", &large, "shop").unwrap() else { panic!("denied") };
    assert!(admitted.pod["metadata"]["annotations"]["memcached.io/status"].is_string());
}

#[test]
fn a_pod_of_the_wrong_shape_is_denied_with_the_field() {
    let webhook = webhook();
    for (broken, field) in [
        (json!({"metadata": {"annotations": {"memcached.io/mode": 5}}}), "metadata.annotations"),
        (json!({"metadata": [], "spec": {}}), "metadata"),
        (json!({"metadata": {}, "spec": {"containers": {"name": "app"}}}), "spec.containers"),
        (
            json!({"metadata": {}, "spec": {"containers": [{"name": "a", "ports": [{"containerPort": "11211"}]}]}}),
            "containerPort",
        ),
        (json!("pod"), "pod shop/"),
    ] {
        let Verdict::Denied(message) = admit(&webhook, "/inject/replicated", &broken, "shop").unwrap() else {
            panic!("{broken} was allowed");
        };
        assert!(message.contains(field), "{field}: {message}");
    }
    assert_eq!(metric(&webhook, "memcached_injector_panics_total"), "0");
}

/// Any JSON, most of it in the shape of a pod with parts of the wrong type.
fn strange() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof![Just("replicated"), Just("failover"), Just("none"), Just("10s"), Just("64Mi"), Just("11211")]
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        "\\PC{0,8}".prop_map(String::from),
        proptest::sample::select(vec![
            "metadata",
            "spec",
            "annotations",
            "labels",
            "name",
            "containers",
            "initContainers",
            "volumes",
            "resources",
            "limits",
            "requests",
            "cpu",
            "memory",
            "ports",
            "containerPort",
            "hostNetwork",
            "dnsPolicy",
            "nodeSelector",
            "memcached.io/mode",
            "memcached.io/port",
            "memcached.io/status",
            "memcached.io/local-ttl",
            "memcached.io/cluster",
        ])
        .prop_map(String::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn no_pod_however_strange_makes_it_panic_or_answer_nonsense() {
    let webhook = webhook();
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strange(), |pod| {
        let fail = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
        for path in ["/inject", "/inject/failover"] {
            if pod.is_null() {
                continue;
            }
            if let Verdict::Allowed(admitted) = admit(&webhook, path, &pod, "shop").map_err(fail)? {
                let again = admit(&webhook, path, &admitted.pod, "shop").map_err(fail)?;
                let unchanged = matches!(&again, Verdict::Allowed(second) if second.patch == json!([]));
                proptest::prop_assert!(unchanged, "the second visit changed it again");
            }
        }
        Ok(())
    });
    assert_eq!(metric(&webhook, "memcached_injector_panics_total"), "0");
    if let Err(error) = result {
        panic!("{error}");
    }
}
