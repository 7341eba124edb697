//! `/inject` and `/inject/{label}`: the pod in, the patch out.

use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::App;
use super::server::{Answer, BadRequest};
use crate::admission::response::{Response, refusal};
use crate::admission::review::{self, Request};
use crate::decide::{Decision, Subject, Verdict, decide};
use crate::inject;
use crate::namespace::{Inject, Namespace};
use crate::pod::Pod;
use crate::reason::{Problem, Skip};

/// A pod of a namespace that no entry of ours names: its own annotation decides.
pub(super) async fn inject(State(app): State<App>, body: Bytes) -> Result<Answer, BadRequest> {
    answer(&app, None, &body).await
}

/// A pod of a namespace whose label has that value, as the webhook's entry for it says.
pub(super) async fn inject_labelled(
    State(app): State<App>,
    Path(label): Path<String>,
    body: Bytes,
) -> Result<Answer, BadRequest> {
    if Inject::parse(&label).is_none() {
        let known = Inject::VALUES.join(", ");
        return Err(BadRequest::new(
            StatusCode::NOT_FOUND,
            format!("/inject/{label} is not served; known are {known}"),
        ));
    }
    answer(&app, Some(label), &body).await
}

async fn answer(app: &App, label: Option<String>, body: &[u8]) -> Result<Answer, BadRequest> {
    let started = Instant::now();
    let request = review::parse(body)?;
    if request.is_pod_create() {
        request.object()?;
    }
    let verdict = verdict(app, label, &request).await;
    app.metrics.count(&verdict);
    let place = place(&request);
    let mut response = Response::of(&request.uid, &place, &verdict);
    if let (Decision::Inject(plan), Some(pod)) = (&verdict.decision, &request.object) {
        response = response.with_patch(&inject::patch(pod, plan, &app.settings))?;
    }
    log(&request, &place, &verdict);
    app.metrics.duration.observe(started.elapsed().as_secs_f64());
    Ok(Answer(response))
}

async fn verdict(app: &App, label: Option<String>, request: &Request) -> Verdict {
    let deny = |problem| Verdict { decision: Decision::Deny(vec![problem]), warnings: Vec::new() };
    let name = request.namespace.as_deref().unwrap_or_default();
    let mut namespace = match app.namespaces.get(name).await {
        Ok(namespace) => namespace,
        Err(error) => return deny(Problem::NamespaceUnreadable(error.to_string())),
    };
    if label.is_some() {
        namespace.inject = label;
    }
    let verdict = decide_on(app, request, &namespace);
    let mounts_library = matches!(&verdict.decision, Decision::Inject(_) | Decision::Skip(Skip::AlreadyInjected));
    if mounts_library
        && !request.is_dry_run()
        && let Err(error) = app.libraries.ensure(name).await
    {
        return deny(Problem::LibraryMissing(error.to_string()));
    }
    verdict
}

fn decide_on(app: &App, request: &Request, namespace: &Namespace) -> Verdict {
    let pod = request.object.as_ref().unwrap_or(&serde_json::Value::Null);
    let subject = Subject { pod, is_pod_create: request.is_pod_create(), namespace };
    decide(subject, &app.clusters.current(), &app.settings)
}

/// `namespace/name`, the name as far as it is known.
fn place(request: &Request) -> String {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let given = request.name.as_deref().filter(|name| !name.is_empty()).map(str::to_owned);
    let from_pod = || request.object.as_ref().and_then(|pod| Pod::read(pod).ok()).map(|pod| pod.name());
    format!("{namespace}/{}", given.or_else(from_pod).unwrap_or_default())
}

fn log(request: &Request, place: &str, verdict: &Verdict) {
    let (decision, reason, dry_run) = (verdict.outcome(), verdict.codes().join(","), request.is_dry_run());
    match &verdict.decision {
        Decision::Deny(problems) => {
            let message = refusal(place, problems);
            tracing::warn!(uid = request.uid, pod = place, decision, reason, dry_run, "{message}");
        }
        Decision::Skip(_) | Decision::Inject(_) => {
            tracing::info!(uid = request.uid, pod = place, decision, reason, dry_run, "decided");
        }
    }
}
