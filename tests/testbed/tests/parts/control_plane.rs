//! Control planes are whole, independent of each other, and take pods; fake nodes run them.

use std::thread;
use std::time::Duration;

use serde_json::json;
use testbed::parts::control_plane::ControlPlane;
use testbed::parts::kwok::Kwok;

const BOUND: Duration = Duration::from_secs(30);

#[test]
fn two_control_planes_run_at_once_and_fake_nodes_run_pods() {
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(ControlPlane::start);
        let second = scope.spawn(ControlPlane::start);
        (first.join().unwrap().unwrap(), second.join().unwrap().unwrap())
    });
    first.kubectl_text(["create", "namespace", "only-here"]).unwrap();
    assert_eq!(first.get("/api/v1/namespaces/only-here").unwrap().0, 200);
    assert_eq!(second.get("/api/v1/namespaces/only-here").unwrap().0, 404);
    // Not a Status but plain text, as for a moment after its CustomResourceDefinition was created.
    first.wait_for("an unknown kind", "/apis/example.com/v1/unknown", BOUND, |list| list.is_null()).unwrap();

    let _kwok = Kwok::start(&second, 3).unwrap();
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let mut job_pod = pod.clone();
    job_pod["spec"]["restartPolicy"] = json!("Never");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
         "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": pod}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
         "spec": {"template": job_pod}},
    ]});
    second.apply(&list.to_string()).unwrap();
    let deployment = "/apis/apps/v1/namespaces/default/deployments/web";
    second
        .wait_for("the Deployment to be ready", deployment, BOUND, |web| web["status"]["readyReplicas"] == 3)
        .unwrap();
    let job = "/apis/batch/v1/namespaces/default/jobs/once";
    second.wait_for("the Job to complete", job, BOUND, |once| once["status"]["succeeded"] == 1).unwrap();
    second.kubectl_text(["delete", "deployment", "web", "--wait=false"]).unwrap();
    let pods = "/api/v1/namespaces/default/pods?labelSelector=app=web,!job-name";
    second.wait_for("deleted pods to go", pods, BOUND, |list| list["items"] == json!([])).unwrap();

    a_stopped_api_server_comes_back_with_its_objects(&first);
    a_service_account_has_its_own_rights_and_no_more(&first);
}

fn a_stopped_api_server_comes_back_with_its_objects(control_plane: &ControlPlane) {
    control_plane.stop_api_server().unwrap();
    assert!(control_plane.get("/readyz").is_err());
    control_plane.start_api_server().unwrap();
    assert_eq!(control_plane.get("/api/v1/namespaces/only-here").unwrap().0, 200);
}

fn a_service_account_has_its_own_rights_and_no_more(control_plane: &ControlPlane) {
    let kubeconfig = control_plane.kubeconfig_for_service_account("default", "default").unwrap();
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    let who =
        control_plane.kubectl_text(["auth", "whoami", "--output=jsonpath={.status.userInfo.username}", &flag]).unwrap();
    assert_eq!(who, "system:serviceaccount:default:default");
    assert!(!control_plane.kubectl(["get", "pods", &flag]).unwrap().status.success());
}
