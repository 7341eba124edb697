//! A namespace as decisions see it: its name, its label and its annotations.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::names::label;
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
    /// Reads a Namespace object; what is not text is not there.
    pub fn read(raw: &Value) -> Namespace {
        let annotations = raw.pointer("/metadata/annotations").and_then(Value::as_object);
        Namespace {
            name: raw.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            inject: raw
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(label::INJECT)?.as_str())
                .map(str::to_owned),
            annotations: annotations
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .filter(|(key, _)| key.starts_with(crate::names::PREFIX))
                .collect(),
        }
    }
}
