//! Brings every key from its servers in the ring before to those in the ring that counts now, as a proxy does that misses one
//! (lua/move.lua): under the key's lock, put by add with its cas id, confirmed at the source, taken back if that has changed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use super::board::Board;
use super::servers::{Answers, Requests, Servers};
use super::{Held, LISTING};
use crate::memcached::{Answer, Keys, list};
use crate::routing::order::hash;
use crate::routing::view::{Name, RESERVED};
use crate::topology::change::Placement;

/// The library's: nothing is moved later than this after its lock was taken, because others take that over then.
const DELTA: Duration = Duration::from_millis(40);
/// Keys that are moved at a time, at most.
const MOST: usize = 128;
/// Values that are in memory at a time, in bytes, about: larger ones make the next group smaller.
const BYTES: usize = 2 << 20;

/// From where to where.
pub(super) struct Sweep<'a> {
    pub(super) from: &'a Placement,
    pub(super) to: &'a Placement,
    pub(super) gone: &'a BTreeSet<usize>,
    pub(super) names: &'a [Name],
    pub(super) watched: &'a [usize],
}

/// What a pass came to.
#[derive(Default)]
pub(super) struct Swept {
    /// Keys that were on a server that is to lose them.
    pub(super) moved: usize,
    /// Keys that could not be dealt with: somebody was quicker, or a server slow.
    pub(super) left: usize,
    /// Servers that could not be listed, or did not take what they are to have.
    pub(super) silent: BTreeSet<usize>,
}

/// How a group of keys went.
#[derive(PartialEq, Eq)]
enum Pace {
    /// More could be moved at a time.
    Fine,
    /// Their values took much memory.
    TooLarge,
    /// Their locks did not count any more before anything was moved.
    TooLate,
}

/// A key on its way.
struct Moving<'k> {
    /// As listed: `KEY` or `KEY b`.
    key: &'k [u8],
    to: Vec<usize>,
    /// Servers that are to lose it.
    old: Vec<usize>,
    /// The one that leads it in the ring before; `None` where nobody trusted can say.
    leads: Option<usize>,
    authority: usize,
    lock: String,
    id: String,
    /// From where, and what.
    item: Option<(usize, Item)>,
    /// The authority has it.
    here: bool,
    failed: bool,
}

struct Item {
    id: u64,
    flags: String,
    value: Vec<u8>,
}

impl Sweep<'_> {
    /// Goes over all servers of the ring before once.
    pub(super) async fn pass(&self, servers: &mut Servers) -> Result<Swept, Held> {
        // A busy machine gets fewer keys done while their locks count.
        let (mut swept, mut size) = (Swept::default(), MOST);
        for server in self.from.all().into_iter().filter(|server| !self.gone.contains(server)) {
            let Ok(keys) = self.list(servers.address(server), server).await else {
                swept.silent.insert(server);
                continue;
            };
            let keys: Vec<&[u8]> = keys.iter().collect();
            let mut at = 0;
            while at < keys.len() {
                let board = Board::read(servers, self.watched).await?;
                let marked = board.dirty();
                let dirty = (0..self.names.len())
                    .filter(|x| marked.contains(&self.names[*x]) || self.gone.contains(x))
                    .collect();
                let group = &keys[at..keys.len().min(at + size)];
                let pace = self.group(servers, group, server, &dirty, &mut swept).await;
                // Again with fewer, and not in the next pass, which would come here with as many.
                if pace == Pace::TooLate && group.len() > 1 {
                    size = group.len() / 2;
                    continue;
                }
                swept.left += usize::from(pace == Pace::TooLate);
                at += group.len();
                size = if pace == Pace::Fine { (size * 2).min(MOST) } else { (size / 2).max(1) };
            }
        }
        Ok(swept)
    }

    /// The keys of a server that it is to lose, and those that it leads and new servers are to have.
    async fn list(&self, address: &str, server: usize) -> Result<Keys, crate::memcached::Error> {
        list(address, LISTING, |key| {
            if key.starts_with(RESERVED) {
                return false;
            }
            let (from, to) = (self.from.servers_of(key), self.to.servers_of(key));
            !to.contains(&server) || from[0] == server && to.iter().any(|new| !from.contains(new))
        })
        .await
    }

    /// Moves these keys, and counts them unless it is too late for them.
    async fn group(
        &self,
        servers: &mut Servers,
        keys: &[&[u8]],
        at: usize,
        dirty: &BTreeSet<usize>,
        swept: &mut Swept,
    ) -> Pace {
        let mut group: Vec<Moving> =
            keys.iter().enumerate().filter_map(|(n, key)| self.moving(key, n, dirty)).collect();
        let skipped = keys.len() - group.len();
        let bytes = fetch(servers, &mut group).await;
        let start = Instant::now();
        lock(servers, &mut group).await;
        look_again(servers, &mut group).await;
        if start.elapsed() >= DELTA {
            release(servers, &group, &[]).await;
            return Pace::TooLate;
        }
        put(servers, &mut group).await;
        self.fill(servers, &mut group, swept).await;
        let doubtful = confirm(servers, &mut group).await;
        release(servers, &group, &doubtful).await;
        swept.left += skipped + group.iter().filter(|moving| moving.failed).count();
        swept.moved += group.iter().filter(|moving| !moving.failed && !moving.to.contains(&at)).count();
        if bytes > BYTES { Pace::TooLarge } else { Pace::Fine }
    }

    /// Puts it on the other servers that are to have it, where they have nothing. Also on marked ones, because nobody owes
    /// them what they hold nothing of; who does not answer keeps the key from being taken away at its source.
    async fn fill(&self, servers: &mut Servers, group: &mut [Moving<'_>], swept: &mut Swept) {
        let mut requests = servers.requests();
        let mut tickets = Vec::new();
        for (number, moving) in group.iter().enumerate().filter(|(_, moving)| !moving.failed) {
            let Some((source, item)) = &moving.item else { continue };
            let others =
                moving.to.iter().filter(|to| **to != moving.authority && *to != source && !self.gone.contains(to));
            for to in others {
                let flags = flags(moving.key, item);
                tickets.push((number, *to, requests.store(*to, token(moving.key), &flags, &item.value)));
            }
        }
        let answers = servers.ask(requests).await;
        for (number, to, ticket) in tickets {
            if answers.get(ticket).is_none() {
                group[number].failed = true;
                swept.silent.insert(to);
            }
        }
    }

    fn moving<'k>(&self, key: &'k [u8], number: usize, dirty: &BTreeSet<usize>) -> Option<Moving<'k>> {
        let token = key.strip_suffix(b" b").unwrap_or(key);
        let (from, to) = (self.from.servers_of(token), self.to.servers_of(token));
        let trusted = |list: &[usize]| list.iter().copied().find(|server| !dirty.contains(server));
        let millis =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Some(Moving {
            key,
            authority: trusted(&to)?,
            leads: trusted(&from),
            old: from.into_iter().filter(|server| !to.contains(server) && !self.gone.contains(server)).collect(),
            to,
            lock: format!("__mcp:m:{:x}", hash(token)),
            // Like the library's ids; two drivers, or a driver and a proxy, do not take one lock in one millisecond.
            id: (millis << 22 | u64::from(std::process::id() & 0xfff) << 10 | number as u64).to_string(),
            item: None,
            here: false,
            failed: false,
        })
    }
}

/// Asks authority and leader for the item.
async fn fetch(servers: &mut Servers, group: &mut [Moving<'_>]) -> usize {
    let mut requests = servers.requests();
    let ask = |requests: &mut Requests, server, key: &[u8]| requests.push(server, &[b"mg", key, b"v f t c u"]);
    let tickets: Vec<_> = group
        .iter()
        .map(|moving| {
            let leads = moving.leads.filter(|leads| *leads != moving.authority);
            (ask(&mut requests, moving.authority, moving.key), leads.map(|leads| ask(&mut requests, leads, moving.key)))
        })
        .collect();
    let answers = servers.ask(requests).await;
    for (moving, (here, there)) in group.iter_mut().zip(tickets) {
        let Some(here) = answers.get(here) else {
            moving.failed = true;
            continue;
        };
        moving.here = here.is_done();
        let found = if moving.here {
            item(here).map(|item| (moving.authority, item))
        } else {
            let there = there.and_then(|ticket| answers.get(ticket));
            // Without an answer of whoever leads it, what others have may be old.
            moving.failed = there.is_none() && moving.leads != Some(moving.authority);
            moving.leads.zip(there.and_then(item))
        };
        moving.item = found;
    }
    group.iter().filter_map(|moving| moving.item.as_ref()).map(|(_, item)| item.value.len()).sum()
}

/// Not what is stale, being fetched by one client, or in its last second: that can't be copied.
fn item(answer: &Answer) -> Option<Item> {
    let left: i64 = answer.number(b't')?;
    let special = b"WXZ".iter().any(|flag| answer.flag(*flag).is_some());
    let id = answer.number(b'c').filter(|_| answer.code() == b"VA" && left != 0 && !special)?;
    let flags: u32 = answer.number(b'f')?;
    let life = if left < 0 { String::new() } else { format!(" T{left}") };
    Some(Item { id, flags: format!("F{flags}{life} E{id}"), value: answer.value.clone() })
}

async fn lock(servers: &mut Servers, group: &mut [Moving<'_>]) {
    let mut requests = servers.requests();
    let ask = |requests: &mut Requests, moving: &Moving| {
        requests.push(moving.authority, &[b"mg", moving.lock.as_bytes(), b"c N5", format!("E{}", moving.id).as_bytes()])
    };
    let tickets: Vec<usize> = group.iter().map(|moving| ask(&mut requests, moving)).collect();
    let answers = servers.ask(requests).await;
    for (moving, ticket) in group.iter_mut().zip(tickets) {
        let taken = |answer: &Answer| answer.flag(b'W').is_some() && answer.flag(b'c') == Some(moving.id.as_bytes());
        moving.failed |= !answers.get(ticket).is_some_and(taken);
    }
}

/// Are the versions still those that were fetched?
async fn look_again(servers: &mut Servers, group: &mut [Moving<'_>]) {
    let mut requests = servers.requests();
    let ask = |requests: &mut Requests, server, key: &[u8]| requests.push(server, &[b"mg", key, b"c u"]);
    let tickets: Vec<_> = group
        .iter()
        .map(|moving| {
            let source = moving.item.as_ref().map_or(moving.authority, |(source, _)| *source);
            (ask(&mut requests, moving.authority, moving.key), ask(&mut requests, source, moving.key))
        })
        .collect();
    let answers = servers.ask(requests).await;
    for (moving, (here, there)) in group.iter_mut().zip(tickets) {
        let (Some(here), Some(there)) = (answers.get(here), answers.get(there)) else {
            moving.failed = true;
            continue;
        };
        let same = moving.item.as_ref().is_none_or(|(_, item)| there.number(b'c') == Some(item.id));
        let gone_or_come = here.is_done() != moving.here;
        // Whoever wrote it meanwhile has brought it to all its servers.
        if moving.here && here.is_done() && !same {
            moving.item = None;
        } else if gone_or_come || !same {
            moving.failed = true;
        }
    }
}

/// Puts what the authority lacks.
async fn put(servers: &mut Servers, group: &mut [Moving<'_>]) {
    let mut requests = servers.requests();
    let mut tickets = Vec::new();
    for moving in group.iter_mut().filter(|moving| !moving.failed && !moving.here) {
        if let Some((_, item)) = &moving.item {
            let flags = flags(moving.key, item);
            let ticket = requests.store(moving.authority, token(moving.key), &flags, &item.value);
            tickets.push((moving, ticket));
        }
    }
    let answers = servers.ask(requests).await;
    for (moving, ticket) in tickets {
        moving.here = answers.get(ticket).is_some_and(Answer::is_done);
        moving.failed = !moving.here;
    }
}

fn token(key: &[u8]) -> &[u8] {
    key.strip_suffix(b" b").unwrap_or(key)
}

fn flags(key: &[u8], item: &Item) -> String {
    let base64 = if key.ends_with(b" b") { "b " } else { "" };
    format!("{base64}{} ME", item.flags)
}

/// Takes it away on the old servers -> those whose source has changed meanwhile, by number.
async fn confirm(servers: &mut Servers, group: &mut [Moving<'_>]) -> Vec<usize> {
    let mut requests = servers.requests();
    let mut sources = Vec::new();
    for (number, moving) in group.iter().enumerate().filter(|(_, moving)| !moving.failed) {
        let mut source_is_old = None;
        if let Some((source, item)) = &moving.item {
            let id = format!("C{}", item.id);
            let is_old = moving.old.contains(source);
            let ticket = if is_old {
                requests.push(*source, &[b"md", moving.key, id.as_bytes()])
            } else {
                requests.push(*source, &[b"mg", moving.key, b"c u"])
            };
            sources.push((number, ticket, item.id, is_old));
            source_is_old = is_old.then_some(*source);
        }
        for old in moving.old.iter().filter(|old| Some(**old) != source_is_old) {
            requests.push(*old, &[b"md", moving.key]);
        }
    }
    let answers = servers.ask(requests).await;
    doubtful(&answers, &sources)
}

/// A source that no longer answers has not changed.
fn doubtful(answers: &Answers, sources: &[(usize, usize, u64, bool)]) -> Vec<usize> {
    let changed = sources.iter().filter(|(_, ticket, id, is_old)| {
        let same = |answer: &Answer| answer.is_done() && (*is_old || answer.number(b'c') == Some(*id));
        answers.get(*ticket).is_some_and(|answer| !same(answer))
    });
    changed.map(|(number, ..)| *number).collect()
}

/// Takes back what was put for these, and gives up the locks.
async fn release(servers: &mut Servers, group: &[Moving<'_>], doubtful: &[usize]) {
    let mut requests = servers.requests();
    for (moving, (source, item)) in
        doubtful.iter().filter_map(|number| Some((&group[*number], group[*number].item.as_ref()?)))
    {
        let id = format!("C{}", item.id);
        for to in moving.to.iter().filter(|to| *to != source) {
            requests.push(*to, &[b"md", moving.key, id.as_bytes()]);
        }
    }
    for moving in group {
        requests.push(moving.authority, &[b"md", moving.lock.as_bytes(), format!("C{}", moving.id).as_bytes()]);
    }
    servers.ask(requests).await;
}
