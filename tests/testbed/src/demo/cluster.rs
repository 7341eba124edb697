//! `--cluster`: the same story with a real control plane. Owns applying the manifests, the Deployment and reading its pod
//! back; showing it is `ask.rs`'s.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use testbed::admission;
use testbed::folder::workspace_root;
use testbed::parts::control_plane::ControlPlane;
use testbed::parts::injector::{Injector, wait_until_admitting};
use testbed::parts::kwok::{Kwok, is_ready};

use super::ask::{Answer, NAMESPACE};
use super::story::Story;

/// Fake nodes: the manifests want one for each of the three cache servers.
const NODES: usize = 3;
/// Controllers and fake nodes need a second or two; a busy machine gets this long.
const BOUND: Duration = Duration::from_secs(60);
/// Names a pod as this project's work.
const STATUS: &str = "memcached.io/status";

/// A control plane with the manifests applied and the webhook serving it.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Fields are dropped in this order: what needs the API server before it.
    _injector: Injector,
    _kwok: Kwok,
    control_plane: ControlPlane,
}

impl Cluster {
    /// Starts everything; each part is told as a step.
    pub(crate) fn start(story: &mut Story, binary: &Path) -> Result<Self> {
        story.step("A Kubernetes control plane");
        let start = Instant::now();
        let control_plane = ControlPlane::start()?;
        let kwok = Kwok::start(&control_plane, NODES)?;
        story.say(&format!(
            "etcd, API server, controllers and scheduler, with {NODES} fake nodes, in {:.1} s.",
            start.elapsed().as_secs_f64()
        ));
        story.items(&[("API server", control_plane.url())]);
        story.step("The install: kubectl apply -k manifests");
        let manifests = workspace_root().join("manifests");
        let applied = control_plane.kubectl_text(["apply".as_ref(), "-k".as_ref(), manifests.as_os_str()])?;
        story.block(&applied);
        story.step("The webhook");
        let injector = Injector::in_cluster(binary, &control_plane)?;
        story.say("`memcached-injector webhook` as a process, with its own service account and no more rights than the manifests give.");
        story.say("It made its certificate, put its CA into the webhook configuration, and stands in for the pods of its Deployment:");
        story.items(&[("endpoint of its Service", format!("https://{}", injector.admission_address()))]);
        control_plane.kubectl_text(["create", "namespace", NAMESPACE])?;
        Ok(Self { _injector: injector, _kwok: kwok, control_plane })
    }

    /// The control plane, to tell how to reach it.
    pub(crate) fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Applies a Deployment called `name` and reads its pod back.
    pub(crate) fn ask(&self, name: &str, yaml: &str) -> Result<Answer> {
        let deployment: Value = serde_saphyr::from_str(yaml).context("read the example Deployment")?;
        self.wait_for_service_account()?;
        let mut pod = admission::pod_of(&deployment)?;
        pod["metadata"]["namespace"] = json!(NAMESPACE);
        let injected = |pod: &Value| !pod["metadata"]["annotations"][STATUS].is_null();
        wait_until_admitting(&self.control_plane, &pod, injected)?;
        let before = self.without_asking(&pod)?;
        self.control_plane.apply(yaml)?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app={name}");
        let pods = self.control_plane.wait_for("the Deployment's pod to be ready", &path, BOUND, |list| {
            list["items"].as_array().is_some_and(|items| items.len() == 1 && items.iter().all(is_ready))
        })?;
        let after = &pods["items"][0];
        let how = vec![
            "`kubectl apply`; the Deployment's controller created the pod, and the API server sent it to the webhook."
                .to_owned(),
            format!("As it now is in the API: pod {}.", after["metadata"]["name"].as_str().unwrap_or_default()),
        ];
        Ok(Answer { before: tidy(&before), after: tidy(after), how, config_maps: self.config_maps()? })
    }

    /// The same pod, with the API server's defaults, had it not asked: a dry run without our annotations.
    fn without_asking(&self, pod: &Value) -> Result<Value> {
        let mut plain = pod.clone();
        let asked = plain["metadata"]["annotations"].take();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
        let (_, mut before) = self.control_plane.post(&path, &plain)?;
        before["metadata"]["annotations"] = asked;
        Ok(before)
    }

    fn wait_for_service_account(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        self.control_plane.wait_for("the namespace's service account", &path, BOUND, |account| !account.is_null())?;
        Ok(())
    }

    fn config_maps(&self) -> Result<BTreeMap<String, Value>> {
        let (_, list) = self.control_plane.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps"))?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|map| Some((map["metadata"]["name"].as_str()?.to_owned(), map.clone()))).collect())
    }
}

/// A pod without what the API server and the scheduler add to every pod, so that the diff shows our part alone.
fn tidy(pod: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["namespace", "labels", "annotations"] {
        metadata.insert(field.to_owned(), pod["metadata"][field].clone());
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.shift_remove("pod-template-hash");
    }
    let mut spec = pod["spec"].clone();
    let of_account = |item: &Value| item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let without_account = |holder: &mut Value, list: &str| {
        if let Some(items) = holder[list].as_array_mut() {
            items.retain(|item| !of_account(item));
        }
        if let Some(fields) = holder.as_object_mut() {
            fields.retain(|_, value| *value != json!([]) && !value.is_null());
        }
    };
    without_account(&mut spec, "volumes");
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            without_account(container, "volumeMounts");
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.shift_remove("nodeName");
        fields.retain(|_, value| !value.is_null());
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}
