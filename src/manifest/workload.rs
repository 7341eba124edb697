//! Finds Kubernetes objects in a document: workloads and their pod templates, namespaces, cache StatefulSets.
//!
//! Owns: which kinds hold a pod template and where, and Lists. Does not own: whether a pod is injected (`decide`), nor
//! any field inside a pod's spec. Kinds of other groups, and versions that no served API has, are not workloads.

use super::error::ShapeError;
use crate::names::label;
use crate::namespace::Namespace;
use jsonptr::PointerBuf;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Kinds that hold pods: apiVersion, kind, and where the pod template is.
const WORKLOADS: [(&str, &str, &[&str]); 7] = [
    ("v1", "Pod", &[]),
    ("apps/v1", "Deployment", &["spec", "template"]),
    ("apps/v1", "StatefulSet", &["spec", "template"]),
    ("apps/v1", "DaemonSet", &["spec", "template"]),
    ("apps/v1", "ReplicaSet", &["spec", "template"]),
    ("batch/v1", "Job", &["spec", "template"]),
    ("batch/v1", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// A pod template in a document, and the object that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The owning object's kind: `Pod`, `Deployment`, ...
    pub kind: String,
    /// The owning object's `metadata.name`, or its `generateName` and a `*`; empty if it has neither.
    pub name: String,
    /// The owning object's `metadata.namespace`, if it says one.
    pub namespace: Option<String>,
    /// Where the owning object is in the document: empty, or `/items/3` in a List.
    pub object: PointerBuf,
    /// Where the pod template (the object with `metadata` and `spec`) is in the document; for a Pod the same.
    pub template: PointerBuf,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe(&self.kind, self.namespace.as_deref(), &self.name))
    }
}

/// The pod templates of a document, in its order.
///
/// # Errors
/// A workload whose template is not an object with a `spec`, or a List whose items are not objects.
pub fn pod_templates(document: &Value) -> Result<Vec<Target>, ShapeError> {
    let mut targets = Vec::new();
    for object in objects(document)? {
        let workload =
            WORKLOADS.iter().find(|(version, kind, _)| *version == object.api_version && *kind == object.kind);
        if let Some((_, _, path)) = workload {
            targets.push(object.target(path)?);
        }
    }
    Ok(targets)
}

/// The Namespace objects of a document, as far as injection depends on them.
///
/// # Errors
/// A Namespace whose labels or annotations are not strings, or a List whose items are not objects.
pub(super) fn namespaces(document: &Value) -> Result<Vec<Namespace>, ShapeError> {
    let mut found = Vec::new();
    for object in objects(document)? {
        if object.api_version == "v1" && object.kind == "Namespace" {
            let (labels, annotations) = (object.strings("labels")?, object.strings("annotations")?);
            found.push(Namespace::new(&object.name, &labels, &annotations));
        }
    }
    Ok(found)
}

/// The StatefulSets of a document that are labelled as part of a cache cluster.
///
/// # Errors
/// A List whose items are not objects.
pub(super) fn cache_stateful_sets(document: &Value) -> Result<Vec<&Value>, ShapeError> {
    let labelled = |object: &Object<'_>| {
        object.api_version == "apps/v1"
            && object.kind == "StatefulSet"
            && object.metadata("labels").and_then(|labels| labels.get(label::CLUSTER)).is_some()
    };
    let objects = objects(document)?;
    Ok(objects.into_iter().filter(labelled).map(|o| o.value).collect())
}

/// A Kubernetes object within a document.
struct Object<'a> {
    value: &'a Value,
    pointer: PointerBuf,
    api_version: &'a str,
    kind: &'a str,
    /// `web-*` where the API server will choose the end.
    name: String,
    namespace: Option<&'a str>,
}

/// The objects of a document: itself, or what its List holds. What has no kind is no object, and nothing of ours.
fn objects(document: &Value) -> Result<Vec<Object<'_>>, ShapeError> {
    let mut found = Vec::new();
    collect(document, PointerBuf::root(), ("", ""), &mut found)?;
    Ok(found)
}

/// `default` is the apiVersion and kind that the items of a typed list have when they don't say.
fn collect<'a>(
    value: &'a Value,
    pointer: PointerBuf,
    default: (&'a str, &'a str),
    found: &mut Vec<Object<'a>>,
) -> Result<(), ShapeError> {
    let Value::Object(map) = value else {
        let place = pointer.tokens().map(|t| t.decoded().into_owned());
        return Err(ShapeError {
            object: "this document".to_owned(),
            field: match place.collect::<Vec<_>>().join(".") {
                field if field.is_empty() => "its content".to_owned(),
                field => field,
            },
            found: type_name(Some(value)),
            wanted: "a Kubernetes object: a mapping with apiVersion and kind",
        });
    };
    let object = Object::new(value, map, pointer, default);
    let Some(item_kind) = object.item_kind(map) else {
        found.push(object);
        return Ok(());
    };
    let items = match map.get("items") {
        Some(Value::Array(items)) => items.as_slice(),
        // Go writes an empty list as null.
        None | Some(Value::Null) => &[],
        other => return Err(object.error("items".to_owned(), other, "a list of objects")),
    };
    for (index, item) in items.iter().enumerate() {
        let mut at = object.pointer.clone();
        at.push_back("items");
        at.push_back(index);
        collect(item, at, (object.api_version, item_kind), found)?;
    }
    Ok(())
}

impl<'a> Object<'a> {
    fn new(value: &'a Value, map: &'a Map<String, Value>, pointer: PointerBuf, default: (&'a str, &'a str)) -> Self {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let metadata = |key: &str| map.get("metadata")?.get(key)?.as_str();
        Object {
            value,
            pointer,
            api_version: text("apiVersion").unwrap_or(default.0),
            kind: text("kind").unwrap_or(default.1),
            name: match (metadata("name"), metadata("generateName")) {
                (Some(name), _) => name.to_owned(),
                (None, Some(prefix)) => format!("{prefix}*"),
                (None, None) => String::new(),
            },
            namespace: metadata("namespace").filter(|n| !n.is_empty()),
        }
    }

    /// What a list's items are when they don't say: empty for `List`, `Pod` for `PodList`. Nothing, if it is no list.
    fn item_kind(&self, map: &Map<String, Value>) -> Option<&'a str> {
        let item_kind = self.kind.strip_suffix("List")?;
        let known = |(version, kind, _): &(&str, &str, _)| *version == self.api_version && *kind == item_kind;
        let ours = match item_kind {
            "" | "Namespace" => self.api_version == "v1",
            _ => WORKLOADS.iter().any(known),
        };
        // A kind of its own that happens to end in List has no items.
        (ours && !map.contains_key("spec")).then_some(item_kind)
    }

    fn target(&self, path: &[&str]) -> Result<Target, ShapeError> {
        let mut template = self.pointer.clone();
        let mut value = self.value;
        for (depth, key) in path.iter().enumerate() {
            template.push_back(*key);
            value = self.object_at(value, path.get(..=depth).unwrap_or_default())?;
        }
        let spec: Vec<&str> = path.iter().copied().chain(["spec"]).collect();
        self.object_at(value, &spec)?;
        if value.get("metadata").is_some_and(|m| !m.is_null()) {
            let metadata: Vec<&str> = path.iter().copied().chain(["metadata"]).collect();
            self.object_at(value, &metadata)?;
        }
        Ok(Target {
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            namespace: self.namespace.map(str::to_owned),
            object: self.pointer.clone(),
            template,
        })
    }

    /// The object under the last key of `path`, which leads there from this object; `parent` holds that key.
    fn object_at<'v>(&self, parent: &'v Value, path: &[&str]) -> Result<&'v Value, ShapeError> {
        let value = path.last().and_then(|key| parent.get(key));
        match value {
            Some(value) if value.is_object() => Ok(value),
            other => Err(self.error(path.join("."), other, "an object")),
        }
    }

    fn metadata(&self, key: &str) -> Option<&'a Value> {
        self.value.get("metadata")?.get(key)
    }

    /// The labels or annotations.
    fn strings(&self, key: &str) -> Result<BTreeMap<String, String>, ShapeError> {
        let entries = match self.metadata(key) {
            Some(Value::Object(entries)) => entries,
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            other => {
                return Err(self.error(format!("metadata.{key}"), other, "a mapping of strings"));
            }
        };
        let text = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            other => {
                let field = format!("metadata.{key}[{name}]");
                Err(self.error(field, Some(other), "a string; put it in quotes"))
            }
        };
        entries.iter().map(text).collect()
    }

    fn error(&self, field: String, found: Option<&Value>, wanted: &'static str) -> ShapeError {
        ShapeError { object: describe(self.kind, self.namespace, &self.name), field, found: type_name(found), wanted }
    }
}

fn describe(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let name = if name.is_empty() { "(no name)" } else { name };
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None => "missing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "a mapping",
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
