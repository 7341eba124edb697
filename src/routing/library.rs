//! The proxy's routing library: the Lua files of `lua/` joined into the one file that memcached loads, without comments,
//! and the hash that names it. Owns which files there are, their order, and how they are joined and stripped.
//! Does not know what the Lua does, nor the data that it reads (`config.rs`), nor the ConfigMap around it.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The configuration formats that this library reads; `data.lua` refuses any other.
pub const FORMATS: RangeInclusive<u32> = 1..=3;

/// Characters of the SHA-256 that name a library: 40 bits, plenty to tell a few dozen versions apart.
const HASH_CHARS: usize = 10;

const FIRST_LINE: &str = "-- memcached-injector: routing library of the memcached proxy. Made from src/routing/lua, where it is explained.\n";

/// In the order in which Lua must see them: whoever uses a name of the shared table at load time comes after its file.
const FILES: [(&str, &str); 28] = [
    ("shared.lua", include_str!("lua/shared.lua")),
    ("data.lua", include_str!("lua/data.lua")),
    ("names.lua", include_str!("lua/names.lua")),
    ("reload.lua", include_str!("lua/reload.lua")),
    ("order.lua", include_str!("lua/order.lua")),
    ("item.lua", include_str!("lua/item.lua")),
    ("classes.lua", include_str!("lua/classes.lua")),
    ("reply.lua", include_str!("lua/reply.lua")),
    ("copies.lua", include_str!("lua/copies.lua")),
    ("prepared.lua", include_str!("lua/prepared.lua")),
    ("view.lua", include_str!("lua/view.lua")),
    ("glance.lua", include_str!("lua/glance.lua")),
    ("along.lua", include_str!("lua/along.lua")),
    ("lease.lua", include_str!("lua/lease.lua")),
    ("lead.lua", include_str!("lua/lead.lua")),
    ("line.lua", include_str!("lua/line.lua")),
    ("ring.lua", include_str!("lua/ring.lua")),
    ("move.lua", include_str!("lua/move.lua")),
    ("marks.lua", include_str!("lua/marks.lua")),
    ("repair.lua", include_str!("lua/repair.lua")),
    ("doubt.lua", include_str!("lua/doubt.lua")),
    ("version.lua", include_str!("lua/version.lua")),
    ("usual.lua", include_str!("lua/usual.lua")),
    ("coherent.lua", include_str!("lua/coherent.lua")),
    ("gutter.lua", include_str!("lua/gutter.lua")),
    ("fastest.lua", include_str!("lua/fastest.lua")),
    ("failover.lua", include_str!("lua/failover.lua")),
    ("main.lua", include_str!("lua/main.lua")),
];

/// The library as a pod gets it.
#[derive(Debug)]
pub struct Library {
    /// `library.lua`, complete.
    pub text: String,
    /// The first ten hexadecimal digits of the text's SHA-256.
    pub hash: String,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let text = join(&FILES);
    let hash = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Library { text, hash: hash[..HASH_CHARS].to_owned() }
});

/// The library of this build.
pub fn library() -> &'static Library {
    &LIBRARY
}

/// The name of the immutable ConfigMap that holds this library, the same in every namespace.
pub fn config_map_name() -> String {
    format!("memcached-proxy-{}", library().hash)
}

/// The first file declares the shared table and stays as it is; each other one gets a scope of its own, because a Lua
/// function may have at most 200 local names.
fn join(files: &[(&str, &str)]) -> String {
    let mut text = FIRST_LINE.to_owned();
    for (index, (_, source)) in files.iter().enumerate() {
        let stripped = strip(source);
        if index == 0 {
            text.push_str(&stripped);
        } else {
            text.push_str("do\n");
            text.push_str(&stripped);
            text.push_str("end\n");
        }
    }
    text
}

/// What stands between two pieces of code.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    Space,
    Line,
}

/// Lua source without comments, blank lines, indentation and spaces that separate nothing. Line breaks stay, so that an
/// error still names a line; strings, also long ones, stay as they are.
fn strip(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut gap = Gap::None;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if first == '\n' {
            gap = Gap::Line;
            rest = &rest[1..];
        } else if first.is_whitespace() {
            if gap == Gap::None {
                gap = Gap::Space;
            }
            rest = &rest[first.len_utf8()..];
        } else if let Some(comment) = rest.strip_prefix("--") {
            rest = match long_bracket(comment) {
                Some(length) => &comment[length..],
                None => &comment[comment.find('\n').unwrap_or(comment.len())..],
            };
        } else {
            let length = long_bracket(rest).or_else(|| quoted(rest)).unwrap_or(first.len_utf8());
            separate(&mut out, gap, first);
            gap = Gap::None;
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Writes the gap before `next`, or nothing where the two pieces can touch.
fn separate(out: &mut String, gap: Gap, next: char) {
    let Some(previous) = out.chars().next_back() else {
        return;
    };
    match gap {
        Gap::None => {}
        Gap::Line => out.push('\n'),
        Gap::Space => {
            let stands_alone = |c: char| "=,;{}()<>~+*/%|&^#[]\"'".contains(c);
            // two of these could become one token: `> =`, `[ [`, `- -`, `. .`
            let joins = |c: char| "<>=~/[.-".contains(c);
            let can_touch = stands_alone(previous) || stands_alone(next);
            if !can_touch || joins(previous) && joins(next) {
                out.push(' ');
            }
        }
    }
}

/// The bytes of the long bracket (`[[...]]`, `[=[...]=]`) that `text` starts with, to the end where it is not closed.
fn long_bracket(text: &str) -> Option<usize> {
    let level = text.strip_prefix('[')?.bytes().take_while(|&byte| byte == b'=').count();
    if text.as_bytes().get(level + 1) != Some(&b'[') {
        return None;
    }
    let closing = format!("]{}]", "=".repeat(level));
    Some(text.find(&closing).map_or(text.len(), |at| at + closing.len()))
}

/// The bytes of the quoted string that `text` starts with, its quotes included.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|&c| c == '"' || c == '\'')?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_comments_blank_lines_indentation_and_idle_spaces() {
        let source = "-- head\n\n  local a = 1 -- one\n--[[ long\n comment ]]\n\tif a == 1 then return - -a end\n";
        assert_eq!(strip(source), "local a=1\nif a==1 then return - -a end\n");
    }

    #[test]
    fn leaves_strings_alone() {
        let source = "x = \"a -- b  = \\\" c\" .. ' -- '\ny = [[ two\n  -- lines ]]\nz = [==[ ]] ]==]\n";
        assert_eq!(strip(source), "x=\"a -- b  = \\\" c\"..' -- '\ny= [[ two\n  -- lines ]]\nz= [==[ ]] ]==]\n");
    }

    #[test]
    fn never_makes_one_token_of_two() {
        assert_eq!(strip("local N <const> = 1\nt[ [[k]] ] = 2 .. 3"), "local N<const> =1\nt[ [[k]]]=2 .. 3\n");
    }

    #[test]
    fn stays_within_its_size_and_says_what_it_is() {
        let library = library();
        assert!(library.text.starts_with("-- memcached-injector"), "{}", library.text);
        // a ConfigMap may have 1 MiB; this keeps growth a decision
        assert!(library.text.len() <= 92 * 1024, "the library has {} bytes", library.text.len());
        assert_eq!(library.hash.len(), HASH_CHARS);
        assert_eq!(config_map_name(), format!("memcached-proxy-{}", library.hash));
    }

    #[test]
    fn every_lua_file_begins_with_a_header_and_stays_readable() {
        for (name, source) in FILES {
            assert!(source.starts_with("-- "), "{name} has no header");
            assert!(source.lines().count() <= 400, "{name} is too long to read in one sitting");
        }
    }
}
