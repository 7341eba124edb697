//! Injected containers on real kubelets: order of start and end, live configuration, a killed container.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::parts::nodes::kill_container;
use testbed::wait::{Look, until};

use crate::app::{USE_CACHE, container, deployment, from_inside, written};
use crate::bed::{BOUND, Bed, name_of, node_of};

const MODES: [&str; 3] = ["replicated", "failover", "sharded"];
/// A changed configuration was seen to take 2 s: the kubelet writes the file at once, the proxy looks every second.
const CHANGE_BOUND: Duration = Duration::from_secs(8);

pub(crate) fn every_mode_serves_apps_on_every_node(bed: &Bed) -> String {
    bed.wait_installed();
    let namespace = bed.namespace();
    let start = Instant::now();
    MODES.iter().for_each(|mode| bed.apply(&deployment(&namespace, Some(mode))));
    let mut figures = Vec::new();
    for mode in MODES {
        let pods = bed.pods(&namespace, &format!("app={mode}"), 3);
        figures.push(format!("{mode} ready after {:.1} s", start.elapsed().as_secs_f64()));
        assert_eq!(pods.iter().map(node_of).collect::<Vec<_>>(), ["node-1", "node-2", "node-3"]);
        pods.iter().for_each(started_in_order);
        let writer = written(&pods[0], mode, 300);
        for reader in &pods {
            let tally = from_inside(reader, |localhost| writer.through(localhost).read_all());
            assert_eq!((tally.hits, tally.misses, tally.wrong, tally.errors), (300, 0, 0, 0), "{mode}: {tally:?}");
        }
    }
    figures.join(", ")
}

/// The app's own init container used the cache at its first try, and began after the sidecars had started.
fn started_in_order(pod: &Value) {
    let statuses = pod["status"]["initContainerStatuses"].as_array().unwrap();
    let proxy = statuses.iter().find(|status| status["name"] == "memcached-proxy").expect("it is injected");
    let own = statuses.iter().find(|status| status["name"] == "prepare").expect("the app's own is kept");
    assert_eq!((&proxy["restartCount"], &own["restartCount"]), (&json!(0), &json!(0)), "{statuses:#?}");
    let up = proxy["state"]["running"]["startedAt"].as_str().expect("the proxy runs");
    assert!(up <= own["state"]["terminated"]["startedAt"].as_str().unwrap(), "{statuses:#?}");
}

pub(crate) fn a_changed_configuration_reaches_the_proxy(bed: &Bed) -> String {
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("replicated")));
    let mut took = Vec::new();
    for pod in bed.pods(&namespace, "app=replicated", 3) {
        let config = pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap();
        let last = config.lines().find(|line| line.contains("memcached-2.")).expect("three servers are listed");
        let longer = config.replace(last, &format!("{last}\n{}", last.replace("memcached-2.", "memcached-3.")));
        // Without the label the leader, which would put its own configuration back, leaves the pod alone.
        let labels = json!({"memcached.io/injected": null});
        let annotations = json!({"memcached.io/proxy-config": longer});
        let patch = json!({"metadata": {"labels": labels, "annotations": annotations}}).to_string();
        let start = Instant::now();
        bed.kubectl(&["patch", "pod", name_of(&pod), "--namespace", &namespace, "--patch", &patch]);
        // A proxy with traffic says on the first servers how many it knows.
        let says = format!("__mcp:p:{}", pod["metadata"]["uid"].as_str().unwrap());
        let mut server = bed.cache(0);
        until("the proxy to know four servers", CHANGE_BOUND, || {
            from_inside(&pod, |localhost| Client::new(localhost).get("any")).unwrap();
            let said = server.get(&says)?.map(|item| String::from_utf8_lossy(&item.value).into_owned());
            let known = said.as_ref().is_some_and(|said| said.starts_with("4 "));
            Ok(if known { Look::Ready(()) } else { Look::NotYet(format!("it says {said:?}")) })
        })
        .unwrap();
        took.push(format!("{:.1} s", start.elapsed().as_secs_f64()));
    }
    format!("after {}", took.join(", "))
}

pub(crate) fn the_local_cache_is_killed_unnoticed(bed: &Bed) -> String {
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("failover")));
    let pod = bed.pods(&namespace, "app=failover", 3).remove(0);
    let mut workload = written(&pod, "local", 300);
    let (tell, told) = mpsc::channel();
    let tally = thread::scope(|scope| {
        let pod = &pod;
        scope.spawn(move || told.recv().map(|()| kill_container(pod, "memcached-local").unwrap()));
        from_inside(pod, move |_| workload.mixed(Duration::from_secs(8), 200, || tell.send(()).unwrap()))
    });
    assert_eq!((tally.errors, tally.refused, tally.wrong, tally.misses), (0, 0, 0, 0), "{tally:?}");
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}", name_of(&pod));
    let restarted = |pod: &Value| {
        let statuses = pod["status"]["initContainerStatuses"].as_array().unwrap();
        let local = statuses.iter().find(|status| status["name"] == "memcached-local").unwrap();
        local["restartCount"] == 1 && local["ready"] == true
    };
    bed.wait_for("the kubelet to restart the local cache", &path, restarted);
    format!("{} operations, no error, slowest {:?}", tally.operations, tally.slowest)
}

pub(crate) fn the_proxy_outlives_the_last_write(bed: &Bed) -> String {
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("replicated")));
    let pods = bed.pods(&namespace, "app=replicated", 3);
    let start = Instant::now();
    bed.kubectl(&["delete", "pod", name_of(&pods[0]), "--namespace", &namespace]);
    let took = start.elapsed().as_secs_f64();
    let key = format!("bye-{}", name_of(&pods[0]));
    let item = from_inside(&pods[1], |localhost| Client::new(localhost).get(&key)).unwrap();
    assert_eq!(item.expect("what the app wrote 2 s after SIGTERM is there").value, b"bye");
    format!("the app wrote 2 s after SIGTERM, its pod was gone after {took:.1} s")
}

pub(crate) fn a_job_completes(bed: &Bed) -> String {
    let namespace = bed.namespace();
    let start = Instant::now();
    bed.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import", "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": {"memcached.io/mode": "failover"}},
                "spec": {"restartPolicy": "Never", "containers": [container("import", USE_CACHE)]},
            },
        },
    }));
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/import");
    bed.wait_for("the Job to complete", &path, |job| job["status"]["succeeded"] == 1);
    assert!(start.elapsed() < BOUND);
    format!("with two sidecars after {:.1} s", start.elapsed().as_secs_f64())
}
