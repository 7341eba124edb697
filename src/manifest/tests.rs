//! What a stream promises: untouched bytes, places in messages, bounded reading. Owns no single step's details.
#![allow(clippy::unwrap_used)]

use super::*;
use json_patch::Patch;
use serde_json::json;

fn read(text: &str) -> Stream {
    Stream::parse(&[("deploy.yaml", text)]).unwrap()
}

fn value(text: &str) -> Value {
    read(text).documents()[0].value().unwrap().clone()
}

fn refused(text: &str) -> String {
    Stream::parse(&[("deploy.yaml", text)]).unwrap_err().to_string()
}

/// Adds the label `x: "yes"` to every pod template.
fn patched(text: &str) -> String {
    let mut stream = read(text);
    let patch: Patch = serde_json::from_value(json!([
        {"op": "add", "path": "/metadata/labels", "value": {"x": "yes"}}
    ]))
    .unwrap();
    for document in stream.documents_mut() {
        for target in document.targets().unwrap() {
            document.apply(&target, &patch).unwrap();
        }
    }
    stream.render()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {k: 1e3, m: 1.50}\n";
const POD_PATCHED: &str =
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    x: \"yes\"\nspec:\n  k: 1000\n  m: 1.5\n";

#[test]
fn untouched_documents_keep_every_byte() {
    let service = "---\r\n# kept\nkind:   Service # odd\nspec: { a : 0x10 }\n...\n# tail\n";
    let text = format!("{service}---\n# head\n{POD}# lost\n--- # next\n{{\"kind\":  \"X\"}}");
    let expected = format!("{service}---\n# head\n{POD_PATCHED}--- # next\n{{\"kind\":  \"X\"}}");
    similar_asserts::assert_eq!(patched(&text), expected);
    assert_eq!(read(&text).render(), text);
}

#[test]
fn markers_survive_a_change() {
    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"k":1000,"m":1.5}}"#;
    for (before, after) in [
        (format!("--- {json}\n...\n"), format!("---\n{POD_PATCHED}...\n")),
        (format!("%YAML 1.1\n---\n{POD}"), format!("%YAML 1.1\n---\n{POD_PATCHED}")),
        (json.to_owned(), POD_PATCHED.to_owned()),
        (POD.replace('\n', "\r\n"), POD_PATCHED.replace('\n', "\r\n")),
        (format!("\u{feff}{POD}"), POD_PATCHED.to_owned()),
        (format!("\u{feff}{json}"), POD_PATCHED.to_owned()),
    ] {
        similar_asserts::assert_eq!(patched(&before), after);
    }
}

#[test]
fn every_item_of_a_list_is_patched() {
    let item = r#"{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{}}"#;
    let out = patched(&format!(r#"{{"apiVersion":"v1","kind":"List","items":[{item},{item}]}}"#));
    assert_eq!(out.matches("x: \"yes\"").count(), 2, "{out}");
}

#[test]
fn an_empty_patch_changes_nothing() {
    let mut stream = read(POD);
    let target = stream.documents()[0].targets().unwrap().remove(0);
    stream.documents_mut()[0].apply(&target, &Patch(vec![])).unwrap();
    assert!(!stream.documents()[0].is_changed());
    assert_eq!(stream.render(), POD);
}

#[test]
fn a_patch_that_does_not_fit_changes_nothing() {
    let mut stream = read(POD);
    let document = &mut stream.documents_mut()[0];
    let target = document.targets().unwrap().remove(0);
    let patch: Patch = serde_json::from_value(json!([
        {"op": "add", "path": "/spec/a", "value": 1}, {"op": "add", "path": "/none/b", "value": 1}
    ]))
    .unwrap();
    let message = document.apply(&target, &patch).unwrap_err().to_string();
    assert_eq!(
        message,
        "deploy.yaml:1: Pod a: the patch does not fit at \"\": operation '/1' failed at path '/none/b': path is invalid"
    );
    assert_eq!(stream.render(), POD);
}

#[test]
fn files_join_to_one_stream() {
    let join = |files: &[&str]| {
        let named: Vec<_> = files.iter().map(|text| ("f", *text)).collect();
        let mut stream = Stream::parse(&named).unwrap();
        stream.push(json!({"kind": "ConfigMap"}));
        let out = stream.render();
        assert_eq!(read(&out).documents().iter().filter(|d| d.value().is_some()).count(), files.len() + 1, "{out}");
        out
    };
    assert_eq!(join(&["a: 1", "b: 1\n"]), "a: 1\n---\nb: 1\n---\nkind: ConfigMap\n");
    assert_eq!(join(&["a: 1\n", "---\nb: 1"]), "a: 1\n---\nb: 1\n---\nkind: ConfigMap\n");
    assert_eq!(join(&["a: 1\n", "\u{feff}# c\nb: 1"]), "a: 1\n---\n# c\nb: 1\n---\nkind: ConfigMap\n");
    assert_eq!(join(&["a: 1\n", "%YAML 1.1\n---\nb: 1"]), "a: 1\n...\n%YAML 1.1\n---\nb: 1\n---\nkind: ConfigMap\n");
}

#[test]
fn reads_as_kubernetes_does() {
    let text = "\
a: [yes, No, on, OFF, ~, 0777, 0o17, 0x1F, 1_000, 1e3, 1.50, 18446744073709551615, -9223372036854775808]
b: [12:30:45, 2001-01-01, '0777', \"yes\", =, !!str 12]
yes: key
0777: octal
base: &base {x: 1, z: 1}
merged: {<<: *base, z: 2}
";
    let expected = json!({
        "a": [true, false, true, false, null, 511, 15, 31, 1000, 1000, 1.5, u64::MAX, i64::MIN],
        "b": ["12:30:45", "2001-01-01", "0777", "yes", "=", "12"],
        "true": "key", "511": "octal",
        "base": {"x": 1, "z": 1}, "merged": {"z": 2, "x": 1},
    });
    assert_eq!(value(text), expected);
    let json = "{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"$serde_json::private::RawValue\": \"1e3\"\n}";
    assert_eq!(value(json), json!({"a": "😀", "$serde_json::private::RawValue": "1e3"}));
    assert_eq!(value("{a: b}"), json!({"a": "b"}));
}

#[test]
fn empty_documents_have_no_value() {
    for text in ["", "\n", "# c\n", "---\n", "--- # c\n...\n", "%YAML 1.1\n---\n", "~\n", "null", "\u{feff}", "--- ~\n"]
    {
        let stream = read(text);
        assert!(stream.documents().iter().all(|d| d.value().is_none()), "{text:?}");
        assert_eq!(stream.render(), text);
    }
}

#[test]
fn errors_name_file_and_line() {
    for (text, message) in [
        ("a: 1\n---\n# c\na: [1\nb: 2\n", "deploy.yaml:5: not valid YAML: "),
        (
            "---\na: 1\n---\nb: 1\nb: 2\n",
            "deploy.yaml:5: the key \"b\" stands twice in one mapping; remove one of them",
        ),
        ("1: a\n\"1\": b\n", "deploy.yaml:1: not valid YAML: the key \"1\" stands twice"),
        ("x\n---\n{\"a\": 1,\n\n \"a\": 2}", "deploy.yaml:5: the key \"a\" stands twice"),
        ("---\n{\n\t\"a\": 1\n\t\"b\": 2\n}", "deploy.yaml:4: not valid YAML: "),
        ("a: *none\n", "deploy.yaml:1: not valid YAML: "),
        ("a:\n  b: .inf\n", "deploy.yaml:2: not valid YAML: value `.inf` is not a finite number"),
        ("a: 1\n? [b]\n: 1\n", "deploy.yaml:2: not valid YAML: "),
        ("a: 1\n~: 1\n", "deploy.yaml:2: not valid YAML: "),
        ("a: \"x\n---\nb\"\n", "deploy.yaml:1: not valid YAML: "),
        ("a:\n\tb: 1\n", "deploy.yaml:2: not valid YAML: "),
        ("a: \u{1}\n", "deploy.yaml:1: not valid YAML: "),
    ] {
        let found = refused(text);
        assert!(found.starts_with(message), "{text:?}\n wanted {message}\n found  {found}");
    }
    let shape = read("---\nkind: X\n---\n# c\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
    assert_eq!(
        shape.documents()[1].targets().unwrap_err().to_string(),
        "deploy.yaml:5: Pod a: spec is missing, but must be an object"
    );
}

#[test]
fn bombs_and_depths_are_refused() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(",")));
    }
    let found = refused(&bomb);
    assert!(found.starts_with("deploy.yaml:"), "{found}");
    for deep in [
        "[".repeat(1_000_000),
        "- ".repeat(100_000),
        "{\"a\":".repeat(100_000),
        (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        "{a: ".repeat(100_000),
        "? ".repeat(100_000),
    ] {
        let found = refused(&deep);
        assert!(found.starts_with("deploy.yaml:"), "{found}");
    }
    // Nested CustomResourceDefinitions, hundreds of aliases and long comments are honest.
    let honest: String = (0..60).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(read(&honest).documents()[0].value().is_some());
    let aliases = format!("a: &a {{x: 1}}\nb: [{}]\n", ["*a"; 2_000].join(","));
    assert_eq!(value(&aliases)["b"].as_array().map(Vec::len), Some(2_000));
    let comments = format!("a:\n{}- 1\n", "# c\n".repeat(500));
    assert_eq!(value(&comments), json!({"a": [1]}));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "([-%.#:{}\\[\\]\"'&*!|>?,~ \t\r\n0-9a-c]|---\n|kind: Pod\n|apiVersion: v1\n|spec:|\\PC){0,40}") {
        if let Ok(stream) = Stream::parse(&[("f", &text)]) {
            proptest::prop_assert_eq!(stream.render(), text.as_str());
            let _ = stream.namespaces();
            for document in stream.documents() {
                let _ = document.targets();
            }
        }
    }
}
