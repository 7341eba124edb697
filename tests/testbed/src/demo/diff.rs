//! A pod before and after as a unified diff of YAML, unchanged parts left out. Owns form only.

use anyhow::{Context, Result};
use serde_json::Value;
use similar::TextDiff;
use testbed::report::{Ink, Style};

/// Unchanged lines shown around a change.
const CONTEXT_LINES: usize = 2;

/// The diff, coloured where there is colour.
pub(crate) fn pods(before: &Value, after: &Value, style: Style) -> Result<String> {
    let before = serde_saphyr::to_string(before).context("write the pod as YAML")?;
    let after = serde_saphyr::to_string(after).context("write the pod as YAML")?;
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().context_radius(CONTEXT_LINES).to_string();
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'+') => style.paint(Ink::Good, line),
        Some(b'-') => style.paint(Ink::Bad, line),
        Some(b'@') => style.paint(Ink::Dim, "..."),
        _ => line.to_owned(),
    };
    Ok(text.lines().map(line).collect::<Vec<_>>().join("\n"))
}
