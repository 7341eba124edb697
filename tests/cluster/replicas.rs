//! Pod creations go on while the webhook's replicas are rolled, killed and frozen, and while the API server restarts.

use std::time::{Duration, Instant};

use testbed::parts::injector::{Injector, addresses, endpoint_slices};
use testbed::process::Signal;

use crate::bed::{BOUND, Bed};
use crate::fleet::the_leader;
use crate::load::{self, Load, none_failed, outage, report};

/// The goal is 5 s after the fault; a machine that is busy otherwise gets four times that.
const RECOVERY: Duration = Duration::from_secs(20);
/// A webhook's `timeoutSeconds`, and so what a creation costs that was sent to a frozen replica.
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
fn killing_or_freezing_a_replica_fails_no_pod_that_is_created_later() {
    let bed = Bed::without_webhook();
    let mut replicas = bed.replicas(3, &[]);
    for (fault, signal) in [("leader killed", Signal::KILL), ("leader frozen", Signal::STOP)] {
        let load = Load::start(&bed);
        load.wait_for_successes(20);
        let struck = replicas.remove(the_leader(&replicas));
        let at = Instant::now();
        struck.process().signal(signal).unwrap();
        bed.wait_for_endpoints(&replicas.iter().collect::<Vec<_>>());
        println!("{fault}: out of the endpoints after {:.1} s", at.elapsed().as_secs_f64());
        load.wait_for_successes(150);
        let creations = load.stop();
        report(fault, &creations);
        println!("{fault}: the last creation that failed began {:.1} s after it", outage(&creations, at));
        let late = creations.iter().filter(|one| one.began > at + RECOVERY && one.error.is_some());
        assert_eq!(late.count(), 0, "{fault}");
        // One that is not the leader, for the second fault; the one that was struck is gone.
        drop(struck);
        replicas.push(bed.replica(&[]));
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
