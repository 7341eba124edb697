//! Looks after one cluster, in rounds: what each server holds, what it needs, and then the most urgent of that.

use std::time::Duration;

use tokio::time::Instant;

use super::board;
use super::pace::Limits;
use super::refill::{self, Plan};
use super::shape::{Connections, Shape, open};
use crate::memcached::{Answer, Batch, Error};
use crate::resync::{Held, Need, Seen, needs};
use crate::routing::view::{ALL, Mark, State, WHOLE};
use crate::webhook::metrics::{Metrics, ResultLabels};

/// Pause before a refill is tried again that failed, or that could not ask everybody.
const AGAIN: Duration = Duration::from_secs(5);

/// One cluster's servers, as far as this process knows them. What counts lies on the servers.
pub struct Care {
    shape: Shape,
    limits: Limits,
    metrics: Metrics,
    connections: Connections,
    /// As the last look found them.
    servers: Vec<Seen>,
    /// When a server may be refilled again.
    again: Vec<Option<Instant>>,
    /// Since when a server answers and carries a proxy's mark.
    owed_since: Vec<Option<Instant>>,
}

impl Care {
    /// Of a cluster that nothing is known of yet.
    pub fn new(shape: Shape, limits: Limits, metrics: Metrics) -> Care {
        let servers = shape.addresses.len();
        let connections = Connections::to(servers);
        Care {
            shape,
            limits,
            metrics,
            connections,
            servers: Vec::new(),
            again: vec![None; servers],
            owed_since: vec![None; servers],
        }
    }

    /// Takes over a changed cluster.
    pub fn adopt(&mut self, shape: Shape) {
        if shape != self.shape {
            *self = Care::new(shape, self.limits, self.metrics.clone());
        }
    }

    /// `host:port` of each server.
    pub fn addresses(&self) -> Vec<String> {
        self.shape.addresses.clone()
    }

    /// Looks at every server that runs. `None` while a ring change is under way, when two rings say where a key is.
    pub async fn look(&mut self, running: &[bool]) -> Option<Vec<Need>> {
        let ask = |server: usize| {
            let mut batch = Batch::default();
            if running.get(server).copied().unwrap_or(false) {
                batch.push(&[b"mg", WHOLE]);
                if self.shape.watched.contains(&server) {
                    board::ask(&mut batch);
                }
            }
            batch
        };
        let batches: Vec<Batch> = (0..self.shape.addresses.len()).map(ask).collect();
        let answers = self.connections.ask(&self.shape.addresses, &batches).await;
        let members = self.shape.watched.iter().filter_map(|member| answers.get(*member)?.as_ref().ok()?.get(1));
        let views: Vec<_> = members.map(|answer| board::read(answer).view).collect();
        if views.iter().any(|view| view.is_changing()) {
            return None;
        }
        let marks: Vec<Mark> = views.into_iter().flat_map(|view| view.marks).collect();
        self.servers = (0..answers.len()).map(|server| self.seen(server, held(&answers[server]), &marks)).collect();
        Some(needs(&self.shape.order, &self.servers))
    }

    fn seen(&mut self, server: usize, held: Held, marks: &[Mark]) -> Seen {
        let alone = self.is_alone();
        let is_here = |mark: &&Mark| mark.server == self.shape.names[server];
        let here: Vec<&Mark> = marks.iter().filter(is_here).collect();
        let owed = here.iter().any(|mark| mark.owner != ALL && mark.state == State::Dirty);
        let since = &mut self.owed_since[server];
        *since = if owed && held != Held::Unknown { since.or(Some(Instant::now())) } else { None };
        Seen {
            held,
            owed,
            orphaned: since.is_some_and(|since| since.elapsed() >= self.limits.patience),
            unsure: here.iter().any(|mark| mark.owner == ALL && (mark.state == State::Dirty || !alone)),
            rank: (missing_since(&here), marks.iter().position(|mark| is_here(&mark)).map_or(0, |at| at + 1)),
        }
    }

    /// Does the most urgent of what the last look found: marks what is not to be read, declares what nobody has anything
    /// for, and refills one server. Ends early, and without harm, when `go_on` says so.
    ///
    /// # Errors
    /// When a server goes away meanwhile; the next round sees what it then is.
    pub async fn act(&mut self, needs: &[Need], go_on: &(dyn Fn() -> bool + Sync)) -> anyhow::Result<()> {
        self.mark(needs).await?;
        for (server, need) in needs.iter().enumerate() {
            // One that needs nothing though it was emptied is declared too: it must not count as emptied again later.
            let emptied = *need == Need::Nothing && self.servers[server].held == Held::Emptied;
            if (*need == Need::Declaration || emptied) && go_on() {
                let mut connection = open(&self.shape.addresses[server]).await?;
                refill::declare(&mut connection).await?;
                self.unmark(server).await?;
            }
        }
        match self.next(needs) {
            Some((server, from, partly)) if go_on() => self.refill(server, from, partly, go_on).await,
            _ => Ok(()),
        }
    }

    /// Marks the servers that are to be refilled, so that nobody reads them, and takes over the marks of silent proxies.
    async fn mark(&mut self, needs: &[Need]) -> anyhow::Result<()> {
        let wanted = |server: &usize| match needs[*server] {
            Need::Refill { .. } => !self.servers[*server].unsure || self.is_owed_in_vain(*server),
            Need::Declaration => self.is_owed_in_vain(*server),
            Need::Nothing | Need::Patience(_) => false,
        };
        let unmarked: Vec<usize> = (0..needs.len()).filter(wanted).collect();
        if unmarked.is_empty() || self.shape.watched.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = unmarked.iter().map(|server| self.shape.names[*server]).collect();
        board::mark(&mut self.connections, &self.shape, &names).await;
        for server in unmarked {
            self.servers[server].unsure = true;
            if self.is_owed_in_vain(server) {
                self.owed_since[server] = None;
                board::disown(&mut self.connections, &self.shape, self.shape.names[server]).await?;
            }
        }
        Ok(())
    }

    /// Whether the marks of proxies on it need not be waited for: these are silent, or it was emptied, and a refill brings what
    /// they owe it anyway. Its process is a new one then, which no packet from before can reach; who is still there puts
    /// its mark back.
    fn is_owed_in_vain(&self, server: usize) -> bool {
        let seen = self.servers[server];
        seen.orphaned || seen.held == Held::Emptied && seen.owed
    }

    /// The server to refill: one that will be whole first.
    fn next<'a>(&self, needs: &'a [Need]) -> Option<(usize, &'a [usize], bool)> {
        let due = |server: usize| self.again[server].is_none_or(|again| Instant::now() >= again);
        let refills = needs.iter().enumerate().filter_map(|(server, need)| match need {
            Need::Refill { from, partly } if due(server) => Some((server, from.as_slice(), *partly)),
            _ => None,
        });
        refills.min_by_key(|(server, _, partly)| (*partly, *server))
    }

    async fn refill(
        &mut self,
        server: usize,
        from: &[usize],
        partly: bool,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> anyhow::Result<()> {
        self.again[server] = Some(Instant::now() + AGAIN);
        let plan =
            Plan { shape: &self.shape, target: server, from, limits: self.limits, metrics: &self.metrics, go_on };
        tracing::info!(server = self.shape.addresses[server], partly, "refilling");
        let began = Instant::now();
        let result = refill::run(&plan, !partly).await;
        self.metrics.resyncs.get_or_create(&ResultLabels::of(&result)).inc();
        let sums = result?;
        tracing::info!(
            server = self.shape.addresses[server],
            partly,
            copied = sums.copied,
            removed = sums.removed,
            bytes = sums.bytes,
            passes = sums.passes,
            seconds = began.elapsed().as_secs_f64(),
            "refilled"
        );
        if partly { Ok(()) } else { self.unmark(server).await }
    }

    async fn unmark(&mut self, server: usize) -> anyhow::Result<()> {
        if !self.servers[server].unsure {
            return Ok(());
        }
        let name = self.shape.names[server];
        if self.is_alone() {
            // Its stand-in may have its keys for a while, so proxies take what is left of the mark away, when that is over.
            return board::trust(&mut self.connections, &self.shape, name).await;
        }
        board::clear(&mut self.connections, &self.shape, name).await
    }

    /// Whether each server is the only one of its keys. It is marked then only where there are stand-ins.
    fn is_alone(&self) -> bool {
        self.shape.order.copies() == 1
    }
}

/// Since when proxies count a server with these marks as one that misses writes: its first mark that says so, as in
/// lua/lease.lua; milliseconds since 1970, 0 where that is not known.
fn missing_since(here: &[&Mark]) -> u64 {
    let merely_emptied = here.iter().any(|mark| mark.tells_when_emptied());
    let misses = |mark: &&&Mark| mark.state == State::Dirty && !(mark.owner == ALL && merely_emptied);
    here.iter().filter(misses).map(|mark| mark.since()).min().unwrap_or(0)
}

fn held(answers: &Result<Vec<Answer>, Error>) -> Held {
    match answers.as_ref().map(|answers| answers.first()) {
        Ok(None) => Held::Nothing,
        Ok(Some(answer)) if answer.is_done() => Held::Whole,
        Ok(Some(answer)) if answer.code() == b"EN" => Held::Emptied,
        Ok(Some(_)) | Err(_) => Held::Unknown,
    }
}
