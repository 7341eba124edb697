//! Coherence, rule by rule: a server that missed a write is not believed, whichever proxy missed it and however it comes
//! back, until it has been compared. Two proxies stand for two nodes.

use std::time::{Duration, Instant};

use crate::proxy::{Client, Layout, Proxy, Server, servers, wait_for};

const KEYS: usize = 30;

fn two_proxies(servers: &[Server]) -> (Proxy, Proxy) {
    let config = Layout::replicated(3).config(servers, 1);
    (Proxy::start(&config), Proxy::start(&config))
}

fn set_all(client: &mut Client, value: &str) {
    for key in 0..KEYS {
        client.ask(format!("set k{key} 0 0 3\r\n{value}\r\n"), "STORED\r\n");
    }
}

fn all_read(client: &mut Client, value: &str) {
    for key in 0..KEYS {
        client.ask(format!("get k{key}\r\n"), format!("VALUE k{key} 0 3\r\n{value}\r\nEND\r\n"));
    }
}

/// What the members of the view say of who is dirty.
fn view(servers: &[Server]) -> String {
    servers.iter().map(|server| server.client().text("mg __mcp:v v\r\n")).collect()
}

/// Asks until no proxy marks a server any more, which only traffic brings about. That one has been emptied stays marked.
fn wait_unmarked(servers: &[Server], clients: &mut [Client]) {
    wait_for("no proxy marks a server", || {
        for client in &mut *clients {
            client.text("get nobody\r\n");
        }
        let text = view(servers);
        let mut marks = text.split_whitespace().filter(|word| word.starts_with(['d', 'r']));
        marks.all(|mark| !mark.contains('n')) // a proxy's ends in `n` and a number
    });
}

#[test]
fn a_frozen_server_that_thaws_is_not_believed_and_becomes_whole_again() {
    let servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    set_all(&mut clients[0], "old");
    all_read(&mut clients[1], "old");
    servers[0].freeze();
    set_all(&mut clients[0], "new");
    servers[0].thaw();
    all_read(&mut clients[1], "new");
    all_read(&mut clients[0], "new");
    wait_unmarked(&servers, &mut clients);
    for key in 0..KEYS {
        let held = servers[0].client().text(format!("mg k{key} v\r\n"));
        assert_eq!(held, "VA 3\r\nnew\r\n", "k{key} on the server that was frozen");
    }
    all_read(&mut clients[1], "new");
}

#[test]
fn a_server_that_comes_back_with_old_data_is_not_believed() {
    let mut servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    set_all(&mut clients[0], "old");
    all_read(&mut clients[1], "old");
    servers[0].kill();
    set_all(&mut clients[0], "new");
    servers[0].restart_empty();
    servers[0].client().ask("set __mcp:w 0 0 1\r\n1\r\n", "STORED\r\n");
    set_all(&mut servers[0].client(), "old");
    all_read(&mut clients[1], "new");
    wait_unmarked(&servers, &mut clients);
    all_read(&mut clients[1], "new");
}

#[test]
fn counters_stay_exact_while_a_server_freezes_dies_and_comes_back() {
    let mut servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    for key in 0..9 {
        clients[0].ask(format!("set n{key} 0 0 1\r\n0\r\n"), "STORED\r\n");
    }
    let mut count = 0;
    let mut add = |clients: &mut [Client; 2]| {
        for client in clients {
            count += 1;
            for key in 0..9 {
                client.ask(format!("incr n{key} 1\r\n"), format!("{count}\r\n"));
            }
        }
    };
    add(&mut clients);
    servers[1].freeze();
    add(&mut clients);
    servers[1].thaw();
    add(&mut clients);
    wait_unmarked(&servers, &mut clients);
    servers[2].kill();
    add(&mut clients);
    servers[2].restart_empty();
    add(&mut clients);
    wait_unmarked(&servers, &mut clients);
    add(&mut clients);
}

#[test]
fn a_cas_id_survives_the_loss_of_the_authority_and_is_used_up_once() {
    let mut servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let (mut one, mut two) = (one.client(), two.client());
    for key in 0..9 {
        one.ask(format!("set k{key} 0 0 1\r\na\r\n"), "STORED\r\n");
    }
    let ids: Vec<String> =
        (0..9).map(|key| two.text(format!("mg k{key} c\r\n")).trim_start_matches("HD c").trim().to_owned()).collect();
    servers[0].kill();
    for (key, id) in ids.iter().enumerate() {
        one.ask(format!("cas k{key} 0 0 1 {id}\r\nb\r\n"), "STORED\r\n");
        two.ask(format!("cas k{key} 0 0 1 {id}\r\nc\r\n"), "EXISTS\r\n");
        two.ask(format!("get k{key}\r\n"), format!("VALUE k{key} 0 1\r\nb\r\nEND\r\n"));
    }
}

/// memcached makes a new item of it, and gives that an id of its own, by which nobody could find out whether the increment was done.
#[test]
fn a_number_that_gets_longer_has_the_id_of_its_increment_on_all_servers() {
    let servers = servers(3);
    let (one, two) = two_proxies(&servers);
    one.client().ask("set number 0 0 1\r\n9\r\n", "STORED\r\n");
    for (command, made) in [("incr number 1\r\n", "10\r\n"), ("ma number D90 v\r\n", "VA 3\r\n100\r\n")] {
        two.client().ask(command, made);
        let id = servers[0].client().text("mg number c\r\n");
        let number: u64 = id.trim_end().strip_prefix("HD c").and_then(|id| id.parse().ok()).expect("it is there");
        assert!(number > 1 << 41, "{command:?}: {number} is memcached's own id"); // ours begin with 41 bits of time
        for server in &servers {
            assert_eq!(server.client().text("mg number c\r\n"), id, "{command:?}");
        }
    }
}

#[test]
fn a_lost_server_is_marked_in_the_view_and_the_mark_goes_when_it_owes_nothing() {
    let servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    set_all(&mut clients[0], "old");
    assert!(view(&servers).contains("1 3 3 0 0"), "{}", view(&servers));
    servers[2].freeze();
    set_all(&mut clients[0], "new");
    let marked = view(&servers[..2]);
    assert_eq!(marked.matches(" d1-3.").count(), 2, "one mark of one owner on each member: {marked}");
    servers[2].thaw();
    wait_unmarked(&servers, &mut clients);
}

#[test]
fn servers_that_stall_in_turn_lose_no_key() {
    let servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    set_all(&mut clients[0], "old");
    for (round, server) in servers.iter().cycle().take(6).enumerate() {
        server.freeze();
        let until = Instant::now() + Duration::from_millis(150 + 50 * round as u64);
        wait_for("the stall is over", || {
            clients[round % 2].text(format!("get k{round}\r\n"));
            Instant::now() > until
        });
        server.thaw();
    }
    wait_unmarked(&servers, &mut clients);
    all_read(&mut clients[0], "old");
    all_read(&mut clients[1], "old");
}

#[test]
fn a_copy_that_was_emptied_is_filled_back_by_reads() {
    let mut servers = servers(3);
    let (one, two) = two_proxies(&servers);
    let mut clients = [one.client(), two.client()];
    set_all(&mut clients[0], "old");
    servers[1].restart_empty();
    wait_for("every key is back on the emptied server", || {
        all_read(&mut clients[0], "old");
        (0..KEYS).all(|key| servers[1].client().text(format!("mg k{key} v\r\n")) == "VA 3\r\nold\r\n")
    });
    all_read(&mut clients[1], "old");
}

/// memcached runs a request to its end whoever waits for it, so none is left half done, and nothing that it holds is left behind.
#[test]
fn a_write_reaches_all_copies_though_its_client_has_gone() {
    let servers = servers(3);
    let proxy = Proxy::start(&Layout::replicated(3).config(&servers, 1));
    proxy.client().ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    servers.iter().for_each(Server::freeze);
    let mut client = proxy.client();
    client.send(b"set k 0 0 1\r\n2\r\n");
    drop(client);
    servers.iter().for_each(Server::thaw);
    wait_for("the write on all servers", || {
        servers.iter().all(|server| server.client().text("mg k v\r\n") == "VA 1\r\n2\r\n")
    });
}
