//! A read that finds the view run out is sent along with the reading of the view, and counts only if that has not changed.

use super::{for_all_seeds, seeds, told};
use crate::mutants::mutant;

const READERS: usize = 80;
/// Ms that a packet takes at most, there and back.
const ROUND_TRIP: f64 = 2.0 * 0.45;

fn read(library: &str, seed: u64, quiet: bool) -> Vec<String> {
    let told = told(library, seed, &format!("QUIET = {quiet}\n{}", include_str!("first_read.lua")));
    assert_eq!(told.len(), READERS, "{told:?}");
    told
}

/// Does each proxy's first read take one round trip?
fn in_one_round_trip(library: &str, seed: u64) -> bool {
    read(library, seed, true).iter().all(|took| took.parse::<f64>().unwrap() < ROUND_TRIP + 0.1)
}

fn reads_the_last_write(library: &str, seed: u64) -> bool {
    read(library, seed, false).iter().all(|value| value == "2")
}

#[test]
fn a_read_does_not_wait_for_the_view_and_then_for_its_answer() {
    for_all_seeds("along::a_read_does_not_wait_for_the_view_and_then_for_its_answer", in_one_round_trip);
}

#[test]
fn reading_the_view_first_is_caught() {
    let mutant = mutant("self.asked=p end", "end");
    assert!(seeds().all(|seed| !in_one_round_trip(&mutant, seed)), "nobody noticed");
}

#[test]
fn what_was_read_along_counts_only_under_the_same_view() {
    for_all_seeds("along::what_was_read_along_counts_only_under_the_same_view", reads_the_last_write);
}

#[test]
fn taking_what_was_read_before_a_change_is_caught() {
    let mutant =
        mutant("and V.calm and V.steady and V.ring==ring and mono()<V.valid then self.asked=p", "then self.asked=p");
    assert!(seeds().any(|seed| !reads_the_last_write(&mutant, seed)), "nobody noticed");
}

/// In ms: FORCE, and a few for the packets.
fn waits_for_one_mark(library: &str, seed: u64) -> bool {
    let told = told(library, seed, include_str!("held_up.lua"));
    matches!(&told[..], [took] if took.parse::<u32>().is_ok_and(|took| took <= 105 + 5))
}

#[test]
fn a_reading_that_was_held_up_undoes_nothing() {
    for_all_seeds("along::a_reading_that_was_held_up_undoes_nothing", waits_for_one_mark);
}

#[test]
fn taking_over_a_reading_that_was_held_up_is_caught() {
    let mutant = mutant("or start<V.taken then return end", "then return end");
    assert!(seeds().any(|seed| !waits_for_one_mark(&mutant, seed)), "nobody noticed");
}
