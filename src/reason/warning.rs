//! What works, but probably not as meant: the warnings that kubectl and CI show.

use std::fmt;

use crate::names::{annotation, label};
use crate::request::ModeName;
use crate::unknown::closest;

/// Something that works, but probably not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A key of ours that nobody knows.
    UnknownKey(String),
    /// The same on the namespace.
    UnknownNamespaceKey {
        /// The namespace.
        namespace: String,
        /// The key.
        key: String,
    },
    /// The mode is no default; the label decides.
    ModeOnNamespace(String),
    /// Options, but nothing asks for an injection.
    OptionsWithoutMode(Vec<String>),
    /// An option that only failover mode reads.
    OptionOfFailover {
        /// The annotation.
        key: &'static str,
        /// The pod's mode.
        mode: ModeName,
    },
    /// dnsPolicy None: whether names resolve is up to the pod's own resolvers.
    OwnResolvers,
    /// The pod stays Guaranteed, so the request follows the limit.
    RequestFollowsLimit(&'static str),
    /// Annotation on the workload instead of its pod template.
    NotOnTemplate(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownKey(key) => write!(f, "annotation {key} is not known to this injector and has no effect"),
            Warning::UnknownNamespaceKey { namespace, key } => {
                write!(f, "namespace {namespace}: annotation {key} is not known to this injector and has no effect")?;
                match closest(key, &annotation::OF_USERS) {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => Ok(()),
                }
            }
            Warning::ModeOnNamespace(name) => {
                write!(
                    f,
                    "namespace {name}: annotation {} has no effect there; use label {}",
                    annotation::MODE,
                    label::INJECT
                )
            }
            Warning::OptionsWithoutMode(keys) => {
                let have = if keys.len() == 1 { "has" } else { "have" };
                write!(f, "{} {have} no effect without {}", keys.join(", "), annotation::MODE)
            }
            Warning::OptionOfFailover { key, mode } => {
                write!(f, "annotation {key} has no effect in mode {}, only in failover", mode.as_str())
            }
            Warning::OwnResolvers => {
                f.write_str("dnsPolicy is None: its own resolvers must know the cache servers' names")
            }
            Warning::RequestFollowsLimit(resource) => {
                write!(f, "the pod is Guaranteed, so the proxy's {resource} request is raised to its limit")
            }
            Warning::NotOnTemplate(key) => {
                write!(
                    f,
                    "annotation {key} is on the workload itself and has no effect there; put it on spec.template.metadata"
                )
            }
        }
    }
}
