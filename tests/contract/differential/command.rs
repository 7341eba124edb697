//! Random commands of both protocols. Owns which there are and how often; a command is a template, so that the same case
//! can be run again with keys that nobody has used, and with each side's own cas ids.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testbed::random::Random;

/// Keys by number: these hold texts, ...
const TEXTS: usize = 10;
/// ... these mostly numbers, ...
const NUMBERS: usize = TEXTS + 4;
/// ... these are as long as a key may be, and one holds bytes that are no ASCII, ...
const ODD: usize = NUMBERS + 3;
/// ... and these are binary, in base64: meta commands only.
const BINARY: usize = ODD + 2;
/// memcached's limit for a key, in bytes.
const LONGEST_KEY: usize = 250;

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Key(usize),
    /// The cas id of this key that its side has shown last.
    Id(usize),
    Value(Vec<u8>),
}

/// One command, or a few in one packet.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// Which proxy it goes through.
    pub(super) proxy: usize,
    /// The key, where it is one.
    pub(super) key: Option<usize>,
    pieces: Vec<Piece>,
}

/// The key's bytes in a case: no two cases share one.
fn key_bytes(key: usize, case: u32) -> Vec<u8> {
    let name = format!("{case:x}/{key}");
    if key >= ODD {
        // No blank nor line end: memcached echoes the key of an item that `N` made as it is, and breaks its own line.
        STANDARD.encode([name.as_bytes(), &[0, 0xff, 0x80, 1]].concat()).into_bytes()
    } else if key > NUMBERS {
        format!("{name:L<LONGEST_KEY$}").into_bytes()
    } else if key == NUMBERS {
        name.replace('/', "é:\u{fffd}!").into_bytes()
    } else {
        name.into_bytes()
    }
}

/// What takes all keys of a case away from a server: memory is for the case that runs.
pub(super) fn forget(case: u32) -> Vec<u8> {
    let line = |key: usize| {
        let end: &[u8] = if key >= ODD { b" b\r\n" } else { b"\r\n" };
        [b"md ", &*key_bytes(key, case), end].concat()
    };
    (0..BINARY).flat_map(line).collect()
}

impl Command {
    /// The bytes to send.
    pub(super) fn render(&self, case: u32, id: impl Fn(usize) -> u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Piece::Key(key) => bytes.extend(key_bytes(*key, case)),
                Piece::Id(key) => bytes.extend(id(*key).to_string().bytes()),
                Piece::Value(value) => bytes.extend_from_slice(value),
            }
        }
        bytes
    }

    /// Its first word.
    pub(super) fn verb(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text.split(' ').next().unwrap_or(""),
            _ => "",
        }
    }

    /// Does it have this flag, with or without a value?
    pub(super) fn has(&self, flag: &str) -> bool {
        self.pieces.iter().any(
            |piece| matches!(piece, Piece::Text(text) if text.split_whitespace().any(|word| word.starts_with(flag))),
        )
    }

    /// One of any kind.
    pub(super) fn any(random: &mut Random) -> Command {
        let proxy = random.below(2);
        let (key, pieces) = match random.below(100) {
            0..22 => retrieval(random),
            22..45 => storage(random),
            45..53 => arithmetic(random),
            53..57 => cas(random),
            57..62 => touch(random),
            62..70 => deletion(random),
            70..82 => meta_get(random),
            82..91 => meta_set(random),
            91..95 => meta_delete(random),
            95..99 => meta_arithmetic(random),
            _ => meta_debug(random),
        };
        Command { proxy, key, pieces }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}: ", self.proxy)?;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => write!(f, "{}", text.escape_debug())?,
                Piece::Key(key) => write!(f, "KEY{key}")?,
                Piece::Id(key) => write!(f, "<cas id of KEY{key}>")?,
                Piece::Value(value) if value.len() > 30 => write!(f, "<{} bytes>", value.len())?,
                Piece::Value(value) => write!(f, "{}", value.escape_ascii())?,
            }
        }
        Ok(())
    }
}

type Parts = (Option<usize>, Vec<Piece>);

fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

fn text_key(random: &mut Random) -> usize {
    random.below(ODD)
}

fn number(random: &mut Random) -> String {
    random.pick(&[0, 1, 5, 7, 99, 100, 1 << 32, u64::MAX]).to_string()
}

/// `n` bytes that repeat some random ones; nothing that could be taken for a number with white space behind it.
fn bytes(random: &mut Random, length: usize) -> Vec<u8> {
    let seed: Vec<u8> = (0..length.min(61)).map(|_| 0x80 | (random.next() & 0x7f) as u8).collect();
    seed.iter().copied().cycle().take(length).collect()
}

fn value(random: &mut Random, key: usize) -> Vec<u8> {
    if (TEXTS..NUMBERS).contains(&key) && random.chance(90) {
        return number(random).into_bytes();
    }
    let length = match random.below(1000) {
        0..500 => random.pick(&[0, 1, 2, 3, 10, 100]),
        500..930 => 101 + random.below(20_000),
        930..985 => 20_001 + random.below(180_000),
        // below, at and above the item limit of 1 MB
        _ => random.pick(&[600_000, 1_000_000, 1_048_176, 1_048_576, 1_100_000]),
    };
    bytes(random, length)
}

fn lifetime(random: &mut Random) -> i64 {
    random.pick(&[0, 0, 0, 100, 3_000, -1])
}

fn flags(random: &mut Random) -> u32 {
    random.pick(&[0, 1, 65_535, u32::MAX])
}

fn noreply(random: &mut Random) -> &'static str {
    if random.chance(10) { " noreply\r\n" } else { "\r\n" }
}

fn retrieval(random: &mut Random) -> Parts {
    let verb = random.pick(&["get", "get", "gets", "gat", "gats"]);
    let head =
        if verb.starts_with("gat") { format!("{verb} {}", random.pick(&[0, 100, 5_000])) } else { verb.to_owned() };
    let count = if random.chance(30) { 2 + random.below(7) } else { 1 };
    let mut keys: Vec<usize> = (0..count).map(|_| text_key(random)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut pieces = vec![text(head)];
    for key in &keys {
        pieces.extend([text(" "), Piece::Key(*key)]);
    }
    pieces.push(text("\r\n"));
    ((keys.len() == 1).then(|| keys[0]), pieces)
}

fn storage(random: &mut Random) -> Parts {
    let key = text_key(random);
    let verb = random.pick(&["set", "set", "set", "set", "add", "replace", "append", "prepend"]);
    let mut value = value(random, key);
    if verb.ends_with("pend") {
        value.truncate(300);
    }
    let line = format!(" {} {} {}{}", flags(random), lifetime(random), value.len(), noreply(random));
    (Some(key), vec![text(format!("{verb} ")), Piece::Key(key), text(line), Piece::Value(value), text("\r\n")])
}

fn cas(random: &mut Random) -> Parts {
    let key = text_key(random);
    let value = value(random, key);
    let id = if random.chance(20) { text("12345") } else { Piece::Id(key) };
    let line = format!(" {} {} {} ", flags(random), lifetime(random), value.len());
    let end = text(noreply(random));
    (Some(key), vec![text("cas "), Piece::Key(key), text(line), id, end, Piece::Value(value), text("\r\n")])
}

fn arithmetic(random: &mut Random) -> Parts {
    let key = if random.chance(80) { TEXTS + random.below(NUMBERS - TEXTS) } else { text_key(random) };
    let verb = random.pick(&["incr ", "decr "]);
    let line = format!(" {}{}", number(random), noreply(random));
    (Some(key), vec![text(verb), Piece::Key(key), text(line)])
}

fn touch(random: &mut Random) -> Parts {
    let key = text_key(random);
    let line = format!(" {}{}", random.pick(&[0, 100, 5_000, -1]), noreply(random));
    (Some(key), vec![text("touch "), Piece::Key(key), text(line)])
}

fn deletion(random: &mut Random) -> Parts {
    let key = text_key(random);
    (Some(key), vec![text("delete "), Piece::Key(key), text(noreply(random))])
}

/// A meta command's key, and its flag where it is binary.
fn meta_key(random: &mut Random) -> (usize, &'static str) {
    if random.chance(10) { (ODD + random.below(BINARY - ODD), " b") } else { (text_key(random), "") }
}

/// Some of `choices`, and sometimes what only echoes or keeps quiet.
fn some(random: &mut Random, choices: &[&str]) -> String {
    let mut line = String::new();
    for choice in choices {
        if random.chance(50) {
            line.push_str(choice);
        }
    }
    for echo in [" k", " Oq7"] {
        if random.chance(30) {
            line.push_str(echo);
        }
    }
    if random.chance(15) {
        line.push_str(" q");
    }
    line
}

fn meta_get(random: &mut Random) -> Parts {
    let (key, b) = meta_key(random);
    let more = if random.chance(70) {
        some(random, &[" v", " t", " f", " c", " s", " u", " h"])
    } else {
        let special =
            random.pick(&[" T100 v t", " N30 v t f", " R10 v t", " N30 R4000 v", " k v T0", " s", " E77 N0 v"]);
        special.to_owned() + if random.chance(15) { " q" } else { "" }
    };
    (Some(key), vec![text("mg "), Piece::Key(key), text(format!("{b}{more}\r\n"))])
}

fn meta_set(random: &mut Random) -> Parts {
    let (key, b) = meta_key(random);
    let mut value = value(random, key);
    let mut more = some(random, &[" c", " s"]);
    if random.chance(50) {
        more.push_str(&format!(" F{}", flags(random)));
    }
    if random.chance(50) {
        more.push_str(&format!(" T{}", random.pick(&[0, 100, 5_000])));
    }
    if random.chance(40) {
        let mode = random.pick(&["E", "A", "R", "P", "S"]);
        more.push_str(&format!(" M{mode}"));
        if matches!(mode, "A" | "P") {
            value.truncate(300);
            more.push_str(if random.chance(30) { " N60" } else { "" });
        }
    }
    let mut pieces = vec![text("ms "), Piece::Key(key), text(format!(" {}{b}{more}", value.len()))];
    if random.chance(25) {
        pieces.extend([text(if random.chance(30) { " I C" } else { " C" }), Piece::Id(key)]);
    }
    pieces.extend([text("\r\n"), Piece::Value(value), text("\r\n")]);
    (Some(key), pieces)
}

fn meta_delete(random: &mut Random) -> Parts {
    let (key, b) = meta_key(random);
    let more = random.pick(&["", "", " I", " I T30", " x", " I x", " C999", " q", " k Oz"]);
    let mut pieces = vec![text("md "), Piece::Key(key), text(format!("{b}{more}"))];
    if random.chance(20) && !more.contains('C') {
        pieces.extend([text(" C"), Piece::Id(key)]);
    }
    pieces.push(text("\r\n"));
    (Some(key), pieces)
}

fn meta_arithmetic(random: &mut Random) -> Parts {
    let (mut key, b) = meta_key(random);
    if b.is_empty() && random.chance(80) {
        key = TEXTS + random.below(NUMBERS - TEXTS);
    }
    let first = random.pick(&["", " N0 J13", " N60 J5"]);
    let mode = random.pick(&["", " MI", " MD", " D7", " MD D7"]);
    let more = some(random, &[" v", " t", " c"]);
    (Some(key), vec![text("ma "), Piece::Key(key), text(format!("{b}{first}{mode}{more}\r\n"))])
}

fn meta_debug(random: &mut Random) -> Parts {
    let (key, b) = meta_key(random);
    (Some(key), vec![text("me "), Piece::Key(key), text(format!("{b}\r\n"))])
}
