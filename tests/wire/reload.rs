//! The configuration changes under a running proxy: a good one is taken over live, a bad one is refused and said so.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use testbed::fetch::{Unusable, unusable_memcached};

use crate::proxy::{Client, Layout, Proxy, Server, servers, wait_for};

#[test]
fn a_new_configuration_is_taken_over_without_dropping_a_connection() {
    let mut all = servers(3);
    let layout = Layout::replicated(2);
    let proxy = Proxy::start(&layout.config(&all[..2], 1));
    let mut client = proxy.client();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    let before = all[0].client().stat("total_connections");
    proxy.configure(&layout.config(&all, 2));
    proxy.wait_log("epoch 2, servers 3", 1);
    client.ask("set k 0 0 1\r\ny\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\ny\r\nEND\r\n");
    let own = 1; // the connection that asks
    assert_eq!(all[0].client().stat("total_connections"), before + own, "the proxy dialled a server that it knew");
    // in force: the first two alone would not survive this
    all[0].kill();
    all[1].kill();
    let stored = (0..20).filter(|key| client.text(format!("set s{key} 0 0 1\r\nx\r\n")) == "STORED\r\n").count();
    assert!(stored > 0, "no key of 20 went to the server that was added");
}

#[test]
fn a_reload_under_load_loses_no_request() {
    let all = servers(3);
    let layout = Layout::replicated(3);
    let proxy = Proxy::start(&layout.config(&all, 1));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (mut client, done) = (proxy.client(), &done);
            scope.spawn(move || {
                for round in 0.. {
                    client.ask(format!("set {name} 0 0 1\r\n{}\r\n", round % 10), "STORED\r\n");
                    client.ask(format!("get {name}\r\n"), format!("VALUE {name} 0 1\r\n{}\r\nEND\r\n", round % 10));
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for epoch in 2..5 {
            proxy.configure(&layout.config(&all, epoch));
            proxy.wait_log(&format!("epoch {epoch}, "), 1);
            proxy.configure("{ broken");
            proxy.wait_log("refused", epoch as usize - 1);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn every_mode_can_follow_every_other() {
    let all = servers(3);
    let proxy = Proxy::start(&Layout::sharded().config(&all, 1));
    let mut client = proxy.client();
    let layouts = [Layout::replicated(3), Layout::failover("internal", 5), Layout::fastest(2), Layout::sharded()];
    for (epoch, layout) in (2..).zip(layouts) {
        proxy.configure(&layout.config(&all, epoch));
        proxy.wait_log(&format!("epoch {epoch}, "), 1);
        client.ask(format!("set k{epoch} 0 0 1\r\nx\r\n"), "STORED\r\n");
        client.ask(format!("get k{epoch}\r\n"), format!("VALUE k{epoch} 0 1\r\nx\r\nEND\r\n"));
    }
}

#[test]
fn a_bad_configuration_is_refused_and_the_last_good_one_stays() {
    let all = servers(2);
    let good = Layout::replicated(2).config(&all, 7);
    let proxy = Proxy::start(&good);
    let mut client = proxy.client();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut refused = 0;
    for (bad, why) in [
        (good.replace("format = 1", "format = 4"), "field format: 4 is none of 1 to 3"),
        (good.replace("copies = 2", "copies = 9"), "field copies: 9 is not a whole number from 1 to 2"),
        (good.replace("{\n", "{\n {"), "expected (to close"),
        (good.replace("epoch = 7", "epoch = os.exit()"), "not data only"),
        (String::new(), "not one table"),
    ] {
        refused += 1;
        proxy.configure(&bad);
        proxy.wait_log("memcached-proxy: refused ", refused);
        let log = proxy.log();
        let line = log.lines().rfind(|line| line.contains("refused")).unwrap_or_default();
        assert!(line.contains(why) && line.ends_with("; still serving epoch 7"), "{line:?} does not say {why:?}");
        client.ask("get k\r\nset k 0 0 1\r\nx\r\n", "VALUE k 0 1\r\nx\r\nEND\r\nSTORED\r\n");
    }
    fs::remove_file(proxy.config_file()).expect("removing the configuration");
    proxy.wait_log("No such file or directory; still serving epoch 7", 1);
    client.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
    proxy.configure(&Layout::replicated(2).config(&all, 8));
    proxy.wait_log("epoch 8, ", 1);
    client.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn a_refused_configuration_shows_in_the_proxys_stats() {
    let all = servers(1);
    let good = Layout::sharded().config(&all, 3);
    let proxy = Proxy::start(&good);
    let mut client = proxy.client();
    let shown = |client: &mut Client, count: usize| {
        wait_for(&format!("user_config_refused is {count}"), || {
            client.stats("proxy").contains(&format!("STAT user_config_refused {count}\r\n"))
        });
    };
    shown(&mut client, 0);
    for count in 1..4 {
        proxy.configure(&good.replace("epoch = 3", &format!("epoch = -{count}")));
        shown(&mut client, count);
    }
    proxy.configure(&good.replace("epoch = 3", "epoch = 4"));
    proxy.wait_log("epoch 4, ", 1);
    shown(&mut client, 3);
}

#[test]
fn servers_that_do_not_resolve_at_start_do_not_stop_it() {
    for layout in [Layout::sharded(), Layout::replicated(2), Layout::failover("internal", 5)] {
        let all = servers(2);
        let first = all[0].address();
        // `.invalid` never resolves (RFC 2606)
        let config = layout.config(&all, 1).replace(&first, "memcached-0.memcached.cache.svc.invalid.:11211");
        let proxy = Proxy::start(&config);
        let mut client = proxy.client();
        // with one copy the other server's keys are stored, with two all are, once it is known who can't be reached
        let wanted = if layout.copies == 2 { 40 } else { 5 };
        wait_for(&format!("{} serves what it can", layout.mode), || {
            let stored = |key: &usize| client.text(format!("set k{key} 0 0 1\r\nx\r\n")) == "STORED\r\n";
            (0..40).filter(stored).count() >= wanted
        });
        // and it is taken as soon as its name leads somewhere
        proxy.configure(&layout.config(&all, 2));
        proxy.wait_log("epoch 2, ", 1);
        wait_for("every key is stored", || {
            (0..40).all(|key| client.text(format!("set k{key} 0 0 1\r\nx\r\n")) == "STORED\r\n")
        });
    }
}

#[test]
fn a_memcached_that_is_too_old_or_has_no_proxy_says_so_in_one_line() {
    let config = Layout::replicated(2).config(&servers(2), 1);
    for (which, says) in [
        (Unusable::TooOld, "this memcached is too old, 1.6.40 or newer is needed"),
        (Unusable::NoProxy, "Illegal suboption \"proxy_config="),
    ] {
        let program = unusable_memcached(which).unwrap_or_else(|error| panic!("{error:#}"));
        let (status, log) = Proxy::start_program_in_vain(&program, &config);
        // Not that it ends with 1: only a worker can tell that 1.6.38 is too old, and the `exit` that memcached then calls beside
        // its running threads ends in a segmentation fault once in some 400 starts on a busy machine.
        assert!(!status.success(), "{status}: {log}");
        let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty() && !line.contains(": loaded ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(says), "{which:?} says {lines:?}");
    }
}

#[test]
fn a_signal_to_reload_a_broken_configuration_does_not_end_the_proxy() {
    let all = servers(1);
    let proxy = Proxy::start(&Layout::sharded().config(&all, 3));
    let mut client = proxy.client();
    proxy.configure("{ format = 1, mode = ");
    proxy.wait_log("refused", 1);
    for round in 2..5 {
        proxy.signal("HUP");
        proxy.wait_log("still serving epoch 3", round);
        client.ask("set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn a_proxy_that_never_had_a_good_configuration_does_not_start() {
    let (status, log) = Proxy::start_in_vain("{ format = 1, }");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("field mode: nil is none of replicated, failover, sharded; nothing to serve"), "{log}");
}

#[test]
fn each_wrong_field_is_named() {
    let all: Vec<Server> = servers(2);
    let good = Layout::failover("internal", 10).config(&all, 1);
    let first = all[0].address();
    let again = format!("format = 3, servers = 2, copies_by = \"mode\", gutter = {{ \"{first}\" }}");
    for (right, wrong, why) in [
        ("format = 1,", "", "field format: nil is none of 1 to 3"),
        ("format = 1", "format = \"1\"", "field format: \"1\" is none of 1 to 3"),
        ("mode = \"failover\"", "mode = \"both\"", "field mode: \"both\" is none of replicated, failover, sharded"),
        ("cluster = \"cache/memcached\"", "cluster = 5", "field cluster: 5 is not a name"),
        ("epoch = 1", "epoch = -1", "field epoch: -1 is not a whole number from 0"),
        ("\"coherent\"", "\"quick\"", "field consistency: \"quick\" is none of coherent, fastest"),
        ("copies = 1", "copies = 3", "field copies: 3 is not a whole number from 1 to 2"),
        ("copies = 1", "copies = 1, replica = 2", "field replica: unknown in format 1"),
        ("copies = 1", "copies = 1, servers = 2", "field servers: unknown in format 1"),
        ("format = 1", "format = 2", "field servers: nil is not a whole number from 1 to 2"),
        ("format = 1", "format = 2, servers = 3", "field servers: 3 is not a whole number from 1 to 2"),
        ("copies = 1", "copies = 1, gutter = { \"a:1\" }", "field gutter: unknown in format 1"),
        ("format = 1", "format = 3, servers = 2, copies_by = \"mode\", gutter = {}", "field gutter: "),
        ("format = 1", &again, "is already replicas[1][1]"),
        ("replicas = { {", "replicas = { {}, {", "field replicas[1]: "),
        ("replicas = { {", "replicas = { 5, {", "field replicas[1]: 5 is not a list"),
        (&first, "nowhere", "field replicas[1][1]: \"nowhere\" is not host:port"),
        (&first, "host:99999", "field replicas[1][1]: \"host:99999\" is not host:port"),
        (&first, &all[1].address(), "is already replicas[1][1]"),
        ("ttl = 10", "ttl = 0", "field local_cache.ttl: 0 is not a whole number from 1 to 2592000"),
        ("server = \"internal\"", "server = \"here\"", "field local_cache.server: \"here\" is not host:port"),
        ("mode = \"failover\"", "mode = \"sharded\"", "field local_cache: belongs to mode failover only"),
        ("epoch = 1", "epoch = (function() return 1 end)()", "not data only: it has a \"(\""),
        ("epoch = 1", "epoch = #\"x\"", "not data only: it has a \"#\""),
    ] {
        let bad = good.replacen(right, wrong, 1);
        assert_ne!(bad, good, "{right:?} is not in the configuration");
        let (status, log) = Proxy::start_in_vain(&bad);
        assert!(!status.success() && log.contains(why), "{wrong:?} should say {why:?}, said:\n{log}");
    }
}
