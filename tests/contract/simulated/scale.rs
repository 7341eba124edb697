//! What the view costs servers, counted in virtual time: readings of it, and connections. Proxies do not affect each other
//! while nothing happens, so what fifty cost tells what any number does.

use memcached_injector::routing::library;

use super::play;

const PROXIES: u32 = 50;
/// Members of Q: each is read once in 0.65 of a lease of 65 ms, which is 23.7 times a second, or less often where there is no
/// request just then.
const WATCHED: usize = 3;
const MOST_A_SECOND: u32 = 24;

/// Of each server: readings of the view in a second by one proxy that has a request every `every` ms, and connections.
fn cost(servers: usize, every: u32) -> Vec<(f64, u32)> {
    let globals = format!("PROXIES, SERVERS, EVERY = {PROXIES}, {servers}, {every}\n");
    let said = play(&library::library().text, &globals, include_str!("scale.lua"));
    let lines = said.lines().filter_map(|line| line.strip_prefix("server\t")?.split_once('\t'));
    lines.map(|(read, links)| (read.parse::<f64>().unwrap() / f64::from(PROXIES), links.parse().unwrap())).collect()
}

#[test]
fn the_view_is_read_from_three_servers_however_many_there_are() {
    for (servers, every) in [(3, 10), (30, 10), (30, 100)] {
        let cost = cost(servers, every);
        assert_eq!(cost.len(), servers);
        let (watched, others) = cost.split_at(WATCHED);
        let most = f64::from(MOST_A_SECOND.min(1100 / every));
        for (read, links) in watched {
            assert!(
                (most * 0.7..=most).contains(read),
                "{read} readings a second, {servers} servers, one request in {every} ms"
            );
            assert_eq!(*links, PROXIES);
        }
        assert!(others.iter().all(|(read, links)| *read == 0.0 && *links <= PROXIES), "{others:?}");
    }
}
