//! Goldens through the webhook's own router: each pod template of a stream as the AdmissionReview that the API server
//! would send for its pod.
//!
//! Owns what stands around the pod in the request, and the reading of the answer. No socket: TLS and connections have
//! tests of their own. Does not compare anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memcached_injector::controller::clusters::Clusters;
use memcached_injector::controller::libraries::Libraries;
use memcached_injector::controller::namespaces::Namespaces;
use memcached_injector::manifest::{Stream, Target};
use memcached_injector::namespace::{Inject, Namespace};
use memcached_injector::offline::topology_of;
use memcached_injector::topology::Topology;
use memcached_injector::webhook::metrics::Metrics;
use memcached_injector::webhook::{App, Readiness, server};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::corpus::Golden;

/// A pod template of a golden's stream.
pub(crate) struct Case {
    /// Which one, and whose.
    pub(crate) target: Target,
    /// Which document of the stream has it.
    pub(crate) document: usize,
    /// What its pods are made from.
    pub(crate) template: Value,
    namespace: String,
    path: String,
}

/// The router, told what the stream says of clusters and namespaces.
pub(crate) struct Handler {
    /// In the order of the stream.
    pub(crate) cases: Vec<Case>,
    router: Router,
    topology: Topology,
    runtime: tokio::runtime::Runtime,
}

/// An answer, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) decision: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// Of a refusal.
    pub(crate) message: Option<String>,
    /// The operations.
    pub(crate) patch: Option<Value>,
    cluster: Option<String>,
}

impl Handler {
    /// For a golden's stream; without cases when no command could work with it.
    pub(crate) fn of(golden: &Golden) -> Result<Handler, String> {
        let (default_namespace, settings) = golden.settings()?;
        let stream = Stream::parse(&[("input", &golden.input)]).ok().filter(|stream| stream.namespaces().is_ok());
        let stream = stream.unwrap_or_default();
        let topology = topology_of(&stream, &settings).unwrap_or_default();
        let namespaces = namespaces(&stream);
        let cases = cases(&stream, &default_namespace, &namespaces).unwrap_or_default();
        let app = App {
            settings: Arc::new(settings),
            clusters: Clusters::fixed(topology.clone()),
            namespaces: Namespaces::fixed(namespaces),
            libraries: Libraries::without_cluster(),
            metrics: Metrics::new().0,
            readiness: Readiness::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        Ok(Handler { cases, router: server::router(app), topology, runtime })
    }

    /// Sends `pod` as the pod of `case`, under its owner's name, because refusals name the pod and are compared.
    pub(crate) fn ask(&self, case: &Case, pod: &Value) -> Result<Answer, String> {
        let mut review = testbed::admission::review_of(pod, &case.namespace);
        review["request"]["name"] = json!(case.target.name);
        let request = Request::post(&case.path).header("content-type", "application/json");
        let request = request.body(Body::from(review.to_string())).map_err(|error| error.to_string())?;
        let (status, bytes) = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("the router can't fail");
            let status = response.status();
            (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("the body is in memory"))
        });
        let text = String::from_utf8_lossy(&bytes);
        if status != 200 {
            return Err(format!("{}: {} answers {status}: {text}", case.target, case.path));
        }
        let answer = serde_json::from_slice(&bytes).map_err(|error| format!("{error}: {text}"))?;
        Answer::read(&answer, &review["request"]["uid"])
            .ok_or_else(|| format!("{}: this is no answer: {text}", case.target))
    }

    /// How many servers the cluster has that an injection used.
    pub(crate) fn servers(&self, answer: &Answer) -> usize {
        let by_name = |(id, _): &(&_, &_)| answer.cluster.as_ref() == Some(&ToString::to_string(id));
        let cluster = self.topology.clusters.iter().find(by_name).and_then(|(_, cluster)| cluster.as_ref().ok());
        cluster.map_or(0, |cluster| cluster.replicas.iter().map(|replica| replica.servers.len()).sum())
    }
}

/// As the webhook's watch would see them: read one by one, whatever else is in the stream.
fn namespaces(stream: &Stream) -> Vec<Namespace> {
    let items = |value: &Value| value["items"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let objects = stream.documents().iter().filter_map(|document| document.value()).flat_map(items);
    objects.filter(|object| object["kind"] == "Namespace").map(|object| namespace(&object)).collect()
}

fn namespace(object: &Value) -> Namespace {
    let strings = |field: &str| -> BTreeMap<String, String> {
        serde_json::from_value(object["metadata"][field].clone()).unwrap_or_default()
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Namespace::new(name, &strings("labels"), &strings("annotations"))
}

fn cases(stream: &Stream, default_namespace: &str, namespaces: &[Namespace]) -> Option<Vec<Case>> {
    let mut cases = Vec::new();
    for (number, document) in stream.documents().iter().enumerate() {
        for target in document.targets().ok()? {
            let namespace = target.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
            let label = namespaces.iter().find(|known| known.name == namespace).and_then(|known| known.inject.clone());
            // As the webhook configuration's entries send it: a value that none of them names goes to the last.
            let path = match label.filter(|label| Inject::parse(label).is_some()) {
                Some(label) => format!("/inject/{label}"),
                None => "/inject".to_owned(),
            };
            let template = document.template(&target).cloned().unwrap_or_default();
            cases.push(Case { target, document: number, template, namespace, path });
        }
    }
    Some(cases)
}

impl Answer {
    fn read(review: &Value, uid: &Value) -> Option<Answer> {
        let response = &review["response"];
        if review["apiVersion"] != "admission.k8s.io/v1"
            || review["kind"] != "AdmissionReview"
            || response["uid"] != *uid
        {
            return None;
        }
        let patch = match &response["patch"] {
            Value::Null => None,
            encoded => Some(serde_json::from_slice(&STANDARD.decode(encoded.as_str()?).ok()?).ok()?),
        };
        if patch.is_some() != (response["patchType"] == "JSONPatch") {
            return None;
        }
        let audit = |key: &str| response["auditAnnotations"][key].as_str().map(str::to_owned);
        let strings = |list: &Value| {
            list.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        Some(Answer {
            allowed: response["allowed"].as_bool()?,
            decision: audit("decision")?,
            reasons: audit("reason")?.split(',').map(str::to_owned).collect(),
            warnings: strings(&response["warnings"]).unwrap_or_default(),
            message: response["status"]["message"].as_str().map(str::to_owned),
            patch,
            cluster: audit("cluster"),
        })
    }

    /// `pod` as the API server would store it.
    pub(crate) fn applied_to(&self, pod: &Value) -> Result<Value, String> {
        let mut pod = pod.clone();
        if let Some(patch) = &self.patch {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|error| error.to_string())?;
            json_patch::patch(&mut pod, &patch).map_err(|error| format!("the patch does not apply: {error}"))?;
        }
        Ok(pod)
    }
}
