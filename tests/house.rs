//! The structure of the house, tested: what a reviewer would otherwise have to look for in every change.
//!
//! Owns the rules that hold for files as text; house/files.rs finds the files, house/rust.rs knows what is code and what is
//! test. What the code does is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "house/files.rs"]
mod files;
#[path = "house/rust.rs"]
mod rust;

use std::collections::BTreeSet;

use files::{SourceFile, sources, tracked};
use memcached_injector::manifest::Stream;
use memcached_injector::names::annotation;
use memcached_injector::namespace::Inject;
use memcached_injector::routing::{config, library};
use memcached_injector::settings::Settings;
use serde_json::{Value, json};

/// What can be read in one sitting.
const LONGEST_FILE: usize = 400;

/// Crates that do I/O: whatever names them is no part of the core.
const IO_CRATES: [&str; 6] = ["tokio", "kube::", "kube_", "k8s_openapi", "axum", "hyper"];

/// Fails with every finding, and with the way out.
fn none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "\n{rule}\n{}\n", findings.join("\n"));
}

/// Each line of `file` that `is_wrong`, as `path:line: text`.
fn lines(file: &SourceFile, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = (1..).zip(file.text.lines()).filter(|(_, line)| is_wrong(line));
    numbered.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())).collect()
}

#[test]
fn every_file_begins_by_saying_what_it_owns() {
    let header = |file: &SourceFile| if file.is("lua") { "--" } else { "//!" };
    let headless = |file: &&SourceFile| !file.text.starts_with(header(file));
    let files: Vec<SourceFile> = sources().into_iter().filter(|file| file.is("rs") || file.is("lua")).collect();
    assert!(!files.is_empty(), "no source files were found; is this run from the repository?");
    none(
        files
            .iter()
            .filter(headless)
            .map(|file| format!("{} does not begin with {:?}", file.path, header(file)))
            .collect(),
        "The first lines of a file say what it owns and what it does not do:",
    );
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let files = sources();
    let long = files.iter().map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > LONGEST_FILE);
    none(
        long.map(|(file, lines)| format!("{} has {lines} lines", file.path)).collect(),
        &format!("A file has at most {LONGEST_FILE} lines; one concept a file, so split by concept:"),
    );
}

#[test]
fn the_map_in_lib_rs_names_every_module() {
    let (core, io) = rust::modules();
    let listed: BTreeSet<&String> = core.iter().chain(&io).collect();
    let declared = rust::declared_modules();
    let unlisted: Vec<String> = declared.iter().filter(|name| !listed.contains(name)).cloned().collect();
    let gone: Vec<String> = listed.into_iter().filter(|name| !declared.contains(name.as_str())).cloned().collect();
    none(unlisted, "src/lib.rs declares modules that its table does not list:");
    none(gone, "the table in src/lib.rs lists modules that it does not declare:");
}

#[test]
fn the_core_does_no_io() {
    let (core, _) = rust::modules();
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| rust::is_of(file, &core)) {
        findings.extend(lines(file, |line| IO_CRATES.iter().any(|name| rust::names(line, name))));
    }
    none(
        findings,
        "Core modules (all but the last row of the table in src/lib.rs) know nothing of tokio, kube, axum and hyper; what needs them belongs in webhook, controller or cli:",
    );
}

#[test]
fn nothing_outside_of_tests_panics_on_purpose() {
    let panicking = [".unwrap()", ".expect(", ".unwrap_err()", "panic!(", "unreachable!("];
    let files = sources();
    let code = files.iter().filter(|file| file.path.starts_with("src/") && file.is("rs") && !rust::is_test(file));
    let findings = code.flat_map(|file| {
        let without_tests = SourceFile { path: file.path.clone(), text: rust::without_tests(&file.text) };
        lines(&without_tests, |line| panicking.iter().any(|call| rust::code(line).contains(call)))
    });
    none(
        findings.collect(),
        "Errors are returned, with the thing, the place and the way out; nothing panics on purpose:",
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimpl", "emented!("], ["#[ig", "nore"]]
        .map(|parts| parts.concat());
    let files = sources();
    let findings = files.iter().flat_map(|file| lines(file, |line| marks.iter().any(|mark| line.contains(mark))));
    none(
        findings.collect(),
        "What is not done is not there, or is an issue; a test that can't run fails and says why:",
    );
}

#[test]
fn no_tracked_file_names_this_machine_or_a_registry() {
    let paths = [["/ho", "me/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let hosts = [["docker", ".io"], ["ghcr", ".io"], ["quay", ".io"], ["registry.k8s", ".io"], ["gcr", ".io"]]
        .map(|parts| parts.concat());
    let lists_of_packages = ["Cargo.lock", "go.sum", "go.mod"];
    let files = tracked();
    let findings = files
        .iter()
        .filter(|file| !lists_of_packages.iter().any(|name| file.path.ends_with(name)))
        .flat_map(|file| lines(file, |line| paths.iter().chain(&hosts).any(|text| line.contains(text))));
    none(
        findings.collect(),
        "A path of one machine works nowhere else, and images come from wherever the operator says:",
    );
}

#[test]
fn the_readme_documents_every_annotation() {
    let readme = files::read("README.md")
        .unwrap_or_else(|error| panic!("{error}; every annotation of names.rs is documented there"));
    let missing = annotation::OF_USERS.iter().filter(|key| !readme.contains(**key));
    none(
        missing.map(|key| (*key).to_owned()).collect(),
        "README.md does not document these annotations, which a pod may carry:",
    );
}

/// The path that the API server asks for is made from the label's value, so both lists must be one.
#[test]
fn the_webhook_configuration_serves_every_value_of_the_namespace_label() {
    let configuration = mutating_webhook_configuration();
    let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
    for value in Inject::VALUES {
        expected.insert((format!("In {value}"), format!("/inject/{value}")));
    }
    expected.insert((format!("NotIn {}", sorted(Inject::VALUES.map(str::to_owned).to_vec())), "/inject".to_owned()));
    let entries = configuration["webhooks"].as_array().expect("webhooks is a list");
    let found: BTreeSet<(String, String)> = entries.iter().map(|entry| (selected(entry), path(entry))).collect();
    similar_asserts::assert_eq!(
        found,
        expected,
        "each value of memcached.io/inject (Inject::VALUES) has its entry with its path, and one entry takes the rest"
    );
    for pair in entries.chunks(2) {
        let told: Vec<_> = pair.iter().map(|entry| (selected(entry), path(entry))).collect();
        assert!(
            told.len() == 2 && told[0] == told[1],
            "each entry is followed by the one that is asked again: {told:?}"
        );
        let failing = |index: usize| (&pair[index]["clientConfig"]["service"]["port"], &pair[index]["failurePolicy"]);
        assert_eq!([failing(0), failing(1)], [(&Value::Null, &json!("Ignore")), (&json!(444), &json!("Fail"))]);
    }
}

fn mutating_webhook_configuration() -> Value {
    let files = files::in_folder("manifests/base/webhook", "yaml");
    assert!(!files.is_empty(), "manifests/base/webhook has no .yaml file; the webhook's entries are checked there");
    let texts: Vec<(&str, &str)> = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let stream = Stream::parse(&texts).expect("the manifests are YAML");
    let objects = stream.documents().iter().filter_map(|document| document.value());
    let found: Vec<&Value> = objects.filter(|object| object["kind"] == "MutatingWebhookConfiguration").collect();
    assert_eq!(found.len(), 1, "manifests/base/webhook has exactly one MutatingWebhookConfiguration");
    found[0].clone()
}

/// What an entry asks of the namespace's label, such as `In sharded`.
fn selected(entry: &Value) -> String {
    let expressions =
        entry["namespaceSelector"]["matchExpressions"].as_array().expect("an entry selects by matchExpressions");
    let label = expressions
        .iter()
        .find(|expression| expression["key"] == "memcached.io/inject")
        .expect("an entry selects by the label");
    let values = label["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    format!("{} {}", label["operator"].as_str().unwrap_or_default(), sorted(values.collect()))
}

fn path(entry: &Value) -> String {
    entry["clientConfig"]["service"]["path"].as_str().unwrap_or_default().to_owned()
}

fn sorted(mut values: Vec<String>) -> String {
    values.sort();
    values.join(",")
}

/// The DaemonSet's manifests hold the library as a file, because kustomize can't run the injector.
#[test]
fn the_daemonset_has_the_library_of_this_build() {
    let path = "manifests/proxy-daemonset/library.lua";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(files::root().join(path), &library::library().text).expect("the library can be written");
    }
    let text = files::read(path).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        text == library::library().text,
        "{path} is not the library that src/routing/lua makes; write it anew: BLESS=1 cargo test -p memcached-injector --test house"
    );
}

/// A proxy of the DaemonSet begins as a sidecar of the same mode does, so that the leader can look after it.
#[test]
fn the_daemonset_begins_with_the_configuration_of_this_build() {
    let path = "manifests/proxy-daemonset/daemonset.yaml";
    let text = files::read(path).unwrap_or_else(|error| panic!("{error}"));
    let stream = Stream::parse(&[(path, text.as_str())]).expect("the manifest is YAML");
    let set = stream.documents().iter().find_map(|document| document.value()).expect("it has an object");
    let metadata = &set["spec"]["template"]["metadata"];
    let topology = memcached_injector::topology::built_in(&Settings::default());
    let config = metadata["annotations"]["memcached.io/proxy-config"].as_str().expect("it has a configuration");
    assert_eq!(config::follow(config, None, &topology).as_deref(), Ok(config));
    assert!(config.contains(&format!("format = {},", config::FORMAT)), "{config}");
    let status = metadata["annotations"]["memcached.io/status"].as_str().expect("it has a status");
    assert_eq!(status, json!({"format": config::NEWEST}).to_string());
    assert_eq!(metadata["labels"]["memcached.io/injected"], "true");
}
