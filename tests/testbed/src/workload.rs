//! Bounded memcached traffic and what came of it. One client, so that it always knows what its last write was. Owns counts
//! and times; what they must be is the caller's promise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::client::{Client, Error};

/// How many different error messages a tally keeps; all are counted.
const KEPT_MESSAGES: usize = 8;
/// An operation that takes longer is kept with its moment, so that it can be laid beside what else happened then.
const SLOW: Duration = Duration::from_millis(300);
/// How many of them a tally keeps: the slowest.
const KEPT_SLOW: usize = 50;

/// An operation that took long.
#[derive(Debug, Clone)]
pub struct Slow {
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
    /// What it was, and its time of day as the logs of Kubernetes have it.
    pub what: String,
}
/// One of this many operations of mixed traffic is a write: a cache is mostly read.
const WRITE_ONE_OF: usize = 10;

/// What a run of operations came to.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Operations sent.
    pub operations: u64,
    /// Writes answered `STORED`.
    pub stored: u64,
    /// Reads that returned what was last stored.
    pub hits: u64,
    /// Reads of a stored key that returned nothing.
    pub misses: u64,
    /// Reads that returned something else than what was last stored.
    pub wrong: u64,
    /// Writes that were clearly refused: `NOT_STORED` or an error line.
    pub refused: u64,
    /// Operations without a usable answer: an error line to a read, a broken connection, no reply in time.
    pub errors: u64,
    /// The slowest operation.
    pub slowest: Duration,
    /// Of the operations that took longer than 300 ms the slowest, in that order.
    pub slow: Vec<Slow>,
    /// The first few different refusals and errors and how often each came.
    pub messages: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what another run came to.
    pub fn add(&mut self, other: Tally) {
        self.operations += other.operations;
        self.stored += other.stored;
        self.hits += other.hits;
        self.misses += other.misses;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.errors += other.errors;
        self.slowest = self.slowest.max(other.slowest);
        other.slow.into_iter().for_each(|slow| self.keep(slow));
        for (message, count) in other.messages {
            *self.messages.entry(message).or_default() += count;
        }
    }

    fn keep(&mut self, slow: Slow) {
        let took = |slow: &Slow| slow.end - slow.start;
        let place = self.slow.partition_point(|other| took(other) >= took(&slow));
        self.slow.insert(place, slow);
        self.slow.truncate(KEPT_SLOW);
    }

    fn note(&mut self, message: String) {
        if self.messages.contains_key(&message) || self.messages.len() < KEPT_MESSAGES {
            *self.messages.entry(message).or_default() += 1;
        }
    }
}

/// A client with a set of keys of its own, which remembers what it stored last under each.
#[derive(Debug)]
pub struct Workload {
    client: Client,
    prefix: String,
    value_bytes: usize,
    /// Version last stored for each key; `None` where nothing is known (never stored, or a write with unknown outcome).
    stored: Vec<Option<u64>>,
    next_version: u64,
    /// Operations of mixed traffic so far.
    steps: usize,
}

impl Workload {
    /// `keys` keys called `<prefix>-<n>` with values of about `value_bytes` bytes, at the memcached at `address`.
    pub fn new(address: SocketAddr, prefix: &str, keys: usize, value_bytes: usize) -> Self {
        Self {
            client: Client::new(address),
            prefix: prefix.to_owned(),
            value_bytes,
            stored: vec![None; keys],
            next_version: 0,
            steps: 0,
        }
    }

    /// Waits longer for an answer: where machines are busy, being slow is not being silent.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.client = self.client.with_timeout(timeout);
        self
    }

    /// The same keys and the same knowledge of them, through another memcached (another pod's proxy).
    #[must_use]
    pub fn through(&self, address: SocketAddr) -> Self {
        Self {
            client: Client::new(address).with_timeout(self.client.timeout()),
            prefix: self.prefix.clone(),
            value_bytes: self.value_bytes,
            stored: self.stored.clone(),
            next_version: self.next_version,
            steps: self.steps,
        }
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.stored.len()
    }

    /// Stores every key once.
    pub fn write_all(&mut self) -> Tally {
        let mut tally = Tally::default();
        for key in 0..self.stored.len() {
            self.write(key, &mut tally);
        }
        tally
    }

    /// Reads every key that was stored.
    pub fn read_all(&mut self) -> Tally {
        let mut tally = Tally::default();
        for key in 0..self.stored.len() {
            self.read(key, &mut tally);
        }
        tally
    }

    /// Reads and rewrites keys for `length` at `rate` operations a second (1 or more), nine reads to a write. `event` is
    /// called once, when half of the time has passed, between two operations.
    pub fn mixed(&mut self, length: Duration, rate: u32, event: impl FnOnce()) -> Tally {
        let mut tally = Tally::default();
        let start = Instant::now();
        let gap = Duration::from_secs(1) / rate.max(1);
        let mut event = Some(event);
        let mut sent = 0_u32;
        while start.elapsed() < length {
            if start.elapsed() >= length / 2
                && let Some(event) = event.take()
            {
                event();
            }
            match self.next_step() {
                (key, true) => self.write(key, &mut tally),
                (key, false) => self.read(key, &mut tally),
            }
            sent = sent.saturating_add(1);
            let due = gap.saturating_mul(sent);
            thread::sleep(due.saturating_sub(start.elapsed())); // the rate, not a hope: a late operation is sent at once
        }
        tally
    }

    /// A key, and whether it is to be written: in ten visits once.
    fn next_step(&mut self) -> (usize, bool) {
        let keys = self.stored.len().max(1);
        let (round, place) = (self.steps / keys, self.steps % keys);
        self.steps += 1;
        // Multiplying by a prime visits the keys in an order that is fixed but not the servers' order.
        (place * 7_919 % keys, (round + place).is_multiple_of(WRITE_ONE_OF))
    }

    fn key(&self, key: usize) -> String {
        format!("{}-{key}", self.prefix)
    }

    /// The value of a version of a key: different for each, and as long as asked for.
    fn value(&self, key: usize, version: u64) -> Vec<u8> {
        let mut value = format!("{}-{key} version {version} ", self.prefix).into_bytes();
        value.resize(self.value_bytes.max(value.len()), b'.');
        value
    }

    fn write(&mut self, key: usize, tally: &mut Tally) {
        self.next_version += 1;
        let version = self.next_version;
        let (name, value) = (self.key(key), self.value(key, version));
        let outcome = timed(tally, "set", &name, || self.client.set(&name, &value, 0, 0));
        // A write without a clear answer may or may not have happened.
        self.stored[key] = None;
        match outcome {
            Ok(true) => {
                tally.stored += 1;
                self.stored[key] = Some(version);
            }
            Ok(false) => {
                tally.refused += 1;
                tally.note("set: NOT_STORED".to_owned());
            }
            Err(error) => {
                let refused = matches!(error, Error::Reply(_));
                *if refused { &mut tally.refused } else { &mut tally.errors } += 1;
                tally.note(format!("set: {error}"));
            }
        }
    }

    fn read(&mut self, key: usize, tally: &mut Tally) {
        let Some(version) = self.stored[key] else {
            return;
        };
        let name = self.key(key);
        let outcome: Result<_, Error> = timed(tally, "get", &name, || self.client.get(&name));
        match outcome {
            Ok(Some(item)) if item.value == self.value(key, version) => tally.hits += 1,
            Ok(Some(_)) => tally.wrong += 1,
            Ok(None) => tally.misses += 1,
            Err(error) => {
                tally.errors += 1;
                tally.note(format!("get: {error}"));
            }
        }
    }
}

fn timed<T>(tally: &mut Tally, what: &str, key: &str, operation: impl FnOnce() -> T) -> T {
    let (at, start) = (SystemTime::now(), Instant::now());
    let outcome = operation();
    let end = Instant::now();
    let took = end - start;
    tally.operations += 1;
    tally.slowest = tally.slowest.max(took);
    if took > SLOW {
        let what = format!("{} {what} {key}: {} ms", time_of_day(at), took.as_millis());
        tally.keep(Slow { start, end, what });
    }
    outcome
}

/// `HH:MM:SS.mmm`, UTC.
fn time_of_day(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, since.subsec_millis())
}
