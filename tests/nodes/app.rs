//! The apps of these tests: a shell that waits, and what a test does from inside its pod. Owns the manifests of apps; an app's
//! traffic is sent by this process with sockets of the pod's own network, so it takes the path that the app's would.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::parts::nodes::{PodNetwork, SHELL};
use testbed::workload::Workload;

use crate::bed::PORT;

/// Waits for SIGTERM, then writes once more, late: what an app does that flushes at shutdown.
const WAIT_AND_WRITE: &str = r#"trap 'sleep 2; printf "set bye-$HOSTNAME 0 0 3\r\nbye\r\nquit\r\n" | nc 127.0.0.1 11211; exit 0' TERM
while :; do sleep 1000 & wait $!; done"#;
/// Succeeds only if the cache answers at its very first try. What it said is the container's last message.
pub(crate) const USE_CACHE: &str = r#"said=$(printf "set boot-$HOSTNAME 0 0 2\r\nup\r\nget boot-$HOSTNAME\r\nquit\r\n" | nc 127.0.0.1 11211 2>&1)
echo "$said" > /dev/termination-log; echo "$said" | grep -q ^up"#;

/// How long a client waits for an answer. What is too slow traffic.rs finds, and whose fault it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container that Pod Security `restricted` admits.
pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": SHELL, "command": ["sh", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// The name of a mode's Deployment and of its pods' label `app`; apps that ask for nothing are called `plain`.
pub(crate) fn name(mode: Option<&str>) -> &str {
    mode.unwrap_or("plain")
}

/// A Deployment of three pods, one a node, whose own init container already uses the cache if there is one.
pub(crate) fn deployment(namespace: &str, mode: Option<&str>) -> Value {
    let labels = json!({"app": name(mode)});
    let annotations = mode.map_or(json!({}), |mode| json!({"memcached.io/mode": mode}));
    let own_init = mode.map_or(json!([]), |_| json!([container("prepare", USE_CACHE)]));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name(mode), "namespace": namespace},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "initContainers": own_init, "containers": [container("app", WAIT_AND_WRITE)],
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {"matchLabels": labels},
                    }],
                },
            },
        },
    })
}

/// A pod's memcached as its app sees it.
pub(crate) fn localhost() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))
}

/// Runs `work` with a workload whose traffic comes from inside the pod.
pub(crate) fn from_inside<T: Send>(pod: &Value, work: impl FnOnce(SocketAddr) -> T + Send) -> T {
    PodNetwork::of(pod).unwrap().run(|| work(localhost())).unwrap()
}

/// `keys` keys called after the pod, written once from inside it.
pub(crate) fn written(pod: &Value, prefix: &str, keys: usize) -> Workload {
    from_inside(pod, |localhost| {
        let mut workload = Workload::new(localhost, prefix, keys, 100).with_timeout(PATIENCE);
        let tally = workload.write_all();
        assert_eq!(tally.stored, keys as u64, "{tally:?}");
        workload
    })
}
