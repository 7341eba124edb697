//! Golden files: a stream goes in, and what comes out and what is said about it is compared as bytes.
//!
//! Owns the promises that every file of tests/golden must keep: on the command line, through the webhook's HTTP handler,
//! injected twice, and with fields that no Kubernetes knows. What the files hold, how they are compared and blessed is in
//! golden/corpus.rs; a promise is tried on all of them before it fails. No rule of the decision is repeated here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "golden/command_line.rs"]
mod command_line;
#[path = "golden/corpus.rs"]
mod corpus;
#[path = "golden/handler.rs"]
mod handler;

use std::cell::Cell;
use std::collections::BTreeSet;

use memcached_injector::manifest::Stream;
use memcached_injector::routing::library;
use serde_json::{Value, json};

use command_line::{inject, report};
use corpus::{Golden, each};
use handler::Handler;

/// What an injection may add for a cluster of three servers (the library is not in it).
const LARGEST_PATCH: usize = 4096;

/// `Err` with that explanation when `holds` is false.
fn ensure(holds: bool, explanation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(explanation()) }
}

#[test]
fn the_command_line_prints_what_is_expected() {
    each(|golden| {
        let run = inject(golden, &[]);
        let (stdout, stderr) =
            (command_line::with_placeholders(&run.stdout), command_line::with_placeholders(&run.stderr));
        let report = format!("{stderr}exit code {}\n", run.code);
        // Both, so that one look at the rejected files shows all that changed.
        let results = [golden.expect("expected.yaml", &stdout), golden.expect("report.txt", &report)];
        let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        ensure(failures.is_empty(), || failures.join("\n"))
    });
}

#[test]
fn the_webhook_answers_what_the_command_line_says() {
    each(|golden| {
        let handler = Handler::of(golden)?;
        let lines = report(golden)?;
        ensure(lines.len() == handler.cases.len(), || {
            format!("the report has {} workloads, the stream {}", lines.len(), handler.cases.len())
        })?;
        for (case, line) in handler.cases.iter().zip(&lines) {
            let answer = handler.ask(case, &case.template)?;
            let told = json!({"decision": answer.decision, "reasons": answer.reasons, "warnings": answer.warnings});
            // Options on a workload itself never reach the webhook with its pods; /validate/workload warns of them.
            let mut warnings = line["warnings"].clone();
            if let Some(list) = warnings.as_array_mut() {
                list.retain(|warning| !warning.as_str().is_some_and(|text| text.contains("is on the workload itself")));
            }
            let said = json!({"decision": line["decision"], "reasons": line["reasons"], "warnings": warnings});
            ensure(told == said, || format!("{}: the webhook says\n{told}\nthe command line\n{said}", case.target))?;
            ensure(answer.allowed == (line["decision"] != "deny"), || format!("{}: {answer:?}", case.target))?;
            if let Some(message) = &answer.message {
                let reasons = message.split_once(": ").map_or("", |(_, reasons)| reasons);
                ensure(message.starts_with("pod ") && line["message"] == reasons, || {
                    format!(
                        "{}: refused by the webhook with\n{message}\non the command line with\n{}",
                        case.target, line["message"]
                    )
                })?;
            }
        }
        Ok(())
    });
}

#[test]
fn the_webhooks_patch_makes_what_the_command_line_prints() {
    each(|golden| {
        let run = inject(golden, &[]);
        let handler = Handler::of(golden)?;
        if run.code != 0 {
            return ensure(run.stdout.is_empty(), || "it failed, but printed a stream".to_owned());
        }
        let printed = read(&run.stdout)?;
        for case in &handler.cases {
            let patched = handler.ask(case, &case.template)?.applied_to(&case.template)?;
            let document = &printed.documents()[case.document];
            let template = document.template(&case.target).unwrap_or(&Value::Null);
            // As text, so that the order of keys counts too.
            let (template, patched) = (pretty(template), pretty(&patched));
            ensure(template == patched, || {
                let diff = corpus::diff(&template, &patched);
                format!("{}: the webhook's patch gives something else than the command line:\n{diff}", case.target)
            })?;
        }
        Ok(())
    });
}

#[test]
fn a_second_injection_changes_nothing() {
    each(|golden| {
        let first = inject(golden, &[]);
        if first.code != 0 {
            return Ok(());
        }
        let second = command_line::inject_text(golden, &first.stdout);
        ensure(second.code == 0 && second.stdout == first.stdout, || {
            let diff = corpus::diff(&first.stdout, &second.stdout);
            format!("injecting the output again exits with {} and gives\n{diff}\n{}", second.code, second.stderr)
        })?;
        let handler = Handler::of(golden)?;
        for case in &handler.cases {
            let answer = handler.ask(case, &case.template)?;
            let again = handler.ask(case, &answer.applied_to(&case.template)?)?;
            let expected =
                if answer.decision == "inject" { vec!["already-injected".to_owned()] } else { answer.reasons };
            ensure(again.patch.is_none() && again.reasons == expected, || {
                format!("{}: the patched pod, sent again, is answered with {again:?}", case.target)
            })?;
        }
        Ok(())
    });
}

#[test]
fn the_webhook_keeps_fields_unknown_to_any_kubernetes() {
    each(|golden| {
        let handler = Handler::of(golden)?;
        for case in &handler.cases {
            let plain = handler.ask(case, &case.template)?;
            let (extended, added) = with_future_fields(&case.template);
            let answer = handler.ask(case, &extended)?;
            ensure(answer == plain, || {
                format!("{}: with unknown fields the answer is\n{answer:?}\nwithout\n{plain:?}", case.target)
            })?;
            let mut patched = answer.applied_to(&extended)?;
            let removed = take_future_fields(&mut patched);
            ensure(removed == vec![future_field(); added], || {
                format!("{}: {added} unknown fields became {removed:?}", case.target)
            })?;
            ensure(patched == plain.applied_to(&case.template)?, || {
                format!("{}: the unknown fields changed something else", case.target)
            })?;
        }
        Ok(())
    });
}

/// The same through the command.
#[test]
fn the_command_line_keeps_fields_unknown_to_any_kubernetes() {
    each(|golden| {
        let plain = inject(golden, &[]);
        if plain.code != 0 {
            return Ok(());
        }
        let (plain, mut stream) = (read(&plain.stdout)?, read(&golden.input)?);
        let mut cases = Vec::new();
        for (number, document) in stream.documents_mut().iter_mut().enumerate() {
            for target in document.targets().map_err(|error| error.to_string())? {
                let template = document.template(&target).cloned().unwrap_or_default();
                let (extended, added) = with_future_fields(&template);
                document.apply(&target, &json_patch::diff(&template, &extended)).map_err(|error| error.to_string())?;
                cases.push((number, target, added));
            }
        }
        let run = command_line::inject_text(golden, &stream.render());
        ensure(run.code == 0, || format!("with unknown fields: {}", run.stderr))?;
        let printed = read(&run.stdout)?;
        for (number, target, added) in cases {
            let template = |stream: &Stream| stream.documents()[number].template(&target).cloned().unwrap_or_default();
            let mut patched = template(&printed);
            let removed = take_future_fields(&mut patched);
            ensure(removed == vec![future_field(); added], || {
                format!("{target}: {added} unknown fields became {removed:?}")
            })?;
            ensure(patched == template(&plain), || format!("{target}: the unknown fields changed something else"))?;
        }
        Ok(())
    });
}

#[test]
fn patches_only_add_and_stay_small() {
    let largest = Cell::new(0);
    each(|golden| {
        let handler = Handler::of(golden)?;
        for case in &handler.cases {
            let answer = handler.ask(case, &case.template)?;
            let Some(patch) = &answer.patch else { continue };
            let operations = patch.as_array().ok_or("the patch is no list")?;
            let others: Vec<&Value> = operations.iter().filter(|operation| operation["op"] != "add").collect();
            ensure(others.is_empty(), || format!("{}: the patch does more than add: {others:?}", case.target))?;
            let (bytes, servers) = (patch.to_string().len(), handler.servers(&answer));
            ensure(servers > 3 || bytes <= LARGEST_PATCH, || {
                format!("{}: the patch for {servers} servers has {bytes} bytes, more than {LARGEST_PATCH}", case.target)
            })?;
            if servers == 3 {
                largest.set(largest.get().max(bytes));
            }
        }
        Ok(())
    });
    println!("the largest patch for three servers has {} bytes", largest.get());
}

/// The golden files show placeholders instead, because library and version change with every release.
#[test]
fn the_config_map_holds_the_library_byte_for_byte() {
    let mut checked = 0;
    for golden in corpus::all() {
        let run = inject(&golden, &[]);
        let stream = read(&run.stdout).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        for object in stream.documents().iter().filter_map(|document| document.value()) {
            if object["kind"] == "ConfigMap" && object["metadata"]["name"] == *library::config_map_name() {
                assert_eq!(object["data"], json!({"library.lua": library::library().text}), "{}", golden.name);
                assert_eq!(object["immutable"], true, "{}", golden.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no golden's output holds the library's ConfigMap {}", library::config_map_name());
}

#[test]
fn the_corpus_is_complete() {
    let goldens = corpus::all();
    assert!(goldens.len() >= 45, "only {} golden files are left", goldens.len());
    let known: BTreeSet<String> = goldens.iter().flat_map(Golden::files).collect();
    let strays: Vec<String> = corpus::files().into_iter().filter(|file| !known.contains(file)).collect();
    assert!(
        strays.is_empty(),
        "files in tests/golden that belong to no NAME.input.yaml: {strays:?}; remove or rename them"
    );
    let endings: Vec<&Golden> = goldens
        .iter()
        .filter(|golden| !golden.input.ends_with('\n') && !golden.name.contains("without-final-newline"))
        .collect();
    assert!(
        endings.is_empty(),
        "inputs that don't end with a line break: {:?}",
        endings.iter().map(|g| &g.name).collect::<Vec<_>>()
    );
}

fn read(text: &str) -> Result<Stream, String> {
    Stream::parse(&[("stdout", text)]).map_err(|error| format!("the output can't be read: {error}"))
}

fn pretty(value: &Value) -> String {
    memcached_injector::manifest::to_yaml(value)
}

/// A field as a Kubernetes to come may have it, with what a careless reader would change: `null` and a float.
fn future_field() -> Value {
    json!({"a": [1, 2.5, null]})
}

/// The pod with the field added to metadata, spec and every container, and how often.
fn with_future_fields(pod: &Value) -> (Value, usize) {
    let mut pod = pod.clone();
    let mut added = 0;
    let mut add = |value: Option<&mut Value>| {
        if let Some(Value::Object(object)) = value {
            object.insert("futureField".to_owned(), future_field());
            added += 1;
        }
    };
    add(pod.pointer_mut("/metadata"));
    add(pod.pointer_mut("/spec"));
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in pod.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            add(Some(container));
        }
    }
    (pod, added)
}

/// Removes the field wherever it stands in metadata, spec and containers; what was removed.
fn take_future_fields(pod: &mut Value) -> Vec<Value> {
    let mut taken = Vec::new();
    let mut take = |value: Option<&mut Value>| {
        if let Some(Value::Object(object)) = value {
            taken.extend(object.shift_remove("futureField"));
        }
    };
    take(pod.pointer_mut("/metadata"));
    take(pod.pointer_mut("/spec"));
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in pod.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            take(Some(container));
        }
    }
    taken
}
