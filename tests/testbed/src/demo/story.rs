//! How the story is printed: numbered steps, indented text, lines that fit. Owns form only.

use testbed::report::{Ink, Style, Table};

/// Longest command line that is shown whole.
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
        Self {
            style: Style::of_stdout(),
            steps: 0,
        }
    }

    /// What standard output can show.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// The first line of all.
    pub(crate) fn title(&mut self, text: &str) {
        println!("{}", self.style.paint(Ink::Bold, text));
    }

    /// A heading that is not numbered.
    pub(crate) fn chapter(&mut self, text: &str) {
        println!("\n{}", self.style.paint(Ink::Bold, text));
    }

    /// The heading of the next step.
    pub(crate) fn step(&mut self, text: &str) {
        self.steps += 1;
        println!(
            "\n{} {}",
            self.style.paint(Ink::Mark, &format!("{}.", self.steps)),
            self.style.paint(Ink::Bold, text)
        );
    }

    /// A line of text.
    pub(crate) fn say(&mut self, text: &str) {
        println!("   {text}");
    }

    /// A line that may be skipped.
    pub(crate) fn note(&mut self, text: &str) {
        println!("   {}", self.style.paint(Ink::Dim, text));
    }

    /// A name and what belongs to it.
    pub(crate) fn item(&mut self, name: &str, text: &str) {
        println!("     {}  {text}", self.style.paint(Ink::Mark, name));
    }

    /// Lines as they are (YAML, a diff), indented.
    pub(crate) fn block(&mut self, text: &str) {
        for line in text.lines() {
            println!("     {line}");
        }
    }

    /// A table.
    pub(crate) fn table(&mut self, table: &Table) {
        self.block(&table.render(self.style));
    }
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
