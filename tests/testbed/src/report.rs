//! Output for people: an aligned table, colour and lines that fit where it is shown. Owns the form only.
//!
//! Colour appears on a terminal only, and never where `NO_COLOR` is set; lines are drawn in ASCII where the locale is not UTF-8.

use std::env;
use std::io::{self, IsTerminal};

use serde_json::{Map, Value};

/// What the place where output goes can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Escape sequences for colour are understood.
    pub colour: bool,
    /// Characters beyond ASCII are shown.
    pub unicode: bool,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Headings.
    Bold,
    /// Details that may be skipped.
    Dim,
    /// Added, or a promise kept.
    Good,
    /// Removed, or a promise broken.
    Bad,
    /// Names and places.
    Mark,
}

impl Style {
    /// Plain ASCII.
    pub const PLAIN: Self = Self { colour: false, unicode: false };

    /// What standard output can show.
    pub fn of_stdout() -> Self {
        let set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
        let colour =
            io::stdout().is_terminal() && !set("NO_COLOR") && env::var("TERM").is_ok_and(|term| term != "dumb");
        // The first of these that is set decides, as in every C program.
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| set(name)).and_then(|name| env::var(name).ok());
        let unicode = locale.is_some_and(|name| name.to_lowercase().replace('-', "").contains("utf8"));
        Self { colour, unicode }
    }

    /// Text in a colour, where there is colour.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Mark => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A mark for a promise: kept or broken.
    pub fn verdict(self, kept: bool) -> String {
        let (ink, text) = match (kept, self.unicode) {
            (true, true) => (Ink::Good, "\u{2713} kept"),
            (true, false) => (Ink::Good, "kept"),
            (false, true) => (Ink::Bad, "\u{2717} BROKEN"),
            (false, false) => (Ink::Bad, "BROKEN"),
        };
        self.paint(ink, text)
    }
}

/// One cell: text, and the colour of the whole cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    ink: Option<Ink>,
}

impl Cell {
    /// A cell in a colour.
    pub fn new(text: impl Into<String>, ink: Ink) -> Self {
        Self { text: text.into(), ink: Some(ink) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), ink: None }
    }
}

/// A table whose first column is text and whose other columns are aligned to the right.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these column headings.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the headings are left out, missing ones are empty.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as lines of text, each ended by a line end.
    pub fn render(&self, style: Style) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let line = if style.unicode { "\u{2500}" } else { "-" };
        let head = self.head.iter().map(|name| Cell::new(name, Ink::Bold)).collect::<Vec<_>>();
        let mut text = render_row(&head, &widths, style);
        text.push_str(
            &style.paint(Ink::Dim, &widths.iter().map(|width| line.repeat(*width)).collect::<Vec<_>>().join("  ")),
        );
        text.push('\n');
        for row in &self.rows {
            text.push_str(&render_row(row, &widths, style));
        }
        text
    }

    /// The rows for a script: each an object of its cells by heading, numbers as numbers.
    pub fn objects(&self) -> Value {
        let value = |text: &str| text.parse::<serde_json::Number>().map_or_else(|_| text.into(), Value::Number);
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            self.head.iter().cloned().zip(row.iter().map(|cell| value(&cell.text))).collect()
        };
        self.rows.iter().map(object).collect()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.chain([self.head[column].chars().count()]).max().unwrap_or(0)
    }
}

fn render_row(cells: &[Cell], widths: &[usize], style: Style) -> String {
    let empty = Cell::from("");
    let padded = widths.iter().enumerate().map(|(column, width)| {
        let cell = cells.get(column).unwrap_or(&empty);
        // Padding is added around the colour: escape sequences have no width.
        let padding = " ".repeat(width - cell.text.chars().count());
        let text = cell.ink.map_or_else(|| cell.text.clone(), |ink| style.paint(ink, &cell.text));
        if column == 0 { format!("{text}{padding}") } else { format!("{padding}{text}") }
    });
    let line = padded.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_and_without_colour_and_objects_have_their_names() {
        let mut table = Table::new(&["phase", "keys"]);
        table.row(vec!["write".into(), 1_000.into()]);
        table.row(vec!["read back".into(), Cell::new("7", Ink::Bad)]);
        assert_eq!(table.render(Style::PLAIN), "phase      keys\n---------  ----\nwrite      1000\nread back     7\n");
        let objects = r#"[{"phase":"write","keys":1000},{"phase":"read back","keys":7}]"#;
        assert_eq!(table.objects().to_string(), objects);
        let coloured = table.render(Style { colour: true, unicode: false });
        assert!(coloured.contains("read back     \u{1b}[31m7\u{1b}[0m\n"), "{coloured:?}");
    }
}
