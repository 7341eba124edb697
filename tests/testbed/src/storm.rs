//! Faults in random order, one at a time, on a bed that clients use meanwhile. Owns order and times; what a fault does is
//! [`crate::fault`]'s, and what the clients may see is the caller's.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bed::Bed;
use crate::fault::{Fault, From};
use crate::random::Random;

/// A kind of fault; server and path are chosen when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Fault::Kill`]
    Kill,
    /// [`Fault::Freeze`]
    Freeze,
    /// [`Fault::BackEmpty`]
    BackEmpty,
    /// [`Fault::BackStale`]
    BackStale,
    /// [`Fault::Slow`]
    Slow,
    /// [`Fault::Starve`]
    Starve,
    /// [`Fault::Cut`]
    Cut,
    /// [`Fault::Blackhole`]
    Blackhole,
    /// [`Fault::RequestsLost`]
    RequestsLost,
    /// [`Fault::RepliesLost`]
    RepliesLost,
    /// [`Fault::Delay`], by 5 to 65 ms: below the proxy's timeout of 140 ms there and back.
    Delay,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Freeze,
        Self::BackEmpty,
        Self::BackStale,
        Self::Slow,
        Self::Starve,
        Self::Cut,
        Self::Blackhole,
        Self::RequestsLost,
        Self::RepliesLost,
        Self::Delay,
    ];

    /// One fault of this kind. Two of three broken paths are one proxy's only.
    fn choose(self, random: &mut Random, bed: &Bed) -> Fault {
        let server = random.below(bed.servers().len());
        let proxy = random.below(bed.proxies().len());
        let from = if random.chance(67) { From::Proxy(proxy) } else { From::Everyone };
        match self {
            Self::Kill => Fault::Kill(server),
            Self::Freeze => Fault::Freeze(server),
            Self::BackEmpty => Fault::BackEmpty(server),
            Self::BackStale => Fault::BackStale(server),
            Self::Slow => Fault::Slow(server),
            Self::Starve => Fault::Starve,
            Self::Cut => Fault::Cut(from, server),
            Self::Blackhole => Fault::Blackhole(from, server),
            Self::RequestsLost => Fault::RequestsLost(from, server),
            Self::RepliesLost => Fault::RepliesLost(from, server),
            Self::Delay => Fault::Delay(from, server, Duration::from_millis(5 + random.below(60) as u64)),
        }
    }
}

/// What a storm consists of.
#[derive(Debug, Clone)]
pub struct Storm {
    /// Seed of its choices.
    pub seed: u64,
    /// How long it goes on; the last fault may end a little later.
    pub length: Duration,
    /// What may happen; not empty.
    pub kinds: Vec<Kind>,
    /// How long a fault lasts, in milliseconds.
    pub lasts: Range<usize>,
    /// How long the cluster is left in peace after all proxies see all servers again, in milliseconds.
    pub peace: Range<usize>,
    /// How many servers may still have a proxy's mark when the next fault comes: fewer than there are copies of a key.
    pub marked: usize,
}

impl Storm {
    /// Faults of 0.2 to 2.5 s with up to 1 s of peace in between.
    pub fn new(seed: u64, length: Duration, kinds: &[Kind]) -> Self {
        Self { seed, length, kinds: kinds.to_vec(), lasts: 200..2_500, peace: 0..1_000, marked: 1 }
    }

    /// Lets it happen -> one line for each fault, with its times since the call.
    ///
    /// # Errors
    /// When a part does not come back, or a proxy does not see a server that is back within 10 s.
    pub fn rage(&self, bed: &Bed) -> Result<Vec<String>> {
        let begin = Instant::now();
        let now = || begin.elapsed().as_secs_f64() * 1e3;
        let mut random = Random::stream(self.seed, u64::MAX);
        let pause = |random: &mut Random, range: &Range<usize>| {
            let length = range.start + random.below(range.end - range.start);
            thread::sleep(Duration::from_millis(length as u64)); // the fault's or the peace's own length
        };
        let mut story = Vec::new();
        while begin.elapsed() < self.length {
            pause(&mut random, &self.peace);
            bed.wait_marked(self.marked)?;
            let fault = random.pick(&self.kinds).choose(&mut random, bed);
            let from = now();
            let guard = fault.apply(bed)?;
            pause(&mut random, &self.lasts);
            let to = now();
            guard.undo()?;
            let back = now();
            bed.wait_all_up()?;
            story.push(format!("{from:8.0} .. {to:8.0} ms  {fault}, undone at {back:.0}, all up at {:.0}", now()));
        }
        Ok(story)
    }
}
