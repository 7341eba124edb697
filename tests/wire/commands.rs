//! In every mode each command answers as one plain memcached does, byte for byte.

use std::thread;
use std::time::{Duration, Instant};

use crate::proxy::{Client, Layout, Proxy, Server, servers};

/// A proxy says every 3 s what it knows; this long it says so twice.
const SAYS_TWICE: Duration = Duration::from_secs(4);
/// Longer than a view is good for.
const RUNS_OUT: Duration = Duration::from_millis(100);

/// A conversation with one memcached. `#` in an answer stands for a cas id, which is the server's to choose.
const CONVERSATION: &[(&str, &str)] = &[
    ("get a\r\n", "END\r\n"),
    ("set a 5 0 1\r\nx\r\n", "STORED\r\n"),
    ("get a\r\n", "VALUE a 5 1\r\nx\r\nEND\r\n"),
    ("gets a\r\n", "VALUE a 5 1 #\r\nx\r\nEND\r\n"),
    ("get a b\r\n", "VALUE a 5 1\r\nx\r\nEND\r\n"),
    ("add a 0 0 1\r\ny\r\n", "NOT_STORED\r\n"),
    ("add b 7 100 2\r\nyy\r\n", "STORED\r\n"),
    ("get a b\r\n", "VALUE a 5 1\r\nx\r\nVALUE b 7 2\r\nyy\r\nEND\r\n"),
    ("replace c 0 0 1\r\nz\r\n", "NOT_STORED\r\n"),
    ("replace a 6 0 2\r\nxx\r\n", "STORED\r\n"),
    ("append a 0 0 1\r\n>\r\n", "STORED\r\n"),
    ("prepend a 0 0 1\r\n<\r\n", "STORED\r\n"),
    ("get a\r\n", "VALUE a 6 4\r\n<xx>\r\nEND\r\n"),
    ("append nobody 0 0 1\r\n>\r\n", "NOT_STORED\r\n"),
    ("cas nobody 0 0 1 17\r\nx\r\n", "NOT_FOUND\r\n"),
    ("cas a 0 0 1 1\r\nx\r\n", "EXISTS\r\n"),
    // no number loses a digit where it is read again: memcached pads it with a blank, or not
    ("set n 0 0 2\r\n50\r\n", "STORED\r\n"),
    ("incr n 1\r\n", "51\r\n"),
    ("decr n 3\r\n", "48\r\n"),
    ("set z 0 0 1\r\n5\r\n", "STORED\r\n"),
    ("incr z 5\r\n", "10\r\n"),
    ("decr z 100\r\n", "0\r\n"),
    ("incr nobody 1\r\n", "NOT_FOUND\r\n"),
    ("incr a 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    ("touch n 100\r\n", "TOUCHED\r\n"),
    ("touch nobody 100\r\n", "NOT_FOUND\r\n"),
    ("gat 100 n\r\n", "VALUE n 0 2\r\n48\r\nEND\r\n"),
    ("gats 100 n nobody\r\n", "VALUE n 0 2 #\r\n48\r\nEND\r\n"),
    ("mg nobody v\r\n", "EN\r\n"),
    ("mg n v f k t s\r\n", "VA 2 f0 kn t100 s2\r\n48\r\n"),
    ("ms m 2 T90 F3 k Oq\r\nhi\r\n", "HD km Oq\r\n"),
    ("mg m v f O1 k\r\n", "VA 2 f3 O1 km\r\nhi\r\n"),
    ("mg m t v c\r\n", "VA 2 t90 c#\r\nhi\r\n"),
    ("mg m T30 t v\r\n", "VA 2 t30\r\nhi\r\n"),
    ("ms m 1 ME\r\nx\r\n", "NS\r\n"),
    ("ms m 1 MA\r\n!\r\n", "HD\r\n"),
    ("mg m v\r\n", "VA 3\r\nhi!\r\n"),
    ("ms m 1 C1\r\nx\r\n", "EX\r\n"),
    ("ma n\r\n", "HD\r\n"),
    ("ma n D5 v\r\n", "VA 2\r\n54\r\n"),
    ("ma n MD D2 v\r\n", "VA 2\r\n52\r\n"),
    ("ma nobody\r\n", "NF\r\n"),
    ("ma new N0 J13 v\r\n", "VA 2\r\n13\r\n"),
    ("mg new v t\r\n", "VA 2 t-1\r\n13\r\n"),
    ("md new\r\n", "HD\r\n"),
    ("md new\r\n", "NF\r\n"),
    ("md m C1\r\n", "EX\r\n"),
    ("md m q\r\nmg m v\r\n", "EN\r\n"),
    ("mg a v q\r\nmg nobody v q\r\n", "VA 4\r\n<xx>\r\n"),
    ("delete a\r\n", "DELETED\r\n"),
    ("delete a\r\n", "NOT_FOUND\r\n"),
    ("get a b n\r\n", "VALUE b 7 2\r\nyy\r\nVALUE n 0 2\r\n52\r\nEND\r\n"),
    ("mg b t\r\n", "HD t100\r\n"),
    ("mg lease N30 v t\r\n", "VA 0 t30 W\r\n\r\n"),
    ("mg lease N30 v\r\n", "VA 0 Z\r\n\r\n"),
    ("ms lease 2 T60\r\nok\r\n", "HD\r\n"),
    ("mg lease v t\r\n", "VA 2 t60\r\nok\r\n"),
];

/// What is sent in one go takes effect in the order in which it was sent.
const PIPELINED: &[(&str, &str)] = &[
    (
        "set p 0 0 1 noreply\r\n1\r\nadd p2 0 0 1 noreply\r\n2\r\nget p p2\r\n",
        "VALUE p 0 1\r\n1\r\nVALUE p2 0 1\r\n2\r\nEND\r\n",
    ),
    ("incr p 1 noreply\r\ndelete p2 noreply\r\nget p p2\r\n", "VALUE p 0 1\r\n2\r\nEND\r\n"),
    ("md nobody q\r\nms q 1 q\r\n1\r\nma q q\r\nmg q v\r\n", "NF\r\nVA 1\r\n2\r\n"),
    ("set d 0 0 1\r\n1\r\ndelete d\r\nget d\r\n", "STORED\r\nDELETED\r\nEND\r\n"),
    ("ms d 1\r\n1\r\nma d v\r\nget d\r\n", "HD\r\nVA 1\r\n2\r\nVALUE d 0 1\r\n2\r\nEND\r\n"),
];

/// Holds the conversation.
pub(crate) fn converse(client: &mut Client) {
    hold(client, CONVERSATION);
}

fn hold(client: &mut Client, conversation: &[(&str, &str)]) {
    for (request, expected) in conversation {
        let got = client.text(request);
        let (request, told) = (request.escape_debug(), got.escape_debug());
        assert!(alike(&got, expected), "\nsent     {request}\nexpected {}\ngot      {told}\n", expected.escape_debug());
    }
}

/// The same but for cas ids, and for lifetimes that have lost a second.
fn alike(got: &str, expected: &str) -> bool {
    let (got, expected): (Vec<&str>, Vec<&str>) = (got.split(' ').collect(), expected.split(' ').collect());
    got.len() == expected.len()
        && got.iter().zip(&expected).all(|(got, expected)| {
            let (word, tail) = expected.split_once("\r\n").unwrap_or((expected, ""));
            let (got_word, got_tail) = got.split_once("\r\n").unwrap_or((got, ""));
            let number = |text: &str| text.parse::<u64>().ok();
            let same = match (word.strip_suffix('#'), word.strip_prefix('t').and_then(number)) {
                (Some(before), _) => got_word.strip_prefix(before).and_then(number).is_some_and(|id| id > 0),
                (None, Some(ttl)) => {
                    got_word.strip_prefix('t').and_then(number).is_some_and(|left| left == ttl || left + 1 == ttl)
                }
                (None, None) => got_word == word,
            };
            same && got_tail == tail
        })
}

fn converse_through(layout: &Layout, count: usize) {
    let servers = servers(count);
    let proxy = Proxy::start(&layout.config(&servers, 1));
    hold(&mut proxy.client(), CONVERSATION);
    if layout.consistency == "coherent" {
        hold(&mut proxy.client(), PIPELINED);
    }
}

#[test]
fn the_conversation_is_that_of_one_memcached() {
    let server = Server::start();
    hold(&mut server.client(), CONVERSATION);
    hold(&mut server.client(), PIPELINED);
}

#[test]
fn sharded_answers_as_one_memcached() {
    converse_through(&Layout::sharded(), 3);
}

#[test]
fn replicated_on_all_answers_as_one_memcached() {
    converse_through(&Layout::replicated(3), 3);
}

#[test]
fn replicated_on_two_of_three_answers_as_one_memcached() {
    converse_through(&Layout::replicated(2), 3);
}

#[test]
fn replicated_over_aligned_lists_answers_as_one_memcached() {
    converse_through(&Layout { lists: 2, ..Layout::replicated(2) }, 4);
}

#[test]
fn fastest_answers_as_one_memcached() {
    converse_through(&Layout::fastest(3), 3);
}

#[test]
fn failover_answers_as_one_memcached() {
    let local = Server::start();
    converse_through(&Layout::failover(&local.address(), 10), 3);
}

#[test]
fn failover_with_internal_memory_answers_as_one_memcached() {
    converse_through(&Layout::failover("internal", 10), 3);
}

#[test]
fn failover_before_a_replicated_cluster_answers_as_one_memcached() {
    converse_through(&Layout { copies: 3, ..Layout::failover("internal", 10) }, 3);
}

#[test]
fn cas_ids_are_honest_from_gets_to_cas() {
    for layout in [Layout::sharded(), Layout::replicated(3), Layout::fastest(3), Layout::failover("internal", 10)] {
        let servers = servers(3);
        let proxy = Proxy::start(&layout.config(&servers, 1));
        let (mut one, mut two) = (proxy.client(), proxy.client());
        one.ask("set k 0 0 1\r\na\r\n", "STORED\r\n");
        let id = |client: &mut Client| {
            let got = client.text("gets k\r\n");
            let line = got.lines().next().unwrap_or_default().to_owned();
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        let (mine, yours) = (id(&mut one), id(&mut two));
        assert_eq!(mine, yours, "{}", layout.mode);
        one.ask(format!("cas k 0 0 1 {mine}\r\nb\r\n"), "STORED\r\n");
        two.ask(format!("cas k 0 0 1 {yours}\r\nc\r\n"), "EXISTS\r\n");
        two.ask("get k\r\n", "VALUE k 0 1\r\nb\r\nEND\r\n");
    }
}

#[test]
fn no_mode_leaks_a_global() {
    for layout in [Layout::sharded(), Layout::replicated(3), Layout::fastest(3), Layout::failover("internal", 10)] {
        let servers = servers(3);
        let strict = include_str!("../lua/strict.lua");
        let proxy = Proxy::start_with(strict, &layout.config(&servers, 1));
        converse(&mut proxy.client());
        proxy.configure(&layout.config(&servers, 2));
        proxy.wait_log("epoch 2, ", 1);
        proxy.client().ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    }
}

/// A proxy that has just started reads the view of the cluster first, and every few seconds it says on the servers what it
/// knows: what was sent after a write must not pass it meanwhile.
#[test]
fn nothing_passes_a_write_while_the_proxy_looks_after_itself() {
    for (layout, count) in [(Layout::sharded(), 3), (Layout::replicated(3), 3), (Layout::replicated(2), 3)] {
        let servers = servers(count);
        let proxy = Proxy::start(&layout.config(&servers, 1));
        let (start, mut client) = (Instant::now(), proxy.client());
        let mut number = 0;
        while start.elapsed() < SAYS_TWICE {
            number += 1;
            let (value, key) = (format!("{number:06}"), format!("p{}", number % 7));
            let answer = client.text(format!("set {key} 0 0 6\r\n{value}\r\nget {key}\r\n"));
            assert_eq!(answer, format!("STORED\r\nVALUE {key} 0 6\r\n{value}\r\nEND\r\n"), "write {number}");
            thread::sleep(RUNS_OUT); // so that each finds that the view ran out
        }
    }
}
