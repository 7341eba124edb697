//! Changes a ring under traffic: prepare, switch, sweep, finish. All that was done so far stands on the cache servers, so
//! whoever calls [`step`] next goes on with it, whatever became of the caller before.
//!
//! | file | does |
//! |---|---|
//! | servers.rs | connections to the cache servers |
//! | board.rs | the view on the first of them: ring, marks, what proxies know |
//! | sweep.rs | brings every key from its old servers to its new ones |
//!
//! **How to drive it.** Before a ring grows, every pod's configuration lists the servers that are to join. Then call [`step`]
//! about once a second with the same [`Change`] until it says [`Step::Nothing`]: the ring wanted is in force, and that epoch
//! may be published for new pods. [`Held`] is no failure: it names who has to do something first; call again. Servers that
//! leave may be stopped only after [`Step::Nothing`]. What comes next is decided in topology/change.rs.

mod board;
mod servers;
mod sweep;

use std::collections::BTreeSet;
use std::time::Duration;

use board::{Board, Registered};
use servers::Servers;
use sweep::Sweep;

use crate::memcached::list;
use crate::routing::view::{Name, RESERVED, WHOLE, names, watched};
use crate::topology::change::{InForce, Next, Placement, Shape, next};

/// Several times the library's LEASE + GRACE (90 ms): a proxy that has not turned by then is silent, and reads the view before
/// it does anything.
const TURNED: Duration = Duration::from_millis(500);
/// Longest wait for a line of a list.
const LISTING: Duration = Duration::from_secs(5);
/// Removals that are sent in one go.
const REMOVALS: usize = 500;

/// A change that is wanted.
#[derive(Debug, Clone)]
pub struct Change {
    /// Every server that is known, as `host:port`, by list: those of either ring.
    pub known: Vec<Vec<String>>,
    /// What is wanted.
    pub goal: Shape,
    /// What counts where no server names a ring: the cluster has had no traffic yet, or lost all that held the view.
    pub floor: InForce,
    /// Every proxy that may use the cluster.
    pub proxies: Vec<Proxy>,
    /// Servers, as in `known`, that are gone for good: what they held alone is lost, and nothing waits for them.
    pub gone: Vec<String>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its `MEMCACHED_PROXY_ID`: the pod's uid.
    pub id: String,
    /// As a person calls it: `namespace/pod`.
    pub name: String,
    /// Its library reads rings: its configuration has format 2 or later.
    pub reads_rings: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be done: this is in force, and is what is wanted.
    Nothing(InForce),
    /// Both rings count from now on.
    Switched(InForce),
    /// Keys were brought to their new servers; some are left, or were hot: go on.
    Swept {
        /// Keys that were looked at because they had to move.
        moved: usize,
        /// Of those, the ones that have to be looked at again.
        left: usize,
    },
    /// The old ring is over.
    Finished(InForce),
}

/// Who or what holds the change up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// A library that knows no rings would go on with the old one.
    #[error("held by proxies whose library knows no rings: {}; restart their pods", .0.join(", "))]
    Unaware(Vec<String>),
    /// They would have no server for some keys.
    #[error("held by proxies that do not know all servers yet: {}; their configuration is on its way", .0.join(", "))]
    Unprepared(Vec<String>),
    /// They may still write in the old ring.
    #[error("held by proxies that have not turned to the new ring yet: {}", .0.join(", "))]
    Turning(Vec<String>),
    /// Nobody can tell what they hold.
    #[error("held by cache servers that do not answer: {}; bring them back, or give them up", .0.join(", "))]
    Silent(Vec<String>),
    /// They missed writes, so their items are not to be moved.
    #[error("held by cache servers that missed writes and are being repaired: {}", .0.join(", "))]
    Marked(Vec<String>),
    /// There is no such ring.
    #[error("the cluster can't have a ring of {servers} servers and {copies} copies: its lists have {known:?} servers")]
    Impossible {
        /// Wanted, of each list.
        servers: usize,
        /// Wanted.
        copies: usize,
        /// Known, of each list.
        known: Vec<usize>,
    },
    /// Proxies wrote marks all the time.
    #[error("the view on the cache servers changed with every try to write it")]
    Contended,
}

/// Does what comes next. Bounded by what has to be listed and moved: minutes for many millions of keys.
///
/// # Errors
/// Who holds the change up; what was done so far stays. Cancel safe.
pub async fn step(change: &Change) -> Result<Step, Held> {
    let known: Vec<usize> = change.known.iter().map(Vec::len).collect();
    let mut driver = Driver {
        change,
        servers: Servers::new(change.known.concat()),
        names: names(&known),
        watched: watched(&known),
        gone: change
            .known
            .concat()
            .iter()
            .enumerate()
            .filter(|(_, s)| change.gone.contains(s))
            .map(|(x, _)| x)
            .collect(),
        known,
    };
    driver.placement(change.goal)?;
    let board = Board::read(&mut driver.servers, &driver.watched).await?;
    let in_force = board.in_force().filter(|ring| ring.epoch >= change.floor.epoch).unwrap_or(change.floor);
    match next(in_force, change.goal) {
        Next::Nothing => Ok(Step::Nothing(in_force)),
        Next::Begin(both) => driver.begin(board, in_force.now, both).await,
        Next::Finish(end) => driver.finish(board, in_force, end).await,
    }
}

struct Driver<'a> {
    change: &'a Change,
    known: Vec<usize>,
    servers: Servers,
    names: Vec<Name>,
    watched: Vec<usize>,
    gone: BTreeSet<usize>,
}

impl Driver<'_> {
    async fn begin(&mut self, board: Board, now: Shape, both: InForce) -> Result<Step, Held> {
        let unaware = self.change.proxies.iter().filter(|proxy| !proxy.reads_rings);
        some(unaware.map(|proxy| proxy.name.clone()), Held::Unaware)?;
        self.all_know(&board, both).await?;
        let (from, to) = (self.placement(now)?, self.placement(both.now)?);
        self.none_marked(&board)?;
        self.clean(&from, &to).await?;
        // That may have taken a while.
        let board = Board::read(&mut self.servers, &self.watched).await?;
        self.none_marked(&board)?;
        self.all_know(&board, both).await?;
        board.publish(&mut self.servers, both).await?;
        Ok(Step::Switched(both))
    }

    /// A leftover on a server that is to hold its key would be taken for the key's value. So each server of the new ring
    /// loses what the ring in force has elsewhere: all, where it is to join.
    async fn clean(&mut self, from: &Placement, to: &Placement) -> Result<(), Held> {
        let counted = from.all();
        for server in to.all() {
            let address = self.servers.address(server).to_owned();
            let silent = |_| Held::Silent(vec![address.clone()]);
            let misplaced = |key: &[u8]| !key.starts_with(RESERVED) && !from.servers_of(key).contains(&server);
            let keys: Vec<Vec<u8>> =
                list(&address, LISTING, misplaced).await.map_err(silent)?.iter().map(<[u8]>::to_vec).collect();
            for chunk in keys.chunks(REMOVALS) {
                let mut requests = self.servers.requests();
                for key in chunk {
                    requests.push(server, &[b"md", key]);
                }
                let answers = self.servers.ask(requests).await;
                answers.get(0).ok_or_else(|| Held::Silent(vec![address.clone()]))?;
            }
            if !counted.contains(&server) {
                let mut requests = self.servers.requests();
                requests.store(server, WHOLE, "", b"1");
                let answers = self.servers.ask(requests).await;
                answers.get(0).ok_or_else(|| Held::Silent(vec![address.clone()]))?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, board: Board, both: InForce, end: InForce) -> Result<Step, Held> {
        let Some(before) = both.before else { return Ok(Step::Nothing(both)) };
        let (from, to) = (self.placement(before)?, self.placement(both.now)?);
        board.publish(&mut self.servers, both).await?;
        tokio::time::sleep(TURNED).await;
        let board = Board::read(&mut self.servers, &self.watched).await?;
        self.all_turned(&board, both).await?;
        let sweep = Sweep { from: &from, to: &to, gone: &self.gone, names: &self.names, watched: &self.watched };
        let swept = sweep.pass(&mut self.servers).await?;
        if swept.moved > 0 || swept.left > 0 && swept.silent.is_empty() {
            return Ok(Step::Swept { moved: swept.moved, left: swept.left });
        }
        some(swept.silent.iter().map(|server| self.servers.address(*server).to_owned()), Held::Silent)?;
        let board = Board::read(&mut self.servers, &self.watched).await?;
        some(self.marked(&board, &from).into_iter(), Held::Marked)?;
        self.all_turned(&board, both).await?;
        board.publish(&mut self.servers, end).await?;
        Ok(Step::Finished(end))
    }

    fn placement(&self, shape: Shape) -> Result<Placement, Held> {
        Placement::of(shape, &self.known).ok_or_else(|| Held::Impossible {
            servers: shape.servers,
            copies: shape.copies,
            known: self.known.clone(),
        })
    }

    /// Servers of a ring that are marked, but those that are gone.
    fn marked(&self, board: &Board, ring: &Placement) -> Vec<String> {
        let dirty = board.stale();
        let marked =
            ring.all().into_iter().filter(|server| !self.gone.contains(server) && dirty.contains(&self.names[*server]));
        marked.map(|server| self.servers.address(server).to_owned()).collect()
    }

    fn none_marked(&self, board: &Board) -> Result<(), Held> {
        let dirty = board.stale();
        let marked = self.names.iter().zip(self.change.known.concat()).filter(|(name, _)| dirty.contains(name));
        some(marked.map(|(_, address)| address), Held::Marked)
    }

    async fn all_know(&mut self, board: &Board, ring: InForce) -> Result<(), Held> {
        let lacking = |proxy: &Registered| proxy.knows < ring.now.servers;
        let told = |proxy: &Registered| format!("{} (knows {} of {})", proxy.name, proxy.knows, ring.now.servers);
        let registered = board.registered(&mut self.servers, &self.change.proxies).await;
        some(registered.iter().filter(|proxy| lacking(proxy)).map(told), Held::Unprepared)
    }

    async fn all_turned(&mut self, board: &Board, ring: InForce) -> Result<(), Held> {
        let registered = board.registered(&mut self.servers, &self.change.proxies).await;
        let behind = registered.into_iter().filter(|proxy| proxy.epoch < ring.epoch);
        some(behind.map(|proxy| proxy.name), Held::Turning)
    }
}

/// Held by these, if there are any.
fn some(who: impl Iterator<Item = String>, held: fn(Vec<String>) -> Held) -> Result<(), Held> {
    let who: Vec<String> = who.collect();
    if who.is_empty() { Ok(()) } else { Err(held(who)) }
}
