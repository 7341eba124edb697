//! Injection without a cluster: a YAML stream in, the same stream out with every pod that asks injected.
//!
//! The same core as the webhook's, so that what CI sees is what the cluster would do. Pure: reading and writing files is
//! the command's business (cli/inject.rs).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::admission::response::reasons;
use crate::decide::{Decision, Subject, Verdict, decide};
use crate::inject;
use crate::manifest::{Document, Error, Stream, Target};
use crate::namespace::Namespace;
use crate::routing::{self, library};
use crate::settings::Settings;
use crate::topology::{Topology, built_in, discover};
use crate::unknown;

/// What was done with one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its file; `-` is standard input.
    pub file: String,
    /// The line on which its document's content begins.
    pub line: usize,
    /// `Kind namespace/name`.
    pub object: String,
    /// `inject`, `skip` or `deny`.
    pub decision: &'static str,
    /// Codes of the reasons.
    pub reasons: Vec<&'static str>,
    /// The decision in a sentence.
    pub message: String,
    /// What works, but probably not as meant.
    pub warnings: Vec<String>,
}

/// What was done with a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One line for each workload, in the order of the stream.
    pub workloads: Vec<Line>,
}

impl Report {
    /// Whether a pod was refused.
    pub fn has_refusals(&self) -> bool {
        self.workloads.iter().any(|line| line.decision == "deny")
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.workloads {
            let place = format!("{}:{}: {}", line.file, line.line, line.object);
            writeln!(f, "{place}: {}: {} [{}]", line.decision, line.message, line.reasons.join(", "))?;
            for warning in &line.warnings {
                writeln!(f, "{place}: warning: {warning}")?;
            }
        }
        Ok(())
    }
}

/// Injects every workload of `stream` that asks. Objects that name no namespace are taken to be in `default_namespace`.
///
/// Namespaces and labelled StatefulSets in the stream count; without such a StatefulSet the built-in cluster does.
///
/// # Errors
/// A workload that is not shaped like one.
pub fn inject_stream(stream: &mut Stream, default_namespace: &str, settings: &Settings) -> Result<Report, Error> {
    let topology = topology_of(stream, settings)?;
    let namespaces = stream.namespaces()?;
    let mut report = Report::default();
    let mut injected = BTreeSet::new();
    for document in stream.documents_mut() {
        for target in document.targets()? {
            let name = target.namespace.as_deref().unwrap_or(default_namespace);
            let found = namespaces.iter().find(|namespace| namespace.name == name).cloned();
            let namespace = found.unwrap_or_else(|| Namespace { name: name.to_owned(), ..Namespace::default() });
            let verdict = inject_target(document, &target, &namespace, &topology, settings)?;
            if matches!(verdict.decision, Decision::Inject(_)) {
                injected.insert(target.namespace.clone());
            }
            report.workloads.push(line(document, &target, name, &verdict));
        }
    }
    for namespace in injected {
        if !has_library(stream, namespace.as_deref()) {
            stream.push(routing::config_map::object(namespace.as_deref()));
        }
    }
    Ok(report)
}

/// The clusters that a stream describes; the built-in one when it describes none.
///
/// # Errors
/// A List that is not shaped like one.
pub fn topology_of(stream: &Stream, settings: &Settings) -> Result<Topology, Error> {
    let sets = stream.cache_stateful_sets()?;
    Ok(if sets.is_empty() { built_in(settings) } else { discover(sets, settings) })
}

fn inject_target(
    document: &mut Document,
    target: &Target,
    namespace: &Namespace,
    topology: &Topology,
    settings: &Settings,
) -> Result<Verdict, Error> {
    let pod = document.template(target).unwrap_or(&Value::Null);
    let verdict = decide(Subject { pod, is_pod_create: true, namespace }, topology, settings);
    if let Decision::Inject(plan) = &verdict.decision {
        let patch = inject::patch(pod, plan, settings);
        document.apply(target, &patch)?;
    }
    Ok(verdict)
}

fn line(document: &Document, target: &Target, namespace: &str, verdict: &Verdict) -> Line {
    let place = format!("{namespace}/{}", target.name);
    let message = match &verdict.decision {
        Decision::Skip(skip) => skip.to_string(),
        Decision::Deny(problems) => reasons(problems),
        Decision::Inject(plan) => {
            format!("mode {} on cluster {}", plan.request.mode.name().as_str(), plan.backing.cluster.id)
        }
    };
    // The object of a Pod is its own template.
    let workload = if target.object == target.template { None } else { document.value() };
    let workload = workload.and_then(|value| value.pointer(target.object.as_str()));
    let misplaced = workload.map(unknown::misplaced).unwrap_or_default();
    Line {
        file: document.file().to_owned(),
        line: document.content_line(),
        object: format!("{} {place}", target.kind),
        decision: verdict.outcome(),
        reasons: verdict.codes(),
        message,
        warnings: misplaced.iter().chain(&verdict.warnings).map(ToString::to_string).collect(),
    }
}

fn has_library(stream: &Stream, namespace: Option<&str>) -> bool {
    let name = library::config_map_name();
    stream.documents().iter().filter_map(Document::value).any(|object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        text("/kind") == Some("ConfigMap")
            && text("/metadata/name") == Some(&name)
            && text("/metadata/namespace") == namespace
    })
}
