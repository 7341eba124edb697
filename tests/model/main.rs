//! A model of the coherence protocol (docs/coherence.md), checked exhaustively: one key, two proxies with a client each, two
//! or three servers, at most one fault. Every history must be what one memcached could have answered, misses allowed.
//! Each rule that is taken out must yield a counterexample; what is open is shown with its shortest trace.
//!
//! What the model takes as given: Q is one register; a lease is "everybody has seen the change, and whatever began before
//! has ended" (so clocks need no numbers); a repair by comparison is one step.

#![allow(clippy::expect_used, clippy::panic)] // how a test stops

mod protocol;
mod ring;
mod spec;

use protocol::{Cluster, Kind::*, Rules};
use stateright::{Checker, Model};

/// Scripts of the two clients that meet in every way that matters: counters, overwrites, removals, reads.
const SCRIPTS: [[[protocol::Kind; 2]; 2]; 4] = [
    [[Incr, Incr], [Incr, Get]],
    [[Set(7), Get], [Incr, Get]],
    [[Set(7), Get], [Delete, Get]],
    [[Delete, Get], [Get, Incr]],
];

/// The shortest way to a broken promise under `rules`, if there is one: its steps.
fn broken(servers: usize, script: usize, rules: Rules) -> Option<Vec<String>> {
    let cluster = Cluster { servers, scripts: SCRIPTS[script], rules };
    let checker = cluster.checker().threads(2).spawn_bfs().join();
    println!("{servers} servers, script {script}, {rules:?}: {} states", checker.unique_state_count());
    let path = checker.discovery("one memcached")?;
    Some(path.into_vec().iter().map(|(state, action)| format!("{action:?} after {}", state.told())).collect())
}

fn holds(servers: usize, script: usize) {
    if let Some(trace) = broken(servers, script, Rules::ALL) {
        panic!("{servers} servers, script {script}: broken by\n  {}", trace.join("\n  "));
    }
}

/// Some script has a counterexample that it has not with all rules.
fn needed(rules: Rules) {
    let traces = [2, 3].into_iter().flat_map(|servers| (0..SCRIPTS.len()).map(move |script| (servers, script)));
    let found = traces.into_iter().find_map(|(servers, script)| broken(servers, script, rules));
    let trace = found.unwrap_or_else(|| panic!("{rules:?} breaks nothing: the rule is not needed, or not modelled"));
    println!("  {}", trace.join("\n  "));
}

#[test]
fn two_increments_meet_an_increment_and_a_read() {
    holds(2, 0);
    holds(3, 0);
}

#[test]
fn an_overwrite_meets_an_increment() {
    holds(2, 1);
    holds(3, 1);
}

#[test]
fn an_overwrite_meets_a_removal() {
    holds(2, 2);
    holds(3, 2);
}

#[test]
fn a_removal_meets_a_read_and_an_increment() {
    holds(2, 3);
    holds(3, 3);
}

#[test]
fn without_marks_it_breaks() {
    needed(Rules { mark: false, ..Rules::ALL });
}

#[test]
fn without_waiting_a_lease_it_breaks() {
    needed(Rules { lease: false, ..Rules::ALL });
}

#[test]
fn without_waiting_until_the_mark_is_known_it_breaks() {
    needed(Rules { force: false, ..Rules::ALL });
}

#[test]
fn without_comparing_before_a_mark_goes_it_breaks() {
    needed(Rules { compare: false, ..Rules::ALL });
}

#[test]
fn without_settling_before_the_comparison_it_breaks() {
    needed(Rules { settle: false, ..Rules::ALL });
}

#[test]
fn without_conditions_on_copies_it_breaks() {
    needed(Rules { condition: false, ..Rules::ALL });
}

#[test]
fn without_noting_what_was_passed_it_breaks() {
    needed(Rules { notes: false, ..Rules::ALL });
}

#[test]
fn without_spreading_what_another_has_built_upon_it_breaks() {
    needed(Rules { own: false, ..Rules::ALL });
}

#[test]
fn without_looking_whether_it_was_done_it_breaks() {
    needed(Rules { resolve: false, ..Rules::ALL });
}

#[test]
fn without_marking_who_was_emptied_it_breaks() {
    needed(Rules { emptied: false, ..Rules::ALL });
}

/// Open: the authority did what it was asked, its answer was lost, and another proxy used the next one first.
#[test]
fn open_an_effect_seen_though_its_answer_was_lost() {
    needed(Rules { head: false, ..Rules::ALL });
}

/// Open: an operation that takes longer than a lease and its grace (a proxy starved between two steps).
#[test]
fn open_an_operation_longer_than_lease_and_grace() {
    needed(Rules { bounded: false, ..Rules::ALL });
}
