//! The view as text, as the library writes it (lua/view.lua): what the reserved key `__mcp:v` on the first servers holds.
//!
//! Pure; who reads and writes it there is the controller's business. docs/coherence.md says what it means.

use std::fmt;

/// Keys that begin so belong to the protocol and not to an app; they stay on the server that they are on.
pub const RESERVED: &[u8] = b"__mcp:";
/// The view's key.
pub const VIEW: &[u8] = b"__mcp:v";
/// The key that every server has that holds all that it should; one without it has been emptied.
pub const WHOLE: &[u8] = b"__mcp:w";
/// Servers that hold the view.
pub const WATCHED: usize = 3;
/// The owner of marks that only a controller takes away.
pub const ALL: &str = "all";

/// What one server holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// `epoch S R oS oR`; `None` where somebody's mark stands alone.
    pub ring: Option<[u64; 5]>,
    /// In the order in which they came.
    pub marks: Vec<Mark>,
}

/// A server that is not to be read, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which server.
    pub server: Name,
    /// A proxy's name, or [`ALL`].
    pub owner: String,
    /// How far it is.
    pub state: State,
}

/// How far a mark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The server is not read.
    Dirty,
    /// It will be from a lease later; the mark is about to go.
    Ready,
}

/// A server's name in the view: it keeps it when lists grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The number of its list, from 1.
    pub list: usize,
    /// Its place there, from 1.
    pub place: usize,
}

impl View {
    /// Reads it; what it does not know it leaves out. A mark that stands twice counts once, dirty if one of them is.
    pub fn parse(text: &str) -> View {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let numbers: Vec<u64> = words.iter().map_while(|word| word.parse().ok()).take(5).collect();
        let mut view = View { ring: numbers.try_into().ok(), marks: Vec::new() };
        for mark in words.iter().filter_map(|word| Mark::parse(word)) {
            let before = view.marks.iter_mut().find(|old| old.server == mark.server && old.owner == mark.owner);
            match before {
                Some(old) if mark.state == State::Dirty => old.state = State::Dirty,
                Some(_) => {}
                None => view.marks.push(mark),
            }
        }
        view
    }

    /// Whether a ring change is under way: then two rings say where a key is.
    pub fn is_changing(&self) -> bool {
        self.ring.is_some_and(|[.., before, _]| before > 0)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.ring.iter().flatten().map(u64::to_string);
        let words: Vec<String> = numbers.chain(self.marks.iter().map(Mark::to_string)).collect();
        f.write_str(&words.join(" "))
    }
}

impl Mark {
    /// Whether it stands beside that of owner [`ALL`] on a server that was emptied: `e` and the milliseconds since 1970,
    /// hexadecimal, which are longer than a proxy's name.
    pub fn tells_when_emptied(&self) -> bool {
        self.owner
            .strip_prefix('e')
            .is_some_and(|time| time.len() > 8 && time.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    /// Since when it stands, in milliseconds since 1970, as the name of a proxy's mark ends; 0 where it does not say so.
    pub fn since(&self) -> u64 {
        let (_, time) = self.owner.split_once('n').unwrap_or_default();
        u64::from_str_radix(time, 16).unwrap_or(0)
    }

    fn parse(word: &str) -> Option<Mark> {
        let state = match word.get(..1)? {
            "d" => State::Dirty,
            "r" => State::Ready,
            _ => return None,
        };
        let (server, owner) = word[1..].split_once('.')?;
        let (list, place) = server.split_once('-')?;
        let server = Name { list: list.parse().ok()?, place: place.parse().ok()? };
        Some(Mark { server, owner: owner.to_owned(), state })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.state {
            State::Dirty => 'd',
            State::Ready => 'r',
        };
        write!(f, "{letter}{}-{}.{}", self.server.list, self.server.place, self.owner)
    }
}

/// The names of all servers of lists so long, in their order.
pub fn names(lists: &[usize]) -> Vec<Name> {
    let all = (1..).zip(lists);
    all.flat_map(|(list, servers)| (1..=*servers).map(move |place| Name { list, place })).collect()
}

/// Which servers hold the view, by number from 0: the first of each list, then the second, up to [`WATCHED`].
pub fn watched(lists: &[usize]) -> Vec<usize> {
    let mut before = 0;
    let mut places = Vec::new();
    for (list, servers) in lists.iter().enumerate() {
        places.extend((0..*servers).map(|place| (place, list, before + place)));
        before += servers;
    }
    places.sort_unstable();
    places.into_iter().take(WATCHED).map(|(.., server)| server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_printed() {
        for text in ["3 5 2 3 2 d1-2.0a1b2c3d r1-3.all", "1 3 3 0 0", "d1-1.all", ""] {
            assert_eq!(View::parse(text).to_string(), text);
        }
        assert_eq!(View::parse("1 3 2").to_string(), "", "a ring is five numbers");
        assert_eq!(View::parse("1 3 2 0 0 q1-2.x d1 d1-2 d1-x.y").to_string(), "1 3 2 0 0");
    }

    #[test]
    fn a_proxys_mark_says_since_when_it_stands() {
        let since = |mark| View::parse(&format!("1 3 2 0 0 {mark}")).marks[0].since();
        assert_eq!(since("d1-2.0a1b2c3dn19ab"), 0x19ab);
        for silent in ["d1-2.all", "d1-2.0a1b2c3d", "d1-2.e019abcdef01", "d1-2.0a1b2c3dn"] {
            assert_eq!(since(silent), 0, "{silent}");
        }
    }

    #[test]
    fn a_mark_that_stands_twice_is_one() {
        assert_eq!(View::parse("1 3 2 0 0 r1-2.all d1-2.all d1-2.x").to_string(), "1 3 2 0 0 d1-2.all d1-2.x");
        assert_eq!(View::parse("1 3 2 0 0 d1-2.all r1-2.all").to_string(), "1 3 2 0 0 d1-2.all");
    }

    #[test]
    fn the_first_servers_hold_the_view() {
        assert_eq!(watched(&[5]), [0, 1, 2]);
        assert_eq!(watched(&[3, 3]), [0, 3, 1]);
        assert_eq!(watched(&[1, 1, 1, 1]), [0, 1, 2]);
        assert_eq!(watched(&[2]), [0, 1]);
    }

    #[test]
    fn a_ring_change_is_seen() {
        assert!(View::parse("3 5 2 3 2").is_changing() && !View::parse("3 5 2 0 0").is_changing());
    }
}
