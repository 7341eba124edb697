//! Fake nodes: the real scheduler places pods on them, and kwok pretends to be their kubelets. Pods become Ready at once,
//! a Job's pods complete, deleted pods go. No container runs and no pod address answers.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use crate::fetch;
use crate::folder::RunFolder;
use crate::process::{Process, Spec};

/// Nodes were Ready within two seconds of their creation.
const READY_BOUND: Duration = Duration::from_secs(60);
/// The annotation by which kwok knows its nodes.
const ANNOTATION: &str = "kwok.x-k8s.io/node";
/// What nodes and pods do, in kwok's own language; kwok without stages does nothing.
const STAGES: &str = include_str!("kwok-stages.yaml");

/// Running fake nodes. Dropping it stops kwok; the nodes stay in the API server and turn NotReady there.
#[derive(Debug)]
pub struct Kwok {
    _process: Process,
    _folder: RunFolder,
}

impl Kwok {
    /// Adds `nodes` nodes (`node-0`, `node-1`, ...) of 8 CPUs, 32 GiB and 110 pods each; ready means that all are Ready.
    ///
    /// # Errors
    /// When kwok is missing ([`fetch::kwok`]) or the nodes do not become Ready; the message shows its log.
    pub fn start(control_plane: &ControlPlane, nodes: usize) -> Result<Self> {
        let binary = fetch::kwok()?;
        let folder = RunFolder::new("kwok")?;
        let stages = folder.write("stages.yaml", STAGES)?;
        let list: Vec<Value> = (0..nodes).map(node).collect();
        control_plane
            .apply(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string())
            .context("create the fake nodes")?;
        let process = Spec::new("kwok", binary)
            .arg("--kubeconfig")
            .arg(control_plane.kubeconfig())
            .arg("--config")
            .arg(&stages)
            .arg(format!("--manage-nodes-with-annotation-selector={ANNOTATION}=fake"))
            .args(["--node-lease-duration-seconds=40", "--cidr=10.250.0.0/16", "--node-ip=10.250.0.1"])
            .grace(Duration::ZERO)
            .spawn(folder.path())?;
        control_plane
            .wait_for(&format!("{nodes} fake nodes to be Ready"), "/api/v1/nodes", READY_BOUND, |list| {
                list["items"]
                    .as_array()
                    .is_some_and(|items| items.iter().filter(|node| is_ready(node)).count() >= nodes)
            })
            .map_err(|error| process.explain(&error))?;
        Ok(Self { _process: process, _folder: folder })
    }
}

/// `true` when an object's `Ready` condition is `True`: nodes and pods alike.
pub fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

fn node(number: usize) -> Value {
    let name = format!("node-{number}");
    let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        },
        "status": {"allocatable": room, "capacity": room},
    })
}
