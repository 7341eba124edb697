//! What a violation looks like to the person who has to find its cause. Owns the words only.

use std::error::Error;
use std::fmt;

use crate::history::{Call, Operation, Outcome};

/// An answer that no order of the operations explains.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The history's seed.
    pub seed: u64,
    /// The key.
    pub key: String,
    /// The operation whose answer could not be explained.
    pub operation: Operation,
    /// The fewest operations up to it that cannot be explained, in order of their starts.
    pub window: Vec<Operation>,
    /// What the key may have held just before.
    pub before: Vec<String>,
    /// Set when there is no violation but the search could not decide: why.
    pub undecided: Option<&'static str>,
}

impl Violation {
    /// The kind of violation, in a few words.
    pub fn kind(&self) -> &'static str {
        match (&self.undecided, &self.operation.call, &self.operation.outcome) {
            (Some(_), _, _) => "undecided",
            (_, Call::Get | Call::Gets, _) => "a read returned what was overwritten, deleted or lost before it began",
            (_, Call::Incr(_), _) => "an increment was repeated, lost, or counted from an old number",
            (_, Call::Add(_), _) => "add said there was a key that was deleted before it began",
            (_, Call::Cas(..), Outcome::Done) => "cas accepted an id that was no longer the key's",
            (_, Call::Cas(..), _) => "cas refused the id that was the key's",
            (_, Call::Delete, _) => "delete said there was a key that was deleted before it began",
            _ => "an answer that no order of the operations explains",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (key {}, seed {})", self.kind(), self.key, self.seed)?;
        if let Some(why) = self.undecided {
            writeln!(f, "the search gave up: {why}")?;
        }
        writeln!(f, "cannot be explained:\n  {}", self.operation)?;
        writeln!(f, "just before, the key could only be one of:")?;
        for state in &self.before {
            writeln!(f, "  {state}")?;
        }
        writeln!(f, "the shortest window that shows it, whatever was before:")?;
        for operation in &self.window {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

impl Error for Violation {}
