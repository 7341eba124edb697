//! Judges a recorded [`History`]: is there, for each key, an order of its operations that respects their times and that
//! ONE memcached could have answered so (linearizability, with a cache's freedom to lose a key)? Owns the search and the
//! report of a violation; what a memcached may answer is `model`'s.
//!
//! The search is Wing and Gong's in Lowe's form ("Testing for linearizability", 2017): it walks through the history in time
//! and keeps every configuration (state of the key, which of the running operations have taken effect) that explains
//! what was answered so far. An operation takes effect as late as possible: only when an answer needs it. Configurations that
//! are equal are kept once. When none is left, the answer just looked at is the first that cannot be explained.
//!
//! An operation with an unknown outcome may take effect at any time after it was sent, or never. One that no answer ever
//! showed is not followed one by one: it only allows the key to hold a value that nobody saw.

mod model;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use crate::history::{COUNTER_GAP, Call, History, Operation, Outcome};
pub use model::Misses;
use model::State;
pub use report::Violation;

/// Operations of one key that may run (or be of unknown outcome) at once: the bits of a configuration.
const SLOTS: usize = 64;
/// More configurations than this are not a result of traffic but of a search that lost its way.
const MOST_CONFIGURATIONS: usize = 200_000;
/// The longest window that is looked for after a violation.
const LONGEST_WINDOW: usize = 60;

/// What a check went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Keys.
    pub keys: usize,
    /// Operations, those of unknown outcome included.
    pub operations: usize,
    /// Operations of unknown outcome.
    pub unknown: usize,
}

/// Checks every key on its own: a memcached promises nothing across keys.
///
/// # Errors
/// The first violation, with the shortest window of operations that shows it; also when the search cannot decide, because
/// "unknown" is not a pass.
pub fn check(history: &History, misses: Misses) -> Result<Checked, Box<Violation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut checked = Checked { keys: keys.len(), ..Checked::default() };
    for (key, operations) in keys {
        checked.operations += operations.len();
        checked.unknown += operations.iter().filter(|operation| is_unknown(operation)).count();
        if let Err(stop) = Search::new(&operations, State::Absent, misses).run() {
            return Err(Box::new(explain(history.seed, key, &operations, stop, misses)));
        }
    }
    Ok(checked)
}

/// Why a search ended early.
#[derive(Debug)]
struct Stop {
    /// The operation whose end could not be explained.
    at: usize,
    /// What the key may have held just before.
    before: Vec<State>,
    undecided: Option<&'static str>,
}

/// Looks for the shortest run of operations up to the violation that already is one, whatever was before. Operations that
/// were still running belong to it: one of them could have been the explanation.
fn explain(seed: u64, key: &str, operations: &[&Operation], stop: Stop, misses: Misses) -> Violation {
    let failed = operations[stop.at];
    let begun = operations.iter().copied().filter(|other| other.start <= failed.end);
    let (running, mut ended): (Vec<_>, Vec<_>) = begun.partition(|other| other.end > failed.end || is_unknown(other));
    ended.sort_by_key(|other| (other.end, other.start));
    let longest = LONGEST_WINDOW.min(ended.len());
    let of_length = |length: usize| [&ended[ended.len() - length..], running.as_slice()].concat();
    let shows_it = |window: &[&Operation]| match Search::new(window, State::Any, misses).run() {
        Err(found) => found.undecided.is_none() && std::ptr::eq(window[found.at], failed),
        Ok(()) => false,
    };
    let shortest = (1..=longest).find(|length| stop.undecided.is_none() && shows_it(&of_length(*length)));
    let mut window = of_length(shortest.unwrap_or(longest));
    window.sort_by_key(|other| other.start);
    Violation {
        seed,
        key: key.to_owned(),
        operation: failed.clone(),
        window: window.into_iter().cloned().collect(),
        before: stop.before.iter().map(|state| format!("{state:?}")).collect(),
        undecided: stop.undecided,
    }
}

fn is_unknown(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Unknown(_))
}

/// A state of the key and, by slot, which running operations have taken effect.
type Configuration = (State, u64);

struct Search<'a> {
    operations: &'a [&'a Operation],
    misses: Misses,
    configurations: HashSet<Configuration>,
    /// Operation in each slot, by its index.
    slots: [Option<usize>; SLOTS],
    /// Slots of operations with unknown outcome: they may take effect, others must.
    optional: u64,
    /// A write that no answer ever showed has been sent.
    unseen: bool,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation], initial: State, misses: Misses) -> Self {
        Self {
            operations,
            misses,
            configurations: HashSet::from([(initial, 0)]),
            slots: [None; SLOTS],
            optional: 0,
            unseen: false,
        }
    }

    fn run(mut self) -> Result<(), Stop> {
        for (_, is_end, index) in events(self.operations) {
            if is_end {
                self.end(index)?;
            } else {
                self.begin(index)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, index: usize) -> Result<(), Stop> {
        let operation = self.operations[index];
        let unknown = is_unknown(operation);
        if unknown {
            match operation.call {
                // Without effect, or with one that a key's going missing has too.
                Call::Get | Call::Gets | Call::Touch => return Ok(()),
                Call::Delete if self.misses != Misses::Never => return Ok(()),
                Call::Delete | Call::Incr(_) => {}
                _ if shows(self.operations, operation) => {}
                _ => {
                    self.unseen = true;
                    return Ok(());
                }
            }
        }
        let Some(slot) = self.slots.iter().position(Option::is_none) else {
            return Err(self.undecided(index, "too many operations of unknown outcome on one key"));
        };
        self.slots[slot] = Some(index);
        self.optional |= u64::from(unknown) << slot;
        Ok(())
    }

    fn end(&mut self, index: usize) -> Result<(), Stop> {
        let Some(slot) = self.slots.iter().position(|held| *held == Some(index)) else {
            return Ok(());
        };
        let bit = 1_u64 << slot;
        let mut found = HashSet::new();
        let mut todo: Vec<Configuration> = self.configurations.iter().cloned().collect();
        let mut seen: HashSet<Configuration> = self.configurations.clone();
        while let Some((state, taken)) = todo.pop() {
            if taken & bit != 0 {
                found.insert((state, taken & !bit));
                continue;
            }
            for next in self.successors(&state, taken) {
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
            if seen.len() > MOST_CONFIGURATIONS {
                return Err(self.undecided(index, "too many possible orders"));
            }
        }
        if found.is_empty() {
            return Err(Stop { at: index, before: self.states(), undecided: None });
        }
        self.slots[slot] = None;
        self.configurations = without_dominated(found, self.optional);
        Ok(())
    }

    /// Everything that could happen next.
    fn successors(&self, state: &State, taken: u64) -> Vec<Configuration> {
        let mut next = Vec::new();
        let mut tried: Vec<&Call> = Vec::new();
        for (slot, index) in self.slots.iter().enumerate() {
            let (Some(index), bit) = (index, 1_u64 << slot) else { continue };
            if taken & bit != 0 {
                continue;
            }
            let operation = self.operations[*index];
            if self.optional & bit != 0 {
                // Equal ones (increments) are interchangeable: the first stands for all.
                if tried.contains(&&operation.call) {
                    continue;
                }
                tried.push(&operation.call);
                next.extend(model::if_it_happened(state, &operation.call).map(|state| (state, taken | bit)));
                continue;
            }
            let after = |state: &State| model::after(state, &operation.call, &operation.outcome, self.misses);
            // As it is; else after the key went missing; else over a value that nobody saw.
            let lost = || if self.misses == Misses::Never { None } else { after(&State::Absent) };
            let reached = after(state).or_else(lost);
            next.extend(reached.map(|state| (state, taken | bit)));
            if self.unseen {
                next.extend(after(&State::Unseen).map(|state| (state, taken | bit)));
            }
        }
        next
    }

    fn states(&self) -> Vec<State> {
        let states: HashSet<State> = self.configurations.iter().map(|(state, _)| state.clone()).collect();
        states.into_iter().collect()
    }

    fn undecided(&self, at: usize, why: &'static str) -> Stop {
        Stop { at, before: self.states(), undecided: Some(why) }
    }
}

/// Starts and ends in time; of equal times the start first, which only allows more.
fn events(operations: &[&Operation]) -> Vec<(std::time::Duration, bool, usize)> {
    let mut events = Vec::with_capacity(operations.len() * 2);
    for (index, operation) in operations.iter().enumerate() {
        events.push((operation.start, false, index));
        if !is_unknown(operation) {
            events.push((operation.end, true, index));
        }
    }
    events.sort_unstable();
    events
}

/// Did any answer show what this write wrote?
fn shows(operations: &[&Operation], write: &Operation) -> bool {
    let (Call::Set(text) | Call::Add(text) | Call::Append(text) | Call::Cas(text, _)) = &write.call else {
        return true;
    };
    let number: Option<u64> = text.parse().ok();
    let near = |shown: u64| number.is_some_and(|number| (number..number + COUNTER_GAP).contains(&shown));
    operations.iter().any(|other| match &other.outcome {
        Outcome::Value(value, _) => value.contains(text.as_str()) || value.parse().is_ok_and(near),
        Outcome::Number(shown) => near(*shown),
        _ => false,
    })
}

/// Of two configurations that differ only in optional operations, the one that still has more of them allows all that
/// the other does.
fn without_dominated(found: HashSet<Configuration>, optional: u64) -> HashSet<Configuration> {
    if optional == 0 {
        return found;
    }
    let all: Vec<Configuration> = found.into_iter().collect();
    let dominated = |(state, taken): &Configuration| {
        all.iter().any(|(other, kept)| {
            other == state && kept != taken && kept & !optional == taken & !optional && kept & taken == *kept
        })
    };
    all.iter().filter(|configuration| !dominated(configuration)).cloned().collect()
}
