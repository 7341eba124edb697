//! Hand-written histories: each kind of violation is found, and each freedom of a cache is granted.

use std::time::Duration;

use super::{Misses, check};
use crate::history::{Call, History, Operation, Outcome};

use Call::{Add, Append, Cas, Delete, Get, Gets, Incr, Set, Touch};
use Outcome::{Done, Exists, Miss, NotStored, Number};

fn value(text: &str) -> Outcome {
    Outcome::Value(text.to_owned(), None)
}

fn with_id(text: &str, id: u64) -> Outcome {
    Outcome::Value(text.to_owned(), Some(id))
}

fn set(text: &str) -> Call {
    Set(text.to_owned())
}

fn unknown() -> Outcome {
    Outcome::Unknown("no reply in time".to_owned())
}

/// An operation from `start` to `end`, in milliseconds.
fn at(start: u64, end: u64, call: Call, outcome: Outcome) -> Operation {
    let (start, end) = (Duration::from_millis(start), Duration::from_millis(end));
    Operation { client: 0, proxy: 0, key: "k".to_owned(), call, outcome, start, end }
}

/// One after the other.
fn in_turn(steps: Vec<(Call, Outcome)>) -> Vec<Operation> {
    steps.into_iter().zip(0..).map(|((call, outcome), n)| at(n * 10, n * 10 + 5, call, outcome)).collect()
}

fn passes(operations: Vec<Operation>) {
    if let Err(violation) = check(&History { seed: 0, operations }, Misses::Gone) {
        panic!("{violation}");
    }
}

fn fails(operations: Vec<Operation>, kind: &str) {
    let violation = check(&History { seed: 7, operations }, Misses::Gone).unwrap_err();
    assert!(violation.kind().contains(kind), "{violation}");
    let text = violation.to_string();
    assert!(text.contains("seed 7") && !violation.window.is_empty(), "{text}");
}

#[test]
fn what_one_client_sees_of_one_memcached_passes() {
    passes(in_turn(vec![
        (Get, Miss),
        (set("a"), Done),
        (Gets, with_id("a", 4)),
        (Cas("b".into(), 4), Done),
        (Cas("c".into(), 4), Exists),
        (Append("!".into()), Done),
        (Get, value("b!")),
        (Add("d".into()), NotStored),
        (Touch, Done),
        (Delete, Done),
        (Delete, Miss),
        (Append("!".into()), NotStored),
        (Add("1".into()), Done),
        (Incr(1), Number(2)),
        (Get, value("2")),
    ]));
}

#[test]
fn a_stale_read_is_found() {
    fails(in_turn(vec![(set("a"), Done), (set("b"), Done), (Get, value("a"))]), "a read returned what was overwritten");
    fails(in_turn(vec![(set("a"), Done), (Delete, Done), (Get, value("a"))]), "a read returned what was overwritten");
}

#[test]
fn going_back_is_found_where_the_write_itself_is_still_running() {
    // either value may be read while the second write runs, but not the new one and then the old
    let running = |first: &str, second: &str| {
        vec![
            at(0, 5, set("a"), Done),
            at(10, 100, set("b"), Done),
            at(20, 25, Get, value(first)),
            at(30, 35, Get, value(second)),
        ]
    };
    passes(running("a", "b"));
    passes(running("a", "a"));
    fails(running("b", "a"), "a read returned");
}

#[test]
fn a_key_may_go_missing_but_what_it_held_may_not_come_back() {
    passes(in_turn(vec![(set("a"), Done), (Get, Miss), (Add("b".into()), Done), (Get, value("b"))]));
    passes(in_turn(vec![(set("a"), Done), (Add("b".into()), Done), (Get, value("b"))]));
    let back = in_turn(vec![(set("a"), Done), (Get, Miss), (Get, value("a"))]);
    fails(back.clone(), "a read returned");
    // on a healthy server no key goes missing by itself
    for lost in [vec![(set("a"), Done), (Get, Miss)], vec![(set("a"), Done), (Add("b".into()), Done)]] {
        assert!(check(&History { seed: 0, operations: in_turn(lost) }, Misses::Never).is_err());
    }
    let deleted = in_turn(vec![(set("a"), Done), (Delete, unknown()), (Get, Miss), (Add("b".into()), Done)]);
    assert!(check(&History { seed: 0, operations: deleted }, Misses::Never).is_ok());
    // where a miss proves nothing, it may; but never over an acknowledged write or removal
    assert!(check(&History { seed: 0, operations: back }, Misses::Hidden).is_ok());
    for write in [(Delete, Done), (Delete, Miss), (Add("b".into()), Done)] {
        let operations = in_turn(vec![(set("a"), Done), (Get, Miss), write, (Get, value("a"))]);
        assert!(check(&History { seed: 0, operations }, Misses::Hidden).is_err());
    }
}

#[test]
fn a_repeated_or_lost_increment_is_found() {
    let counter = |second| in_turn(vec![(Add("5".into()), Done), (Incr(1), Number(6)), (Incr(1), Number(second))]);
    passes(counter(7));
    fails(counter(6), "an increment");
    fails(counter(8), "an increment");
    let at_once = vec![
        at(0, 5, Add("5".into()), Done),
        at(10, 30, Incr(1), Number(7)),
        at(12, 31, Incr(1), Number(6)),
        at(40, 41, Get, value("7")),
    ];
    passes(at_once.clone());
    let mut lost = at_once;
    lost[3].outcome = value("6");
    fails(lost, "a read returned");
}

#[test]
fn a_lock_given_twice_is_found_only_where_nothing_took_it_away() {
    // the second add needs a removal or a loss in between: a loss is a cache's freedom, but then the first is gone
    passes(in_turn(vec![(Add("a".into()), Done), (Add("b".into()), Done), (Get, value("b"))]));
    fails(in_turn(vec![(Add("a".into()), Done), (Add("b".into()), Done), (Get, value("a"))]), "a read returned");
    fails(in_turn(vec![(Add("a".into()), Done), (Delete, Done), (Add("b".into()), NotStored)]), "add said");
    fails(in_turn(vec![(Add("a".into()), Done), (Delete, Done), (Delete, Done)]), "delete said");
}

#[test]
fn a_dishonest_cas_is_found() {
    let start = || vec![(set("a"), Done), (Gets, with_id("a", 4))];
    let with = |mut steps: Vec<(Call, Outcome)>, more: Vec<(Call, Outcome)>| {
        steps.extend(more);
        in_turn(steps)
    };
    fails(with(start(), vec![(set("b"), Done), (Cas("c".into(), 4), Done)]), "cas accepted");
    fails(with(start(), vec![(Cas("c".into(), 4), Exists)]), "cas refused");
    fails(with(start(), vec![(Cas("b".into(), 4), Done), (Cas("c".into(), 4), Done)]), "cas accepted");
    fails(with(start(), vec![(Gets, with_id("a", 5))]), "a read returned");
    passes(with(start(), vec![(Delete, Done), (Cas("c".into(), 4), Miss)]));
}

#[test]
fn an_unknown_write_may_happen_late_or_never_but_only_once() {
    passes(vec![
        at(0, 5, set("a"), Done),
        at(10, 20, set("b"), unknown()),
        at(30, 35, Get, value("a")),
        at(40, 45, Get, value("b")),
    ]);
    passes(vec![at(0, 5, set("a"), Done), at(10, 20, set("b"), unknown()), at(30, 35, Get, value("a"))]);
    fails(
        vec![
            at(0, 5, set("a"), Done),
            at(10, 20, set("b"), unknown()),
            at(30, 35, Get, value("b")),
            at(40, 45, set("c"), Done),
            at(50, 55, Get, value("b")),
        ],
        "a read returned",
    );
    let count = |last| {
        vec![
            at(0, 5, Add("5".into()), Done),
            at(10, 20, Incr(1), unknown()),
            at(12, 20, Incr(1), unknown()),
            at(30, 35, Incr(1), Number(last)),
        ]
    };
    for possible in [6, 7, 8] {
        passes(count(possible));
    }
    fails(count(9), "an increment");
    fails(count(5), "an increment");
}

#[test]
fn an_unknown_write_that_nobody_saw_explains_what_it_may_and_no_more() {
    passes(vec![
        at(0, 5, set("a"), Done),
        at(6, 7, Gets, with_id("a", 1)),
        at(10, 20, set("b"), unknown()),
        at(30, 35, Cas("c".into(), 1), Exists),
        at(40, 45, Append("x".into()), Done),
        at(50, 55, Add("d".into()), NotStored),
    ]);
    fails(
        vec![
            at(0, 5, set("a"), Done),
            at(6, 9, set("b"), Done),
            at(10, 20, set("c"), unknown()),
            at(30, 35, Get, value("a")),
        ],
        "a read returned",
    );
}

#[test]
fn the_window_is_no_longer_than_needed() {
    let mut steps = Vec::new();
    for n in 0..500 {
        steps.push((set(&format!("v{n}")), Done));
        steps.push((Get, value(&format!("v{n}"))));
    }
    steps.push((Get, value("v100")));
    let violation = check(&History { seed: 0, operations: in_turn(steps) }, Misses::Gone).unwrap_err();
    assert_eq!(violation.window.len(), 2, "{violation}");
}

#[test]
fn more_unknown_outcomes_than_can_be_followed_are_no_pass() {
    let mut operations = vec![at(0, 1, Add("5".into()), Done)];
    operations.extend((0..100).map(|n| at(10 + n, 200, Incr(1), unknown())));
    operations.push(at(300, 301, Get, value("5")));
    fails(operations, "undecided");
}
