//! The API server's side of admission, for a webhook that runs without one: asks, and applies the answer. Owns the wire
//! form of AdmissionReview v1; does not add the defaults that a real API server adds to a pod.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::parts::injector::Injector;

/// What admission made of a pod.
#[derive(Debug)]
pub enum Verdict {
    /// It may be created, in this form.
    Allowed(Box<Admitted>),
    /// It may not, for this reason.
    Denied(String),
}

/// A pod that admission let through.
#[derive(Debug)]
pub struct Admitted {
    /// The pod with the patch applied.
    pub pod: Value,
    /// The patch as it came; an empty array when nothing was changed.
    pub patch: Value,
    /// Warnings for whoever created the pod.
    pub warnings: Vec<String>,
    /// Audit annotations.
    pub audit: Value,
}

/// The AdmissionReview for the creation of `pod` in `namespace`, with a uid of its own.
pub fn review_of(pod: &Value, namespace: &str) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let uid = format!("00000000-0000-4000-8000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

/// Sends the creation of `pod` to a standalone webhook at `path` (such as `/inject`) and applies what it answers.
///
/// # Errors
/// When there is no answer, it is not a review of this request, or its patch does not apply.
pub fn admit(injector: &Injector, path: &str, pod: &Value, namespace: &str) -> Result<Verdict> {
    let review = review_of(pod, namespace);
    let (status, answer) = injector.review(path, &review)?;
    let response = &answer["response"];
    if status != 200 || response["uid"] != review["request"]["uid"] {
        bail!("POST {path} answers {status}, and no response to this request: {answer}");
    }
    if response["allowed"] != true {
        let message = response["status"]["message"].as_str().unwrap_or("no reason given");
        return Ok(Verdict::Denied(message.to_owned()));
    }
    let patch = match response["patch"].as_str() {
        Some(text) => {
            let bytes = STANDARD.decode(text).context("the patch is not base64")?;
            serde_json::from_slice(&bytes).context("the patch is not JSON")?
        }
        None => json!([]),
    };
    let mut pod = pod.clone();
    let operations: json_patch::Patch = serde_json::from_value(patch.clone()).context("the patch is no JSON patch")?;
    json_patch::patch(&mut pod, &operations).context("the patch does not apply to the pod")?;
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let warnings = warnings.map(str::to_owned).collect();
    Ok(Verdict::Allowed(Box::new(Admitted { pod, patch, warnings, audit: response["auditAnnotations"].clone() })))
}

/// The pod that a Deployment's (or other workload's) controller would create from its template.
///
/// # Errors
/// When the object has no pod template.
pub fn pod_of(workload: &Value) -> Result<Value> {
    let template = &workload["spec"]["template"];
    let (Some(metadata), Some(spec)) = (template["metadata"].as_object(), template["spec"].as_object()) else {
        bail!("{} {} has no spec.template with metadata and spec", workload["kind"], workload["metadata"]["name"]);
    };
    let mut metadata = metadata.clone();
    let name = workload["metadata"]["name"].as_str().unwrap_or("pod");
    metadata.insert("generateName".to_owned(), json!(format!("{name}-")));
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}
