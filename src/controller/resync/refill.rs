//! Makes one server equal to its keys' authorities: lists, compares, copies, looks again, until nothing changes.
//!
//! Nobody reads the server meanwhile, but it takes writes. So everything is conditional: an item is put only where the
//! version is that was seen, and is taken back if its source has changed since. What an earlier refill has done stays.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::sleep;

use super::pace::{Limits, Pace};
use super::shape::{Shape, open};
use crate::memcached::{Answer, Batch, Connection, Keys, list};
use crate::resync::{Item, Look, Step, step};
use crate::routing::order::hash;
use crate::routing::view::{RESERVED, WHOLE};
use crate::webhook::metrics::Metrics;

/// Values that are in memory at a time, in bytes; one item may be larger.
const BATCH: usize = 256 << 10;
/// Items that are looked at at a time.
const LOOKS: usize = 500;
/// Keys that are in memory at a time: a server with more is listed in parts.
const LISTED: u64 = 400_000;
/// Longest wait for a line of a list.
const LISTING: Duration = Duration::from_secs(5);
/// A difference that is gone after this long was a write on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// Passes after which it is given up, until the next round.
const PASSES: usize = 8;
/// Full servers evict meanwhile, so from the third pass on one difference among so many items is none.
const FEW: usize = 1000;
/// Below so many items a server was just emptied: the first pass need not compare.
const EMPTY: u64 = 1000;
/// On the target while it is refilled. It is gone when the server was emptied once more.
const SESSION: &[u8] = b"__mcp:r";

/// What to do.
pub(super) struct Plan<'a> {
    pub(super) shape: &'a Shape,
    /// The server to make equal.
    pub(super) target: usize,
    /// Servers that have what they should.
    pub(super) from: &'a [usize],
    pub(super) limits: Limits,
    pub(super) metrics: &'a Metrics,
    /// Whether this process is still the one to do it.
    pub(super) go_on: &'a (dyn Fn() -> bool + Sync),
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) copied: usize,
    pub(super) removed: usize,
    pub(super) bytes: usize,
    pub(super) passes: usize,
}

/// Something to do at the target.
struct Change {
    /// As in a list: `KEY` or `KEY b`.
    key: Vec<u8>,
    step: Step,
    /// Bytes of the value, about.
    size: usize,
}

/// Refills until both are equal, and calls the server whole if `declare`.
pub(super) async fn run(plan: &Plan<'_>, declare_whole: bool) -> anyhow::Result<Sums> {
    let mut refill = Refill::open(plan).await?;
    let items: u64 = refill.target.stat("curr_items").await?.and_then(|text| text.parse().ok()).unwrap_or(0);
    if items < EMPTY {
        refill.pass(false).await?;
    }
    for pass in 0..PASSES {
        let (looked_at, changed) = refill.pass(true).await?;
        if changed == 0 || pass > 1 && changed * FEW <= looked_at {
            refill.ensure_not_emptied().await?;
            if declare_whole {
                declare(&mut refill.target).await?;
            }
            return Ok(refill.sums);
        }
    }
    bail!("{} still differs from the other copies after {PASSES} comparisons", refill.target.address())
}

/// Calls a server whole.
pub(super) async fn declare(connection: &mut Connection) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    batch.push_store(WHOLE, "", b"1");
    let stored = connection.round(&batch).await?;
    ensure!(stored.iter().all(Answer::is_done), "{} does not take {:?}", connection.address(), "__mcp:w");
    Ok(())
}

struct Refill<'a> {
    plan: &'a Plan<'a>,
    target: Connection,
    sources: BTreeMap<usize, Connection>,
    session: String,
    pace: Pace,
    sums: Sums,
}

impl<'a> Refill<'a> {
    async fn open(plan: &'a Plan<'a>) -> anyhow::Result<Refill<'a>> {
        let mut target = open(&plan.shape.addresses[plan.target]).await?;
        let mut sources = BTreeMap::new();
        for source in plan.from {
            sources.insert(*source, open(&plan.shape.addresses[*source]).await?);
        }
        let session = format!("{}-{}", std::process::id(), time::OffsetDateTime::now_utc().unix_timestamp_nanos());
        let mut batch = Batch::default();
        batch.push_store(SESSION, "T3600", session.as_bytes());
        target.round(&batch).await?;
        Ok(Refill { plan, target, sources, session, pace: Pace::new(plan.limits), sums: Sums::default() })
    }

    async fn ensure_not_emptied(&mut self) -> anyhow::Result<()> {
        let session = self.target.ask(&[b"mg", SESSION, b"v"]).await?;
        ensure!(session.value == self.session.as_bytes(), "{} was emptied meanwhile", self.target.address());
        Ok(())
    }

    /// Goes over all keys once, from the sources' lists and, if `compare`, from the target's own. Returns how many items
    /// were looked at and how many of them were changed.
    async fn pass(&mut self, compare: bool) -> anyhow::Result<(usize, usize)> {
        self.sums.passes += 1;
        let (mut looked_at, mut changed) = (0, 0);
        let own = compare.then_some(self.plan.target);
        for listed in self.plan.from.iter().copied().chain(own) {
            for part in 0..self.parts(listed).await? {
                let keys = self.list(listed, part).await?;
                for (source, keys) in self.by_source(listed, &keys) {
                    for chunk in keys.chunks(LOOKS) {
                        ensure!((self.plan.go_on)(), "another replica leads now, and goes on with it");
                        looked_at += chunk.len();
                        changed += self.equalize(source, chunk, compare).await?;
                    }
                }
            }
        }
        Ok((looked_at, changed))
    }

    async fn parts(&mut self, server: usize) -> anyhow::Result<u64> {
        let connection = self.sources.get_mut(&server).unwrap_or(&mut self.target);
        let items = connection.stat("curr_items").await?.and_then(|text| text.parse::<u64>().ok());
        Ok(items.unwrap_or(0) / LISTED + 1)
    }

    /// The keys of a server that the target and one of the sources should have, one part of them.
    async fn list(&mut self, server: usize, part: u64) -> anyhow::Result<Keys> {
        let parts = self.parts(server).await?;
        let (address, wanted) = (&self.plan.shape.addresses[server], |key: &[u8]| {
            let source = self.source_of(key);
            // By the hash's high bits: the low ones decide the server.
            (hash(key) >> 32) % parts == part
                && source.is_some_and(|source| source == server || server == self.plan.target)
        });
        Ok(list(address, LISTING, wanted).await?)
    }

    /// The key's authority: the first of its servers that has what it should. `None` if the target is not to have it.
    fn source_of(&self, key: &[u8]) -> Option<usize> {
        if key.starts_with(RESERVED) {
            return None;
        }
        let servers = self.plan.shape.order.of(key);
        let holds = servers.contains(&self.plan.target);
        servers.into_iter().find(|server| holds && self.plan.from.contains(server))
    }

    fn by_source<'k>(&self, listed: usize, keys: &'k Keys) -> BTreeMap<usize, Vec<&'k [u8]>> {
        let mut sorted = BTreeMap::<usize, Vec<&[u8]>>::new();
        for key in keys.iter() {
            let source = if listed == self.plan.target { self.source_of(token(key)) } else { Some(listed) };
            if let Some(source) = source {
                sorted.entry(source).or_default().push(key);
            }
        }
        sorted
    }

    /// Makes these keys equal. Returns how many were not.
    async fn equalize(&mut self, source: usize, keys: &[&[u8]], compare: bool) -> anyhow::Result<usize> {
        self.pace.spend(keys.len(), 0).await;
        let mut changes = self.differences(source, keys, compare).await?;
        if compare && !changes.is_empty() {
            sleep(ON_ITS_WAY).await;
            let again: Vec<&[u8]> = changes.iter().map(|change| change.key.as_slice()).collect();
            changes = self.differences(source, &again, true).await?;
        }
        let (mut batch, mut size, mut changed) = (Vec::new(), 0, 0);
        for change in changes {
            size += change.size;
            batch.push(change);
            if size >= BATCH {
                changed += self.put(source, &std::mem::take(&mut batch)).await?;
                size = 0;
            }
        }
        Ok(changed + self.put(source, &batch).await?)
    }

    /// What differs of these keys. Without `compare` the target is taken to have none of them.
    async fn differences(&mut self, source: usize, keys: &[&[u8]], compare: bool) -> anyhow::Result<Vec<Change>> {
        let mut looks = Batch::default();
        keys.iter().for_each(|key| look(&mut looks, key));
        let there = if compare { self.target.round(&looks).await? } else { vec![Answer::default(); keys.len()] };
        // Last of all whether it still has what it should: an emptied source would take everything along.
        looks.push(&[b"mg", WHOLE]);
        let mut here = self.source(source)?.round(&looks).await?;
        let whole = here.pop().is_some_and(|answer| answer.is_done());
        ensure!(whole, "{} was emptied meanwhile", self.plan.shape.addresses[source]);
        let pairs = keys.iter().zip(there.iter().zip(&here));
        let changes = pairs.map(|(key, (there, here))| {
            let step = step(seen(there), seen(here));
            Change { key: key.to_vec(), step, size: size_of(here) }
        });
        Ok(changes.filter(|change| change.step != Step::Leave).collect())
    }

    /// Does the changes, looks at the source again, and takes back what it has changed since. Returns how many stand.
    async fn put(&mut self, source: usize, changes: &[Change]) -> anyhow::Result<usize> {
        let items = self.items(source, changes).await?;
        let (mut writes, mut of_items, mut bytes) = (Batch::default(), Vec::new(), 0);
        for (change, item) in changes.iter().zip(&items) {
            match (change.step, item) {
                (Step::Add | Step::Replace(_), Some(item)) => {
                    store(&mut writes, change, item);
                    bytes += item.value.len();
                    of_items.push(Some((&change.key, item)));
                }
                // What can't be copied must not be there as another version.
                (Step::Remove(id) | Step::Replace(id), None) => {
                    remove(&mut writes, &change.key, id);
                    of_items.push(None);
                }
                _ => {}
            }
        }
        let done = self.target.round(&writes).await?;
        let of_items: Vec<_> =
            of_items.into_iter().zip(&done).filter(|(_, done)| done.is_done()).map(|(item, _)| item).collect();
        let stored: Vec<_> = of_items.iter().flatten().copied().collect();
        let kept = self.take_back(source, &stored).await?;
        let removed = of_items.len() - stored.len();
        self.pace.spend(0, bytes).await;
        self.sums.copied += kept;
        self.sums.removed += removed;
        self.sums.bytes += bytes;
        let metrics = self.plan.metrics;
        metrics.resync_items.inc_by(kept as u64);
        metrics.resync_bytes.inc_by(bytes as u64);
        metrics.resync_removed.inc_by(removed as u64);
        Ok(kept + removed)
    }

    /// The items that are to be put, where there is one that can be.
    async fn items(&mut self, source: usize, changes: &[Change]) -> anyhow::Result<Vec<Option<Item>>> {
        let wanted = |change: &&Change| matches!(change.step, Step::Add | Step::Replace(_));
        let (mut reads, mut give_back) = (Batch::default(), Batch::default());
        for change in changes.iter().filter(wanted) {
            let mut words = words(b"mg", &change.key);
            words.extend([&b"v"[..], b"f", b"t", b"c", b"u"]);
            reads.push(&words);
        }
        let connection = self.source(source)?;
        let mut answers = connection.round(&reads).await?.into_iter();
        let mut items = Vec::with_capacity(changes.len());
        for change in changes {
            let answer = if wanted(&change) { answers.next() } else { None };
            if let Some((answer, id)) = answer.as_ref().and_then(|answer| Some((answer, answer.flag(b'c')?)))
                && answer.flag(b'W').is_some()
            {
                // Our look took the token of the client that is to refresh a stale item: the same version, stale again.
                let (condition, version) = ([b"C", id].concat(), [b"E", id].concat());
                let mut words = words(b"md", &change.key);
                words.extend([&b"I"[..], &condition, &version]);
                give_back.push(&words);
            }
            items.push(answer.and_then(item));
        }
        connection.round(&give_back).await?;
        Ok(items)
    }

    /// Removes at the target what the source no longer has as it was put. Returns how many are left.
    async fn take_back(&mut self, source: usize, stored: &[(&Vec<u8>, &Item)]) -> anyhow::Result<usize> {
        let mut looks = Batch::default();
        stored.iter().for_each(|(key, _)| look(&mut looks, key));
        let now = self.source(source)?.round(&looks).await?;
        let mut removals = Batch::default();
        for ((key, item), now) in stored.iter().zip(&now) {
            if step(Some(item.look), seen(now)) != Step::Leave {
                remove(&mut removals, key, item.look.id);
            }
        }
        self.target.round(&removals).await?;
        Ok(stored.len() - removals.len())
    }

    fn source(&mut self, source: usize) -> anyhow::Result<&mut Connection> {
        self.sources.get_mut(&source).context("a refill takes only from its sources")
    }
}

/// A key without the mark that it is in base64.
fn token(key: &[u8]) -> &[u8] {
    key.strip_suffix(b" b").unwrap_or(key)
}

/// The beginning of a command: its name, the key, and `b` where it is in base64.
fn words<'k>(command: &'k [u8], key: &'k [u8]) -> Vec<&'k [u8]> {
    let mut words = vec![command, token(key)];
    if key.ends_with(b" b") {
        words.push(b"b");
    }
    words
}

/// Asks for version, end and size. By `me`, because `mg` of a stale item takes the token of the client that is to refresh
/// it; but 1.6.45's `me` finds no binary key.
fn look(batch: &mut Batch, key: &[u8]) {
    if key.ends_with(b" b") {
        let mut words = words(b"mg", key);
        words.extend([&b"c"[..], b"t", b"s", b"u"]);
        batch.push(&words);
    } else {
        batch.push(&[b"me", key]);
    }
}

/// The number behind `name=` in an answer to `me`.
fn debug<N: std::str::FromStr>(answer: &Answer, name: &[u8]) -> Option<N> {
    let mut words = answer.line.split(|byte| *byte == b' ').skip(2);
    str::from_utf8(words.find_map(|word| word.strip_prefix(name))?).ok()?.parse().ok()
}

fn seen(answer: &Answer) -> Option<Look> {
    if answer.code() == b"ME" {
        return Some(Look { id: debug(answer, b"cas=")?, lifetime: debug(answer, b"exp=")? });
    }
    answer.is_done().then(|| Some(Look { id: answer.number(b'c')?, lifetime: answer.number(b't')? })).flatten()
}

fn size_of(answer: &Answer) -> usize {
    debug(answer, b"size=").or(answer.number(b's')).unwrap_or(0)
}

/// What was read, if it can be copied: a stale item, or one that a client is refreshing, carries state that a copy can't have.
fn item(answer: Answer) -> Option<Item> {
    let look = seen(&answer).filter(|look| look.lifetime != 0)?;
    let tied = [b'W', b'X', b'Z'].iter().any(|flag| answer.flag(*flag).is_some());
    let flags = answer.number(b'f').filter(|_| answer.code() == b"VA" && !tied)?;
    Some(Item { look, flags, value: answer.value })
}

fn store(batch: &mut Batch, change: &Change, item: &Item) {
    let b = if change.key.ends_with(b" b") { "b " } else { "" };
    let condition = match change.step {
        Step::Replace(id) => format!("C{id}"),
        _ => "ME".to_owned(),
    };
    let life = if item.look.lifetime < 0 { String::new() } else { format!(" T{}", item.look.lifetime) };
    let flags = format!("{b}{condition} F{}{life} E{}", item.flags, item.look.id);
    batch.push_store(token(&change.key), &flags, &item.value);
}

fn remove(batch: &mut Batch, key: &[u8], id: u64) {
    let condition = format!("C{id}");
    let mut words = words(b"md", key);
    words.push(condition.as_bytes());
    batch.push(&words);
}
