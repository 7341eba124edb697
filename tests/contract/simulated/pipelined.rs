//! What one connection sends for one key is done in the order in which it was sent, also where the first has to wait and the second
//! would not: for a view that has run out, or for a server that is lost.

use memcached_injector::routing::library;

use super::{play, run_again, seeds};
use crate::mutants::mutant;

const SECONDS: u32 = 30;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 4;

/// Reads that a write in front of them should have been seen by, and pairs that were sent.
fn passed(library: &str, seed: u64, copies: usize, frozen: bool) -> (Vec<String>, u32) {
    let globals = format!("SEED, SECONDS, COPIES, FROZEN = {seed}, {SECONDS}, {copies}, {frozen}\n");
    let said = play(library, &globals, include_str!("pipelined.lua"));
    let passed = said.lines().filter_map(|line| line.strip_prefix("passed\t")).map(str::to_owned).collect();
    let sent = said.lines().find_map(|line| line.strip_prefix("sent\t")).expect("it ends with how many there were");
    (passed, sent.parse().unwrap())
}

fn in_order(test: &str, copies: &[usize], frozen: bool) {
    for seed in seeds() {
        for &copies in copies {
            let (passed, sent) = passed(&library::library().text, seed, copies, frozen);
            assert!(passed.is_empty(), "{copies} copies: {passed:#?}\n{}", run_again(test, seed));
            assert!(sent > 500, "only {sent} pairs");
        }
    }
}

#[test]
fn no_read_passes_a_write_that_waits_for_the_view() {
    in_order("pipelined::no_read_passes_a_write_that_waits_for_the_view", &[1, 2, 3], false);
}

#[test]
fn no_read_passes_a_write_that_waits_for_a_lost_server() {
    in_order("pipelined::no_read_passes_a_write_that_waits_for_a_lost_server", &[2, 3], true);
}

fn assert_caught(from: &str, to: &str, frozen: bool) {
    let mutant = mutant(from, to);
    assert!((1..=LOOKS).any(|seed| !passed(&mutant, seed, 3, frozen).0.is_empty()), "nobody noticed");
}

#[test]
fn going_on_when_the_view_is_there_though_others_wait_is_caught() {
    assert_caught("local behind=(waits or V.waiting>0)and self:line_up(key,waits)", "local behind=false", false);
}

#[test]
fn going_on_as_soon_as_awake_is_caught() {
    assert_caught("until not(self.line and self:must_wait())", "until true", true);
}
