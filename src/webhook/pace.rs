//! Whether a connection is kept after an answer: only while so many requests come that a connection to a server that died
//! would be found out at once.
//!
//! API servers keep up to 25 idle connections to a webhook. When a server freezes or its node goes dark nobody closes
//! them, and each of them costs one pod creation its 5 seconds, however much later it is used. Measured with two replicas
//! after a burst of 60 creations, one replica frozen: 2 of the next 10 creations failed although the frozen one was out
//! of the endpoints; none when connections are closed. So below [`BUSY`] every answer closes its connection (a new one
//! costs about 1 ms), and above it they are kept, because 25 stale ones are used up within a quarter of a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Requests a second above which connections are kept.
const BUSY: u32 = 100;

/// Counts requests by the second.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    second: AtomicU64,
    now: AtomicU32,
    before: AtomicU32,
}

impl Pace {
    /// Nothing has come yet.
    pub(super) fn new() -> Pace {
        Pace { start: Instant::now(), second: AtomicU64::new(0), now: AtomicU32::new(0), before: AtomicU32::new(0) }
    }

    /// Counts a request; whether its connection is worth keeping.
    pub(super) fn keep(&self) -> bool {
        self.keep_at(self.start.elapsed().as_secs())
    }

    /// Relaxed, and not exact where two threads meet at a second's end: it is a rule of thumb.
    fn keep_at(&self, second: u64) -> bool {
        let counted = self.second.swap(second, Ordering::Relaxed);
        if counted != second {
            let last = self.now.swap(0, Ordering::Relaxed);
            self.before.store(if counted + 1 == second { last } else { 0 }, Ordering::Relaxed);
        }
        self.now.fetch_add(1, Ordering::Relaxed);
        self.before.load(Ordering::Relaxed) >= BUSY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_kept_only_in_and_after_a_busy_second() {
        let pace = Pace::new();
        assert!((0..200).all(|_| !pace.keep_at(1)), "nobody knows yet whether it will last");
        assert!((0..50).all(|_| pace.keep_at(2)));
        assert!(!pace.keep_at(3), "the second before was quiet");
        assert!((0..200).all(|_| !pace.keep_at(4)));
        assert!(!pace.keep_at(9), "what was long ago does not count");
    }
}
