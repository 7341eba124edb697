//! The README's first command, as a newcomer runs it: the stories end well and say so, what is kept running is reached as
//! printed, and the exit code tells a broken promise from a missing part.

#![allow(clippy::unwrap_used, clippy::panic)] // how a test stops

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use testbed::client::Client;
use testbed::fetch::MEMCACHED;
use testbed::folder::RunFolder;
use testbed::https;
use testbed::parts::injector::injector_binary;
use testbed::process::{Process, Signal, Spec, run};

/// A story takes about a minute; a busy machine gets this long.
const BOUND: Duration = Duration::from_secs(240);

/// A demo with these arguments and variables, and the folder of its log.
fn demo(args: &[&str], variables: &[(&str, &str)]) -> (Process, RunFolder) {
    let folder = RunFolder::new("demo-test").unwrap();
    let spec = Spec::new("demo", env!("CARGO_BIN_EXE_demo")).args(args).env("LC_ALL", "C");
    let spec = spec.env("MEMCACHED_INJECTOR", injector_binary().unwrap());
    let spec = variables.iter().fold(spec, |spec, (name, value)| spec.env(name, value));
    (spec.spawn(folder.path()).unwrap(), folder)
}

/// Its exit code, once it has ended by itself.
fn code(demo: &Process) -> Option<i32> {
    demo.wait_exit(BOUND).unwrap_or_else(|error| panic!("{error:#}\n{}", demo.log())).code()
}

/// What stands behind `name` in a line of what was told so far.
fn beside(demo: &Process, name: &str) -> String {
    let log = demo.log();
    let line = log.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.unwrap_or_else(|| panic!("no line {name:?} in\n{log}")).trim().to_owned()
}

fn is_running(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn the_demo_keeps_its_promises_when_a_server_dies() {
    let (demo, _folder) = demo(&[], &[]);
    assert_eq!(code(&demo), Some(0), "{}", demo.log());
    for part in [
        "memcached.io/mode: replicated",
        "kill -9 of memcached-1",
        "kept: no error, no refused write, no lost or stale key",
        "kept: no error, no stale key; a key whose only server is dead can't be rewritten",
    ] {
        assert!(demo.log().contains(part), "{part}:\n{}", demo.log());
    }
}

#[test]
fn in_a_real_control_plane_it_keeps_them_too_and_what_is_left_running_is_reached_as_printed() {
    let (demo, _folder) = demo(&["--cluster", "--keep", "--mode", "replicated"], &[]);
    demo.wait_for_line("Ctrl-C stops everything", BOUND).unwrap();
    for part in
        ["mutatingwebhookconfiguration.admissionregistration.k8s.io/memcached-injector created", "kept: no error"]
    {
        assert!(demo.log().contains(part), "{part}:\n{}", demo.log());
    }
    let config = beside(&demo, "cluster ").replace("export KUBECONFIG=", "");
    let mut kubectl = Command::new(PathBuf::from(beside(&demo, "kubectl ")));
    kubectl.env("KUBECONFIG", config).args(["get", "pods", "--namespace", "shop", "--output", "name"]);
    let pods = run(kubectl).unwrap();
    assert!(String::from_utf8_lossy(&pods.stdout).contains("pod/web-"), "{pods:?}");
    demo.signal(Signal::INT).unwrap();
    assert_eq!(code(&demo), Some(0), "{}", demo.log());
}

#[test]
fn what_is_left_running_serves_until_ctrl_c_and_then_all_of_it_ends() {
    let (demo, _folder) = demo(&["--keep", "--mode", "sharded"], &[]);
    demo.wait_for_line("Ctrl-C stops everything", BOUND).unwrap();
    let address: SocketAddr = beside(&demo, "a pod's memcached, sharded").parse().unwrap();
    assert!(Client::new(address).get("sharded-1").is_ok());
    let metrics = beside(&demo, "its metrics").replace("http://", "").replace("/metrics", "");
    let (status, text) = https::Client::plain(metrics.parse().unwrap()).get("/metrics").unwrap();
    assert!(status == 200 && text.contains("memcached_injector_decisions_total"), "{text}");
    let servers = server_pids(&demo);
    assert!(is_running(servers[0]));
    demo.signal(Signal::INT).unwrap();
    assert_eq!(code(&demo), Some(0), "{}", demo.log());
    assert!(!servers.iter().any(|pid| is_running(*pid)), "{servers:?}");
}

/// Process ids of the three cache servers, as the demo told them.
fn server_pids(demo: &Process) -> Vec<i32> {
    let server = |line: &str| line.split_once("(process ")?.1.strip_suffix(')')?.parse().ok();
    demo.log().lines().filter_map(server).collect()
}

/// The processes that it has started whose command line contains `word`.
fn children(demo: &Process, word: &str) -> Vec<i32> {
    let about = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    // pid (name) state parent ...; the name may hold anything
    let parent = |pid| about(pid, "stat").rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(demo.pid()) && about(*pid, "cmdline").contains(word)).collect()
}

#[test]
fn a_broken_promise_ends_the_demo_with_1() {
    let (demo, _folder) = demo(&["--mode", "replicated"], &[]);
    demo.wait_for_line("kill -9 of memcached-1", BOUND).unwrap();
    let proxies = children(&demo, "proxy_config");
    assert_eq!(proxies.len(), 2, "{proxies:?}");
    for pid in proxies {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(code(&demo), Some(1), "{}", demo.log());
    assert!(demo.log().contains("BROKEN: no error, no refused write, no lost or stale key"), "{}", demo.log());
}

#[test]
fn a_missing_part_ends_the_demo_with_2_and_is_named() {
    let (demo, _folder) = demo(&[], &[(MEMCACHED, "/bin/true")]);
    assert_eq!(code(&demo), Some(2), "{}", demo.log());
    assert!(demo.log().contains("MEMCACHED is /bin/true"), "{}", demo.log());
}
