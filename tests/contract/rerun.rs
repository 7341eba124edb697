//! What a failing test needs to be run again: its seed, and how long it should look. Owns the environment variables of this
//! test binary and the command that sets them.

use std::env;
use std::time::Duration;

use testbed::bed::Bed;
use testbed::checker::{Checked, Misses, check};
use testbed::history::History;
use testbed::random::SEED;

/// Seconds of each storm of faults; 20 when unset. 600 by hand.
pub(crate) const SECONDS: &str = "CONTRACT_SECONDS";

/// How long a storm takes.
pub(crate) fn storm_length() -> Duration {
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// The command that runs a test of this binary with the same choices again. Processes and threads still take their own
/// time, so it may need a few runs.
pub(crate) fn command(test: &str, seed: u64) -> String {
    let seconds = storm_length().as_secs();
    format!("{SEED}={seed} {SECONDS}={seconds} cargo test --test contract -- --exact {test}")
}

/// The history is one that one memcached could have given; else the whole finding, with what the servers hold.
pub(crate) fn as_one_memcached(
    test: &str,
    bed: &Bed,
    history: &History,
    misses: Misses,
    story: &[String],
) -> Result<Checked, String> {
    check(history, misses).map_err(|violation| {
        let failed = violation.operation.end;
        let state = bed.state_of(&violation.key);
        let story = story.join("\n  ");
        format!(
            "\n{violation}the servers now:\n{state}what happened to them (found at {:.0} ms):\n  {story}\nrun again: {}\n",
            failed.as_secs_f64() * 1e3,
            command(test, history.seed),
        )
    })
}

/// Panics with the finding of [`as_one_memcached`].
pub(crate) fn assert_one_memcached(
    test: &str,
    bed: &Bed,
    history: &History,
    misses: Misses,
    story: &[String],
) -> Checked {
    as_one_memcached(test, bed, history, misses, story).unwrap_or_else(|finding| panic!("{finding}"))
}
