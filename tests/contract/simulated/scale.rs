//! What the view costs servers, counted in virtual time: readings of it, and connections. Proxies do not affect each other
//! while nothing happens, so what ten cost tells what any number does.

use memcached_injector::routing::library;

use super::play;

const PROXIES: u32 = 10;
/// Members of Q, and how many of them a glance reads.
const WATCHED: u8 = 3;
const GLANCED: u8 = 2;
/// Milliseconds. A proxy with fewer than 64 requests in a lease reads the view when it has run out, one with more after 0.65 of it.
const LEASE: f64 = 65.0;
const EARLY: f64 = 0.65 * LEASE;
/// Ms between two readings, from which on all members are read.
const AGO: f64 = 90.0;

/// Of each server: readings of the view in a second by one proxy that has `clients`, each with a request every `every` ms, and connections.
fn cost(servers: usize, every: u32, clients: u32) -> Vec<(f64, u32)> {
    let globals = format!("PROXIES, SERVERS, EVERY, CLIENTS = {PROXIES}, {servers}, {every}, {clients}\n");
    let said = play(&library::library().text, &globals, include_str!("scale.lua"));
    let lines = said.lines().filter_map(|line| line.strip_prefix("server\t")?.split_once('\t'));
    lines.map(|(read, links)| (read.parse::<f64>().unwrap() / f64::from(PROXIES), links.parse().unwrap())).collect()
}

/// Readings of a member in a second, where a proxy reads so many members every `gap` ms.
fn readings(members: u8, gap: f64) -> f64 {
    f64::from(members) / f64::from(WATCHED) * 1000.0 / gap
}

#[test]
fn the_view_is_read_from_three_servers_however_many_there_are() {
    let cases = [
        (3, 1, 2, readings(GLANCED, EARLY)),
        (3, 5, 1, readings(GLANCED, LEASE)),
        (30, 10, 1, readings(GLANCED, LEASE)),
        (3, 30, 1, readings(WATCHED, AGO)),
        (30, 100, 1, readings(WATCHED, 100.0)),
    ];
    for (servers, every, clients, most) in cases {
        let cost = cost(servers, every, clients);
        assert_eq!(cost.len(), servers);
        let (watched, others) = cost.split_at(WATCHED.into());
        for (read, links) in watched {
            assert!(
                (most * 0.8..=most * 1.05).contains(read),
                "{read} readings a second, not {most}: {servers} servers, {clients} clients, each with a request in {every} ms"
            );
            assert_eq!(*links, PROXIES);
        }
        assert!(others.iter().all(|(read, links)| *read == 0.0 && *links <= PROXIES), "{others:?}");
    }
}
