//! Every command of docs/operations.md and certs/README.md, run as it is written there; and every metric that they name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use testbed::folder::workspace_root;
use testbed::process::run;

use crate::bed::Bed;
use crate::fleet::binary;

const DOCUMENTS: [&str; 2] = ["docs/operations.md", "certs/README.md"];

/// What needs a kubelet: tests/nodes runs them.
const ON_NODES: [&str; 2] = ["port-forward ", "curl -s localhost:8080/metrics"];
/// What needs cache servers that answer: ring.rs runs it.
const ON_SERVERS: &str = "memcached-injector scale ";

/// The commands in the fenced blocks of a document; what ends with a backslash goes on.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```\n").skip(1).step_by(2);
    let joined = blocks.map(|block| block.replace("\\\n", " "));
    let lines: Vec<String> = joined.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    // Parts of a kustomization stand in blocks too.
    lines.into_iter().filter(|line| !line.starts_with("resources:") && !line.starts_with("components:")).collect()
}

#[test]
fn every_command_of_the_documents_works() {
    let bed = Bed::without_webhook();
    let _replicas = bed.replicas(2, &[]);
    let folder = bed.control_plane.folder().join("documented");
    fs::create_dir(&folder).unwrap();
    let kubectl = format!(
        "'{}' --kubeconfig '{}' --cache-dir '{}' \"$@\"",
        bed.control_plane.kubectl_path().display(),
        bed.control_plane.kubeconfig().display(),
        folder.join("cache").display()
    );
    for (name, line) in [("kubectl", kubectl), ("memcached-injector", format!("'{}' \"$@\"", binary().display()))] {
        let script = folder.join(name);
        fs::write(&script, format!("#!/bin/sh\nexec {line}\n")).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(workspace_root().join(document)).unwrap();
        for command in commands(&text) {
            if ON_NODES.iter().any(|part| command.contains(part)) || command.starts_with(ON_SERVERS) {
                continue;
            }
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &command.replace(" NODE ", " node-1 ")]);
            let output = run({
                shell.current_dir(&folder).env("PATH", &path);
                shell
            })
            .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{document}: `{command}` fails: {said}");
            // Deletions of what this installation never had say so, and nothing else.
            let quiet = command.contains("--ignore-not-found") || command.contains("delete endpointslices");
            assert!(quiet || !output.stdout.is_empty(), "{document}: `{command}` prints nothing {said}");
            ran += 1;
        }
    }
    assert!(ran > 12, "{ran}");
}

#[test]
fn every_metric_of_the_documents_is_there() {
    let bed = Bed::shared();
    let (_, metrics) = bed.injector().health("/metrics").unwrap();
    let mut named = 0;
    let alerts = ["README.md", "manifests/components/alerts/tell-people.yaml"];
    for document in DOCUMENTS.into_iter().chain(alerts) {
        let text = fs::read_to_string(workspace_root().join(document)).unwrap();
        for (at, _) in text.match_indices("memcached_injector_") {
            let word = |letter: &char| letter.is_ascii_lowercase() || *letter == '_';
            let name: String = text[at..].chars().take_while(word).collect();
            // A counter is announced without its ending.
            let family = name.strip_suffix("_total").unwrap_or(&name);
            assert!(metrics.contains(&format!("# TYPE {family} ")), "{document} names {name}, which is no metric");
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}
