//! Servers that are known by name, as in a cluster: nobody waits for the DNS but the one who asks it. A preloaded library
//! answers in the place of a DNS server, and is silent as one on a dead node is: for 5 s, which is what resolvers wait.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use testbed::fetch;
use testbed::folder::RunFolder;
use testbed::parts::names::Names;

use crate::proxy::{Client, Layout, Proxy, Server, servers, wait_for};

/// An operation may take 250 ms, a test allows four times as long.
const SLOWEST: Duration = Duration::from_millis(4 * 250);

fn name(number: usize) -> String {
    format!("memcached-{number}.memcached-headless.cache.svc.invalid.") // `.invalid` never resolves elsewhere (RFC 2606)
}

fn places(servers: &[Server]) -> BTreeMap<String, SocketAddr> {
    let place = |server: &Server| SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    servers.iter().enumerate().map(|(number, server)| (name(number), place(server))).collect()
}

/// A configuration that names its servers.
fn config(layout: &Layout, servers: &[Server]) -> String {
    let named = |text: String, (number, server): (usize, &Server)| {
        text.replace(&server.address(), &format!("{}:11211", name(number)))
    };
    servers.iter().enumerate().fold(layout.config(servers, 1), named)
}

fn start(names: &Names, layout: &Layout, servers: &[Server]) -> Proxy {
    let program = names.wrap(&fetch::memcached().unwrap()).unwrap();
    let proxy = Proxy::start_program(&program, &config(layout, servers));
    proxy.wait_all_up();
    proxy
}

fn store(client: &mut Client) {
    for key in 0..40 {
        client.ask(format!("set k{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
}

/// Reads and writes for `length`, none of which fails or takes long.
fn go_on(client: &mut Client, length: Duration) {
    let start = Instant::now();
    for round in 0.. {
        let key = round % 40;
        let before = Instant::now();
        client.ask(format!("get k{key}\r\n"), format!("VALUE k{key} 0 1\r\nx\r\nEND\r\n"));
        client.ask(format!("set k{key} 0 0 1\r\nx\r\n"), "STORED\r\n");
        let took = before.elapsed();
        assert!(took < SLOWEST, "round {round} took {took:?}");
        if start.elapsed() > length {
            return;
        }
    }
}

#[test]
fn a_silent_dns_holds_no_request_up_while_a_server_is_down() {
    let mut all = servers(3);
    let (layout, places) = (Layout::replicated(3), places(&all));
    let names = Names::new(&places).unwrap();
    let proxy = start(&names, &layout, &all);
    let mut client = proxy.client();
    store(&mut client);
    names.fall_silent(&places).unwrap();
    all[0].kill();
    go_on(&mut client, Duration::from_secs(8));
    proxy.wait_log(&format!("the DNS is silent about {}:11211; it stays 127.77.", name(0)), 1);
    // It is back where it was, and the DNS is silent still.
    all[0].restart_empty();
    proxy.wait_all_up();
    go_on(&mut client, Duration::from_secs(1));
}

#[test]
fn a_server_that_comes_back_under_another_address_is_followed() {
    let mut all = servers(3);
    let layout = Layout::replicated(3);
    let names = Names::new(&places(&all)).unwrap();
    let proxy = start(&names, &layout, &all);
    let mut client = proxy.client();
    store(&mut client);
    all[1].kill();
    let moved = Server::start();
    let before = std::mem::replace(&mut all[1], moved);
    names.lead_to(&places(&all)).unwrap();
    proxy.wait_log(&format!("{}:11211 is at 127.77.", name(1)), 1);
    proxy.wait_all_up();
    go_on(&mut client, Duration::from_secs(1));
    wait_for("what is written is there too", || {
        client.ask("set new 0 0 1\r\ny\r\n", "STORED\r\n");
        all[1].client().text("mg new v\r\n").contains('y')
    });
    assert_ne!(before.port, all[1].port);
}

#[test]
fn who_has_the_address_of_a_server_that_is_gone_is_not_asked() {
    let mut all = servers(3);
    let layout = Layout::replicated(3);
    let mut places = places(&all);
    let names = Names::new(&places).unwrap();
    let proxy = start(&names, &layout, &all);
    let mut client = proxy.client();
    store(&mut client);
    all[2].kill();
    places.remove(&name(2));
    names.lead_to(&places).unwrap();
    proxy.wait_log(&format!("{}:11211 is at no address", name(2)), 1);
    all[2].restart_empty(); // somebody else
    let before = all[2].client().stat("total_connections");
    go_on(&mut client, Duration::from_secs(3));
    let own = 1; // the connection that asks
    let after = all[2].client().stat("total_connections");
    assert_eq!(after, before + own, "the proxy dialled whoever has the address now");
}

#[test]
fn a_silent_dns_at_the_start_delays_it_by_one_lookup_for_all_servers() {
    let all = servers(3);
    let layout = Layout::replicated(3);
    let places = places(&all);
    let names = Names::new(&places).unwrap();
    names.fall_silent(&places).unwrap();
    let before = Instant::now();
    let program = names.wrap(&fetch::memcached().unwrap()).unwrap();
    let proxy = Proxy::start_program(&program, &config(&layout, &all));
    let took = before.elapsed();
    assert!(took < Duration::from_secs(9), "one silence of 5 s each: {took:?}");
    names.lead_to(&places).unwrap();
    proxy.wait_all_up();
    store(&mut proxy.client());
}

#[test]
fn an_image_without_getent_says_so_and_goes_by_names() {
    let all = servers(2);
    let layout = Layout::replicated(2);
    let names = Names::new(&places(&all)).unwrap();
    let program = names.wrap(&fetch::memcached().unwrap()).unwrap();
    let folder = RunFolder::new("no-getent").unwrap();
    for tool in ["sh", "readlink", "dirname"] {
        symlink(Path::new("/bin").join(tool), folder.path().join(tool)).unwrap(); // what the test bed's memcached starts with
    }
    let script = format!("#!/bin/sh\nPATH='{}' exec '{}' \"$@\"\n", folder.path().display(), program.display());
    let without = folder.write("without", script).unwrap();
    fs::set_permissions(&without, fs::Permissions::from_mode(0o755)).unwrap();
    let proxy = Proxy::start_program(&without, &config(&layout, &all));
    proxy.wait_log("no getent in this image", 1);
    proxy.wait_all_up();
    store(&mut proxy.client());
}
