//! After a split in which both sides wrote the same keys, no server is marked any more, all hold the same, and what one side wrote alone
//! is still there.

use memcached_injector::routing::library;

use super::{play, run_again, seeds};
use crate::mutants::mutant;

/// Splits for each seed: most show nothing wrong, whatever the library.
const EACH: u64 = 10;

/// What is not as it should be.
fn left_behind(library: &str, seed: u64) -> String {
    play(library, &format!("SEED = {seed}\n"), include_str!("split.lua"))
}

#[test]
fn all_servers_hold_the_same_again() {
    for seed in seeds() {
        for split in seed * EACH..(seed + 1) * EACH {
            let left = left_behind(&library::library().text, split);
            assert!(left.is_empty(), "{left}{}", run_again("split::all_servers_hold_the_same_again", seed));
        }
    }
}

#[test]
fn taking_a_key_that_others_missed_for_removed_is_caught() {
    let mutant = mutant("if not(rec.owed[name]or rec.too_many)then knows[y]=true end\n", "");
    assert!((1..=EACH).any(|split| !left_behind(&mutant, split).is_empty()), "nobody noticed");
}
