//! What concurrent clients asked a memcached and what they were answered, with times: the record that
//! [`crate::checker`] judges. Owns the traffic and its record; judges nothing.
//!
//! Few hot keys, because many hide faults: 400 keys missed a staleness that 24 showed. Two kinds: registers (texts that
//! no two writes share, so that a value names its write) and counters.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Error, Item, Result, Stored};
use crate::random::Random;

/// How far apart the numbers are that two `add`s give a counter: no run increments one of them so often.
pub const COUNTER_GAP: u64 = 1_000_000;
/// A register longer than this is set anew instead of appended to.
const LONGEST_REGISTER: usize = 200;

/// A command on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `get`
    Get,
    /// `gets`
    Gets,
    /// `set` to this value.
    Set(String),
    /// `add` of this value.
    Add(String),
    /// `append` of this text.
    Append(String),
    /// `cas` to this value, with the id that an earlier `gets` of the same client returned.
    Cas(String, u64),
    /// `incr` by this.
    Incr(u64),
    /// `delete`
    Delete,
    /// `touch`
    Touch,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A value, and its cas id where it was asked for.
    Value(String, Option<u64>),
    /// `END` or `NOT_FOUND`
    Miss,
    /// `STORED`, `DELETED` or `TOUCHED`
    Done,
    /// `NOT_STORED`
    NotStored,
    /// `EXISTS`
    Exists,
    /// `incr`'s number.
    Number(u64),
    /// It may have happened or not, then or later: an error line, no reply in time, a closed connection. Never a pass.
    Unknown(String),
}

/// One command of one client; times are since the record began.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Which client.
    pub client: usize,
    /// Which proxy it talks to.
    pub proxy: usize,
    /// Which key.
    pub key: String,
    /// What it asked.
    pub call: Call,
    /// What it was answered.
    pub outcome: Outcome,
    /// When it asked.
    pub start: Duration,
    /// When it had the answer.
    pub end: Duration,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start.as_secs_f64() * 1e3, self.end.as_secs_f64() * 1e3);
        let (client, proxy, key) = (self.client, self.proxy, &self.key);
        write!(f, "{start:10.3} .. {end:10.3} ms  client {client} proxy {proxy}  {key}  {:?} -> ", self.call)?;
        write!(f, "{:?}", self.outcome)
    }
}

/// The traffic to record.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of all choices.
    pub seed: u64,
    /// Where the proxies listen; client `i` uses number `i` modulo their count.
    pub proxies: Vec<SocketAddr>,
    /// How many clients ask at once.
    pub clients: usize,
    /// How many keys hold texts.
    pub registers: usize,
    /// How many keys hold numbers.
    pub counters: usize,
    /// What a client waits between two operations, so that its machine is not the fault.
    pub pause: Duration,
    /// How long a client waits for an answer; longer than any promise.
    pub timeout: Duration,
}

impl Plan {
    /// Eight clients on three texts and two counters, up to a thousand operations a second each.
    pub fn new(seed: u64, proxies: Vec<SocketAddr>) -> Self {
        let (pause, timeout) = (Duration::from_millis(1), Duration::from_secs(2));
        Self { seed, proxies, clients: 8, registers: 3, counters: 2, pause, timeout }
    }
}

/// What was recorded, in the order in which the operations ended for each client.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Seed of the plan.
    pub seed: u64,
    /// Every operation.
    pub operations: Vec<Operation>,
}

impl History {
    /// How many operations have no clear outcome, by message.
    pub fn unknown(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            if let Outcome::Unknown(message) = &operation.outcome {
                *counts.entry(message.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The operation that took longest.
    pub fn slowest(&self) -> Option<&Operation> {
        self.operations.iter().max_by_key(|operation| operation.end - operation.start)
    }

    /// How many operations ended in [`Outcome::Miss`].
    pub fn misses(&self) -> usize {
        self.operations.iter().filter(|operation| operation.outcome == Outcome::Miss).count()
    }
}

/// Has the clients of `plan` ask until `during` returns -> what they saw, and what it returned.
pub fn record<T>(plan: &Plan, during: impl FnOnce() -> T) -> (History, T) {
    let (begin, over) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        let ask = |number| {
            let (mut asker, over) = (Asker::new(plan, number, begin), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    asker.operate();
                    thread::sleep(asker.pause); // the traffic's rate, not a wait
                }
                asker.operations
            })
        };
        let clients: Vec<_> = (0..plan.clients).map(ask).collect();
        let stop = StopOnDrop(&over); // also when `during` panics: the scope waits for the clients
        let result = during();
        drop(stop);
        // A client that panicked has no operations; its panic is passed on by the scope.
        let operations = clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect();
        (History { seed: plan.seed, operations }, result)
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One client with its own choices.
struct Asker {
    number: usize,
    proxy: usize,
    client: Client,
    random: Random,
    registers: usize,
    counters: usize,
    pause: Duration,
    begin: Instant,
    written: u64,
    /// What this client last learnt from a `gets` of each key: the cas id.
    ids: BTreeMap<String, u64>,
    operations: Vec<Operation>,
}

impl Asker {
    fn new(plan: &Plan, number: usize, begin: Instant) -> Self {
        let proxy = number % plan.proxies.len();
        Self {
            number,
            proxy,
            client: Client::new(plan.proxies[proxy]).with_timeout(plan.timeout),
            random: Random::stream(plan.seed, number as u64),
            registers: plan.registers,
            counters: plan.counters,
            pause: plan.pause,
            begin,
            written: 0,
            ids: BTreeMap::new(),
            operations: Vec::new(),
        }
    }

    fn operate(&mut self) {
        let number = self.random.below(self.registers + self.counters);
        let (key, call) = if number < self.registers {
            let key = format!("text{number}");
            let call = self.register_call(&key);
            (key, call)
        } else {
            (format!("count{}", number - self.registers), self.counter_call())
        };
        let missing = self.ask(&key, call);
        if missing && number >= self.registers {
            let start = (self.number as u64 * COUNTER_GAP + self.next()) * COUNTER_GAP;
            self.ask(&key, Call::Add(start.to_string()));
        }
    }

    fn next(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// A text that no other write has.
    fn text(&mut self) -> String {
        let number = self.next();
        format!("c{}n{number}.", self.number)
    }

    fn register_call(&mut self, key: &str) -> Call {
        if self.random.chance(70)
            && let Some(id) = self.ids.remove(key)
        {
            return Call::Cas(self.text(), id);
        }
        match self.random.below(100) {
            0..40 => Call::Get,
            40..55 => Call::Gets,
            55..73 => Call::Set(self.text()),
            73..82 => Call::Delete,
            82..90 => Call::Add(self.text()),
            90..96 => Call::Append(self.text()),
            _ => Call::Touch,
        }
    }

    fn counter_call(&mut self) -> Call {
        match self.random.below(100) {
            0..65 => Call::Incr(1),
            65..96 => Call::Get,
            96..98 => Call::Touch,
            _ => Call::Delete,
        }
    }

    /// Asks and notes -> whether the key was missing.
    fn ask(&mut self, key: &str, call: Call) -> bool {
        let start = self.begin.elapsed();
        let outcome = perform(&mut self.client, key, &call);
        let end = self.begin.elapsed();
        let outcome = outcome.unwrap_or_else(|error| Outcome::Unknown(error.to_string()));
        if let Outcome::Value(value, Some(id)) = &outcome
            && value.len() < LONGEST_REGISTER
        {
            self.ids.insert(key.to_owned(), *id);
        }
        let missing = outcome == Outcome::Miss;
        self.operations.push(Operation {
            client: self.number,
            proxy: self.proxy,
            key: key.to_owned(),
            call,
            outcome,
            start,
            end,
        });
        missing
    }
}

fn perform(client: &mut Client, key: &str, call: &Call) -> Result<Outcome> {
    let done = |yes| if yes { Outcome::Done } else { Outcome::Miss };
    let value = |item: Option<Item>| {
        item.map_or(Outcome::Miss, |item| Outcome::Value(String::from_utf8_lossy(&item.value).into_owned(), item.cas))
    };
    let stored = |stored| match stored {
        Stored::Stored => Outcome::Done,
        Stored::NotStored => Outcome::NotStored,
        Stored::Exists => Outcome::Exists,
        Stored::NotFound => Outcome::Miss,
    };
    match call {
        Call::Get => client.get(key).map(value),
        Call::Gets => client.gets(key).map(value),
        Call::Set(text) => match client.set(key, text.as_bytes(), 0, 0) {
            // A plain set has no condition that could fail: whoever says NOT_STORED has not said what happened.
            Ok(false) => Err(Error::Reply("NOT_STORED".to_owned())),
            other => other.map(done),
        },
        Call::Add(text) => client.store("add", key, text.as_bytes()).map(stored),
        Call::Append(text) => client.store("append", key, text.as_bytes()).map(stored),
        Call::Cas(text, id) => client.cas(key, text.as_bytes(), *id).map(stored),
        Call::Incr(by) => client.incr(key, *by).map(|number| number.map_or(Outcome::Miss, Outcome::Number)),
        Call::Delete => client.delete(key).map(done),
        Call::Touch => client.touch(key, 0).map(done),
    }
}
