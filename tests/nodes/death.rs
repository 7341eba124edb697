//! A node dies or is drained while an app on another node goes on at 200 operations a second through its injected
//! `replicated` sidecar.

use std::time::Duration;

use serde_json::Value;
use testbed::parts::nodes::{Death, SilentDns};

use crate::app::{deployment, written};
use crate::bed::{Bed, node_of};
use crate::traffic::{Seen, during, reading, slowest, unharmed};

/// Keys that must be there afterwards, most of them never read before.
const KEYS: usize = 2_000;

pub(crate) fn of_a_node_without_a_word(bed: &Bed) -> String {
    node_death(bed, Death::Silent, &|| None)
}

pub(crate) fn of_a_node_with_its_link(bed: &Bed) -> String {
    node_death(bed, Death::LinkDown, &|| None)
}

/// As where the DNS server was on that node.
pub(crate) fn of_a_node_and_of_the_dns(bed: &Bed) -> String {
    node_death(bed, Death::Silent, &|| Some(bed.nodes.silence_dns().unwrap()))
}

/// A node's death, and what dies with it.
fn node_death<'a>(bed: &'a Bed, death: Death, more: &(dyn Fn() -> Option<SilentDns<'a>> + Sync)) -> String {
    let app = app(bed);
    let victim = other_node(&app, death == Death::Silent);
    let mut workload = written(&app, &format!("death-{victim}"), KEYS);
    let mut dead = None;
    let during = during(&app, &mut workload, || {
        dead = more();
        bed.nodes.kill(victim, death).unwrap();
    });
    let after = reading(&app, &workload);
    drop(dead);
    bed.nodes.revive(victim).unwrap();
    bed.wait_installed();
    wait_caches(bed);
    kept(victim, &during, &after);
    let again = reading(&app, &workload);
    kept(victim, &during, &again);
    figures(&format!("{victim} killed ({death:?})"), &during, &after)
}

pub(crate) fn a_drained_node_takes_no_key_along(bed: &Bed) -> String {
    let app = app(bed);
    let victim = other_node(&app, true);
    let mut workload = written(&app, "drain", KEYS);
    let mut drained = None;
    let during =
        during(&app, &mut workload, || drained = Some(bed.nodes.drain(victim, Duration::from_secs(90)).unwrap()));
    let after = reading(&app, &workload);
    drop(drained);
    bed.wait_installed();
    kept(victim, &during, &after);
    figures(&format!("{victim} drained"), &during, &after)
}

/// An app's pod with a sidecar, on node-1.
fn app(bed: &Bed) -> Value {
    apps(bed).remove(0)
}

/// Three pods with a sidecar, one a node.
pub(crate) fn apps(bed: &Bed) -> Vec<Value> {
    bed.wait_installed();
    wait_caches(bed);
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("replicated")));
    bed.pods(&namespace, "app=replicated", 3)
}

/// A node that is not the app's: one or the other.
fn other_node(app: &Value, first: bool) -> &'static str {
    let others: Vec<&str> = ["node-1", "node-2", "node-3"].into_iter().filter(|node| *node != node_of(app)).collect();
    if first { others[0] } else { others[1] }
}

/// Waits until every cache server answers: what the API server says of a node that died is old.
fn wait_caches(bed: &Bed) {
    for number in 0..3 {
        testbed::wait::until(&format!("memcached-{number} to answer"), crate::bed::BOUND, || {
            Ok(match bed.cache(number).raw("version") {
                Ok(_) => testbed::wait::Look::Ready(()),
                Err(error) => testbed::wait::Look::NotYet(error.to_string()),
            })
        })
        .unwrap();
    }
}

/// Neither the traffic nor a look at every key afterwards found anything amiss.
fn kept(what: &str, during: &Seen, after: &Seen) {
    unharmed(what, &[during, after]);
}

fn figures(what: &str, during: &Seen, after: &Seen) -> String {
    let operations = during.tally.operations;
    format!(
        "{what}: {operations} operations, 0 errors, slowest {}; {} keys, 0 lost",
        slowest(&[during]),
        after.tally.hits
    )
}
