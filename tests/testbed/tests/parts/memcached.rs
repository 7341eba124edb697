//! A cache server's faults are what they say, and undo themselves.

use std::time::Duration;

use testbed::client::{Client, Error};
use testbed::parts::memcached::Server;

/// Shorter than the client's default, so that the frozen server costs little.
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_server_dies_freezes_thaws_and_comes_back_empty_on_its_port() {
    let server = Server::start().unwrap();
    let address = server.address();
    let mut client = Client::new(address).with_timeout(SHORT);
    assert!(client.set("k", b"v", 7, 0).unwrap());
    assert_eq!(client.get("k").unwrap().map(|item| (item.value, item.flags)), Some((b"v".to_vec(), 7)));

    let frozen = server.freeze().unwrap();
    assert!(matches!(client.get("k"), Err(Error::Timeout)));
    drop(frozen);
    assert!(client.get("k").unwrap().is_some(), "thawed with its data");

    server.kill().unwrap();
    assert!(matches!(client.get("k"), Err(Error::Connection(_))));

    server.restart_empty().unwrap();
    assert_eq!(server.address(), address);
    assert_eq!(client.get("k").unwrap(), None);
    assert_eq!(server.stat("curr_items").unwrap(), 0);
}

#[test]
fn the_client_tells_outcomes_apart() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    assert_eq!(client.incr("n", 1).unwrap(), None);
    assert!(client.set("n", b"41", 0, 0).unwrap());
    assert_eq!(client.incr("n", 1).unwrap(), Some(42));
    assert!(client.set("text", b"abc", 0, 0).unwrap());
    assert!(matches!(client.incr("text", 1), Err(Error::Reply(line)) if line.starts_with("CLIENT_ERROR")));
    let found = client.multiget(&["n", "absent", "text"]).unwrap();
    assert_eq!(found.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(), ["n", "text"]);
    assert!(client.delete("n").unwrap());
    assert!(!client.delete("n").unwrap());
    assert!(matches!(client.raw("nonsense"), Err(Error::Reply(line)) if line == "ERROR"));
}
