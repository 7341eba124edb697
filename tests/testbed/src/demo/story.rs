//! How the story is printed: numbered steps, indented text, names in a column. Owns form only.

use std::io::{self, Write};

use testbed::report::{Ink, Style, Table};

/// Longest command line that is shown whole, in characters.
const LONGEST_LINE: usize = 400;

/// Prints to standard output, step by step.
#[derive(Debug)]
pub(crate) struct Story {
    style: Style,
    steps: u32,
}

impl Story {
    /// A story in the style that standard output can show.
    pub(crate) fn new() -> Self {
        Self { style: Style::of_stdout(), steps: 0 }
    }

    /// What standard output can show.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// A heading that is not numbered.
    pub(crate) fn heading(&mut self, text: &str) {
        line(&self.style.paint(Ink::Bold, text));
    }

    /// The heading of the next step.
    pub(crate) fn step(&mut self, text: &str) {
        self.steps += 1;
        line("");
        line(&format!(
            "{} {}",
            self.style.paint(Ink::Mark, &format!("{}.", self.steps)),
            self.style.paint(Ink::Bold, text)
        ));
    }

    /// A line of text.
    pub(crate) fn say(&mut self, text: &str) {
        line(&format!("   {text}"));
    }

    /// A line that may be skipped.
    pub(crate) fn note(&mut self, text: &str) {
        line(&format!("   {}", self.style.paint(Ink::Dim, text)));
    }

    /// Names, and beside each, in a column, what belongs to it.
    pub(crate) fn items<N: AsRef<str>, T: AsRef<str>>(&mut self, items: &[(N, T)]) {
        let width = items.iter().map(|(name, _)| name.as_ref().chars().count()).max().unwrap_or(0);
        for (name, text) in items {
            let name = format!("{:width$}", name.as_ref());
            line(&format!("     {}  {}", self.style.paint(Ink::Mark, &name), text.as_ref()));
        }
    }

    /// Lines as they are (YAML, a diff), indented.
    pub(crate) fn block(&mut self, text: &str) {
        for text in text.lines() {
            line(&format!("     {text}"));
        }
    }

    /// A table.
    pub(crate) fn table(&mut self, table: &Table) {
        self.block(&table.render(self.style));
    }
}

/// One line to standard output. A reader that left (`cargo demo | head`) is no reason to stop: the exit code still counts.
fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A text that fits a few lines; the test bed's own folder is shown by three dots.
pub(crate) fn shorten(text: &str) -> String {
    let root = testbed::folder::testbed_root();
    let text = text.replace(&*root.to_string_lossy(), "...");
    if text.chars().count() <= LONGEST_LINE {
        return text;
    }
    let start: String = text.chars().take(LONGEST_LINE).collect();
    format!("{start} ...")
}
