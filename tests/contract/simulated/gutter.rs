//! Stand-ins in virtual time: servers die, freeze, are cut off and come back, empty or with old data, often the same one twice
//! within the time for which its stand-in keeps what it had. A key may be missed; nothing old may be seen, then or later.

use std::time::Duration;

use memcached_injector::routing::library;
use testbed::checker::{Misses, check};
use testbed::history::{Call, History, Outcome};
use testbed::random;

use super::{Shape, run};

const KINDS: &str = "kill,empty,stale,freeze,cut,blackhole";
/// Long enough for some ten faults.
const SECONDS: u64 = 24;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 6;
const RUNS: u64 = 3;
/// A request that took so long has waited for a lost server.
const FOUND_OUT: Duration = Duration::from_millis(80);
const ANEW: &str = "decided anew";

fn shape(copies: usize) -> Shape {
    Shape { copies, stand_ins: 2, seconds: SECONDS }
}

/// The history of a run. An update that a server did before it was lost, without an answer, is decided anew where the key is
/// missing; so what it says then is no proof that it did nothing.
fn seen(library: &str, seed: u64, copies: usize) -> (History, String) {
    let seen = run(library, seed, KINDS, shape(copies));
    let mut history = seen.history;
    for operation in &mut history.operations {
        let refused = matches!(operation.outcome, Outcome::Miss | Outcome::NotStored | Outcome::Exists);
        let updates = matches!(operation.call, Call::Add(_) | Call::Append(_) | Call::Cas(..) | Call::Incr(_));
        if refused && updates && operation.end - operation.start > FOUND_OUT {
            operation.outcome = Outcome::Unknown(ANEW.to_owned());
        }
    }
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

fn holds(test: &str, copies: usize) {
    let first = std::env::var(random::SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + RUNS {
        let (history, story) = seen(&library::library().text, seed, copies);
        let again = format!("{}={seed} cargo test --test contract -- --exact simulated::gutter::{test}", random::SEED);
        let checked = check(&history, Misses::Hidden);
        let checked = checked.unwrap_or_else(|violation| panic!("{violation}{story}\nrun again: {again}"));
        assert_eq!(failed(&history), 0, "{:#?}\n{story}\nrun again: {again}", history.unknown());
        assert!(checked.operations > 5000, "{checked:?}\n{story}\nrun again: {again}");
    }
}

fn assert_caught(from: &str, to: &str) {
    let text = &library::library().text;
    assert!(text.contains(from), "this mutant no longer fits the library, which has no {from:?}: break the rule anew");
    let mutant = text.replace(from, to);
    let caught = (1..=LOOKS).any(|seed| check(&seen(&mutant, seed, 1).0, Misses::Hidden).is_err());
    assert!(caught, "nobody noticed");
}

#[test]
fn one_copy_and_a_stand_in_show_nothing_old() {
    holds("one_copy_and_a_stand_in_show_nothing_old", 1);
}

#[test]
fn leaving_the_stand_in_what_is_written_anew_is_caught() {
    assert_caught("elseif class~=M.READ and V.kept then", "elseif false then");
}
