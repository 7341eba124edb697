//! Certificates are followed by others while pods are created, and no creation notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::https::Client;
use testbed::parts::injector::{Injector, addresses, endpoint_slices};
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed};
use crate::fleet::{binary, ca_bundles, metric};
use crate::load::{Load, none_failed};

const SECRET: &str = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/memcached-injector";

fn ca(secret: &Value) -> String {
    secret["data"]["ca.crt"].as_str().unwrap_or_default().to_owned()
}

/// No rotation is under way.
fn is_settled(secret: &Value) -> bool {
    secret["data"]["next-ca.crt"].is_null() && secret["data"]["previous-ca.crt"].is_null()
}

fn wish_for_rotation(bed: &Bed) {
    let wish = ["annotate", "secret", "memcached-injector-tls", "-n", "memcached-injector", "memcached.io/rotate=now"];
    let said = bed.kubectl(&wish);
    assert!(said.ok, "{}", said.err);
}

#[test]
fn an_operator_rotates_the_ca_three_times_in_a_row_and_no_pod_fails() {
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &["--ca-settle", "2s"]);
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    for round in 1..=3 {
        let before = ca(&bed.get(SECRET));
        let start = Instant::now();
        wish_for_rotation(&bed);
        let after = bed.wait_for("the CA to be followed by another", SECRET, |secret| {
            !ca(secret).is_empty() && ca(secret) != before && is_settled(secret)
        });
        println!("rotation {round}: {:.1} s", start.elapsed().as_secs_f64());
        assert!(after["metadata"]["annotations"]["memcached.io/rotate"].is_null(), "the wish is granted once");
        let only = ca(&after);
        bed.wait_for("the old CA to be gone from every entry", MUTATING, |config| {
            ca_bundles(config).iter().all(|bundle| *bundle == only)
        });
    }
    load.wait_for_successes(20);
    none_failed("three rotations, CA included", &load.stop());
    for replica in &replicas {
        assert!(metric(replica, "certificate_reloads_total") >= 3.0);
    }
}

#[test]
fn certificates_that_live_for_seconds_are_renewed_by_themselves() {
    let bed = Bed::without_webhook();
    let lives = ["--ca-life", "60s", "--serving-life", "24s", "--ca-settle", "2s"];
    let replicas = bed.replicas(2, &lives);
    let load = Load::start(&bed);
    let first = bed.get(SECRET);
    // The CA is followed at 40 s, each serving certificate at 16 s.
    bed.wait_for("the CA to be followed by another", SECRET, |secret| ca(secret) != ca(&first) && is_settled(secret));
    let renewed = |replica| metric(replica, "certificate_reloads_total");
    let goal = Duration::from_secs(60);
    until("each replica to have served four certificates", BOUND + goal, || {
        let seen: Vec<_> = replicas.iter().map(renewed).collect();
        Ok(if seen.iter().all(|seen| *seen >= 4.0) { Look::Ready(()) } else { Look::NotYet(format!("{seen:?}")) })
    })
    .unwrap();
    none_failed("certificates renewed at two thirds of lives of 24 s and 60 s", &load.stop());
}

#[test]
fn a_secret_that_is_deleted_or_broken_gets_back_what_it_held() {
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &["--ca-settle", "2s"]);
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    let held = bed.get(SECRET)["data"].clone();
    let said = bed.kubectl(&["delete", "secret", "memcached-injector-tls", "-n", "memcached-injector"]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("the Secret to be remade", SECRET, |secret| secret["data"] == held);
    for garbage in [r#"{"data": {"ca.crt": "Z2FyYmFnZQ=="}}"#, r#"{"data": {"ca.key": null, "tls.key": null}}"#] {
        let patch = ["patch", "secret", "memcached-injector-tls", "-n", "memcached-injector", "--patch", garbage];
        let said = bed.kubectl(&patch);
        assert!(said.ok, "{}", said.err);
        bed.wait_for("the Secret to be mended", SECRET, |secret| secret["data"] == held);
    }
    // A serving certificate alone is made anew, by the same CA.
    let broken = r#"{"data": {"tls.crt": "Z2FyYmFnZQ=="}}"#;
    let said =
        bed.kubectl(&["patch", "secret", "memcached-injector-tls", "-n", "memcached-injector", "--patch", broken]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("a new serving certificate", SECRET, |secret| {
        secret["data"]["ca.crt"] == held["ca.crt"]
            && !["Z2FyYmFnZQ==", held["tls.crt"].as_str().unwrap()]
                .contains(&secret["data"]["tls.crt"].as_str().unwrap_or("Z2FyYmFnZQ=="))
    });
    load.wait_for_successes(20);
    none_failed("Secret deleted and broken", &load.stop());
    let told =
        replicas.iter().any(|replica| replica.process().log().contains("the last good certificate goes on serving"));
    let counted: f64 =
        replicas.iter().map(|replica| metric(replica, "upkeep_errors_total{task=\"certificate\"}")).sum();
    assert!(told && counted > 0.0, "{counted}");
}

#[test]
fn replicas_that_start_at_once_make_one_certificate_and_all_serve_it() {
    let bed = Bed::without_webhook();
    let start = || Injector::in_cluster(binary(), &bed.control_plane).unwrap();
    let replicas: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let ca = bed.webhook_ca();
    for replica in &replicas {
        let client =
            Client::tls(replica.admission_address(), "memcached-injector.memcached-injector.svc", &ca).unwrap();
        assert_eq!(client.get("/").unwrap().0, 404, "it serves a certificate of the CA in the Secret");
        assert!(metric(replica, "certificate_reloads_total") < 0.5, "none was replaced");
    }
}

/// As an API server whose etcd is full: it answers, and takes no write.
#[test]
fn an_api_that_takes_no_writes_leaves_everything_as_it_is() {
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &["--ca-settle", "2s"]);
    bed.wait_for_endpoints(&replicas.iter().collect::<Vec<_>>());
    let name = json!({"name": "read-only"});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": name,
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]},
            ]},
            "matchConditions": [{"name": "by-the-webhook", "expression": "request.userInfo.username.contains('memcached-injector')"}],
            "validations": [{"expression": "false", "message": "this API is read-only"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": name,
        "spec": {"policyName": "read-only", "validationActions": ["Deny"]},
    });
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    let (held, listed) = (bed.get(SECRET)["data"].clone(), addresses(&bed.get(&endpoint_slices())));
    bed.created(&policy);
    bed.created(&binding);
    for replica in &replicas {
        let said = replica.process().wait_for_line("no heartbeat could be sent", BOUND).unwrap();
        assert!(said.contains("read-only"), "{said}");
    }
    wish_for_rotation(&bed);
    // Longer than any Lease of ours lives.
    load.wait_for_successes(150);
    assert_eq!(bed.get(SECRET)["data"], held);
    assert_eq!(addresses(&bed.get(&endpoint_slices())), listed, "nobody is taken out because nobody is heard");
    assert!(replicas.iter().all(|replica| metric(replica, "upkeep_errors_total{task=\"heartbeat\"}") > 0.0));
    let told =
        replicas.iter().any(|replica| replica.process().log().contains("the Lease of the leader can't be written"));
    assert!(told, "the leader says that it can't go on");
    let said = bed.kubectl(&["delete", "validatingadmissionpolicybinding", "read-only"]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("the rotation that was asked for", SECRET, |secret| {
        ca(secret) != held["ca.crt"].as_str().unwrap_or_default() && is_settled(secret)
    });
    none_failed("an API that took no writes, and then did", &load.stop());
}
