//! Every kind of workload, made by its real controller.

use serde_json::{Value, json};

use crate::bed::{Bed, is_injected, mode, template};

fn workload(kind: &str, namespace: &str, spec: Value) -> Value {
    let version = if kind == "Job" || kind == "CronJob" { "batch/v1" } else { "apps/v1" };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web", "namespace": namespace}, "spec": spec})
}

fn selector() -> Value {
    json!({"matchLabels": {"app": "web"}})
}

#[test]
fn pods_of_a_deployment_a_statefulset_and_a_daemonset_are_injected_and_ready() {
    let bed = Bed::shared();
    for (kind, spec) in [
        ("Deployment", json!({"replicas": 2, "selector": selector(), "template": template("replicated")})),
        (
            "StatefulSet",
            json!({"replicas": 1, "serviceName": "web", "selector": selector(), "template": template("failover")}),
        ),
        ("DaemonSet", json!({"selector": selector(), "template": template("sharded")})),
    ] {
        let shop = bed.namespace(json!({}), json!({}));
        let said = bed.create(&workload(kind, &shop, spec));
        assert!(said.ok, "{kind}: {}", said.err);
        let pods = bed.pods(&shop, "its pods to be ready", testbed::parts::kwok::is_ready);
        assert!(pods.iter().all(is_injected), "{kind}");
    }
}

#[test]
fn a_job_completes_although_its_pod_has_sidecars() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut template = template("failover");
    template["spec"]["restartPolicy"] = json!("Never");
    let said = bed.create(&workload("Job", &shop, json!({"template": template})));
    assert!(said.ok, "{}", said.err);
    let path = format!("/apis/batch/v1/namespaces/{shop}/jobs/web");
    bed.wait_for("the Job to complete", &path, |job| job["status"]["succeeded"] == 1);
    let pods = bed.pods(&shop, "its pod", is_injected);
    assert_eq!(mode(&pods[0]), "failover");
}

#[test]
fn a_cronjobs_job_is_injected() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut template = template("replicated");
    template["spec"]["restartPolicy"] = json!("OnFailure");
    let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}});
    let said = bed.create(&workload("CronJob", &shop, spec));
    assert!(said.ok, "{}", said.err);
    let said = bed.kubectl(&["create", "job", "now", "--from=cronjob/web", "--namespace", &shop]);
    assert!(said.ok, "{}", said.err);
    bed.pods(&shop, "its pod to be injected", is_injected);
}

#[test]
fn applying_a_workload_that_will_fail_warns_the_person_who_applies() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    let mut hopeless = template("replicatd");
    hopeless["spec"]["hostNetwork"] = json!(true);
    let mut deployment =
        workload("Deployment", &shop, json!({"replicas": 0, "selector": selector(), "template": hopeless}));
    deployment["metadata"]["annotations"] = json!({"memcached.io/port": "11311"});
    let said = bed.create(&deployment);
    assert!(said.ok, "{}", said.err);
    for warning in [
        "Warning: annotation memcached.io/port is on the workload itself",
        "Warning: its pods will be refused: annotation memcached.io/mode: \"replicatd\" is not a mode",
    ] {
        assert!(said.err.contains(warning), "{warning}: {}", said.err);
    }
}
