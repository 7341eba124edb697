//! Reads one YAML or JSON document into a JSON value, the way Kubernetes reads it.
//!
//! Owns: the YAML dialect, the limits, and the errors' wording.
//! Does not own: where documents begin and end (`split`), nor what they mean (`workload`).
//!
//! kubectl reads with sigs.k8s.io/yaml: YAML 1.1 booleans (`yes`, `on`, `y`), octal `0777`, merge keys, and keys that
//! are no strings become strings (`yes: 1` has the key `true`). It passes numbers through JSON, so `1e3` is the integer
//! 1000 there, and here. Compared with kubectl 1.36 on some seventy scalars, the differences left are that `oN` and
//! `tRue` are booleans here, `1__0` and `1_000.5` strings, `1e400` an error; and duplicate keys, which kubectl lets
//! pass without strict validation, are errors.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use std::fmt;

/// How deep a document may nest. The deepest CustomResourceDefinitions at hand (Gateway API's) reach 24. A debug build
/// needs up to 1.6 MiB of stack for 64 levels, and a thread has 2 MiB.
const MAX_DEPTH: usize = 64;

/// How many nodes a document may have, aliases expanded. The largest object that etcd takes (1.5 MiB) stays below.
const MAX_NODES: usize = 1_000_000;

/// How many events aliases may add. Ten nested anchors of ten aliases each ask for ten thousand millions.
const MAX_ALIAS_EVENTS: usize = 100_000;

/// Why a document can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// The line within the text, from 1.
    pub line: usize,
    /// What is wrong, without place.
    pub reason: String,
}

/// Reads one document. JSON is read as the YAML that it is, tabs and surrogate pairs included.
///
/// # Errors
/// The line within `text` and what is wrong there: syntax, duplicate keys, numbers that aren't finite, or a document
/// that is too deep or too large once its aliases are expanded.
pub(super) fn parse(text: &str) -> Result<Value, SyntaxError> {
    match serde_saphyr::from_str_with_options::<Node>(text, options()) {
        Ok(node) => Ok(node.0),
        Err(error) => {
            let line = error.location().map_or(1, |l| l.line());
            Err(SyntaxError {
                line: usize::try_from(line).unwrap_or(usize::MAX).max(1),
                reason: explain(error.without_snippet()),
            })
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        // Comments are not kept, and a run of more than 32 of them would count as an attack.
        emit_comments: false,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_recorded_anchor_events: MAX_NODES,
            // One anchor used by hundreds of aliases is honest; what they expand to is bounded below.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
        },
    }
}

/// The reader's message in the words of someone who writes manifests.
fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key:?} stands twice in one mapping; remove one of them")
        }
        E::Budget { breach, .. } => {
            format!("this document is too large or too deeply nested to be a manifest ({breach:?})")
        }
        E::AliasError { error, .. } => explain(error),
        E::AliasReplayLimitExceeded { .. } | E::AliasReplayStackDepthExceeded { .. } => {
            "this document's aliases expand to more than a manifest can be".to_owned()
        }
        _ => format!("not valid YAML: {}", message(error)),
    }
}

/// The library's own words, with nothing in them that could steer a terminal.
fn message(error: &serde_saphyr::Error) -> String {
    let text = UserMessageFormatter.format_message(error);
    text.replace(char::is_control, " ")
}

/// A JSON value that is read by the rules of this module.
///
/// serde_json's own reader would take the last of two equal keys, and treat one private key name as raw JSON.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        number(v).map(Value::Number).ok_or_else(|| E::custom("the number is not finite, which JSON can't hold"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(NodeVisitor)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(NodeVisitor)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Node(value)) = access.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = access.next_key()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the key {key:?} stands twice in one mapping; remove one of them"
                )));
            }
            let Node(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A mapping's key, as a string whatever YAML takes it for.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping key that is a string, a number or a boolean")
    }

    fn visit_bool<E>(self, v: bool) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_i64<E>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_u64<E>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<String, E> {
        number(v).map(|n| n.to_string()).ok_or_else(|| E::custom("a mapping key must be a finite number"))
    }

    fn visit_str<E>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }

    fn visit_string<E>(self, v: String) -> Result<String, E> {
        Ok(v)
    }
}

/// Integers beyond this lie too far apart in a double to be told from their neighbours.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0; // 2^53

/// A double as Kubernetes sees it after its way through JSON: `1e3` and `1000.0` are the integer 1000.
///
/// Nothing, if it is not finite.
pub(super) fn number(v: f64) -> Option<Number> {
    if v.fract() == 0.0 && v.abs() <= MAX_SAFE_INTEGER {
        // Exact: within 2^53 and without fraction.
        #[allow(clippy::cast_possible_truncation)]
        return Some(Number::from(v as i64));
    }
    Number::from_f64(v)
}
