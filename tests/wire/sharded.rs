//! Sharded: one copy of a key. A dead server's keys are misses and refused writes, nothing worse.

use std::time::{Duration, Instant};

use crate::proxy::{Layout, Proxy, Server, servers};

const KEYS: usize = 60;

/// Three servers behind a sharded proxy, with `KEYS` keys.
fn filled() -> (Vec<Server>, Proxy) {
    let servers = servers(3);
    let proxy = Proxy::start(&Layout::sharded().config(&servers, 1));
    let mut client = proxy.client();
    for key in 0..KEYS {
        client.ask(format!("set k{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    (servers, proxy)
}

fn all_keys() -> String {
    (0..KEYS).map(|key| format!(" k{key}")).collect()
}

#[test]
fn every_key_is_on_exactly_one_server() {
    let (servers, _proxy) = filled();
    let holds = |server: &Server, key| server.client().text(format!("mg k{key}\r\n")) == "HD\r\n";
    let count = |server: &Server| (0..KEYS).filter(|key| holds(server, *key)).count();
    let counts: Vec<usize> = servers.iter().map(count).collect();
    assert_eq!(counts.iter().sum::<usize>(), KEYS, "{counts:?}");
    assert!(counts.iter().all(|&count| count >= 5), "{counts:?}");
}

#[test]
fn a_dead_server_puts_no_error_line_into_a_multiget() {
    let (mut servers, proxy) = filled();
    let expected: String = (0..KEYS)
        .filter(|key| servers[2].client().text(format!("mg k{key}\r\n")) == "EN\r\n")
        .map(|key| format!("VALUE k{key} 0 1\r\nx\r\n"))
        .collect();
    servers[2].kill();
    let mut client = proxy.client();
    for _ in 0..3 {
        client.ask(format!("get{}\r\n", all_keys()), format!("{expected}END\r\n"));
        client.ask(format!("gat 0{}\r\n", all_keys()), format!("{expected}END\r\n"));
    }
    assert!(!client.text(format!("gets{}\r\n", all_keys())).contains("ERROR"));
    assert!(!client.text(format!("gats 0{}\r\n", all_keys())).contains("ERROR"));
    let pipelined: String = (0..KEYS).map(|key| format!("mg k{key} v\r\n")).collect();
    assert!(!client.text(pipelined).contains("ERROR"));
}

#[test]
fn with_its_server_dead_a_read_misses_and_a_write_says_so() {
    let (mut servers, proxy) = filled();
    for server in &mut servers {
        server.kill();
    }
    let mut client = proxy.client();
    const DOWN: &str = "SERVER_ERROR no cache server of this key answers\r\n";
    for (request, answer) in [
        ("get k1\r\n", "END\r\n"),
        ("gats 0 k1\r\n", "END\r\n"),
        ("mg k1 v\r\n", "EN\r\n"),
        ("mg k1 T30\r\n", "EN\r\n"),
        ("set k1 0 0 1\r\nx\r\n", DOWN),
        ("add k1 0 0 1\r\nx\r\n", DOWN),
        ("ms k1 1\r\nx\r\n", DOWN),
        ("touch k1 1\r\n", DOWN),
        ("delete k1\r\n", DOWN),
        ("md k1\r\n", DOWN),
        ("incr k1 1\r\n", DOWN),
        ("ma k1\r\n", DOWN),
        ("set k1 0 0 1 noreply\r\nx\r\nincr k1 1 noreply\r\ndelete k1 noreply\r\ntouch k1 1 noreply\r\n", ""),
    ] {
        client.ask(request, answer);
    }
}

#[test]
fn a_frozen_server_costs_a_request_a_quarter_of_a_second_at_most() {
    let (servers, proxy) = filled();
    servers[0].freeze();
    let mut client = proxy.client();
    let mut slow = 0;
    for key in 0..KEYS {
        for request in [format!("get k{key}\r\n"), format!("set k{key} 0 0 1\r\ny\r\n")] {
            let start = Instant::now();
            client.exchange(request.as_bytes());
            let took = start.elapsed();
            // the promise is 250 ms; the rest is for a loaded machine
            assert!(took < Duration::from_millis(500), "{request:?} took {took:?}");
            slow += usize::from(took > Duration::from_millis(100));
        }
    }
    assert!(slow <= 4, "{slow} requests waited for a server that was known to hang");
    servers[0].thaw();
    proxy.wait_all_up();
    client.ask(format!("get{}\r\n", all_keys()).replace(" k", " nobody"), "END\r\n");
}
