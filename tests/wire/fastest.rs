//! Replicated with `fastest`: a hit wins over a miss, a miss over an error.

use crate::proxy::{Layout, Proxy, servers};

#[test]
fn a_miss_never_wins_over_a_hit() {
    let mut servers = servers(3);
    let proxy = Proxy::start(&Layout::fastest(3).config(&servers, 1));
    let mut client = proxy.client();
    for key in 0..50 {
        client.ask(format!("set k{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    servers[0].restart_empty();
    servers[2].restart_empty();
    proxy.wait_all_up();
    for key in (0..50).chain(0..50) {
        client.ask(
            format!("get k{key}\r\n"),
            format!("VALUE k{key} 0 1\r\nx\r\nEND\r\n"),
        );
        client.ask(format!("mg k{key} v\r\n"), "VA 1\r\nx\r\n");
    }
}

#[test]
fn an_error_never_wins_over_a_miss() {
    let mut servers = servers(3);
    let proxy = Proxy::start(&Layout::fastest(3).config(&servers, 1));
    let mut client = proxy.client();
    servers[0].kill();
    servers[1].kill();
    client.ask("get a b c\r\n", "END\r\n");
    client.ask("mg a v\r\n", "EN\r\n");
    client.ask("delete a\r\n", "NOT_FOUND\r\n");
    servers[2].kill();
    client.ask("get a b c\r\n", "END\r\n");
}

#[test]
fn a_write_reaches_all_copies_with_one_cas_id() {
    let servers = servers(3);
    let proxy = Proxy::start(&Layout::fastest(3).config(&servers, 1));
    proxy.client().ask("set k 3 0 1\r\nx\r\n", "STORED\r\n");
    let all: Vec<String> = servers
        .iter()
        .map(|server| server.client().text("mg k v f c\r\n"))
        .collect();
    assert!(
        all[0].starts_with("VA 1 f3 c") && all.iter().all(|one| *one == all[0]),
        "{all:?}"
    );
}
