//! A relay's conditions are what they say, and end.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use testbed::client::{Client, Error};
use testbed::parts::memcached::Server;
use testbed::parts::relay::{Condition, Relay};

/// Shorter than a connect's first retransmission (1 s), so that a hanging connect is seen to hang.
const SHORT: Duration = Duration::from_millis(200);

fn client(relay: &Relay) -> Client {
    Client::new(relay.address()).with_timeout(SHORT)
}

#[test]
fn a_clear_relay_carries_large_values_both_ways() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut client = Client::new(relay.address());
    let value = vec![b'x'; 1_000_000];
    assert!(client.set("k", &value, 0, 0).unwrap());
    assert_eq!(client.get("k").unwrap().unwrap().value, value);
}

#[test]
fn a_cut_resets_what_was_open_and_refuses_what_comes() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut open = client(&relay);
    assert!(open.set("k", b"v", 0, 0).unwrap());
    relay.set(Condition::Cut).unwrap();
    assert!(matches!(open.get("k"), Err(Error::Connection(_))));
    assert!(matches!(client(&relay).get("k"), Err(Error::Connection(_))));
    relay.set(Condition::Clear).unwrap();
    assert!(open.get("k").unwrap().is_some());
}

#[test]
fn in_a_blackhole_requests_and_connects_hang() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut open = client(&relay);
    assert!(open.set("k", b"v", 0, 0).unwrap());
    relay.set(Condition::Blackhole).unwrap();
    assert!(matches!(open.get("k"), Err(Error::Timeout)));
    for _ in 0..3 {
        let outcome = TcpStream::connect_timeout(&relay.address(), SHORT);
        assert!(outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut), "a connect went through");
    }
    relay.set(Condition::Clear).unwrap();
    assert!(client(&relay).get("k").unwrap().is_some());
}

#[test]
fn a_lost_request_arrives_late_although_its_sender_gave_up() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut open = client(&relay);
    assert!(open.set("k", b"old", 0, 0).unwrap());
    relay.set(Condition::RequestsLost).unwrap();
    assert!(matches!(open.set("k", b"new", 0, 0), Err(Error::Timeout)));
    assert!(matches!(client(&relay).get("k"), Err(Error::Timeout)), "a handshake needs both directions");
    drop(open);
    assert_eq!(server.client().get("k").unwrap().unwrap().value, b"old");
    relay.set(Condition::Clear).unwrap();
    testbed::wait::until("the late write", Duration::from_secs(2), || {
        let item = server.client().get("k")?.map(|item| item.value);
        Ok(match item {
            Some(value) if value == b"new" => testbed::wait::Look::Ready(()),
            other => testbed::wait::Look::NotYet(format!("{other:?}")),
        })
    })
    .unwrap();
}

#[test]
fn a_lost_reply_leaves_the_write_done() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut open = client(&relay);
    assert!(open.set("k", b"old", 0, 0).unwrap());
    relay.set(Condition::RepliesLost).unwrap();
    assert!(matches!(open.set("k", b"new", 0, 0), Err(Error::Timeout)));
    assert_eq!(server.client().get("k").unwrap().unwrap().value, b"new");
}

#[test]
fn a_delay_is_in_each_direction_and_keeps_the_order() {
    let server = Server::start().unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let mut client = client(&relay);
    assert!(client.set("n", b"0", 0, 0).unwrap());
    relay.set(Condition::Delayed(Duration::from_millis(30))).unwrap();
    let start = Instant::now();
    assert_eq!(client.incr("n", 1).unwrap(), Some(1));
    assert_eq!(client.incr("n", 1).unwrap(), Some(2));
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
}
