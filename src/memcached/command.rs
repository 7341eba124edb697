//! Batches of commands, as they go over the wire, and the answers to them.

/// Commands that are sent in one go; each is answered once.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    commands: usize,
}

impl Batch {
    /// Adds a command without a value, such as `mg key v c`. `parts` are joined by blanks; none may hold a line's end.
    pub fn push(&mut self, parts: &[&[u8]]) {
        self.bytes.extend_from_slice(&parts.join(&b' '));
        self.bytes.extend_from_slice(b"\r\n");
        self.commands += 1;
    }

    /// Adds `ms KEY LENGTH FLAGS` and the value.
    pub fn push_store(&mut self, key: &[u8], flags: &str, value: &[u8]) {
        self.push(&[b"ms", key, value.len().to_string().as_bytes(), flags.as_bytes()]);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Commands in it.
    pub fn len(&self) -> usize {
        self.commands
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// As they are sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer to one meta command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The first line, such as `HD c17` or `VA 3 f0`.
    pub line: Vec<u8>,
    /// After `VA` the value; else empty.
    pub value: Vec<u8>,
}

impl Answer {
    /// What memcached says in one word: `HD` and `VA` (done, found), `EN` and `NF` (not there), `NS` (not stored), `EX`
    /// (another cas id), or the first word of an error.
    pub fn code(&self) -> &[u8] {
        self.words().next().unwrap_or_default()
    }

    /// Whether the item is there, or what was asked is done.
    pub fn is_done(&self) -> bool {
        matches!(self.code(), b"HD" | b"VA")
    }

    /// What stands behind a one-letter flag: `17` for `c` in `HD c17`, nothing for `W` in `HD W`.
    pub fn flag(&self, letter: u8) -> Option<&[u8]> {
        let before = if self.code() == b"VA" { 2 } else { 1 };
        self.words().skip(before).find_map(|word| word.strip_prefix(&[letter]))
    }

    /// The number behind a flag, negative ones included (`t-1`: for ever).
    pub fn number<N: std::str::FromStr>(&self, letter: u8) -> Option<N> {
        str::from_utf8(self.flag(letter)?).ok()?.parse().ok()
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.line.split(|byte| *byte == b' ')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Answer {
        Answer { line: line.into(), value: Vec::new() }
    }

    #[test]
    fn flags_are_read_behind_codes_and_lengths() {
        let found = answer("VA 17 f3 t-1 c18446744073709551615 W");
        assert_eq!(
            (found.number(b'f'), found.number(b't'), found.number(b'c')),
            (Some(3_u32), Some(-1_i64), Some(u64::MAX))
        );
        assert_eq!((found.flag(b'W'), found.flag(b'X'), found.flag(b'1')), (Some(&b""[..]), None, None));
        assert!(found.is_done() && answer("HD").is_done() && !answer("EN").is_done() && !answer("").is_done());
    }

    #[test]
    fn a_batch_is_what_memcached_reads() {
        let mut batch = Batch::default();
        batch.push(&[b"mg", b"a", b"v"]);
        batch.push_store(b"b", "ME T5", b"\r\n");
        assert_eq!((batch.len(), batch.bytes()), (2, &b"mg a v\r\nms b 2 ME T5\r\n\r\n\r\n"[..]));
    }
}
