//! Modes that promise less than one memcached to all: clients that ask in turn still see one while the ring changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memcached_injector::request::LocalPlace;
use memcached_injector::routing::library;
use memcached_injector::topology::change::Shape;
use testbed::bed::Bed;
use testbed::random::{self, Random};

use super::{change, drive, filled, missing, shape};
use crate::layout::Layout;

const KEYS: usize = 40;

/// Random commands, one after the other, by clients of these proxies in turn, each answer compared with what a map says
/// -> how many.
fn compare(bed: &Bed, proxies: &[usize], seed: u64, over: &AtomicBool) -> usize {
    let mut clients: Vec<_> = proxies.iter().map(|proxy| bed.proxies()[*proxy].client()).collect();
    let (mut random, mut held, mut asked) = (Random::stream(seed, 3), BTreeMap::<String, u64>::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let client = &mut clients[asked % proxies.len()];
        let key = format!("k{}", random.below(KEYS));
        let expected = held.get(&key).copied();
        let told = format!("command {asked} on {key}, seed {seed}");
        match random.below(10) {
            0..4 => {
                let found = client.get(&key).unwrap().map(|item| String::from_utf8(item.value).unwrap());
                assert_eq!(found, expected.map(|number| number.to_string()), "get, {told}");
            }
            4..7 => {
                assert!(client.set(&key, asked.to_string().as_bytes(), 0, 0).unwrap(), "set, {told}");
                held.insert(key, asked as u64);
            }
            7..9 => {
                assert_eq!(client.incr(&key, 3).unwrap(), expected.map(|number| number + 3), "incr, {told}");
                held.entry(key).and_modify(|number| *number += 3);
            }
            _ => {
                assert_eq!(client.delete(&key).unwrap(), expected.is_some(), "delete, {told}");
                held.remove(&key);
            }
        }
        asked += 1;
    }
    asked
}

/// The ring goes through these shapes while clients of these proxies ask in turn.
fn goes_through(layout: &Layout, proxies: &[usize], goals: &[Shape]) {
    let bed = filled(layout, &library::library().text);
    let (seed, over) = (random::seed(), AtomicBool::new(false));
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| compare(&bed, proxies, seed, &over));
        for goal in goals {
            println!("{}", drive(&change(&bed, layout, *goal)).join("\n"));
        }
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 500, "only {asked} commands");
    for proxy in 0..bed.proxies().len() {
        assert_eq!(missing(&bed, proxy), 0, "untouched keys are missing at proxy {proxy}");
    }
}

#[test]
fn fastest_grows_from_three_servers_to_five_and_back() {
    let layout = Layout::fastest().with_two_copies().growing();
    goes_through(&layout, &[0, 1, 2], &[shape(5, 2), shape(3, 2)]);
}

#[test]
fn fastest_changes_from_two_copies_to_three_and_back() {
    goes_through(&Layout::fastest().with_two_copies(), &[0, 1, 2], &[shape(3, 3), shape(3, 2)]);
}

/// What another pod wrote may be old there for `local-ttl`; a pod's own clients see one memcached.
#[test]
fn failover_grows_from_three_servers_to_five_and_back() {
    let layout = Layout::failover(LocalPlace::Internal, 60).growing();
    goes_through(&layout, &[0], &[shape(5, 1), shape(3, 1)]);
}

#[test]
fn failover_before_a_replicated_cluster_grows_and_shrinks() {
    let layout = Layout::failover(LocalPlace::Internal, 60).with_two_copies().growing();
    goes_through(&layout, &[0], &[shape(5, 2), shape(3, 2)]);
}
