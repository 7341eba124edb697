//! Waiting for a condition itself, with a bound; the only place of this crate that sleeps while it waits.
//! Does not know what is waited for: the caller's closure looks, and says why it is not there yet.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// First pause between two looks; doubled up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause between two looks: short enough that nobody notices, long enough to cost nothing.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// It holds; the wait ends with this value.
    Ready(T),
    /// Not yet, and why; shown when the wait runs out.
    NotYet(String),
}

/// Looks until `look` is [`Look::Ready`], for at most `bound`.
///
/// `what` completes the sentence "waited 10s for ...".
///
/// # Errors
/// At once when `look` itself fails (something that waiting cannot mend), or after `bound`, naming `what` and the last reason.
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let deadline = Instant::now() + bound;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let reason = match look()? {
            Look::Ready(value) => return Ok(value),
            Look::NotYet(reason) => reason,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("waited {bound:?} for {what}; the last look said: {reason}");
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_runs_out_names_the_condition_and_the_last_reason() {
        let outcome: Result<()> = until("the moon", Duration::from_millis(5), || Ok(Look::NotYet("still day".into())));
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("the moon") && message.contains("still day"), "{message}");
    }
}
