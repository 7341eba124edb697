//! Times on the command line: a number and a unit.

use std::time::Duration;

/// A hundred years, in seconds; dates much later can't be written into a certificate.
const LONGEST: u64 = 100 * 365 * 86_400;

/// A time as people write it: a number and s, m, h or d.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 30m, 12h or 365d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= LONGEST).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}
