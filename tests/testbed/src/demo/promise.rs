//! What each mode promises when one of three servers dies under traffic, and whether an outcome kept it. Owns the judgement;
//! the numbers are `traffic.rs`'s.

use testbed::workload::Tally;

use super::story::Story;
use super::traffic::Outcome;
use crate::Mode;

impl Mode {
    /// As pods ask for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replicated => "replicated",
            Self::Failover => "failover",
            Self::Sharded => "sharded",
        }
    }

    /// In a few words.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Replicated => "every key on all servers, and it behaves like one memcached",
            Self::Failover => "a small cache in the pod, then the cluster, which keeps one copy",
            Self::Sharded => "the memory of all servers as one cache, one copy a key",
        }
    }

    /// The promise as a sentence.
    fn promise(self) -> &'static str {
        match self {
            Self::Replicated => "no error, no refused write, no lost or stale key",
            Self::Failover => {
                "no error, no stale key; a key whose only server is dead can't be rewritten, and the write says so"
            }
            Self::Sharded => "no error, no stale key; a dead server's keys are misses, and writes of them say so",
        }
    }

    /// Whether a cluster that keeps one copy of a key may miss it, and refuse to write it, while its server is dead.
    pub(super) fn may_lose(self) -> bool {
        self != Self::Replicated
    }

    fn kept_by(self, tally: &Tally) -> bool {
        let clean = tally.errors == 0 && tally.wrong == 0;
        clean && (self.may_lose() || (tally.refused == 0 && tally.misses == 0))
    }
}

/// Says of each mode whether its promise was kept; `true` when all were.
pub(super) fn conclude(story: &mut Story, outcomes: &[Outcome]) -> bool {
    story.step("Promises");
    let style = story.style();
    let kept = |outcome: &Outcome| outcome.phases.iter().all(|(_, tally)| outcome.mode.kept_by(tally));
    let verdict = |outcome: &Outcome| format!("{}: {}", style.verdict(kept(outcome)), outcome.mode.promise());
    let items: Vec<_> = outcomes.iter().map(|outcome| (outcome.mode.name(), verdict(outcome))).collect();
    story.items(&items);
    outcomes.iter().all(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_breaks_the_promises_that_it_should() {
        let one = |change: fn(&mut Tally)| {
            let mut tally = Tally::default();
            change(&mut tally);
            [Mode::Replicated, Mode::Failover, Mode::Sharded].map(|mode| mode.kept_by(&tally))
        };
        assert_eq!(one(|_| ()), [true, true, true]);
        assert_eq!(one(|tally| tally.errors = 1), [false, false, false]);
        assert_eq!(one(|tally| tally.wrong = 1), [false, false, false]);
        assert_eq!(one(|tally| tally.misses = 1), [false, true, true]);
        assert_eq!(one(|tally| tally.refused = 1), [false, true, true]);
    }
}
