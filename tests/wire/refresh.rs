//! Stale items (`md I`): the right to refresh one (`W`) goes to a client, and never to a look of the library's own.

use crate::proxy::{Client, Layout, Proxy, Server, servers, wait_for};

/// Layouts whose clients learn from the key's authority who refreshes an item.
fn layouts() -> [Layout; 4] {
    [Layout::replicated(3), Layout::replicated(2), Layout { lists: 3, ..Layout::replicated(3) }, Layout::sharded()]
}

const NO_NUMBER: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";

/// Writes the number 7 at `key`, lets it go stale, sends `request`, which answers `answer`, and looks who may refresh it:
/// the first client that asks, and after `request` again still no other.
fn one_may_refresh(client: &mut Client, key: &str, stale: &str, request: &str, answer: &str) {
    let request = request.replace("KEY", key);
    client.ask(format!("set {key} 5 0 1\r\n7\r\nmd {key} I{stale}\r\n"), "STORED\r\nHD\r\n");
    client.ask(&request, answer);
    let first = client.text(format!("mg {key} k\r\n"));
    assert_eq!(first, format!("HD k{key} X W\r\n"), "after {request:?}");
    client.text(&request);
    let second = client.text(format!("mg {key} k\r\n"));
    assert!(second.contains(" Z") && !second.contains(" W"), "after {request:?} again: {second:?}");
}

#[test]
fn an_update_takes_no_clients_right_to_refresh() {
    for layout in layouts() {
        let servers = servers(3);
        let proxy = Proxy::start(&layout.config(&servers, 1));
        let mut client = proxy.client();
        for round in 0..10 {
            let key = |what: &str| format!("{what}{round}");
            one_may_refresh(&mut client, &key("text"), " x", "incr KEY 1\r\n", NO_NUMBER);
            one_may_refresh(&mut client, &key("huge"), " x", "incr KEY 18446744073709551615\r\n", NO_NUMBER);
            one_may_refresh(&mut client, &key("meta-text"), " x", "ma KEY\r\n", NO_NUMBER);
            one_may_refresh(&mut client, &key("other-id"), "", "ma KEY C1\r\n", "EX\r\n");
            one_may_refresh(&mut client, &key("add"), "", "add KEY 0 0 1\r\n8\r\n", "NOT_STORED\r\n");
            one_may_refresh(&mut client, &key("cas"), "", "cas KEY 0 0 1 1\r\n8\r\n", "EXISTS\r\n");
            one_may_refresh(
                &mut client,
                &key("get"),
                "",
                "get KEY\r\n",
                &format!("VALUE {} 5 1\r\n7\r\nEND\r\n", key("get")),
            );
        }
    }
}

/// What a number that is counted while stale does: it stays stale, and its token with whom it was.
#[test]
fn a_stale_number_is_counted_as_by_one_memcached() {
    let plain = Server::start();
    let servers = servers(3);
    let proxy = Proxy::start(&Layout::replicated(3).config(&servers, 1));
    let (mut plain, mut ours) = (plain.client(), proxy.client());
    for round in 0..10 {
        for request in [
            "set KEY 0 0 2\r\n10\r\nmd KEY I\r\n",
            "incr KEY 5\r\n",
            "mg KEY v\r\n",
            "incr KEY 5\r\n",
            "mg KEY v\r\n",
            "md KEY I\r\n",
            "incr KEY 5000\r\n",
            "mg KEY v\r\n",
            "md KEY I\r\nappend KEY 0 0 1\r\n1\r\n",
            "mg KEY v\r\n",
        ] {
            let request = request.replace("KEY", &format!("k{round}"));
            ours.ask(&request, plain.exchange(request.as_bytes()));
        }
    }
}

#[test]
fn repairs_take_no_clients_right_to_refresh() {
    const KEYS: usize = 30;
    let mut servers = servers(3);
    let proxy = Proxy::start(&Layout::replicated(3).config(&servers, 1));
    let mut client = proxy.client();
    for key in 0..KEYS {
        client.ask(format!("set k{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    servers[1].freeze();
    for key in 0..KEYS {
        client.ask(format!("md k{key} I\r\n"), "HD\r\n");
    }
    servers[1].thaw();
    wait_for("the frozen server is compared, key by key", || {
        client.text("get nobody\r\n");
        !servers[0].client().text("mg __mcp:v v\r\n").contains("1-2.")
    });
    servers[2].restart_empty();
    proxy.wait_all_up();
    for _ in 0..40 {
        client.text((0..KEYS).map(|key| format!("get k{key}\r\n")).collect::<String>());
    }
    // a stale item has no copies: those of the servers that were frozen and emptied are gone
    let asked: Vec<String> = (0..KEYS).map(|key| client.text(format!("mg k{key}\r\n"))).collect();
    assert!(asked.iter().all(|answer| answer == "HD X W\r\n" || answer == "EN\r\n"), "{asked:?}");
    assert!(asked.iter().any(|answer| answer == "HD X W\r\n"), "{asked:?}");
}

#[test]
fn a_local_cache_takes_no_clients_right_to_refresh() {
    for copies in [1, 3] {
        let servers = servers(3);
        let proxy = Proxy::start(&Layout { copies, ..Layout::failover("internal", 10) }.config(&servers, 1));
        let mut client = proxy.client();
        for round in 0..10 {
            let key = format!("k{round}");
            let read = format!("VALUE {key} 5 1\r\n7\r\nEND\r\n");
            one_may_refresh(&mut client, &key, "", "get KEY\r\n", &read);
        }
    }
}
