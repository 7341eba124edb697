//! A write that overtakes the one that it is built upon, on the way to a copy: it gets there all the same, because whoever has built upon it
//! in turn may lose his answer and begin anew upon what the copy has.

use memcached_injector::routing::library;

use super::{run_again, seeds, told};
use crate::mutants::mutant;

/// Runs for each seed.
const EACH: u64 = 4;

/// What the clients were told: 5 was read before 7 was written, so the increment comes between them or after both.
fn is_right(library: &str, seed: u64) -> bool {
    let told = told(library, seed, include_str!("overtaken.lua"));
    let mut told: Vec<&str> = told.iter().map(String::as_str).collect();
    let last = told.pop();
    told.sort_unstable();
    matches!((told.as_slice(), last), (["5", "8", "STORED"], Some("8")) | (["5", "6", "STORED"], Some("7")))
}

#[test]
fn a_write_that_another_has_built_upon_is_not_lost() {
    for seed in seeds() {
        for run in seed * EACH..(seed + 1) * EACH {
            let again = run_again("overtaken::a_write_that_another_has_built_upon_is_not_lost", seed);
            assert!(is_right(&library::library().text, run), "{again}");
        }
    }
}

#[test]
fn leaving_what_another_has_built_upon_is_caught() {
    let mutant = mutant("if there~=id and(not newer or there~=held)then", "if there~=id and not newer then");
    assert!((1..=EACH).any(|run| !is_right(&mutant, run)), "nobody noticed");
}
