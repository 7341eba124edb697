//! Replicated and coherent: what eight clients see through three proxies stays what ONE memcached could have answered,
//! healthy and in storms of faults on real processes, as long as every two proxies share a server of the key that works. Each storm takes
//! 20 s, or CONTRACT_SECONDS. A key may go missing; nothing old may be seen, no increment repeated or lost, no client
//! gets an error.

use std::time::Duration;

use testbed::checker::Misses;
use testbed::history::{Plan, record};
use testbed::random;
use testbed::storm::{Kind, Storm};

use crate::concurrent::as_one;
use crate::layout::Layout;
use crate::rerun;

/// The promise is 250 ms for a few requests a dead server and proxy; the rest is for a loaded machine.
const STALL: Duration = Duration::from_millis(500);
/// A client waits this long between two operations: the faults shall hurt, not the machine.
const PAUSE: Duration = Duration::from_millis(3);

#[test]
fn healthy_with_three_copies() {
    as_one("coherent_under_faults::healthy_with_three_copies", &Layout::coherent().start(3));
}

#[test]
fn healthy_with_two_copies() {
    as_one("coherent_under_faults::healthy_with_two_copies", &Layout::coherent().with_two_copies().start(3));
}

#[test]
fn healthy_with_two_sets() {
    as_one("coherent_under_faults::healthy_with_two_sets", &Layout::two_sets().start(3));
}

/// Faults of these kinds while eight clients ask. `patient`: the kinds make every request slow, so none is too slow.
fn storm(test: &str, layout: &Layout, kinds: &[Kind], patient: bool) {
    let seed = random::seed();
    let bed = layout.start(3);
    let mut plan = Plan::new(seed, bed.addresses());
    plan.pause = PAUSE;
    let mut storm = Storm::new(seed, rerun::storm_length(), kinds);
    storm.marked = layout.copies as usize - 2; // a trusted copy of each key stays
    let (history, story) = record(&plan, || storm.rage(&bed));
    let story = story.unwrap_or_else(|error| panic!("{error:#}\nrun again: {}", rerun::command(test, seed)));
    let checked = rerun::assert_one_memcached(test, &bed, &history, Misses::Gone, &story);
    let told = format!("{}\nrun again: {}", story.join("\n"), rerun::command(test, seed));
    assert_eq!(checked.unknown, 0, "clients got no clear answer: {:#?}\n{told}", history.unknown());
    let slow = history.slower_than(STALL);
    assert!(patient || slow <= 8 * story.len(), "{slow} requests took over {STALL:?}: {:?}\n{told}", history.slowest());
}

#[test]
fn servers_die_and_come_back_empty() {
    let test = "coherent_under_faults::servers_die_and_come_back_empty";
    storm(test, &Layout::coherent(), &[Kind::Kill, Kind::BackEmpty], false);
}

#[test]
fn servers_freeze_and_come_back_with_old_data() {
    let test = "coherent_under_faults::servers_freeze_and_come_back_with_old_data";
    storm(test, &Layout::coherent(), &[Kind::Freeze, Kind::BackStale], false);
}

#[test]
fn packets_are_lost_in_one_direction() {
    let test = "coherent_under_faults::packets_are_lost_in_one_direction";
    storm(test, &Layout::coherent(), &[Kind::RequestsLost, Kind::RepliesLost], false);
}

#[test]
fn servers_and_paths_are_slow() {
    let test = "coherent_under_faults::servers_and_paths_are_slow";
    storm(test, &Layout::coherent(), &[Kind::Slow, Kind::Starve, Kind::Delay], true);
}
