//! `/validate/namespace` refuses a label that would do nothing; `/validate/workload` only warns, because warnings on pods
//! reach a controller and no human.

use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;

use super::App;
use super::server::{Answer, BadRequest};
use crate::admission::response::Response;
use crate::admission::review::{self, Request};
use crate::decide::{Decision, Subject, decide};
use crate::manifest;
use crate::names::label;
use crate::namespace::{Inject, Namespace};
use crate::request::one_of;
use crate::unknown;

/// The label `memcached.io/inject`, when a namespace is made or changed.
pub(super) async fn namespace(body: Bytes) -> Result<Answer, BadRequest> {
    let request = review::parse(&body)?;
    let object = request.object()?;
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(label::INJECT)?.as_str());
    let response = match label.filter(|value| Inject::parse(value).is_none()) {
        None => Response::allow(&request.uid),
        Some(value) => {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let fix = one_of(value, &Inject::VALUES);
            let message = format!("namespace {name}: label {}: {value:?} is not known; {fix}", label::INJECT);
            Response::deny(&request.uid, message)
        }
    };
    Ok(Answer(response))
}

/// A Deployment and its like: what would happen to its pods.
pub(super) async fn workload(State(app): State<App>, body: Bytes) -> Result<Answer, BadRequest> {
    let request = review::parse(&body)?;
    let name = request.namespace.as_deref().unwrap_or_default();
    // Warnings are worth no wait and no refusal: what can't be read is left out.
    let namespace = app.namespaces.get(name).await.unwrap_or_default();
    let warnings = warnings(&app, &request, &namespace)?;
    Ok(Answer(Response::allow(&request.uid).warn(warnings.iter())))
}

fn warnings(app: &App, request: &Request, namespace: &Namespace) -> Result<Vec<String>, BadRequest> {
    let workload = request.object()?;
    let mut warnings: Vec<_> = unknown::misplaced(workload).iter().map(ToString::to_string).collect();
    for template in manifest::pod_templates(workload).unwrap_or_default() {
        let pod = workload.pointer(template.template.as_str()).unwrap_or(&Value::Null);
        let subject = Subject { pod, is_pod_create: true, namespace };
        let verdict = decide(subject, &app.clusters.current(), &app.settings);
        if let Decision::Deny(problems) = &verdict.decision {
            warnings.extend(problems.iter().map(|problem| format!("its pods will be refused: {problem}")));
        }
        warnings.extend(verdict.warnings.iter().map(ToString::to_string));
    }
    Ok(warnings)
}
