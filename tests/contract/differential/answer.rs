//! When two answers count as alike. Owns the parsing of answers, what is compared of them, and the one table of documented
//! differences with their reasons.

use super::command::Command;

/// One line of an answer, and the value behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    words: Vec<String>,
    value: Option<Vec<u8>>,
}

/// Seconds that two clocks may be apart: both servers count whole ones, from different starts.
const CLOCK: i64 = 2;

/// What a layout does with reads beyond asking one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// The key's authority answers every read.
    Authority,
    /// Any copy may answer.
    AnyCopy,
    /// A local cache may answer.
    Local,
}

/// A difference that is allowed.
struct Documented {
    /// What differs, for whoever reads this table.
    #[allow(dead_code)]
    what: &'static str,
    /// Why it can't, or need not, be made equal.
    #[allow(dead_code)]
    why: &'static str,
    /// Both sides still hold the same afterwards; otherwise the case ends here.
    harmless: bool,
    applies: fn(&Command, Reads, &[Reply], &[Reply]) -> bool,
}

const DOCUMENTED: [Documented; 7] = [
    Documented {
        what: "me: internal times, counters and size of the item (exp, la, cas, fetch, size)",
        why: "they describe the one server that was asked; its clock, the library's own looks and the blanks behind a \
              number are in them",
        harmless: true,
        applies: |command, _, plain, ours| {
            let counted = ["exp=", "la=", "cas=", "fetch=", "size="];
            command.verb() == "me" && same(&without(plain, &counted), &without(ours, &counted))
        },
    },
    Documented {
        what: "mg h: whether the item was read before",
        why: "each copy counts its own reads, and an incr or decr that memcached could not do in place makes a new item",
        harmless: true,
        applies: |command, _, plain, ours| {
            let read_before = ["h0", "h1"];
            command.verb() == "mg" && same(&without(plain, &read_before), &without(ours, &read_before))
        },
    },
    Documented {
        what: "the blanks behind a number that lost a digit",
        why: "memcached's decr pads in place but not when anybody, such as our own look at the item, holds it just then; \
              what is appended afterwards stands behind the blanks",
        harmless: false,
        applies: |_, _, plain, ours| {
            // a size alone (mg s) may be that of a padded value
            let padded = |reply: &Reply| reply.value.as_ref().is_none_or(|value| value.contains(&b' '));
            plain.iter().chain(ours).any(padded) && same(&unpadded(plain), &unpadded(ours))
        },
    },
    Documented {
        what: "ms or md with I and C: whether the id counts as older than the item's",
        why: "ids of two proxies are in order of time only down to the millisecond",
        harmless: false,
        applies: |command, _, _, _| matches!(command.verb(), "ms" | "md") && command.has("I") && command.has("C"),
    },
    Documented {
        what: "mg k of an item with a binary key that N made: the key in base64, and b",
        why: "memcached's own mistake, which forgets that the key is binary; our copies of the item know it",
        harmless: true,
        applies: |command, _, plain, ours| {
            command.has("b") && same(&without(plain, &["k", "b"]), &without(ours, &["k", "b"]))
        },
    },
    Documented {
        what: "failover, mg that misses: the flags k, O and b are not echoed",
        why: "the local cache's route answers a miss itself, and memcached's own miss for Lua has no flags",
        harmless: true,
        applies: |command, reads, plain, ours| {
            let miss = |answer: &[Reply]| matches!(answer, [one] if one.words[0] == "EN" && one.value.is_none());
            reads == Reads::Local && command.verb() == "mg" && miss(plain) && miss(ours) && ours[0].words.len() == 1
        },
    },
    Documented {
        what: "mg of an item to refresh (W, Z, X), in fastest or with a binary key: who is told to refresh it",
        why: "in fastest the token is the one copy's that was asked; with a binary key a look of our own may take the \
              client's token, because it is an mg: 1.6.45's me finds no binary key",
        harmless: false,
        applies: |command, reads, plain, ours| {
            let token = ["W", "Z", "X"];
            (reads == Reads::AnyCopy || command.has("b"))
                && command.verb() == "mg"
                && same(&without(plain, &token), &without(ours, &token))
        },
    },
];

/// What comparing two answers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They say the same, or differ as documented and without consequence.
    Alike,
    /// They differ as documented, and so may everything after them.
    Apart,
    /// They differ.
    Different,
}

/// Do the answers say the same?
pub(super) fn compare(command: &Command, reads: Reads, plain: &[Reply], ours: &[Reply]) -> Verdict {
    if same(plain, ours) {
        return Verdict::Alike;
    }
    let documented = DOCUMENTED.iter().find(|documented| (documented.applies)(command, reads, plain, ours));
    match documented {
        None => Verdict::Different,
        Some(documented) if documented.harmless => Verdict::Alike,
        Some(_) => Verdict::Apart,
    }
}

/// The answer with values without their blanks, and without what says how long they are.
fn unpadded(answer: &[Reply]) -> Vec<Reply> {
    let cut = |reply: &Reply| {
        let value = reply.value.as_ref().map(|value| value.iter().copied().filter(|byte| *byte != b' ').collect());
        let length = match reply.words[0].as_str() {
            "VA" => 1,
            "VALUE" => 3,
            _ => usize::MAX,
        };
        let size = |word: &str| word.strip_prefix('s').is_some_and(|digits| digits.parse::<u32>().is_ok());
        let words = reply.words.iter().enumerate().filter(|(place, word)| *place != length && !size(word));
        Reply { words: words.map(|(_, word)| word.clone()).collect(), value }
    };
    answer.iter().map(cut).collect()
}

/// The answer without the words that begin so.
fn without(answer: &[Reply], beginnings: &[&str]) -> Vec<Reply> {
    let stays = |word: &&String| !beginnings.iter().any(|beginning| word.starts_with(beginning));
    let rest = |reply: &Reply| Reply {
        words: reply.words.iter().filter(stays).cloned().collect(),
        value: reply.value.clone(),
    };
    answer.iter().map(rest).collect()
}

/// Word for word, but for clocks.
fn same(plain: &[Reply], ours: &[Reply]) -> bool {
    plain.len() == ours.len()
        && plain.iter().zip(ours).all(|(plain, ours)| {
            plain.value == ours.value
                && plain.words.len() == ours.words.len()
                && plain.words.iter().zip(&ours.words).all(|(plain, ours)| plain == ours || same_time(plain, ours))
        })
}

/// The flag `t` of a meta answer: seconds left.
fn same_time(plain: &str, ours: &str) -> bool {
    let seconds = |word: &str| word.strip_prefix('t').and_then(|text| text.parse::<i64>().ok());
    match (seconds(plain), seconds(ours)) {
        (Some(plain), Some(ours)) => plain >= 0 && ours >= 0 && (plain - ours).abs() <= CLOCK,
        _ => false,
    }
}

/// Splits an answer into lines and values. Cas ids become the place at which this side has first shown them for the key,
/// because each side has its own. In an answer about several keys (`None`) they are not compared: two keys may share one.
pub(super) fn parse(answer: &[u8], mut ids: Option<&mut Vec<u64>>) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut rest = answer;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap_or(rest.len());
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[(end + 2).min(rest.len())..];
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let size = match words[0].as_str() {
            "VALUE" => words.get(3).and_then(|size| size.parse::<usize>().ok()),
            "VA" => words.get(1).and_then(|size| size.parse().ok()),
            _ => None,
        };
        let value = size.map(|size| {
            let (value, behind) = rest.split_at(size.min(rest.len()));
            rest = &behind[2.min(behind.len())..];
            value.to_vec()
        });
        name_ids(&mut words, ids.as_deref_mut());
        replies.push(Reply { words, value });
    }
    replies
}

/// Replaces a cas id by its place in order of appearance.
fn name_ids(words: &mut [String], ids: Option<&mut Vec<u64>>) {
    let mut own = Vec::new();
    let several = ids.is_none();
    let ids = ids.unwrap_or(&mut own);
    let mut place = |id: u64| {
        if several {
            return 0;
        }
        let known = ids.iter().position(|known| *known == id);
        // The last one is what a later cas sends, so a known id moves up in the order only by being a new version.
        known.unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    match words[0].as_str() {
        "VALUE" if words.len() == 5 => {
            if let Ok(id) = words[4].parse() {
                words[4] = format!("id {}", place(id));
            }
        }
        "VA" | "HD" | "NF" | "NS" | "EX" => {
            for word in words.iter_mut().skip(1) {
                let id = word.strip_prefix('c').and_then(|digits| digits.parse().ok());
                if let Some(id) = id {
                    *word = if id == 0 { "c0".to_owned() } else { format!("c id {}", place(id)) };
                }
            }
        }
        _ => {}
    }
}

/// For a person: values shortened.
pub(super) fn show(answer: &[Reply]) -> String {
    if answer.is_empty() {
        return "(nothing)".to_owned();
    }
    let line = |reply: &Reply| {
        let words: Vec<String> = reply.words.iter().map(|word| word.chars().take(60).collect()).collect();
        let value = reply.value.as_ref().map_or(String::new(), |value| {
            format!(" + {} bytes {}", value.len(), value[..value.len().min(20)].escape_ascii())
        });
        words.join(" ") + &value
    };
    answer.iter().map(line).collect::<Vec<_>>().join(" / ")
}
