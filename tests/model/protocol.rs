//! The protocol as steps between which anything may happen. Follows src/routing/lua: `Decide` and `Spread` are version.lua,
//! marks and leases are lease.lua and marks.lua, `Repair` is repair.lua. Does not say what is right (spec.rs).

mod steps;

use stateright::semantics::LinearizabilityTester;

use crate::spec::{Key, Op, Ret};

/// The rules that can be taken out one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) mark: bool,
    pub(crate) lease: bool,
    /// A write that a server has missed is acknowledged when everybody knows.
    pub(crate) force: bool,
    pub(crate) compare: bool,
    pub(crate) settle: bool,
    pub(crate) condition: bool,
    pub(crate) bounded: bool,
    /// What a refusing copy never held is noted there.
    pub(crate) notes: bool,
    /// A version that another has been built upon meanwhile goes to the copies too.
    pub(crate) own: bool,
    /// Who has lost an answer looks whether it was done.
    pub(crate) resolve: bool,
    /// He does before anybody else uses the next authority.
    pub(crate) head: bool,
    /// A server that was emptied is marked, and never leads while another does.
    pub(crate) emptied: bool,
    /// Not a rule: a server may come back empty.
    pub(crate) back_empty: bool,
}

impl Rules {
    pub(crate) const ALL: Rules = Rules {
        mark: true,
        lease: true,
        force: true,
        compare: true,
        settle: true,
        condition: true,
        bounded: true,
        notes: true,
        own: true,
        resolve: true,
        head: true,
        emptied: true,
        back_empty: true,
    };
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set(u8),
    Incr,
    Delete,
}

impl Kind {
    /// What the specification calls it.
    pub(crate) fn op(self) -> Op {
        match self {
            Kind::Get => Op::Get,
            Kind::Set(value) => Op::Set(value),
            Kind::Incr => Op::Incr,
            Kind::Delete => Op::Delete,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) servers: usize,
    pub(crate) scripts: [[Kind; 2]; 2],
    pub(crate) rules: Rules,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Item {
    id: u8,
    value: u8,
}

/// What a server does to its item; false where a condition refuses.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Write {
    Run(Kind, u8),
    Put(Item, Option<u8>),
    Force(Item),
    Remove(Option<u8>),
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Server {
    item: Option<Item>,
    dead: bool,
    frozen: bool,
    hollow: bool,
    late: Vec<Write>,
    /// Versions that it never held though its own was built upon them, with the number that each was, if known.
    passed: Vec<(u8, Option<u8>)>,
}

impl Server {
    fn apply(&mut self, write: Write) -> bool {
        let here = self.item.map(|item| item.id);
        match write {
            Write::Run(Kind::Set(value), id) => self.item = Some(Item { id, value }),
            Write::Run(Kind::Incr, id) => self.item = self.item.map(|item| Item { id, value: item.value + 1 }),
            Write::Run(Kind::Delete, _) => self.item = None,
            Write::Run(Kind::Get, _) => {}
            Write::Put(_, condition) if condition != here => return false,
            Write::Put(item, _) | Write::Force(item) => self.item = Some(item),
            Write::Remove(Some(id)) if here != Some(id) => return false,
            Write::Remove(_) => self.item = None,
        }
        true
    }
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Step {
    Decide,
    Again,
    Spread,
    Confirm,
    Late,
    Sweep,
    Answer,
    /// It was done, but what it made can't be told: the client gets an error.
    Unknown,
}

/// Sets of servers are bit masks.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Running {
    kind: Kind,
    step: Step,
    view: u8,
    authority: usize,
    seen: Vec<Option<u8>>,
    old: Option<Item>,
    item: Option<Item>,
    /// Its version, once it was sent.
    id: u8,
    /// Its answer was lost.
    doubtful: bool,
    pending: u8,
    refused: u8,
    added: u8,
    missed: u8,
    ret: Option<Ret>,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Proxy {
    next: usize,
    knows: u8,
    lost: u8,
    owed: u8,
    op: Option<Running>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct State {
    servers: Vec<Server>,
    proxies: Vec<Proxy>,
    /// By server: the proxies that own a mark.
    marks: Vec<u8>,
    cut: Option<(usize, usize)>,
    faults: u8,
    ids: u8,
    history: LinearizabilityTester<usize, Key>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Action {
    Begin(usize),
    Next(usize),
    /// The step's requests reach the server, the answers do not come back.
    NextUnanswered(usize),
    ReadView(usize),
    Repair(usize, usize),
    Kill(usize),
    BackEmpty(usize),
    Freeze(usize),
    Thaw(usize),
    Cut(usize, usize),
    Heal,
}

/// The owner of the mark of a server that was emptied; nobody takes it away.
const ALL: u8 = 1 << 7;

fn bit(x: usize) -> u8 {
    1 << x
}

impl State {
    /// Enough to follow a trace: what the servers hold, the marks, and where each proxy is.
    pub(crate) fn told(&self) -> String {
        let held: Vec<String> = self
            .servers
            .iter()
            .map(|server| server.item.map_or("-".to_owned(), |item| format!("{}#{}", item.value, item.id)))
            .collect();
        let steps: Vec<String> = self
            .proxies
            .iter()
            .map(|proxy| {
                proxy.op.as_ref().map_or("-".to_owned(), |op| {
                    format!("{:?} {:?} at {} {:?}", op.kind, op.step, op.authority, op.ret)
                })
            })
            .collect();
        format!("{held:?}, marks {:?}, {steps:?}", self.marks)
    }

    fn reaches(&self, p: usize, x: usize) -> bool {
        !self.servers[x].dead && !self.servers[x].frozen && self.cut != Some((p, x))
    }

    /// Sends a write -> was it answered, and with success?
    fn send(&mut self, p: usize, x: usize, write: Write) -> Option<bool> {
        if self.reaches(p, x) {
            return Some(self.servers[x].apply(write));
        }
        if self.servers[x].frozen && self.cut != Some((p, x)) {
            self.servers[x].late.push(write);
        }
        None
    }

    /// Proxy p knows that x is marked, and so does the operation that found it out.
    fn distrust(&mut self, p: usize, x: usize) {
        let proxy = &mut self.proxies[p];
        proxy.knows |= bit(x);
        if let Some(op) = &mut proxy.op {
            op.view |= bit(x);
        }
    }

    fn lose(&mut self, p: usize, x: usize, rules: Rules) {
        self.proxies[p].lost |= bit(x);
        self.distrust(p, x);
        if rules.mark {
            self.marks[x] |= bit(p);
        }
    }

    /// Everybody knows how x stands, and whatever began before has ended.
    fn settled(&self, x: usize, rules: Rules) -> bool {
        let dirty = self.marks[x] != 0;
        let agrees = |view: u8| (view & bit(x) != 0) == dirty;
        !rules.lease
            || !rules.mark
            || self.proxies.iter().all(|proxy| {
                agrees(proxy.knows)
                    && (!rules.bounded || proxy.op.as_ref().is_none_or(|op| agrees(op.view) && op.step != Step::Late))
            })
    }

    fn lead(&self, p: usize) -> usize {
        let knows = self.proxies[p].knows;
        (0..self.servers.len()).find(|&x| knows & bit(x) == 0).unwrap_or(0)
    }

    fn all_settled(&self, rules: Rules) -> bool {
        (0..self.servers.len()).all(|x| self.settled(x, rules))
    }

    /// Is the other proxy's version still on its way to the copies?
    fn spreads_elsewhere(&self, p: usize) -> bool {
        self.elsewhere(p, |op| matches!(op.step, Step::Spread | Step::Confirm))
    }

    /// Does the other proxy have to find out first whether its lost answer was one?
    fn goes_first_elsewhere(&self, p: usize, rules: Rules) -> bool {
        rules.head && self.elsewhere(p, |op| op.doubtful && matches!(op.step, Step::Again | Step::Decide))
    }

    /// Is the other proxy's operation such a one?
    fn elsewhere(&self, p: usize, is: impl Fn(&Running) -> bool) -> bool {
        self.proxies.iter().enumerate().any(|(other, proxy)| other != p && proxy.op.as_ref().is_some_and(&is))
    }

    /// Server x has nothing. If it was emptied it is marked -> does another lead now?
    fn emptied(&mut self, p: usize, x: usize, rules: Rules) -> bool {
        if !self.servers[x].hollow || !rules.emptied {
            return false;
        }
        self.marks[x] |= ALL;
        self.distrust(p, x);
        self.lead(p) != x
    }
}
