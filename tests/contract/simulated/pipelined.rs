//! What one connection sends for one key is done in the order in which it was sent, also where the first has to wait and the second
//! would not: for a view that has run out, or for a server that is lost.

use memcached_injector::routing::library;

use super::{play, run_again, seeds};
use crate::mutants::mutant;

const SECONDS: u32 = 30;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 4;

/// Ms between two pairs: the view has run out just now, so two of three members are read, or long ago, so all are.
const PAUSES: [u32; 2] = [80, 150];

/// A cluster, and what is sent.
#[derive(Clone, Copy)]
struct Case {
    consistency: &'static str,
    copies: usize,
    pause: u32,
    frozen: bool,
    behind: &'static str,
}

const CASE: Case = Case { consistency: "coherent", copies: 3, pause: PAUSES[1], frozen: false, behind: "get" };

/// What should have seen the write in front of it and did not, and pairs that were sent.
fn passed(library: &str, seed: u64, case: Case) -> (Vec<String>, u32) {
    let Case { consistency, copies, pause, frozen, behind } = case;
    let globals = format!(
        "SEED, SECONDS, COPIES, CONSISTENCY = {seed}, {SECONDS}, {copies}, \"{consistency}\"\n\
         PAUSE, FROZEN, BEHIND = {pause}, {frozen}, \"{behind}\"\n"
    );
    let said = play(library, &globals, include_str!("pipelined.lua"));
    let passed = said.lines().filter_map(|line| line.strip_prefix("passed\t")).map(str::to_owned).collect();
    let sent = said.lines().find_map(|line| line.strip_prefix("sent\t")).expect("it ends with how many there were");
    (passed, sent.parse().unwrap())
}

fn in_order(test: &str, copies: &[usize], case: Case) {
    for seed in seeds() {
        for (&copies, pause) in copies.iter().flat_map(|copies| PAUSES.map(|pause| (copies, pause))) {
            let (passed, sent) = passed(&library::library().text, seed, Case { copies, pause, ..case });
            assert!(passed.is_empty(), "{copies} copies: {passed:#?}\n{}", run_again(test, seed));
            assert!(sent > 500, "only {sent} pairs");
        }
    }
}

#[test]
fn no_read_passes_a_write_that_waits_for_the_view() {
    in_order("pipelined::no_read_passes_a_write_that_waits_for_the_view", &[1, 2, 3], CASE);
}

#[test]
fn no_read_passes_a_write_that_waits_for_a_lost_server() {
    in_order("pipelined::no_read_passes_a_write_that_waits_for_a_lost_server", &[2, 3], Case { frozen: true, ..CASE });
}

const FASTEST: Case = Case { consistency: "fastest", behind: "delete", ..CASE };

#[test]
fn no_write_passes_another_where_all_servers_are_asked_at_once() {
    in_order("pipelined::no_write_passes_another_where_all_servers_are_asked_at_once", &[3], FASTEST);
}

fn assert_caught(from: &str, to: &str, case: Case) {
    let mutant = mutant(from, to);
    assert!((1..=LOOKS).any(|seed| !passed(&mutant, seed, case).0.is_empty()), "nobody noticed");
}

#[test]
fn going_on_when_the_view_is_there_though_others_wait_is_caught() {
    assert_caught("local behind=(waits or V.waiting>0)and self:line_up(key,waits)", "local behind=false", CASE);
}

#[test]
fn going_on_as_soon_as_awake_is_caught() {
    assert_caught("until not(self.line and self:must_wait())", "until true", Case { frozen: true, ..CASE });
}

#[test]
fn asking_all_servers_out_of_turn_is_caught() {
    assert_caught("while not self.V and self.line and self:must_wait()do end", "", FASTEST);
}
