//! The decision: whether a pod gets its memcached, by rules in a fixed order.
//!
//! | # | rule | outcome |
//! |---|---|---|
//! | 1 | not the creation of a pod, or a mirror pod | skip |
//! | 2 | excluded namespace | skip |
//! | 3 | the pod opted out (`mode: none`) | skip |
//! | 4 | the pod's annotations: a slip, a wrong value, or it asks where the namespace is `disabled` | deny |
//! | 5 | the namespace's label, if the pod names no mode; a label that is no known value | skip |
//! | 6 | nothing asked | skip |
//! | 7 | injected already: status annotation and our containers are both there | skip |
//! | 8 | feasibility: all failures in one message | deny |
//! | 9 | | inject |
//!
//! Pure: bytes, HTTP and the API server are elsewhere. Each outcome's code and sentence are in reason/.

use serde_json::Value;

use crate::feasibility::{self, Backing};
use crate::inject::resources::{self, Sizes};
use crate::names::{PROXY_CONTAINER, annotation};
use crate::namespace::{Inject, Namespace};
use crate::pod::Pod;
use crate::reason::{Asked, Problem, Skip, Warning};
use crate::request::{self, Mode, ModeName, Request};
use crate::settings::Settings;
use crate::topology::Topology;
use crate::unknown;

/// What came in.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The pod, or a workload's pod template.
    pub pod: &'a Value,
    /// Whether this is the creation of a pod.
    pub is_pod_create: bool,
    /// Where it is to be created.
    pub namespace: &'a Namespace,
}

/// What is to be done with the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Leave it as it is.
    Skip(Skip),
    /// Refuse it, for all these reasons; never empty.
    Deny(Vec<Problem>),
    /// Give it its memcached.
    Inject(Box<Plan>),
}

/// All that an injection needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who asked.
    pub asked: Asked,
    /// For what.
    pub request: Request,
    /// Backed by which servers.
    pub backing: Backing,
    /// Requests and limits of what is added.
    pub sizes: Sizes,
}

/// A decision, and what its reader should know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// What works, but probably not as meant.
    pub warnings: Vec<Warning>,
}

impl Verdict {
    /// The code to count: of several problems the first.
    pub fn code(&self) -> &'static str {
        self.codes().first().copied().unwrap_or("unknown")
    }

    /// The codes of the outcome.
    pub fn codes(&self) -> Vec<&'static str> {
        match &self.decision {
            Decision::Skip(skip) => vec![skip.code()],
            Decision::Deny(problems) => problems.iter().map(Problem::code).collect(),
            Decision::Inject(plan) => vec![plan.asked.code()],
        }
    }

    /// The outcome in one word.
    pub fn outcome(&self) -> &'static str {
        match &self.decision {
            Decision::Skip(_) => "skip",
            Decision::Deny(_) => "deny",
            Decision::Inject(_) => "inject",
        }
    }
}

/// Goes through the rules.
pub fn decide(subject: Subject<'_>, topology: &Topology, settings: &Settings) -> Verdict {
    let mut warnings = Vec::new();
    let decision = rules(subject, topology, settings, &mut warnings).unwrap_or_else(|stop| stop);
    Verdict { decision, warnings }
}

/// `Err` is an early end: a rule that applied.
fn rules(
    subject: Subject<'_>,
    topology: &Topology,
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<Decision, Decision> {
    let namespace = subject.namespace;
    if !subject.is_pod_create {
        return Err(Decision::Skip(Skip::NotAPodCreate));
    }
    let pod = Pod::read(subject.pod).map_err(|malformed| Decision::Deny(vec![Problem::Malformed(malformed)]))?;
    if pod.annotation(annotation::MIRROR).is_some() {
        return Err(Decision::Skip(Skip::MirrorPod));
    }
    if settings.excluded_namespaces.contains(&namespace.name) {
        return Err(Decision::Skip(Skip::ExcludedNamespace(namespace.name.clone())));
    }
    if pod.annotation(annotation::MODE) == Some("none") {
        return Err(Decision::Skip(Skip::OptedOut));
    }
    let (asked, mode) = asked(&pod, namespace, settings, warnings)?;
    let request = request::read(mode, &pod, namespace, settings).map_err(Decision::Deny)?;
    if is_injected(&pod) {
        return Err(Decision::Skip(Skip::AlreadyInjected));
    }
    warnings.extend(useless_options(&pod, &request.mode));
    let checked = feasibility::check(&pod, &request, topology);
    // A pod that is refused is told the warnings as well, which are the same for any number of servers.
    let servers = checked.as_ref().map_or(0, |(backing, _)| backing.cluster.known_servers());
    let mut sizes = resources::sizes(&request, servers, &pod);
    warnings.append(&mut sizes.warnings);
    let (backing, more) =
        checked.map_err(|failures| Decision::Deny(failures.into_iter().map(Problem::Infeasible).collect()))?;
    warnings.extend(more);
    Ok(Decision::Inject(Box::new(Plan { asked, request, backing, sizes })))
}

/// Rules 4 to 6: who asks, and for which mode.
fn asked(
    pod: &Pod,
    namespace: &Namespace,
    settings: &Settings,
    warnings: &mut Vec<Warning>,
) -> Result<(Asked, ModeName), Decision> {
    let (mut problems, unknown) = unknown::keys(pod, namespace);
    warnings.extend(unknown);
    let on_pod = pod.annotation(annotation::MODE);
    let on_namespace = namespace.inject.as_deref().map(|value| Inject::parse(value).ok_or(value));
    if on_pod.is_some() && on_namespace == Some(Ok(Inject::Disabled)) {
        problems.push(Problem::NamespaceDisabled(namespace.name.clone()));
    }
    if let Some(wrong) = on_pod.filter(|value| ModeName::parse(value).is_none()) {
        problems.push(Problem::UnknownMode(wrong.to_owned()));
        // Failover reads every option, so that what else is wrong is said at once.
        problems.extend(request::read(ModeName::Failover, pod, namespace, settings).err().unwrap_or_default());
    }
    if !problems.is_empty() {
        return Err(Decision::Deny(problems));
    }
    if let Some(mode) = on_pod.and_then(ModeName::parse) {
        return Ok((Asked::ByPod, mode));
    }
    match on_namespace {
        Some(Ok(Inject::Mode(mode))) => Ok((Asked::ByNamespace, mode)),
        Some(Ok(Inject::Enabled)) => Ok((Asked::ByNamespace, settings.default_mode)),
        Some(Err(value)) => Err(Decision::Skip(Skip::UnknownLabel(value.to_owned()))),
        Some(Ok(Inject::Disabled)) => Err(Decision::Skip(Skip::NamespaceDisabled)),
        None => {
            let options: Vec<String> = options_of(pod).map(str::to_owned).collect();
            if !options.is_empty() {
                warnings.push(Warning::OptionsWithoutMode(options));
            }
            Err(Decision::Skip(Skip::NothingAsked))
        }
    }
}

fn options_of(pod: &Pod) -> impl Iterator<Item = &'static str> {
    annotation::OF_USERS.into_iter().filter(|key| *key != annotation::MODE && pod.annotation(key).is_some())
}

/// Options of the local cache in a mode that has none.
fn useless_options(pod: &Pod, mode: &Mode) -> Vec<Warning> {
    if matches!(mode, Mode::Failover(_)) {
        return Vec::new();
    }
    [annotation::LOCAL_CACHE, annotation::LOCAL_CACHE_MEMORY, annotation::LOCAL_TTL]
        .into_iter()
        .filter(|key| pod.annotation(key).is_some())
        .map(|key| Warning::OptionOfFailover { key, mode: mode.name() })
        .collect()
}

/// A status copied without the containers, or the containers without a status, is not ours.
fn is_injected(pod: &Pod) -> bool {
    let has_proxy = pod.init_containers().iter().any(|container| container.name == PROXY_CONTAINER);
    has_proxy && pod.annotation(annotation::STATUS).is_some() && pod.annotation(annotation::PROXY_CONFIG).is_some()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
