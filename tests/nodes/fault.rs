//! A cache container or a node freezes, or a node's link loses what it brings in or takes out, for 3 s: apps on two other
//! nodes see no error, and nothing that one memcached could not have answered.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use testbed::checker::{Misses, check};
use testbed::history::{Plan, record};
use testbed::parts::nodes::{Direction, Door, PodNetwork, freeze_container};

use crate::app::{localhost, written};
use crate::bed::{Bed, node_of};
use crate::death::apps;
use crate::traffic::{during, slowest, unharmed};

/// How long each fault lasts.
const FAULT: Duration = Duration::from_secs(3);
/// Of the traffic whose times count.
const KEYS: usize = 2_000;
/// Of those who may catch each other with something old; few keys, so that they meet.
const CLIENTS: usize = 4;
/// Between two operations of one of them.
const PAUSE: Duration = Duration::from_millis(20);
/// Fixed: the faults' moments differ in each run anyway.
const SEED: u64 = 6;

pub(crate) fn of_a_frozen_cache_or_node_and_of_a_cut_link_nothing_is_noticed(bed: &Bed) -> String {
    let apps = apps(bed);
    let victim = node_of(&apps[2]);
    let cache = bed.pods("cache", "memcached.io/cluster=memcached", 3).into_iter().find(|pod| node_of(pod) == victim);
    let cache = cache.expect("each node has a cache server");
    let doors: Vec<Door> =
        apps[..2].iter().map(|app| Door::open(PodNetwork::of(app).unwrap(), localhost()).unwrap()).collect();
    let mut plan = Plan::new(SEED, doors.iter().map(Door::address).collect());
    (plan.clients, plan.pause) = (CLIENTS, PAUSE);
    let mut workload = written(&apps[0], "fault", KEYS);
    let mut figures = Vec::new();
    // One record over all of them: each finds what the one before has left.
    let (history, ()) = record(&plan, || {
        for fault in ["cache frozen", "node frozen", "nothing reaches the node", "nothing leaves the node"] {
            let seen = during(&apps[0], &mut workload, || happen(bed, fault, victim, &cache));
            unharmed(fault, &[&seen]);
            figures.push(format!("{fault}: slowest {}", slowest(&[&seen])));
        }
    });
    // Of an `incr` that was on its way to a server that then said nothing, nobody can know: docs/coherence.md.
    let honest = |message: &String| message.contains("the outcome is not known");
    assert!(history.unknown().keys().all(honest), "{:?}", history.unknown());
    let checked = check(&history, Misses::Never).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.unknown <= 4 * CLIENTS, "{checked:?}");
    figures.push(format!(
        "{} operations of {CLIENTS} more clients checked, {} answered \"not known\"",
        checked.operations, checked.unknown
    ));
    format!("{victim}, 3 s each, 0 errors, 0 stale; {}", figures.join("; "))
}

fn happen(bed: &Bed, fault: &str, victim: &str, cache: &Value) {
    let (mut container, mut node) = (None, None);
    match fault {
        "cache frozen" => container = Some(freeze_container(cache, "memcached").unwrap()),
        "node frozen" => node = Some(bed.nodes.freeze(victim).unwrap()),
        "nothing reaches the node" => node = Some(bed.nodes.cut(victim, Direction::In).unwrap()),
        _ => node = Some(bed.nodes.cut(victim, Direction::Out).unwrap()),
    }
    thread::sleep(FAULT); // its length
    drop((container, node));
}
