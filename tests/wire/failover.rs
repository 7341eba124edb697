//! Failover: a local cache in front of the cluster, which saves requests and never a client's mistake for it.

use std::thread;
use std::time::{Duration, Instant};

use crate::commands::converse;
use crate::proxy::{Layout, Proxy, Server, servers, wait_for};

fn gets_of(servers: &[Server]) -> u64 {
    servers.iter().map(|server| server.client().stat("cmd_get")).sum()
}

#[test]
fn a_local_hit_does_not_ask_the_cluster() {
    let local = Server::start();
    for near in [local.address(), "internal".to_owned()] {
        let servers = servers(3);
        let proxy = Proxy::start(&Layout::failover(&near, 30).config(&servers, 1));
        let mut client = proxy.client();
        client.ask("set k 9 0 1\r\nx\r\n", "STORED\r\n");
        client.ask("get k\r\n", "VALUE k 9 1\r\nx\r\nEND\r\n"); // fills
        let before = gets_of(&servers);
        for _ in 0..20 {
            client.ask("get k\r\n", "VALUE k 9 1\r\nx\r\nEND\r\n");
            client.ask("mg k v f k\r\n", "VA 1 f9 kk\r\nx\r\n");
        }
        assert_eq!(gets_of(&servers), before, "with {near} as local cache");
    }
}

#[test]
fn a_local_copy_keeps_flags_and_cas_and_lives_no_longer_than_the_item() {
    let (servers, local) = (servers(1), Server::start());
    let proxy = Proxy::start(&Layout::failover(&local.address(), 10).config(&servers, 1));
    let mut client = proxy.client();
    for (key, ttl, local_ttl) in [("forever", 0, 10), ("long", 1000, 10), ("short", 5, 5)] {
        client.ask(format!("set {key} 8 {ttl} 1\r\nx\r\n"), "STORED\r\n");
        client.ask(format!("get {key}\r\n"), format!("VALUE {key} 8 1\r\nx\r\nEND\r\n"));
        let far = servers[0].client().text(format!("mg {key} f v c\r\n"));
        let near = local.client().text(format!("mg {key} f v c\r\n"));
        assert_eq!(far, near);
        let left = local.client().text(format!("mg {key} t\r\n"));
        let left: i64 = left.trim_start_matches("HD t").trim().parse().unwrap_or(-1);
        assert!((local_ttl - 1..=local_ttl).contains(&left), "{key}: {left} s in the local cache");
    }
}

#[test]
fn a_local_copy_is_served_no_longer_than_the_local_ttl() {
    let servers = servers(1);
    let proxy = Proxy::start(&Layout::failover("internal", 2).config(&servers, 1));
    let mut client = proxy.client();
    client.ask("set k 0 0 3\r\nold\r\nget k\r\n", "STORED\r\nVALUE k 0 3\r\nold\r\nEND\r\n");
    servers[0].client().ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n"); // another pod
    client.ask("get k\r\n", "VALUE k 0 3\r\nold\r\nEND\r\n");
    wait_for("the new value is served", || {
        // reading, gat and touch of the old copy must not prolong it
        client.text("get k\r\n") == "VALUE k 0 3\r\nnew\r\nEND\r\n"
    });
}

#[test]
fn an_own_write_is_seen_at_once() {
    let local = Server::start();
    for near in [local.address(), "internal".to_owned()] {
        let servers = servers(3);
        let proxy = Proxy::start(&Layout::failover(&near, 30).config(&servers, 1));
        let mut client = proxy.client();
        client.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
        for (write, value) in [
            ("set k 0 0 1\r\n2\r\n", Some("2")),
            ("incr k 5\r\n", Some("7")),
            ("append k 0 0 1\r\n0\r\n", Some("70")),
            ("ms k 1\r\n3\r\n", Some("3")),
            ("ma k D2\r\n", Some("5")),
            ("set k 0 0 1 noreply\r\n8\r\n", Some("8")),
            ("touch k -1\r\n", None),
            ("add k 0 0 1\r\n4\r\n", Some("4")),
            ("md k\r\n", None),
            ("set k 0 0 1\r\n6\r\n", Some("6")),
            ("gat -1 k\r\n", None),
        ] {
            client.text("get k\r\nget k\r\n"); // in the local cache, if it is anywhere
            let answer = value.map_or(String::new(), |v| format!("VALUE k 0 {}\r\n{v}\r\n", v.len()));
            // at once: the read travels right behind the write
            let got = client.text(format!("{write}get k\r\n"));
            assert!(got.ends_with(&format!("{answer}END\r\n")), "after {write:?}: {got:?}");
            client.ask("get k\r\n", format!("{answer}END\r\n"));
        }
    }
}

#[test]
fn a_dead_local_cache_costs_no_error() {
    let (servers, mut local) = (servers(3), Server::start());
    let proxy = Proxy::start(&Layout::failover(&local.address(), 10).config(&servers, 1));
    // a machine that is too busy for a moment makes a miss of the one copy
    wait_for("the local cache holds the key", || {
        proxy.client().text("set warm 0 0 2\r\nup\r\nget warm\r\n") == "STORED\r\nVALUE warm 0 2\r\nup\r\nEND\r\n"
    });
    local.kill();
    let mut client = proxy.client();
    client.ask("get warm\r\nmg warm v\r\n", "VALUE warm 0 2\r\nup\r\nEND\r\nVA 2\r\nup\r\n");
    converse(&mut client);
}

#[test]
fn a_frozen_local_cache_holds_up_only_the_requests_that_find_out() {
    let (servers, local) = (servers(3), Server::start());
    let proxy = Proxy::start(&Layout::failover(&local.address(), 10).config(&servers, 1));
    let mut client = proxy.client();
    client.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    local.freeze();
    let mut slow = 0;
    for _ in 0..50 {
        let start = Instant::now();
        client.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
        client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
        slow += usize::from(start.elapsed() > Duration::from_millis(100));
    }
    local.thaw();
    assert!(slow <= 4, "{slow} of 50 times a local cache that was known to hang was waited for");
}

#[test]
fn a_read_sent_behind_a_write_does_not_pass_it_while_the_view_is_written() {
    let (servers, local) = (servers(3), Server::start());
    let proxy = Proxy::start(&Layout::failover(&local.address(), 10).config(&servers, 1));
    let mut client = proxy.client();
    for number in 0..30 {
        for server in &servers {
            server.client().text("md __mcp:v\r\n");
        }
        thread::sleep(Duration::from_millis(100)); // longer than a view may be used
        let key = format!("k{number}");
        client.ask(
            format!("set {key} 0 0 1\r\nx\r\nget {key}\r\n"),
            format!("STORED\r\nVALUE {key} 0 1\r\nx\r\nEND\r\n"),
        );
    }
}

#[test]
fn with_the_cluster_dead_local_copies_are_served_and_the_rest_misses() {
    let mut servers = servers(2);
    let proxy = Proxy::start(&Layout::failover("internal", 30).config(&servers, 1));
    let mut client = proxy.client();
    client.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    for server in &mut servers {
        server.kill();
    }
    client.ask("get k nobody\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
    client.ask("mg nobody v\r\n", "EN\r\n");
    client.ask("set other 0 0 1\r\nx\r\n", "SERVER_ERROR no cache server of this key answers\r\n");
}
