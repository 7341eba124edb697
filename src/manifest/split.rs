//! Cuts a YAML stream into its documents without reading them.
//!
//! Owns: document markers (`---`, `...`), byte order mark, directives, line numbers, and which lines at the head and
//! tail of a document stay when its content is written anew. The pieces put together are the source, byte for byte.
//! Does not own: what is in a document (`parse`), nor whether it is valid YAML.
//!
//! A line that starts with `---` or `...` in column 0, followed by white space or the line's end, is a marker wherever
//! it stands: YAML 1.2.2 section 9.1.2 forbids such a line inside any scalar, block scalars and quoted ones included.

/// One document of a stream, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Everything that belongs to the document: comments and directives before it, markers, content.
    pub text: &'a str,
    /// The line of the stream, from 1, on which `text` begins.
    pub first_line: usize,
    /// The line of the stream, from 1, on which the content begins; `first_line` when there is none.
    pub content_line: usize,
    /// Bytes of `text` before the content: byte order mark, comments, directives, the marker's line.
    pub head: usize,
    /// Where the content ends in `text`: the `...` line if there is one, else the text's end.
    pub tail: usize,
    /// Whether there is anything to read between `head` and `tail`.
    pub has_content: bool,
}

/// The byte order mark, which may stand before any document.
pub(super) const BOM: char = '\u{feff}';

/// What a single line means to the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing, or a comment.
    Blank,
    /// `%YAML 1.2`; only where no content has been seen.
    Directive,
    /// `---`, with the number of bytes up to the content that follows on the same line, if any does.
    Start(Option<usize>),
    /// `...`
    End,
    Content,
}

/// Cuts `source` into documents.
///
/// A document owns the comments and directives before its marker when nothing else stands before them, and everything
/// up to the next marker. Never empty, unless `source` is.
pub(super) fn split(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut open = Open::at(0, 1);
    let mut position = 0;
    let mut number = 0;
    for line in lines(source) {
        number += 1;
        let kind = classify(line, !open.started);
        if matches!(kind, Line::Start(_)) && open.started {
            pieces.push(open.close(source, position));
            open = Open::at(position, number);
        }
        open.take(kind, position, line.len(), number);
        position += line.len();
        if kind == Line::End {
            pieces.push(open.close(source, position));
            open = Open::at(position, number + 1);
        }
    }
    if open.start < source.len() {
        pieces.push(open.close(source, source.len()));
    }
    pieces
}

/// The document that is being read.
struct Open {
    start: usize,
    first_line: usize,
    /// End of the lines that stay when the content is replaced.
    head: usize,
    content_line: Option<usize>,
    tail: Option<usize>,
    /// A marker or content has been seen, so that the next `---` begins another document.
    started: bool,
}

impl Open {
    fn at(start: usize, first_line: usize) -> Self {
        Open { start, first_line, head: start, content_line: None, tail: None, started: false }
    }

    fn take(&mut self, kind: Line, position: usize, length: usize, number: usize) {
        match kind {
            Line::Blank | Line::Directive if self.content_line.is_none() => {
                self.head = position + length;
            }
            Line::Start(inline) => {
                self.started = true;
                self.head = position + inline.unwrap_or(length);
                self.content_line = inline.map(|_| number);
            }
            Line::End => self.tail = Some(position),
            // A `%` line counts as content where content precedes it.
            Line::Blank | Line::Directive => {}
            Line::Content => {
                self.started = true;
                self.content_line.get_or_insert(number);
            }
        }
    }

    fn close<'a>(&self, source: &'a str, end: usize) -> Piece<'a> {
        let text = source.get(self.start..end).unwrap_or_default();
        Piece {
            text,
            first_line: self.first_line,
            content_line: self.content_line.unwrap_or(self.first_line),
            head: self.head - self.start,
            tail: self.tail.unwrap_or(end) - self.start,
            has_content: self.content_line.is_some(),
        }
    }
}

fn classify(line: &str, may_have_bom: bool) -> Line {
    let line = if may_have_bom { line.trim_start_matches(BOM) } else { line };
    if let Some(rest) = marker(line, "---") {
        let content = rest.trim_start_matches([' ', '\t']);
        let bare = content.trim_end().is_empty() || content.starts_with('#');
        return Line::Start((!bare).then_some("---".len()));
    }
    if marker(line, "...").is_some() {
        return Line::End;
    }
    match line.trim_start_matches([' ', '\t']).chars().next() {
        None | Some('#' | '\n' | '\r') => Line::Blank,
        Some('%') if line.starts_with('%') => Line::Directive,
        Some(_) => Line::Content,
    }
}

/// What follows a marker on its line, if the line is one.
fn marker<'a>(line: &'a str, text: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(text)?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r'])).then_some(rest)
}

/// The lines of `source`, each with its line break: `\n`, `\r\n` or a lone `\r` (YAML 1.2.2 section 5.4).
fn lines(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = source;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = match rest.find(['\n', '\r']) {
            None => rest.len(),
            Some(at) if rest.get(at..).is_some_and(|tail| tail.starts_with("\r\n")) => at + 2,
            Some(at) => at + 1,
        };
        let (line, tail) = rest.split_at(end);
        rest = tail;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(source: &str) -> Vec<&str> {
        split(source).iter().map(|p| p.text).collect()
    }

    /// What stays of each document when its content is replaced by `C`.
    fn skeletons(source: &str) -> Vec<String> {
        let keep = |p: &Piece<'_>| format!("{}C{}", &p.text[..p.head], &p.text[p.tail..]);
        split(source).iter().map(keep).collect()
    }

    #[test]
    fn markers_begin_a_document() {
        assert_eq!(texts("a: 1\n---\nb: 2\n"), ["a: 1\n", "---\nb: 2\n"]);
        assert_eq!(texts("---\na\n--- # c\nb\n--- {c: 1}\n"), ["---\na\n", "--- # c\nb\n", "--- {c: 1}\n"]);
        assert_eq!(texts("a\r\n---\r\nb"), ["a\r\n", "---\r\nb"]);
        assert_eq!(texts("a\r---\rb"), ["a\r", "---\rb"]);
        assert_eq!(texts("---\n---\n---"), ["---\n", "---\n", "---"]);
        assert_eq!(texts("a: |\n  x\n---\nb\n"), ["a: |\n  x\n", "---\nb\n"]);
    }

    #[test]
    fn look_alikes_do_not() {
        for source in ["---a\n", "a: |\n  ---\n  b\n", " ---\n", "a: ---\n", "----\n"] {
            assert_eq!(texts(source), [source]);
        }
    }

    #[test]
    fn comments_and_directives_before_a_marker_belong_to_its_document() {
        for source in ["# a\n\n---\nb\n", "%YAML 1.1\n---\nb\n", "\u{feff}---\nb\n", ""] {
            assert_eq!(texts(source).len(), usize::from(!source.is_empty()), "{source:?}");
        }
        assert_eq!(texts("a\n...\n%YAML 1.1\n---\nb\n"), ["a\n...\n", "%YAML 1.1\n---\nb\n"]);
    }

    #[test]
    fn head_and_tail_frame_the_content() {
        assert_eq!(skeletons("# x\n---\n# y\n\na: 1\n# lost\n"), ["# x\n---\n# y\n\nC"]);
        assert_eq!(skeletons("--- {a: 1}\n...\n# z\n"), ["---C...\n", "# z\nC"]);
        assert_eq!(skeletons("a: 1"), ["C"]);
    }

    #[test]
    fn lines_count_from_the_top_of_the_file() {
        let pieces = split("# x\na: 1\n---\n# y\n\nb: 1\n--- c\n---\n");
        let lines: Vec<_> = pieces.iter().map(|p| (p.first_line, p.content_line)).collect();
        assert_eq!(lines, [(1, 2), (3, 6), (7, 7), (8, 8)]);
        let full: Vec<_> = pieces.iter().map(|p| p.has_content).collect();
        assert_eq!(full, [true, true, true, false]);
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_source(
            parts in proptest::collection::vec(
                prop_oneof!["---", "\\.\\.\\.", "\n", "\r\n", "\r", "\u{feff}", "#c", "%Y", " ", "\t", "a: \\|", "\\PC{0,6}"],
                0..40,
            ),
        ) {
            let source = parts.concat();
            let pieces = split(&source);
            prop_assert_eq!(pieces.iter().map(|p| p.text).collect::<String>(), source.as_str());
            for piece in &pieces {
                prop_assert!(piece.head <= piece.tail && piece.tail <= piece.text.len(), "{:?}", piece);
                prop_assert!(!piece.text.is_empty());
                prop_assert!(piece.text.is_char_boundary(piece.head) && piece.text.is_char_boundary(piece.tail));
            }
        }
    }
}
