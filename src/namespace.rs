//! A namespace as decisions see it: its name, its label and its annotations.

use std::collections::BTreeMap;

use crate::names::{PREFIX, label};
use crate::request::ModeName;

/// What is known of a pod's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The label `memcached.io/inject` as written.
    pub inject: Option<String>,
    /// Defaults for the pods in it.
    pub annotations: BTreeMap<String, String>,
}

/// What the label `memcached.io/inject` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inject {
    /// That mode.
    Mode(ModeName),
    /// The operator's default mode.
    Enabled,
    /// Nobody here, whatever a pod says.
    Disabled,
}

impl Inject {
    /// Every value that the label may have, in the order in which messages list them.
    pub const VALUES: [&'static str; 5] = ["replicated", "failover", "sharded", "enabled", "disabled"];

    /// The meaning of that exact value.
    pub fn parse(text: &str) -> Option<Inject> {
        match text {
            "enabled" => Some(Inject::Enabled),
            "disabled" => Some(Inject::Disabled),
            mode => ModeName::parse(mode).map(Inject::Mode),
        }
    }
}

impl Namespace {
    /// Of its labels and annotations; keeps of them what is ours.
    pub fn new<'a>(
        name: &str,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Namespace {
        let inject = labels.into_iter().find(|(key, _)| *key == label::INJECT);
        let ours = annotations.into_iter().filter(|(key, _)| key.starts_with(PREFIX));
        Namespace {
            name: name.to_owned(),
            inject: inject.map(|(_, value)| value.clone()),
            annotations: ours.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}
