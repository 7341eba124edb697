//! The workload notices what goes wrong: a checker that cannot fail proves nothing.

use std::time::Duration;

use testbed::parts::memcached::Server;
use testbed::workload::Workload;

#[test]
fn a_lost_a_changed_and_an_unreachable_key_are_told_apart() {
    let server = Server::start().unwrap();
    let mut workload = Workload::new(server.address(), "k", 10, 50);
    let written = workload.write_all();
    assert_eq!((written.operations, written.stored), (10, 10));
    let mut other = server.client();
    assert!(other.delete("k-3").unwrap());
    assert!(other.set("k-4", b"somebody else's", 0, 0).unwrap());
    let read = workload.read_all();
    assert_eq!((read.hits, read.misses, read.wrong, read.errors), (8, 1, 1, 0), "{read:?}");

    let during = workload.mixed(Duration::from_millis(200), 200, || server.kill().unwrap());
    assert!(during.errors > 0 && during.hits > 0, "killed in the middle: {during:?}");
    assert!(during.messages.keys().any(|message| message.contains("connection")), "{during:?}");
}

#[test]
fn a_refused_write_is_no_error_and_leaves_the_key_unknown() {
    // Values above memcached's largest item (1 MiB), and it says so: a clear answer.
    let server = Server::start().unwrap();
    let mut workload = Workload::new(server.address(), "k", 3, 1_100_000);
    let written = workload.write_all();
    assert_eq!((written.refused, written.errors, written.stored), (3, 0, 0), "{written:?}");
    assert_eq!(workload.read_all().operations, 0);
}

/// Else nothing old could be noticed: what is read would never have been rewritten.
#[test]
fn mixed_traffic_rewrites_each_key_and_reads_it_afterwards() {
    const KEYS: usize = 20;
    let server = Server::start().unwrap();
    let mut workload = Workload::new(server.address(), "k", KEYS, 50);
    workload.write_all();
    let before: Vec<_> = (0..KEYS).map(|key| server.client().get(&format!("k-{key}")).unwrap()).collect();
    workload.mixed(Duration::from_millis(500), 2_000, || ());
    let mut other = server.client();
    for (key, old) in before.into_iter().enumerate() {
        let (name, old) = (format!("k-{key}"), old.unwrap());
        assert_ne!(other.get(&name).unwrap().unwrap().value, old.value, "{name} was not rewritten");
        assert!(other.set(&name, &old.value, 0, 0).unwrap()); // an old value comes back
    }
    let during = workload.mixed(Duration::from_millis(200), 2_000, || ());
    assert!(during.wrong > 0, "{during:?}");
}
