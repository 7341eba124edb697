//! Certificates as files: shown by `certs show`, served by the webhook, and followed when a kubelet swaps them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::folder::RunFolder;
use testbed::https::Client;
use testbed::process::{Process, Spec, run};
use testbed::wait::{Look, until};

use crate::binary;

const BOUND: Duration = Duration::from_secs(30);

fn address(process: &Process, listener: &str) -> std::net::SocketAddr {
    let line = process.wait_for_line(&format!("\"listener\":\"{listener}\""), BOUND).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}

fn make(folder: &Path) {
    let mut command = Command::new(binary());
    command.args(["certs", "--dns", "127.0.0.1", "--out"]).arg(folder);
    assert!(run(command).unwrap().status.success());
}

fn show(args: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(binary());
    command.args(["certs", "show"]).args(args);
    let output = run(command).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// As a kubelet does it: a new folder, then the link to it replaced in one step.
fn swap(mount: &Path, version: &str) {
    let unfinished = mount.join("..data_tmp");
    symlink(version, &unfinished).unwrap();
    fs::rename(unfinished, mount.join("..data")).unwrap();
}

#[test]
fn a_swapped_folder_is_served_and_a_broken_one_is_not() {
    let folder = RunFolder::new("certificates").unwrap();
    let mount = folder.path().join("tls");
    make(&mount.join("..1"));
    swap(&mount, "..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    let webhook = Spec::new("webhook", binary())
        .args(["webhook", "--standalone", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--tls-dir"])
        .arg(&mount)
        .grace(Duration::ZERO)
        .spawn(folder.path())
        .unwrap();
    let (admission, health) = (address(&webhook, "admission"), Client::plain(address(&webhook, "health")));
    let trusts = |version: &str| {
        let client = Client::tls(admission, "127.0.0.1", &mount.join(version).join("ca.crt")).unwrap();
        until(&format!("{version} to be served"), BOUND, || {
            Ok(match client.get("/") {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    };
    trusts("..1").unwrap();
    make(&mount.join("..2"));
    swap(&mount, "..2");
    trusts("..2").unwrap();

    // A key that belongs to another certificate.
    make(&mount.join("..3"));
    fs::copy(mount.join("..2/tls.key"), mount.join("..3/tls.key")).unwrap();
    swap(&mount, "..3");
    webhook.wait_for_line("the last good certificate goes on serving", BOUND).unwrap();
    let (_, metrics) = health.get("/metrics").unwrap();
    let counted = metrics.lines().find(|line| line.contains("upkeep_errors_total{task=\"certificate\"}")).unwrap();
    assert!(!counted.ends_with(" 0"), "{counted}");
    trusts("..2").unwrap();
    make(&mount.join("..4"));
    swap(&mount, "..4");
    trusts("..4").unwrap();
}

#[test]
fn certs_show_tells_names_and_days_left() {
    let folder = RunFolder::new("certs-show").unwrap();
    let tls = folder.path().join("tls");
    make(&tls);
    let tls = tls.to_str().unwrap();
    let (ok, out, err) = show(&[tls]);
    assert!(ok, "{err}");
    assert!(out.contains("ca.crt: CA CN=memcached-injector CA") && out.contains("names    127.0.0.1"), "{out}");
    assert!(out.contains("valid, 364 days left") && out.contains("valid, 3649 days left"), "{out}");
    let (ok, out, err) = show(&[&format!("{tls}/tls.crt"), "-o", "json"]);
    assert!(ok, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown[0]["names"][0], "127.0.0.1");
    assert_eq!(shown[0]["daysLeft"], 364);
    let (ok, _, err) = show(&[&format!("{tls}/tls.key")]);
    assert!(!ok && err.contains("there is no certificate in PEM form"), "{err}");
    let (ok, _, err) = show(&["/nowhere/tls.crt"]);
    assert!(!ok && err.contains("can't read /nowhere/tls.crt"), "{err}");
}
