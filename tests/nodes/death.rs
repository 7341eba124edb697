//! A node dies, is drained, freezes or is cut off, while an app on another node goes on at 200 operations a second through
//! its injected `replicated` sidecar.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testbed::parts::nodes::{Death, Direction};
use testbed::workload::{Tally, Workload};

use crate::app::{deployment, from_inside, written};
use crate::bed::{Bed, node_of};

/// Keys that must be there afterwards, most of them never read before.
const KEYS: usize = 2_000;
/// Operations a second.
const RATE: u32 = 200;
/// A dead server was seen to cost 254 ms for a few requests; a busy machine gets four times as long.
pub(crate) const SLOWEST: Duration = Duration::from_millis(4 * 260);
/// Of traffic; the event is in its middle.
const LENGTH: Duration = Duration::from_secs(16);
/// How long a fault that ends by itself lasts.
const FAULT: Duration = Duration::from_secs(3);

pub(crate) fn of_a_node_without_a_word(bed: &Bed) -> String {
    node_death(bed, Death::Silent)
}

pub(crate) fn of_a_node_with_its_link(bed: &Bed) -> String {
    node_death(bed, Death::LinkDown)
}

fn node_death(bed: &Bed, death: Death) -> String {
    let app = app(bed);
    let victim = other_node(&app, death == Death::Silent);
    let mut workload = written(&app, &format!("death-{victim}"), KEYS);
    let during = during(&app, &mut workload, || bed.nodes.kill(victim, death).unwrap());
    let after = from_inside(&app, |localhost| workload.through(localhost).read_all());
    bed.nodes.revive(victim).unwrap();
    bed.wait_installed();
    wait_caches(bed);
    unharmed(&during, &after);
    let again = from_inside(&app, |localhost| workload.through(localhost).read_all());
    unharmed(&during, &again);
    figures(&format!("{victim} killed ({death:?})"), &during, &after)
}

pub(crate) fn a_drained_node_takes_no_key_along(bed: &Bed) -> String {
    let app = app(bed);
    let victim = other_node(&app, true);
    let mut workload = written(&app, "drain", KEYS);
    let mut drained = None;
    let during =
        during(&app, &mut workload, || drained = Some(bed.nodes.drain(victim, Duration::from_secs(90)).unwrap()));
    let after = from_inside(&app, |localhost| workload.through(localhost).read_all());
    drop(drained);
    bed.wait_installed();
    unharmed(&during, &after);
    figures(&format!("{victim} drained"), &during, &after)
}

pub(crate) fn a_node_that_is_frozen_or_cut_off(bed: &Bed) -> String {
    let app = app(bed);
    let victim = other_node(&app, false);
    let mut workload = written(&app, "fault", KEYS);
    let mut all = Vec::new();
    for fault in ["frozen", "cut in", "cut out"] {
        let during = during(&app, &mut workload, || {
            let _guard = match fault {
                "frozen" => bed.nodes.freeze(victim),
                "cut in" => bed.nodes.cut(victim, Direction::In),
                _ => bed.nodes.cut(victim, Direction::Out),
            }
            .unwrap();
            thread::sleep(FAULT); // the fault's length
        });
        let after = from_inside(&app, |localhost| workload.through(localhost).read_all());
        for tally in [&during, &after] {
            assert_eq!((tally.errors, tally.refused, tally.misses), (0, 0, 0), "{fault}: {during:?} {after:?}");
        }
        assert!(during.slowest <= SLOWEST, "{fault}: {during:?}");
        // Counted, not judged: what the routing library promises of a server that comes back with old data, and whether it
        // keeps it, is tested where its servers can be watched (tests/contract).
        let stale = during.wrong + after.wrong;
        all.push(format!(
            "{victim} {fault} for 3 s: 0 errors, slowest {} ms, {stale} stale",
            during.slowest.as_millis()
        ));
    }
    all.join("; ")
}

/// An app's pod with a sidecar, on node-1.
fn app(bed: &Bed) -> Value {
    bed.wait_installed();
    wait_caches(bed);
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("replicated")));
    bed.pods(&namespace, "app=replicated", 3).remove(0)
}

/// A node that is not the app's: one or the other.
fn other_node(app: &Value, first: bool) -> &'static str {
    let others: Vec<&str> = ["node-1", "node-2", "node-3"].into_iter().filter(|node| *node != node_of(app)).collect();
    if first { others[0] } else { others[1] }
}

/// Traffic from inside the app's pod while, on a thread of its own, `event` happens.
pub(crate) fn during(app: &Value, workload: &mut Workload, event: impl FnOnce() + Send) -> Tally {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let happening = scope.spawn(move || told.recv().map(|()| event()));
        let tally = from_inside(app, move |_| workload.mixed(LENGTH, RATE, || tell.send(()).unwrap()));
        happening.join().unwrap().unwrap();
        tally
    })
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

fn unharmed(during: &Tally, after: &Tally) {
    for tally in [during, after] {
        assert_eq!((tally.errors, tally.refused, tally.wrong, tally.misses), (0, 0, 0, 0), "{during:?} {after:?}");
    }
    assert!(during.slowest <= SLOWEST, "{during:?}");
}

fn figures(what: &str, during: &Tally, after: &Tally) -> String {
    format!(
        "{what}: {} operations, 0 errors, slowest {} ms; {} keys, 0 lost",
        during.operations,
        during.slowest.as_millis(),
        after.hits
    )
}
