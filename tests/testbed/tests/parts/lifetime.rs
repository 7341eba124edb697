//! No part outlives its value, nor the test process, however that ends.

use std::env;
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use testbed::folder::RunFolder;
use testbed::parts::memcached::Server;
use testbed::process::Spec;
use testbed::wait::{self, Look};

/// Makes the test `helper_process` start a part and wait to be killed.
const HELPER: &str = "TESTBED_LIFETIME_HELPER";
const BOUND: Duration = Duration::from_secs(10);

#[test]
fn a_part_is_stopped_when_its_thread_panics() {
    let (sender, pid) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let server = Server::start().unwrap();
        sender.send(server.pid()).unwrap();
        panic::resume_unwind(Box::new("a failing test")); // a panic without its message
    });
    let pid = pid.recv().unwrap();
    assert!(thread.join().is_err());
    assert!(!process_folder(pid).exists(), "stopped before the panic left the thread");
}

#[test]
fn a_part_outlives_the_thread_that_started_it() {
    let server = thread::spawn(|| Server::start().unwrap()).join().unwrap();
    assert!(server.client().set("k", b"v", 0, 0).unwrap());
}

#[test]
fn a_part_is_stopped_when_the_test_process_is_killed() {
    let folder = RunFolder::new("lifetime").unwrap();
    let helper = Spec::new("helper", env::current_exe().unwrap())
        .args(["--exact", "lifetime::helper_process", "--nocapture"])
        .env(HELPER, "1")
        .spawn(folder.path())
        .unwrap();
    let pid = helper.wait_for("the helper's part", BOUND, |line| line.strip_prefix("part ")?.parse().ok()).unwrap();
    let part = process_folder(pid);
    assert!(part.exists());
    helper.kill().unwrap(); // its own process group only: the part is in another
    wait::until("the part to end with its parent", BOUND, || {
        Ok(if part.exists() { Look::NotYet(format!("{} is there", part.display())) } else { Look::Ready(()) })
    })
    .unwrap();
}

/// Not a test of its own: what the test above runs in a process that it can kill.
#[test]
fn helper_process() {
    if env::var_os(HELPER).is_none() {
        return;
    }
    let server = Server::start().unwrap();
    println!("\npart {}", server.pid());
    std::io::stdout().flush().unwrap();
    loop {
        thread::park();
    }
}

fn process_folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}
