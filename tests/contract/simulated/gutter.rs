//! Stand-ins in virtual time: servers die, freeze, are cut off and come back, empty or with old data, often the same one twice
//! within the time for which its stand-in keeps what it had. A key may be missed; nothing old may be seen, then or later.

use memcached_injector::routing::library;
use testbed::checker::{Misses, check};
use testbed::history::{History, Outcome};

use super::{Shape, run, run_again, seeds};
use crate::gutter_under_clients::{ANEW, decided_anew};
use crate::mutants::mutant;

const KINDS: &str = "kill,empty,stale,freeze,cut,blackhole";
/// Long enough for some ten faults.
const SECONDS: u64 = 24;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 6;

const SHAPE: Shape = Shape { copies: 1, stand_ins: 2, seconds: SECONDS, misses: Misses::Hidden };

/// The history of a run.
fn seen(library: &str, seed: u64) -> (History, String) {
    let seen = run(library, seed, KINDS, SHAPE);
    let mut history = seen.history;
    decided_anew(&mut history);
    (history, seen.story)
}

/// How many clients got an error.
fn failed(history: &History) -> usize {
    history
        .operations
        .iter()
        .filter(|operation| matches!(&operation.outcome, Outcome::Unknown(why) if why != ANEW))
        .count()
}

#[test]
fn one_copy_and_a_stand_in_show_nothing_old() {
    for seed in seeds() {
        let (history, story) = seen(&library::library().text, seed);
        let again = run_again("gutter::one_copy_and_a_stand_in_show_nothing_old", seed);
        let checked = check(&history, SHAPE.misses);
        let checked = checked.unwrap_or_else(|violation| panic!("{violation}{story}\n{again}"));
        assert_eq!(failed(&history), 0, "{:#?}\n{story}\n{again}", history.unknown());
        assert!(checked.operations > 5000, "{checked:?}\n{story}\n{again}");
    }
}

#[test]
fn leaving_the_stand_in_what_is_written_anew_is_caught() {
    let mutant = mutant("elseif class~=M.READ and V.kept then", "elseif false then");
    let caught = (1..=LOOKS).any(|seed| check(&seen(&mutant, seed).0, SHAPE.misses).is_err());
    assert!(caught, "nobody noticed");
}
