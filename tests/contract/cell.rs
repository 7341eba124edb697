//! One cell of the contract: a mode, a class of commands and a fault, and what a client sees. Owns how a class is tried and
//! how what was seen is named; which cells there are, and their faults, are the other modules'.
//!
//! Each cell writes [`KEYS`] keys through the first proxy, lets the fault happen, and then tries the class on each key
//! through the first and checks through the other. The result for a key is one word of [`Sees`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memcached_injector::request::LocalPlace;
use memcached_injector::routing::library;
use testbed::bed::Bed;
use testbed::client::{Client, Error, Stored};
use testbed::fault::Fault;
use testbed::parts::memcached::Server;

use crate::layout::Layout;

/// Enough that each of three servers is the first of some key.
pub(crate) const KEYS: usize = 12;
/// The longest that one command may take: the promise is 250 ms, the rest is for a loaded machine. A cell's first few
/// commands meet the fault; nothing here may take longer.
const STALL: Duration = Duration::from_millis(500);
/// Seconds that a local copy lives in the cells; long, so that only what the cell does shows.
pub(crate) const LOCAL_TTL: u32 = 60;

/// A row of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Coherent,
    Fastest,
    Sharded,
    /// Failover with its local cache in a container.
    Container,
    /// Failover with its local cache in the proxy.
    Internal,
    /// Failover with a container, before two copies of each key.
    TwoCopies,
    /// Sharded, with a gutter of one server, which is the last.
    ShardedGutter,
    /// Failover with a container, before servers with such a gutter.
    ContainerGutter,
    /// Coherent, with such a gutter.
    CoherentGutter,
}

/// A class of commands (src/routing/lua/classes.lua).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    Overwrite,
    Remove,
    Update,
}

/// What a client sees of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sees {
    /// What it would see on one memcached that holds the key.
    Kept,
    /// What it would see on one memcached that has lost the key.
    Lost,
    /// A value that was overwritten or deleted before.
    Stale,
    /// A read misses, a write answers `SERVER_ERROR`.
    Down,
    /// The client's own proxy misses it, the other one reads it: where the two do not reach the same servers.
    HalfSeen,
    /// None of these: never allowed.
    Wrong(String),
}

/// A bed for a mode, with the local caches that its proxies may have.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    mode: Mode,
    /// One for each proxy, in failover with a container.
    pub(crate) locals: Vec<Server>,
}

impl Stage {
    /// Three servers and two proxies. The second proxy has no local cache's copy of anything yet.
    pub(crate) fn new(mode: Mode) -> Stage {
        Stage::with_library(mode, &library::library().text)
    }

    /// The same with another library.
    pub(crate) fn with_library(mode: Mode, library: &str) -> Stage {
        let layout = match mode {
            Mode::Coherent => Layout::coherent(),
            Mode::Fastest => Layout::fastest(),
            Mode::Sharded => Layout::sharded(),
            Mode::Container => Layout::failover(LocalPlace::Container, LOCAL_TTL),
            Mode::Internal => Layout::failover(LocalPlace::Internal, LOCAL_TTL),
            Mode::TwoCopies => Layout::failover(LocalPlace::Container, LOCAL_TTL).with_two_copies(),
            Mode::ShardedGutter => Layout::sharded().with_a_gutter(),
            Mode::ContainerGutter => Layout::failover(LocalPlace::Container, LOCAL_TTL).with_a_gutter(),
            Mode::CoherentGutter => Layout::coherent().with_a_gutter(),
        };
        let locals = if matches!(mode, Mode::Container | Mode::TwoCopies | Mode::ContainerGutter) { 2 } else { 0 };
        let locals: Vec<Server> = (0..locals).map(|_| Server::start_with(&["-t", "1"]).unwrap()).collect();
        let addresses: Vec<SocketAddr> = locals.iter().map(Server::address).collect();
        let bed = layout.start_beside(library, 2, &addresses);
        Stage { bed, mode, locals }
    }

    /// A client of a proxy that waits longer than any promise.
    pub(crate) fn client(&self, proxy: usize) -> Client {
        self.bed.proxies()[proxy].client()
    }

    /// Writes every key with this value through the first proxy.
    pub(crate) fn fill(&self, value: &str) {
        let mut client = self.client(0);
        for key in 0..KEYS {
            assert!(client.set(&name(key), value.as_bytes(), 0, 0).unwrap(), "storing {}", name(key));
        }
    }

    /// Which keys have a copy on one of these servers only: the ones that a fault of these can touch.
    fn only_on(&self, servers: &[usize]) -> Vec<bool> {
        let holds = |server: &Server, key: usize| server.client().get(&name(key)).unwrap().is_some();
        let holders = |key| {
            self.bed
                .servers()
                .iter()
                .enumerate()
                .filter(move |(_, server)| holds(server, key))
                .map(|(number, _)| number)
        };
        (0..KEYS).map(|key| holders(key).all(|number| servers.contains(&number))).collect()
    }

    /// Tries a class on every key.
    pub(crate) fn try_class(&self, class: Class, by: usize, value: &str) -> Vec<Sees> {
        (0..KEYS).map(|key| self.try_key(class, by, key, value)).collect()
    }

    /// Tries a class on one key: what a client of proxy `by` sees, checked through the other proxy where the mode promises
    /// what the other sees.
    fn try_key(&self, class: Class, by: usize, key: usize, value: &str) -> Sees {
        let own = matches!(self.mode, Mode::Container | Mode::Internal | Mode::TwoCopies | Mode::ContainerGutter);
        let other = if own { by } else { 1 - by };
        let (mut own, mut others) = (self.client(by), self.client(other));
        let key = name(key);
        let seen = match class {
            Class::Read => read(&mut own, &mut others, &key, value),
            Class::Overwrite => overwrite(&mut own, &mut others, &key),
            Class::Remove => remove(&mut own, &mut others, &key),
            Class::Update => update(&mut own, &mut others, &key, value),
        };
        seen.unwrap_or_else(Sees::Wrong)
    }

    fn holds(&self, key: usize, value: &str) -> bool {
        self.client(1).get(&name(key)).is_ok_and(|item| text(item).as_deref() == Some(value))
    }

    /// Whether a key that was removed is found again.
    fn stays_removed(&self, key: usize) -> Sees {
        match ask("get", || self.client(1).get(&name(key))) {
            Ok(Ok(None)) => Sees::Kept,
            Ok(Ok(Some(_))) => Sees::Stale,
            Ok(Err(line)) | Err(line) => Sees::Wrong(line),
        }
    }
}

pub(crate) fn name(key: usize) -> String {
    format!("key{key}")
}

/// What is expected of the keys whose every copy is on a faulty server, and of all others.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub(crate) touched: Vec<Sees>,
    pub(crate) others: Vec<Sees>,
}

/// A table of cells, each a test of its own: first how a cell is run, then for each mode and class what clients may see.
macro_rules! cells {
    (($mode:ident, $class:ident, $expect:ident) $run:expr;
     $($name:ident: $m:ident, $c:ident => $touched:expr, $others:expr;)*) => {
        fn run($mode: $crate::cell::Mode, $class: $crate::cell::Class, $expect: &$crate::cell::Expect) {
            $run
        }
        $(
            #[test]
            fn $name() {
                let expect = $crate::cell::Expect { touched: $touched.to_vec(), others: $others.to_vec() };
                run($crate::cell::Mode::$m, $crate::cell::Class::$c, &expect);
            }
        )*
    };
}
pub(crate) use cells;

/// The keys have this value before the fault.
pub(crate) const BEFORE: &str = "100";
/// And this one where they were written during it.
pub(crate) const DURING: &str = "200";

/// Runs a cell: the faults happen, on servers `at`, and last; then the class is tried by a client of proxy `by`.
pub(crate) fn during(mode: Mode, class: Class, by: usize, faults: &[Fault], at: &[usize], expect: &Expect) {
    let stage = Stage::new(mode);
    stage.fill(BEFORE);
    let touched = stage.only_on(at);
    let guards: Vec<_> = faults.iter().map(|fault| fault.apply(&stage.bed).unwrap()).collect();
    judge(&stage.try_class(class, by, BEFORE), &touched, expect);
    drop(guards);
}

/// Runs a cell: the faults happened, on servers `at`, and both proxies see all servers again; then the class is tried.
pub(crate) fn once_back(mode: Mode, class: Class, faults: &[Fault], at: &[usize], expect: &Expect) {
    let stage = Stage::new(mode);
    stage.fill(BEFORE);
    let touched = stage.only_on(at);
    for fault in faults {
        fault.apply(&stage.bed).unwrap().undo().unwrap();
    }
    stage.bed.wait_all_up().unwrap();
    judge(&stage.try_class(class, 0, BEFORE), &touched, expect);
}

/// Runs a cell: the fault happens, on servers `at`; every key is written anew, or deleted where the class is that; the
/// fault ends and both proxies see all servers; then the class is tried by a client of the other proxy.
pub(crate) fn after(mode: Mode, class: Class, fault: Fault, at: &[usize], expect: &Expect) {
    let stage = Stage::new(mode);
    stage.fill(BEFORE);
    let touched = stage.only_on(at);
    let guard = fault.apply(&stage.bed).unwrap();
    let mut client = stage.client(0);
    let mut change = |key: usize| match class {
        Class::Remove => client.delete(&name(key)).is_ok(),
        _ => client.set(&name(key), DURING.as_bytes(), 0, 0).is_ok(),
    };
    // A write that is answered with an error may happen later all the same, when a frozen server goes on.
    let changed: Vec<bool> = (0..KEYS).map(&mut change).collect();
    guard.undo().unwrap();
    stage.bed.wait_all_up().unwrap();
    for changed_ones in [false, true] {
        let of_these = |key: &usize| changed[*key] == changed_ones;
        let keys: Vec<usize> = (0..KEYS).filter(of_these).collect();
        let seen: Vec<Sees> = keys
            .iter()
            .map(|key| match class {
                Class::Remove if changed_ones => stage.stays_removed(*key),
                _ if changed_ones || stage.holds(*key, DURING) => stage.try_key(class, 1, *key, DURING),
                _ => stage.try_key(class, 1, *key, BEFORE),
            })
            .collect();
        judge(&seen, &keys.iter().map(|key| touched[*key]).collect::<Vec<_>>(), expect);
    }
}

fn judge(seen: &[Sees], touched: &[bool], expect: &Expect) {
    for (key, (sees, touched)) in seen.iter().zip(touched).enumerate() {
        let allowed = if *touched { &expect.touched } else { &expect.others };
        assert!(
            allowed.contains(sees),
            "key {key} ({}): a client sees {sees:?}, the contract says {allowed:?}; all keys: {seen:?}",
            if *touched { "all its copies are on a faulty server" } else { "a copy is on a good server" },
        );
    }
}

/// One command; no answer in time, a broken connection and what is too slow are wrong in every cell.
fn ask<T>(what: &str, command: impl FnOnce() -> Result<T, Error>) -> Result<Result<T, String>, String> {
    let start = Instant::now();
    let outcome = command();
    let took = start.elapsed();
    if took > STALL {
        return Err(format!("{what} took {took:?}"));
    }
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Reply(line)) if line.starts_with("SERVER_ERROR") => Ok(Err(line)),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

type Seen = Result<Sees, String>;

fn text(item: Option<testbed::client::Item>) -> Option<String> {
    item.map(|item| String::from_utf8_lossy(&item.value).into_owned())
}

/// get, gets, get with several keys, mg: all say the same.
fn read(own: &mut Client, others: &mut Client, key: &str, value: &str) -> Seen {
    let mut found = Vec::new();
    for client in [own, others] {
        found.push(text(ask("get", || client.get(key))?.map_err(|line| format!("get: {line}"))?));
        found.push(text(ask("gets", || client.gets(key))?.map_err(|line| format!("gets: {line}"))?));
        let several = ask("get of two", || client.multiget(&[key, "nobody"]))?;
        found.push(text(several.map_err(|line| format!("get of two: {line}"))?.pop()));
        let meta = ask("mg", || client.raw(&format!("mg {key} s")))?.map_err(|line| format!("mg: {line}"))?;
        let got = &found[found.len() - 1];
        if meta.starts_with("EN") != got.is_none() {
            return Err(format!("get says {got:?} and mg {meta:?}"));
        }
    }
    if found.iter().all(|one| one.as_deref() == Some(value)) {
        Ok(Sees::Kept)
    } else if found.iter().all(Option::is_none) {
        // Lost or down: a read cannot tell.
        Ok(Sees::Lost)
    } else if found.iter().flatten().any(|one| one != value) {
        Ok(Sees::Stale)
    } else if found[..3].iter().all(Option::is_none) && found[3..].iter().all(Option::is_some) {
        Ok(Sees::HalfSeen)
    } else {
        Err(format!("some reads find the key and some do not: {found:?}"))
    }
}

/// set and touch, then a read by another client.
fn overwrite(own: &mut Client, others: &mut Client, key: &str) -> Seen {
    let before = text(ask("get", || own.get(key))?.map_err(|line| format!("get: {line}"))?);
    let touched = ask("touch", || own.touch(key, 1000))?;
    match ask("set", || own.set(key, b"new", 0, 0))? {
        Err(_) if touched.is_err() => return Ok(Sees::Down),
        Ok(true) => {}
        other => return Err(format!("set says {other:?}, touch {touched:?}")),
    }
    let after = text(ask("get", || others.get(key))?.map_err(|line| format!("get: {line}"))?);
    match after.as_deref() {
        Some("new") if touched == Ok(before.is_some()) => Ok(if before.is_some() { Sees::Kept } else { Sees::Lost }),
        Some("new") => Err(format!("touch says {touched:?} and get {before:?}")),
        None => Err("what was just stored is missing".to_owned()),
        Some(_) => Ok(Sees::Stale),
    }
}

/// delete, then a read by another client, then delete again.
fn remove(own: &mut Client, others: &mut Client, key: &str) -> Seen {
    let removed = match ask("delete", || own.delete(key))? {
        Err(_) => return Ok(Sees::Down),
        Ok(removed) => removed,
    };
    if let Some(value) = text(ask("get", || others.get(key))?.map_err(|line| format!("get: {line}"))?) {
        return if value.is_empty() { Err("an empty value".to_owned()) } else { Ok(Sees::Stale) };
    }
    match ask("delete", || others.delete(key))? {
        Ok(false) => Ok(if removed { Sees::Kept } else { Sees::Lost }),
        other => Err(format!("the second delete says {other:?}")),
    }
}

/// add, incr, cas with the id of a gets, append: each decides by what is there.
fn update(own: &mut Client, others: &mut Client, key: &str, value: &str) -> Seen {
    let added = match ask("add", || own.store("add", key, value.as_bytes()))? {
        Err(_) => return Ok(Sees::Down),
        Ok(outcome) => outcome,
    };
    let next = value.parse::<u64>().map_err(|error| error.to_string())? + 1;
    let counted = ask("incr", || others.incr(key, 1))?.map_err(|line| format!("incr: {line}"))?;
    if counted != Some(next) {
        return if counted.is_some() { Ok(Sees::Stale) } else { Err("incr finds nothing after add".to_owned()) };
    }
    let item = ask("gets", || own.gets(key))?.map_err(|line| format!("gets: {line}"))?;
    let id = item.and_then(|item| item.cas).ok_or("gets finds nothing after incr")?;
    let appended = ask("append", || others.store("append", key, b"0"))?;
    let refused = ask("cas", || own.cas(key, b"x", id))?;
    let last = text(ask("get", || own.get(key))?.map_err(|line| format!("get: {line}"))?);
    let wanted = (Ok(Stored::Stored), Ok(Stored::Exists), Some(format!("{next}0")));
    if (appended, refused, last) != wanted {
        return Ok(Sees::Stale); // one of them decided by an item that is no longer the other's
    }
    Ok(if added == Stored::NotStored { Sees::Kept } else { Sees::Lost })
}
