//! The command line: errors that name the file and the line, exit codes, and nothing half written.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use testbed::folder::RunFolder;

use crate::binary;

fn run(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary());
    let mut child =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, stdout, stderr.
fn said(args: &[&str], input: &str) -> (i32, String, String) {
    let output = run(args, input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const ASKS: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations: {memcached.io/mode: replicated}\nspec:\n  containers: [{name: app}]\n";

#[test]
fn yaml_that_does_not_parse_names_file_and_line() {
    let folder = RunFolder::new("yaml").unwrap();
    let file = folder.write("deploy.yaml", format!("{ASKS}---\na: b\n  c: [\n")).unwrap();
    let (code, out, err) = said(&["inject", "-f", file.to_str().unwrap()], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("{}:10", file.display())), "{err}");
    let (code, out, err) = said(&["inject"], "a: 1\na: 2\n");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("-:2"), "{err}");
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_no_text_are_errors() {
    let (code, out, err) = said(&["inject", "-f", "no-such-file.yaml"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("can't read no-such-file.yaml"), "{err}");
    let folder = RunFolder::new("binary").unwrap();
    let file = folder.write("image.png", b"a: 1\n\xff\xfe").unwrap();
    let (code, _, err) = said(&["inject", "-f", file.to_str().unwrap()], "");
    assert_eq!(code, 1);
    assert!(err.contains("image.png:2: not UTF-8"), "{err}");
}

#[test]
fn a_refused_pod_prints_nothing_but_the_reason_and_exits_3() {
    let (code, out, err) =
        said(&["inject"], &format!("a: untouched\n---\n{}", ASKS.replace("replicated", "replicatd")));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("did you mean \"replicated\"?"), "{err}");
}

#[test]
fn usage_errors_exit_2_and_wrong_settings_name_their_flag() {
    assert_eq!(said(&["inject", "--no-such-flag"], "").0, 2);
    assert_eq!(said(&[], "").0, 2);
    let (code, _, err) = said(&["inject", "--cluster-domain", "not a domain"], ASKS);
    assert_eq!(code, 1);
    assert!(err.contains("--cluster-domain \"not a domain\""), "{err}");
}

#[test]
fn files_come_out_in_their_order_and_the_report_as_json() {
    let folder = RunFolder::new("files").unwrap();
    let (one, two) =
        (folder.write("1.yaml", ASKS).unwrap(), folder.write("2.yaml", "# kept  as it is\nkind: X\n").unwrap());
    let (code, out, err) =
        said(&["inject", "-o", "json", "-f", one.to_str().unwrap(), "-f", two.to_str().unwrap()], "");
    assert_eq!(code, 0, "{err}");
    let report: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!(report["workloads"][0]["decision"], "inject");
    assert!(out.contains("\n---\n# kept  as it is\nkind: X\n"), "{out}");
    assert!(out.ends_with('\n'));
}

#[test]
fn certs_are_for_their_names_and_the_key_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = RunFolder::new("certs").unwrap();
    let out = folder.path().join("tls");
    let args = ["certs", "--out", out.to_str().unwrap(), "--dns", "localhost", "--dns", "127.0.0.1"];
    for _ in 0..2 {
        assert_eq!(said(&args, "").0, 0);
        assert_eq!(out.join("tls.key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(said(&["certs", "--out", out.to_str().unwrap(), "--dns", "ü@"], "").0, 1);
}

#[test]
fn a_webhook_without_its_certificate_says_how_to_make_one() {
    let folder = RunFolder::new("none").unwrap();
    let flags = ["webhook", "--standalone", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--tls-dir"];
    let (code, _, err) = said(&[&flags[..], &[folder.path().to_str().unwrap()]].concat(), "");
    assert_eq!(code, 1);
    assert!(err.contains("`memcached-injector certs` makes it"), "{err}");
}

#[test]
fn render_prints_what_a_pod_would_get_and_the_library() {
    let (code, out, err) = said(&["render", "--mode", "failover"], "");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("mode = \"failover\",") && out.contains("local_cache = {"), "{out}");
    let (code, out, _) = said(&["render", "--library"], "");
    assert!(code == 0 && out.starts_with("-- memcached-injector"), "{out}");
    let (code, out, err) = said(&["render", "--mode", "mirrored"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("\"mirrored\" is not a mode"), "{err}");
}
