//! Pod creations go on without one failure while the webhook's replicas are rolled, killed, frozen and cut off; and while
//! the API server restarts only what it refused itself fails.

use std::time::{Duration, Instant};

use testbed::parts::injector::{Injector, addresses, addresses_of, endpoint_slices};
use testbed::parts::relay::Condition;
use testbed::process::Signal;

use crate::bed::{BOUND, Bed};
use crate::fleet::{binary, the_leader};
use crate::load::{self, Load, none_failed, report};

/// A webhook's `timeoutSeconds`, and so what a creation may cost at most that no replica answers.
const TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn rolling_every_replica_fails_no_pod() {
    let bed = Bed::without_webhook();
    let mut replicas = bed.replicas(2, &["--shutdown-delay", "8"]);
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    for _ in 0..2 {
        // As the Deployment does it: one more first, then one less.
        let new = bed.replica(&["--shutdown-delay", "8"]);
        let old = replicas.remove(0);
        old.process().signal(Signal::TERM).unwrap();
        assert!(old.process().wait_exit(BOUND).unwrap().success());
        replicas.push(new);
    }
    load.wait_for_successes(20);
    none_failed("both replicas rolled", &load.stop());
}

#[test]
fn killing_a_replica_fails_no_pod() {
    strike(Signal::KILL, "killed");
}

#[test]
fn freezing_a_replica_fails_no_pod() {
    strike(Signal::STOP, "frozen");
}

/// Of two replicas first the one that is asked first, then the leader, whoever they are.
fn strike(signal: Signal, fault: &str) {
    let bed = Bed::without_webhook();
    let mut replicas = bed.replicas(2, &[]);
    for who in ["the one that is asked first", "the leader"] {
        bed.wait_for_endpoints(&replicas.iter().collect::<Vec<_>>());
        let victim = if who == "the leader" { the_leader(&replicas) } else { asked_first(&bed, &replicas) };
        let load = Load::start(&bed);
        load.wait_for_successes(20);
        let struck = replicas.remove(victim);
        let at = Instant::now();
        struck.process().signal(signal).unwrap();
        bed.wait_for_endpoints(&[&replicas[0]]);
        println!("{who} {fault}: out of the endpoints after {:.1} s", at.elapsed().as_secs_f64());
        load.wait_for_successes(60);
        none_failed(&format!("{who} {fault}"), &load.stop());
        drop(struck);
        replicas.push(bed.replica(&[]));
    }
}

fn asked_first(bed: &Bed, replicas: &[Injector]) -> usize {
    let first = addresses_of(&bed.get(&endpoint_slices()), "https");
    replicas.iter().position(|replica| first.contains(&replica.admission_address())).unwrap()
}

/// Its heartbeats go on, so it stays an endpoint: harder than a node that is gone.
#[test]
fn an_address_that_goes_dark_fails_no_pod() {
    let bed = Bed::without_webhook();
    let (_one, relay) = Injector::in_cluster_behind_relay(binary(), &bed.control_plane).unwrap();
    let (_other, other_relay) = Injector::in_cluster_behind_relay(binary(), &bed.control_plane).unwrap();
    let both = [relay.address(), other_relay.address()];
    bed.wait_for("both to be endpoints", &endpoint_slices(), |list| addresses(list).len() == both.len());
    for condition in [Condition::Blackhole, Condition::Cut] {
        let load = Load::start(&bed);
        load.wait_for_successes(20);
        let first = addresses_of(&bed.get(&endpoint_slices()), "https");
        let dark = if first == [relay.address()] { &relay } else { &other_relay };
        dark.set(condition).unwrap();
        load.wait_for_successes(60);
        none_failed(&format!("the address that is asked first in {condition:?}"), &load.stop());
        dark.set(Condition::Clear).unwrap();
    }
}

/// A few pods, one after the other: too few to use up connections that the API server would keep.
#[test]
fn a_quiet_cluster_keeps_no_connection_to_a_frozen_replica() {
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &[]);
    let leader = the_leader(&replicas);
    // All at once, so that there is a connection for each, to either replica.
    let burst = load::burst(&bed, 60);
    none_failed("a burst of 60", &burst);
    let struck = &replicas[1 - leader];
    struck.process().signal(Signal::STOP).unwrap();
    bed.wait_for_endpoints(&[&replicas[leader]]);
    let shop = bed.namespace(serde_json::json!({}), serde_json::json!({}));
    let later: Vec<_> = (0..10).map(|_| load::create(&bed.control_plane.client(), &shop)).collect();
    none_failed("created one by one, once the frozen replica was out of the endpoints", &later);
    let slowest = later.iter().map(|one| one.took).max().unwrap_or_default();
    assert!(slowest < TIMEOUT, "nobody asked the frozen one: {slowest:?}");
}

#[test]
fn an_api_server_that_restarts_leaves_the_endpoints_alone() {
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &[]);
    let all: Vec<_> = replicas.iter().collect();
    bed.wait_for_endpoints(&all);
    let before = changes(&replicas);
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    let at = Instant::now();
    bed.control_plane.stop_api_server().unwrap();
    bed.control_plane.start_api_server().unwrap();
    let ready = at.elapsed();
    println!("API server restarted: ready after {:.1} s", at.elapsed().as_secs_f64());
    load.wait_for_successes(100);
    // One who was heard late would be out by now.
    let listed = addresses(&bed.get(&endpoint_slices()));
    assert_eq!(listed.len(), 2, "{listed:?}");
    let creations = load.stop();
    report("API server restarted", &creations);
    let by_webhook: Vec<_> = creations
        .iter()
        .filter(|one| one.error.as_deref().is_some_and(|error| error.contains("webhook") || error.contains("injected")))
        .collect();
    println!("API server restarted: {} of the failures name the webhook", by_webhook.len());
    // A server that starts on a starved machine times out by itself while what has piled up is worked off.
    let late: Vec<_> = by_webhook.iter().filter(|one| one.began > at + ready + TIMEOUT).take(3).collect();
    assert!(late.is_empty(), "{late:?}");
    assert_eq!(changes(&replicas), before, "nobody was taken out and put back");
    the_leader(&replicas);
}

/// How often any of them has written the Service's endpoints.
fn changes(replicas: &[Injector]) -> usize {
    let log: String = replicas.iter().map(|replica| replica.process().log()).collect();
    log.matches("the Service's endpoints change").count()
}
