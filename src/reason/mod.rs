//! Every outcome of an admission: its code, its sentence and the way out, in one place.
//!
//! The order in which they are found is the truth table of decide.rs. The codes appear in the audit annotation, in
//! metrics and in logs; the sentences are what people read.

mod infeasible;
mod warning;

use std::fmt;

use crate::names::{annotation, label};
use crate::namespace::Inject;
use crate::quantity::Quantity;
use crate::request::one_of;

pub use infeasible::Infeasible;
pub use warning::Warning;

/// Who asked for the injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The pod's annotation.
    ByPod,
    /// The namespace's label.
    ByNamespace,
}

impl Asked {
    /// The code of an injection.
    pub fn code(self) -> &'static str {
        match self {
            Asked::ByPod => "asked-by-pod",
            Asked::ByNamespace => "asked-by-namespace",
        }
    }
}

/// Why a pod is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Another kind of object, or not its creation.
    NotAPodCreate,
    /// A static pod's mirror.
    MirrorPod,
    /// kube-system, the caches' own and so on.
    ExcludedNamespace(String),
    /// `mode: none`.
    OptedOut,
    /// The namespace's label is no value that we know.
    UnknownLabel(String),
    /// The namespace is labelled `disabled`, and the pod does not ask.
    NamespaceDisabled,
    /// Neither pod nor namespace asks.
    NothingAsked,
    /// Status and containers are both there.
    AlreadyInjected,
}

impl Skip {
    /// The code.
    pub fn code(&self) -> &'static str {
        match self {
            Skip::NotAPodCreate => "not-a-pod-create",
            Skip::MirrorPod => "mirror-pod",
            Skip::ExcludedNamespace(_) => "excluded-namespace",
            Skip::OptedOut => "opted-out",
            Skip::UnknownLabel(_) => "unknown-namespace-label",
            Skip::NamespaceDisabled => "namespace-disabled",
            Skip::NothingAsked => "nothing-asked",
            Skip::AlreadyInjected => "already-injected",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::NotAPodCreate => f.write_str("only pods are injected, and only when they are created"),
            Skip::MirrorPod => f.write_str("it mirrors a static pod, which only its kubelet may change"),
            Skip::ExcludedNamespace(name) => write!(f, "namespace {name} is excluded"),
            Skip::OptedOut => write!(f, "it opted out with {}: none", annotation::MODE),
            Skip::UnknownLabel(value) => {
                write!(
                    f,
                    "its namespace's label {}: {value:?} is not known; {}",
                    label::INJECT,
                    one_of(value, &Inject::VALUES)
                )
            }
            Skip::NamespaceDisabled => write!(f, "its namespace is labelled {}: disabled", label::INJECT),
            Skip::NothingAsked => {
                write!(
                    f,
                    "nothing asks for it; set annotation {} on the pod or label {} on its namespace",
                    annotation::MODE,
                    label::INJECT
                )
            }
            Skip::AlreadyInjected => f.write_str("it has its memcached already"),
        }
    }
}

/// Where a wrong value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On the pod itself.
    Pod,
    /// On the namespace of that name.
    Namespace(String),
}

/// Why a pod that asks can't be given its memcached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The document is not shaped like a pod.
    Malformed(crate::pod::Malformed),
    /// The mode is none of ours.
    UnknownMode(String),
    /// A value that can't be used.
    InvalidValue {
        /// The annotation.
        key: &'static str,
        /// As written.
        value: String,
        /// Where it was found.
        source: Source,
        /// What would do.
        expected: String,
    },
    /// A request above the limit beside it.
    RequestOverLimit {
        /// The request's annotation.
        key: &'static str,
        /// Its value.
        request: Quantity,
        /// The limit's annotation.
        limit_key: &'static str,
        /// Its value.
        limit: Quantity,
    },
    /// A key that is close to one of ours.
    UnknownKey {
        /// As written.
        key: String,
        /// What was meant.
        near: String,
    },
    /// The namespace is labelled `disabled`.
    NamespaceDisabled(String),
    /// The pod's shape, or the cluster's, does not allow it.
    Infeasible(Infeasible),
    /// The library ConfigMap could not be made, so the pod would hang.
    LibraryMissing(String),
    /// The namespace's annotations could not be read, so its defaults are not known.
    NamespaceUnreadable(String),
}

impl Problem {
    /// The code.
    pub fn code(&self) -> &'static str {
        match self {
            Problem::Malformed(_) => "malformed-pod",
            Problem::UnknownMode(_) => "unknown-mode",
            Problem::InvalidValue { .. } | Problem::RequestOverLimit { .. } => "invalid-annotation",
            Problem::UnknownKey { .. } => "unknown-annotation",
            Problem::NamespaceDisabled(_) => "namespace-disabled",
            Problem::Infeasible(infeasible) => infeasible.code(),
            Problem::LibraryMissing(_) => "library-missing",
            Problem::NamespaceUnreadable(_) => "namespace-unreadable",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Malformed(malformed) => write!(f, "{malformed}"),
            Problem::UnknownMode(value) => {
                let known = ["replicated", "failover", "sharded", "none"];
                write!(f, "annotation {}: {value:?} is not a mode; {}", annotation::MODE, one_of(value, &known))
            }
            Problem::InvalidValue { key, value, source, expected } => {
                if let Source::Namespace(name) = source {
                    write!(f, "namespace {name}: ")?;
                }
                write!(f, "annotation {key}: {value:?} can't be used; {expected}")
            }
            Problem::RequestOverLimit { key, request, limit_key, limit } => {
                write!(
                    f,
                    "annotation {key}: {request} is more than {limit_key}: {limit}; raise the limit or lower the request"
                )
            }
            Problem::UnknownKey { key, near } => {
                write!(f, "annotation {key} is not known; did you mean {near}?")
            }
            Problem::NamespaceDisabled(name) => write!(
                f,
                "namespace {name} is labelled {}: disabled, which is final; remove annotation {} or have the namespace's owner change the label",
                label::INJECT,
                annotation::MODE
            ),
            Problem::LibraryMissing(problem) => {
                write!(
                    f,
                    "the ConfigMap with the proxy's library could not be made in its namespace, and without it the pod would never start: {problem}; creating the pod again will try again"
                )
            }
            Problem::NamespaceUnreadable(problem) => {
                write!(
                    f,
                    "its namespace could not be read for defaults: {problem}; creating the pod again will try again"
                )
            }
            Problem::Infeasible(infeasible) => write!(f, "{infeasible}"),
        }
    }
}
