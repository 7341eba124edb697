//! One key of one memcached as a state machine: what state a command may leave, given what it was answered. Pure. Owns what
//! is allowed; the search for an order in which everything is allowed is the parent's.
//!
//! Allowed beyond the plain semantics, and nothing else:
//! - unless [`Misses::Never`], a key may go missing at any moment, as if somebody had deleted it. What it held is then gone:
//!   it may not come back;
//! - where [`Misses::Hidden`], a read that says "no such key" may mean that no server of the key could be asked, so it
//!   proves nothing about the key. An acknowledged write still does.

use crate::history::{Call, Outcome};

/// What an answer "no such key" to a command that writes nothing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misses {
    /// There never was such a key, or somebody deleted it: no key is lost while memory suffices and no server has a fault.
    Never,
    /// The key is gone, for good: one memcached, and a cluster in which a copy of every key can be reached.
    Gone,
    /// Or it could not be reached just then: a cluster that loses more servers than it has copies.
    Hidden,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// There is no such key.
    Absent,
    /// Nothing is known: what happened before was not looked at.
    Any,
    /// A value that no answer ever showed, from a write whose own outcome is unknown.
    Unseen,
    /// A value, and its cas id once an answer showed it.
    Item(String, Option<u64>),
}

impl State {
    fn item(value: impl Into<String>) -> Self {
        Self::Item(value.into(), None)
    }
}

/// The state after a command with a known outcome, or `None` when it could not have been answered so in this state.
pub(super) fn after(state: &State, call: &Call, outcome: &Outcome, misses: Misses) -> Option<State> {
    use State::{Absent, Any};
    let may_be_gone = misses != Misses::Never || matches!(state, Absent | Any);
    let missed = || may_be_gone.then(|| if misses == Misses::Hidden { state.clone() } else { Absent });
    let there = || (*state != Absent).then(|| state.clone());
    match (call, outcome) {
        (Call::Get | Call::Gets, Outcome::Value(value, id)) => read(state, value, *id),
        (Call::Delete, Outcome::Done) => there().map(|_| Absent),
        (Call::Delete, Outcome::Miss) => may_be_gone.then_some(Absent),
        (_, Outcome::Miss) | (Call::Append(_), Outcome::NotStored) => missed(),
        (Call::Set(value), Outcome::Done) => Some(State::item(value)),
        (Call::Add(value), Outcome::Done) => may_be_gone.then(|| State::item(value)),
        (Call::Add(_), Outcome::NotStored) | (Call::Touch, Outcome::Done) => there(),
        (Call::Append(text), Outcome::Done) => appended(state, text),
        (Call::Cas(value, id), Outcome::Done) => match state {
            Any => Some(State::item(value)),
            _ => holds_id(state, *id).then(|| State::item(value)),
        },
        (Call::Cas(_, id), Outcome::Exists) => {
            if holds_id(state, *id) {
                None
            } else {
                there()
            }
        }
        (Call::Incr(by), Outcome::Number(number)) => match state {
            Any => Some(State::item(number.to_string())),
            _ => (incremented(state, *by)? == *number).then(|| State::item(number.to_string())),
        },
        // A command was answered with what belongs to another.
        _ => None,
    }
}

/// The state after a write with an unknown outcome, if it did happen; `None` when it could not have changed this state.
pub(super) fn if_it_happened(state: &State, call: &Call) -> Option<State> {
    match call {
        Call::Set(value) | Call::Add(value) => Some(State::item(value)),
        Call::Append(text) => appended(state, text).filter(|new| new != state),
        Call::Cas(value, id) => holds_id(state, *id).then(|| State::item(value)),
        Call::Incr(by) => incremented(state, *by).map(|number| State::item(number.to_string())),
        Call::Delete => Some(State::Absent),
        Call::Get | Call::Gets | Call::Touch => None,
    }
}

fn read(state: &State, value: &str, id: Option<u64>) -> Option<State> {
    match state {
        State::Any => Some(State::Item(value.to_owned(), id)),
        State::Item(held, known) if held == value => match (known, id) {
            (Some(known), Some(id)) if *known != id => None,
            _ => Some(State::Item(held.clone(), known.or(id))),
        },
        _ => None,
    }
}

fn appended(state: &State, text: &str) -> Option<State> {
    match state {
        State::Absent => None,
        State::Item(value, _) => Some(State::item(format!("{value}{text}"))),
        State::Any | State::Unseen => Some(state.clone()),
    }
}

/// Is this the version that showed this id? One whose id was never shown is newer: its writer came after that `gets`.
fn holds_id(state: &State, id: u64) -> bool {
    matches!(state, State::Item(_, Some(known)) if *known == id)
}

fn incremented(state: &State, by: u64) -> Option<u64> {
    let State::Item(value, _) = state else { return None };
    value.parse::<u64>().ok().map(|number| number.wrapping_add(by))
}
