//! How fast items are copied: bytes and items each have their limit, because small items cost by number, large ones by size.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How fast one refill may be, each at least 1, and how long others are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of values a second.
    pub bytes: u64,
    /// Items looked at or copied a second.
    pub items: u64,
    /// How long a proxy's mark may stand on a server that answers, before somebody else compares for a proxy that is
    /// silent or gone. Longer than a proxy waits by itself for packets from before (60 s).
    pub patience: Duration,
}

/// Holds one refill to its limits.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    /// When what was done so far would be allowed to be finished.
    due: Instant,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Pace {
        Pace { limits, due: Instant::now() }
    }

    /// Waits as long as this much work takes at the limits.
    pub(super) async fn spend(&mut self, items: usize, bytes: usize) {
        let share = |amount: usize, limit: u64| Duration::from_secs_f64(amount as f64 / limit.max(1) as f64);
        let takes = share(items, self.limits.items).max(share(bytes, self.limits.bytes));
        // What was not used is not saved up for a burst.
        self.due = self.due.max(Instant::now()) + takes;
        sleep_until(self.due).await;
    }
}
