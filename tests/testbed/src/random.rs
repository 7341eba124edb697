//! Seeded random numbers for traffic and faults: the same seed gives the same choices on every machine. Owns the numbers
//! and where the seed comes from; not for secrets.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// Environment variable that fixes the seed of a test.
pub const SEED: &str = "CONTRACT_SEED";

/// SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, passes BigCrush, and any seed is a good one.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator of the same seed, for another user of it.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        mixed.next();
        mixed
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // it is no iterator: it never ends
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// 0 to `end` - 1; 0 when `end` is 0. The bias of the remainder is far below what a test could see.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// The seed in [`SEED`], or one from the clock: each run looks somewhere else, and a failure names its own.
pub fn seed() -> u64 {
    let set = env::var(SEED).ok().and_then(|text| text.parse().ok());
    set.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        // Only what stays readable on a command line.
        u64::try_from(now % 1_000_000_007).unwrap_or(0)
    })
}
