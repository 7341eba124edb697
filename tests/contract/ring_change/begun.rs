//! A write that was sent before the ring changed, and whose answer comes when the proxy knows of that: it is done once, in the ring that it
//! was sent in. To do it again in the new one would put back what others have overwritten since.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memcached_injector::routing::order::Order;
use testbed::client::Client;
use testbed::fault::{Fault, From};

use super::PATIENCE;
use crate::layout::Layout;

/// How long the answer takes: longer than the view that it was sent under can count (`LEASE` and `GRACE`, 90 ms), shorter than what is
/// no answer any more.
const LATE: Duration = Duration::from_millis(95);
/// Where the key is before the change: a server that holds no view.
const AUTHORITY: usize = 3;

/// A key that the fourth of five servers leads, and one of the two that join afterwards.
fn moving() -> String {
    let [before, after] = [5, 7].map(|servers| Order::new(&[servers], 2).unwrap());
    let moves = |key: &String| before.of(key.as_bytes())[0] == AUTHORITY && after.of(key.as_bytes())[0] > 4;
    (0..).map(|n| format!("begun{n}")).find(moves).unwrap()
}

/// `first` holds the key when `write` is sent by one proxy; `second`, by another, when it is done and not yet answered -> what `write` is
/// told, and what the key holds in the end.
fn overwritten<T: Send>(
    first: &str,
    (write, done): (impl FnOnce(&mut Client, &str) -> T + Send, &str),
    second: impl FnOnce(&mut Client, &str),
) -> (T, String) {
    let layout = Layout { servers: 7, counting: 5, ..Layout::coherent().with_two_copies() };
    let (bed, key, over) = (layout.start(2), moving(), AtomicBool::new(false));
    let [mut writer, mut reader, mut other] = [0, 0, 1].map(|proxy| Client::new(bed.addresses()[proxy]));
    assert!(writer.set(&key, first.as_bytes(), 0, 0).unwrap());
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now(); // a failure elsewhere must not wait for this
            while !over.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
                reader.get("keeps-the-view-fresh").unwrap();
            }
        });
        let lost = Fault::RepliesLost(From::Proxy(0), AUTHORITY).apply(&bed).unwrap();
        let sent = Instant::now();
        let writer = scope.spawn(|| write(&mut writer, &key));
        bed.servers()[AUTHORITY].wait_holds(&key, done, PATIENCE).unwrap();
        second(&mut other, &key);
        for server in &bed.servers()[..3] {
            assert!(server.client().set("__mcp:v", b"2 7 2 5 2", 0, 0).unwrap());
        }
        thread::sleep(LATE.saturating_sub(sent.elapsed()));
        lost.undo().unwrap();
        let told = writer.join().unwrap();
        over.store(true, Ordering::Relaxed);
        told
    });
    let item = other.get(&key).unwrap().unwrap();
    (told, String::from_utf8(item.value).unwrap())
}

#[test]
fn a_set_that_is_answered_after_the_ring_has_changed_is_not_repeated() {
    let set = |client: &mut Client, key: &str| client.set(key, b"early", 0, 0).unwrap();
    let (stored, value) = overwritten("first", (set, "early"), |client, key| {
        assert_eq!(client.get(key).unwrap().unwrap().value, b"early");
        assert!(client.set(key, b"later", 0, 0).unwrap());
    });
    assert!(stored);
    assert_eq!(value, "later");
}

#[test]
fn an_increment_that_is_answered_after_the_ring_has_changed_is_told_its_number() {
    let incr = |client: &mut Client, key: &str| client.incr(key, 1).unwrap();
    let (number, value) = overwritten("1000", (incr, "1001"), |client, key| {
        assert_eq!(client.incr(key, 1).unwrap(), Some(1002));
    });
    assert_eq!(number, Some(1001));
    assert_eq!(value, "1002");
}
