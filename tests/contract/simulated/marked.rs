//! Where all servers of a key are marked, the one marked last leads: the same one for every proxy, in whatever order the members of Q hold
//! the marks, and whichever members a proxy can read.

use std::collections::BTreeSet;

use super::{for_all_seeds, told};
use crate::mutants::mutant;

/// Whether each increment that clients were told of made a number of its own.
fn counts_each_once(library: &str, seed: u64) -> bool {
    let told = told(library, seed, include_str!("marked.lua"));
    assert!(told.len() >= 40, "{told:?}");
    let numbers: BTreeSet<&String> =
        told.iter().filter(|told| told.ends_with(|last: char| last.is_ascii_digit())).collect();
    numbers.len() == told.len()
}

#[test]
fn all_proxies_have_the_same_last_mark() {
    for_all_seeds("marked::all_proxies_have_the_same_last_mark", counts_each_once);
}

#[test]
fn telling_the_last_mark_by_where_it_stands_is_caught() {
    assert!(!counts_each_once(&mutant("return 3 - time/1e15", "return 3"), 1), "nobody noticed");
}
