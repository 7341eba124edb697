//! The README's first command, as a newcomer runs it: both stories end well, and say so.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use testbed::parts::injector::injector_binary;

/// Runs the demo with these arguments and returns what it told.
fn told(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(args)
        .env("MEMCACHED_INJECTOR", injector_binary().unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{told}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    told
}

#[test]
fn the_demo_keeps_its_promises_when_a_server_dies() {
    let told = told(&[]);
    for part in [
        "memcached.io/mode: replicated",
        "kill -9 of memcached-1",
        "kept: no error, no refused write, no lost or stale key",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[test]
fn the_demo_keeps_its_promises_in_a_real_control_plane() {
    let told = told(&["--cluster"]);
    for part in
        ["mutatingwebhookconfiguration.admissionregistration.k8s.io/memcached-injector created", "kept: no error"]
    {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}
