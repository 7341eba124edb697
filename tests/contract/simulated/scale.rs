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

/// What one server has of it.
#[derive(Debug)]
struct Cost {
    /// By one proxy in a second.
    readings: f64,
    /// Those of them that come in one packet with a client's read.
    along: f64,
    /// Of all proxies.
    connections: u32,
}

/// What each server has of proxies that have `clients`, each with a request every `every` ms.
fn cost(servers: usize, every: u32, clients: u32) -> Vec<Cost> {
    let globals = format!("PROXIES, SERVERS, EVERY, CLIENTS = {PROXIES}, {servers}, {every}, {clients}\n");
    let said = play(&library::library().text, &globals, include_str!("scale.lua"));
    let lines = said.lines().filter_map(|line| line.strip_prefix("server\t"));
    let of_one = |text: &str| text.parse::<f64>().unwrap() / f64::from(PROXIES);
    lines
        .map(|line| {
            let field: Vec<&str> = line.split('\t').collect();
            Cost { readings: of_one(field[0]), along: of_one(field[1]), connections: field[2].parse().unwrap() }
        })
        .collect()
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
        for Cost { readings, connections, .. } in watched {
            assert!(
                (most * 0.8..=most * 1.05).contains(readings),
                "{readings} readings a second, not {most}: {servers} servers, {clients} clients, each with a request in {every} ms"
            );
            assert_eq!(*connections, PROXIES);
        }
        assert!(others.iter().all(|other| other.readings == 0.0 && other.connections <= PROXIES), "{others:?}");
    }
}

#[test]
fn of_two_or_three_readings_at_once_one_shares_a_packet_with_a_read() {
    for (every, at_once) in [(5, GLANCED), (60, WATCHED)] {
        let cost = cost(3, every, 1);
        let sum = |of: fn(&Cost) -> f64| cost.iter().map(of).sum::<f64>();
        let (readings, along) = (sum(|one| one.readings), sum(|one| one.along));
        assert!(
            along > 0.9 * readings / f64::from(at_once),
            "{along} of {readings} readings, each with a request in {every} ms"
        );
    }
}
