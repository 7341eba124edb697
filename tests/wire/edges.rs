//! The limits of the protocol, in every mode: keys of 250 bytes, values to the item limit, binary keys, silence.

use crate::proxy::{Layout, Proxy, Server, servers, wait_for};

/// Every mode in front of three servers.
fn every_mode() -> Vec<(Vec<Server>, Proxy)> {
    [
        Layout::sharded(),
        Layout::replicated(3),
        Layout::replicated(2),
        Layout::fastest(3),
        Layout::failover("internal", 10),
        Layout {
            copies: 2,
            ..Layout::failover("internal", 10)
        },
    ]
    .iter()
    .map(|layout| {
        let servers = servers(3);
        let proxy = Proxy::start(&layout.config(&servers, 1));
        (servers, proxy)
    })
    .collect()
}

#[test]
fn keys_of_250_bytes_work_and_longer_ones_are_refused() {
    let key = "k".repeat(250);
    for (_servers, proxy) in every_mode() {
        let mut client = proxy.client();
        client.ask(
            format!("set {key} 4294967295 2592000 1\r\n5\r\n"),
            "STORED\r\n",
        );
        client.ask(
            format!("incr {key} 18446744073709551610\r\n"),
            "18446744073709551615\r\n",
        );
        client.ask(
            format!("get {key}\r\n"),
            format!("VALUE {key} 4294967295 20\r\n18446744073709551615\r\nEND\r\n"),
        );
        client.ask(format!("append {key} 0 0 1\r\n!\r\n"), "STORED\r\n");
        client.ask(
            format!("mg {key} f k s\r\n"),
            format!("HD f4294967295 k{key} s21\r\n"),
        );
        client.ask(format!("delete {key}\r\n"), "DELETED\r\n");
        assert!(
            client
                .text(format!("get {key}k\r\n"))
                .starts_with("CLIENT_ERROR")
        );
    }
}

#[test]
fn values_come_back_whole_up_to_the_item_limit() {
    for (_servers, proxy) in every_mode() {
        let mut client = proxy.client();
        for size in [0, 1, 1000, 8190, 16384, 100_000, 1_000_000, 1_048_000] {
            let value: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            let set = [
                format!("set big 1 0 {size}\r\n").as_bytes(),
                &value,
                b"\r\n",
            ]
            .concat();
            let got = [
                format!("VALUE big 1 {size}\r\n").as_bytes(),
                &value,
                b"\r\nEND\r\n",
            ]
            .concat();
            client.ask(&set, "STORED\r\n");
            client.ask("get big\r\n", &got); // in failover mode: from the cluster
            client.ask("get big\r\n", &got); // and from the local cache
            client.ask(
                "mg big v\r\n",
                [format!("VA {size}\r\n").as_bytes(), &value, b"\r\n"].concat(),
            );
        }
        let too_large = [
            b"set big 0 0 1048577\r\n".as_slice(),
            &vec![b'x'; 1_048_577],
            b"\r\n",
        ]
        .concat();
        client.ask(&too_large, "SERVER_ERROR object too large for cache\r\n");
        client.ask("get big\r\n", "END\r\n"); // as one memcached does
    }
}

#[test]
fn large_values_move_to_an_emptied_server_whole() {
    let mut servers = servers(2);
    let proxy = Proxy::start(&Layout::replicated(2).config(&servers, 1));
    let mut client = proxy.client();
    let value = vec![b'x'; 900_000];
    for key in 0..8 {
        client.ask(
            [
                format!("set k{key} 0 0 {}\r\n", value.len()).as_bytes(),
                &value,
                b"\r\n",
            ]
            .concat(),
            "STORED\r\n",
        );
    }
    servers[0].restart_empty();
    proxy.wait_all_up();
    for key in 0..8 {
        let got = [
            format!("VALUE k{key} 0 {}\r\n", value.len()).as_bytes(),
            &value,
            b"\r\nEND\r\n",
        ]
        .concat();
        client.ask(format!("get k{key}\r\n"), got);
    }
    assert!(
        servers[0].client().stat("curr_items") > 0,
        "nothing came back"
    );
}

#[test]
fn binary_keys_in_base64_work() {
    // "dGhlIGtleQ==" is "the key", which has a space
    const CONVERSATION: [(&str, &str); 9] = [
        ("ms dGhlIGtleQ== 2 b\r\nhi\r\n", "HD\r\n"),
        (
            "mg dGhlIGtleQ== b v k\r\n",
            "VA 2 kdGhlIGtleQ== b\r\nhi\r\n",
        ),
        (
            "mg dGhlIGtleQ== b v k\r\n",
            "VA 2 kdGhlIGtleQ== b\r\nhi\r\n",
        ),
        (
            "ms dGhlIGtleQ== 1 b ME k\r\nx\r\n",
            "NS kdGhlIGtleQ== b\r\n",
        ),
        ("ms dGhlIGtleQ== 1 b MA\r\n!\r\n", "HD\r\n"),
        ("mg dGhlIGtleQ== v b\r\n", "VA 3\r\nhi!\r\n"),
        ("mg dGhlIGtleQ== T30 b\r\n", "HD\r\n"),
        ("md dGhlIGtleQ== b\r\n", "HD\r\n"),
        ("mg dGhlIGtleQ== b v\r\n", "EN\r\n"),
    ];
    let one = Server::start();
    for (request, answer) in CONVERSATION {
        one.client().ask(request, answer);
    }
    for (_servers, proxy) in every_mode() {
        let mut client = proxy.client();
        for (request, answer) in CONVERSATION {
            client.ask(request, answer);
        }
    }
}

#[test]
fn an_emptied_server_gets_binary_keys_back() {
    let mut servers = servers(2);
    let proxy = Proxy::start(&Layout::replicated(2).config(&servers, 1));
    let mut client = proxy.client();
    client.ask("ms dGhlIGtleQ== 2 b\r\nhi\r\n", "HD\r\n");
    for server in &mut servers {
        server.restart_empty();
        proxy.wait_all_up();
        client.ask("mg dGhlIGtleQ== b v\r\n", "VA 2\r\nhi\r\n");
        client.ask(
            "ma dGhlIGtleQ== b\r\n",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        );
        client.ask("ms dGhlIGtleQ== 2 b\r\nhi\r\n", "HD\r\n");
    }
}

#[test]
fn noreply_stays_silent_also_about_errors() {
    for (_servers, proxy) in every_mode() {
        let mut client = proxy.client();
        client.ask("set a 0 0 1 noreply\r\nx\r\n", "");
        client.ask("incr a 1 noreply\r\n", ""); // not a number
        client.ask(
            "add a 0 0 1 noreply\r\ny\r\ncas a 0 0 1 1 noreply\r\nz\r\ntouch a 100 noreply\r\n\
             delete nobody noreply\r\nappend a 0 0 1 noreply\r\n!\r\n",
            "",
        );
        wait_for("the append is seen", || {
            client.text("get a\r\n") == "VALUE a 0 2\r\nx!\r\nEND\r\n"
        });
        client.ask("md noreply\r\n", "NF\r\n"); // here it is a key
    }
}
