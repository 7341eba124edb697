//! What a proxy may miss that reads two of the three members of Q: a mark that stands on one only, until it is in force.

use std::collections::BTreeSet;

use super::{for_all_seeds, told};
use crate::mutants::mutant;

/// Ms for which a proxy says nothing: none, or until the mark would be in force, had it been seen.
const BUSY: u32 = 0;
const IDLE: u32 = 180;

/// Are all the increments of both proxies different numbers?
fn counts_each_once(library: &str, seed: u64, idle: u32) -> bool {
    let told = told(library, seed, &format!("IDLE = {idle}\n{}", include_str!("alone.lua")));
    assert_eq!(told.len(), 120, "{told:?}");
    let numbers: BTreeSet<u32> = told.iter().filter_map(|number| number.parse().ok()).collect();
    numbers == (1..=120).collect()
}

fn holds(test: &str, idle: u32) {
    for_all_seeds(test, |library, seed| counts_each_once(library, seed, idle));
}

fn is_caught(from: &str, to: &str, idle: u32) {
    let mutant = mutant(from, to);
    assert!((1..=30).any(|seed| !counts_each_once(&mutant, seed, idle)), "nobody noticed");
}

#[test]
fn a_mark_on_one_member_is_in_force_later() {
    holds("glances::a_mark_on_one_member_is_in_force_later", BUSY);
}

#[test]
fn taking_a_mark_on_one_member_for_known_is_caught() {
    is_caught("return AGO\n", "return 0\n", BUSY);
}

#[test]
fn who_has_not_looked_for_long_reads_all_members() {
    holds("glances::who_has_not_looked_for_long_reads_all_members", IDLE);
}

#[test]
fn a_glance_after_a_long_time_is_caught() {
    is_caught("and start - known.read[y]<=AGO then return y", "then return y", IDLE);
}

/// In ms: TIMEOUT, LEASE until the last proxy has looked, FORCE, 6 until its next request, and a few for the packets.
fn is_in_force_in_time(library: &str, seed: u64) -> bool {
    let told = told(library, seed, include_str!("in_flight.lua"));
    matches!(&told[..], [last] if last.parse::<u32>().is_ok_and(|last| last <= 140 + 65 + 105 + 6 + 5))
}

#[test]
fn a_mark_on_its_way_to_the_other_members_holds_nobody_up() {
    for_all_seeds("glances::a_mark_on_its_way_to_the_other_members_holds_nobody_up", is_in_force_in_time);
}

#[test]
fn taking_a_mark_on_its_way_for_one_that_stays_alone_is_caught() {
    let mutant = mutant("self:on_its_way(holders,answers,start)or start", "start");
    assert!((1..=30).any(|seed| !is_in_force_in_time(&mutant, seed)), "nobody noticed");
}
