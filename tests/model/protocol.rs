//! The protocol as steps between which anything may happen. Follows src/routing/lua: `Decide` and `Spread` are version.lua,
//! marks and leases are lease.lua and marks.lua, `Repair` is repair.lua. Does not say what is right (spec.rs).

use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use stateright::{Model, Property};

use crate::spec::{Key, Op, Ret};

/// The rules that can be taken out one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) mark: bool,
    pub(crate) lease: bool,
    pub(crate) compare: bool,
    pub(crate) settle: bool,
    pub(crate) condition: bool,
    pub(crate) ambiguous: bool,
    pub(crate) bounded: bool,
    pub(crate) delta: bool,
    /// Copies are asked only where the authority has been emptied.
    pub(crate) hollow: bool,
    /// Not a rule: a server may come back empty.
    pub(crate) back_empty: bool,
    /// Not a rule: an authority may do what it was asked without the answer coming back, now or when it thaws.
    pub(crate) done_unanswered: bool,
    /// Not a rule: the fault may come while two writes of the key overlap and a copy has refused one of them.
    pub(crate) overlap: bool,
}

impl Rules {
    pub(crate) const ALL: Rules = Rules {
        mark: true,
        lease: true,
        compare: true,
        settle: true,
        condition: true,
        ambiguous: true,
        bounded: true,
        delta: true,
        hollow: true,
        back_empty: true,
        done_unanswered: false,
        overlap: false,
    };
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set(u8),
    Incr,
    Delete,
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
    Restore,
    PutBack(usize, Item),
    CheckBack(usize, Item),
    Answer,
    /// Somebody went on from what may have been ours: the client gets an error, and its operation may count or not.
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
    old: Option<u8>,
    item: Option<Item>,
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

    fn lose(&mut self, p: usize, x: usize, rules: Rules) {
        let proxy = &mut self.proxies[p];
        proxy.lost |= bit(x);
        proxy.knows |= bit(x);
        if let Some(op) = &mut proxy.op {
            op.view |= bit(x);
        }
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
        let spreads = |op: &Running| matches!(op.step, Step::Spread | Step::Confirm);
        self.proxies.iter().enumerate().any(|(other, proxy)| other != p && proxy.op.as_ref().is_some_and(spreads))
    }

    /// Does the other proxy have an item on its way?
    fn busy_elsewhere(&self, p: usize, restoring: bool) -> bool {
        self.proxies.iter().enumerate().any(|(other, proxy)| {
            other != p
                && proxy.op.as_ref().is_some_and(|op| match op.step {
                    Step::PutBack(..) | Step::CheckBack(..) => true,
                    Step::Spread | Step::Confirm | Step::Late | Step::Sweep => restoring,
                    _ => false,
                })
        })
    }
}

impl Cluster {
    fn begin(&self, state: &mut State, p: usize) {
        let kind = self.scripts[p][state.proxies[p].next];
        let op = match kind {
            Kind::Get => Op::Get,
            Kind::Set(value) => Op::Set(value),
            Kind::Incr => Op::Incr,
            Kind::Delete => Op::Delete,
        };
        state.history.on_invoke(p, op).expect("one operation at a time");
        let proxy = &mut state.proxies[p];
        proxy.next += 1;
        proxy.op = Some(Running {
            kind,
            step: Step::Decide,
            view: proxy.knows,
            authority: 0,
            seen: vec![None; self.servers],
            old: None,
            item: None,
            pending: 0,
            refused: 0,
            added: 0,
            missed: 0,
            ret: None,
        });
        let authority = state.lead(p);
        if let Some(op) = &mut state.proxies[p].op {
            op.authority = authority;
        }
    }

    /// May the step of proxy p's operation be taken now?
    fn ready(&self, state: &State, p: usize, op: &Running) -> bool {
        match op.step {
            Step::Again => state.all_settled(self.rules),
            Step::Late => !state.spreads_elsewhere(p),
            Step::Answer => (0..self.servers).all(|x| op.missed & bit(x) == 0 || state.settled(x, self.rules)),
            Step::Restore => !self.rules.delta || !state.busy_elsewhere(p, true),
            Step::Sweep => !self.rules.delta || !state.busy_elsewhere(p, false),
            _ => true,
        }
    }

    fn step(&self, state: &mut State, p: usize, unanswered: bool) {
        let Some(mut op) = state.proxies[p].op.take() else { return };
        let keep = op.clone();
        state.proxies[p].op = Some(keep);
        match op.step {
            Step::Decide => self.decide(state, p, &mut op, unanswered),
            Step::Again => self.again(state, p, &mut op),
            Step::Spread => self.spread(state, p, &mut op, unanswered),
            Step::Confirm => self.confirm(state, p, &mut op),
            Step::Late => self.late(state, p, &mut op),
            Step::Sweep => self.sweep(state, p, &mut op),
            Step::Restore => self.restore(state, p, &mut op),
            Step::PutBack(x, item) => {
                state.send(p, op.authority, Write::Put(item, None));
                op.step = Step::CheckBack(x, item);
            }
            Step::CheckBack(x, item) => {
                if state.servers[x].item != Some(item) {
                    state.send(p, op.authority, Write::Remove(Some(item.id)));
                }
                op.step = Step::Decide;
            }
            Step::Unknown => {
                state.proxies[p].op = None;
                state.proxies[p].next = self.scripts[p].len();
                return;
            }
            Step::Answer => {
                state.history.on_return(p, op.ret.clone().unwrap_or(Ret::Done)).expect("it was begun");
                state.proxies[p].op = None;
                return;
            }
        }
        op.view = state.proxies[p].op.as_ref().map_or(op.view, |now| now.view);
        state.proxies[p].op = Some(op);
    }

    fn decide(&self, state: &mut State, p: usize, op: &mut Running, unanswered: bool) {
        let a = op.authority;
        state.ids += 1;
        let id = state.ids;
        op.old = state.servers[a].item.map(|item| item.id);
        for x in 0..self.servers {
            op.seen[x] = state.servers[x].item.map(|item| item.id);
        }
        let reached = state.reaches(p, a);
        let sent = reached || self.rules.done_unanswered;
        let answer = if sent { state.send(p, a, Write::Run(op.kind, id)) } else { None };
        if answer.is_none() || unanswered {
            state.lose(p, a, self.rules);
            if op.kind != Kind::Get {
                state.proxies[p].owed |= bit(a);
                op.missed |= bit(a);
            }
            op.step = Step::Again;
            return;
        }
        op.item = state.servers[a].item;
        op.pending = (0..self.servers).filter(|&x| x != a).map(bit).sum();
        op.step = Step::Spread;
        match op.kind {
            Kind::Get | Kind::Incr => match op.item {
                None if op.ret.is_none() && (state.servers[a].hollow || !self.rules.hollow) => {
                    op.ret = Some(Ret::Miss); // looked for once
                    op.step = Step::Restore;
                }
                None => (op.ret, op.step) = (Some(Ret::Miss), Step::Answer),
                Some(item) => {
                    op.ret = Some(Ret::Value(item.value));
                    if op.kind == Kind::Get {
                        op.step = Step::Answer;
                    }
                }
            },
            Kind::Set(_) => op.ret = Some(Ret::Done),
            Kind::Delete => op.ret = Some(Ret::Done),
        }
    }

    /// The authority was lost: its mark is in force, the next one decides.
    fn again(&self, state: &mut State, p: usize, op: &mut Running) {
        let a = state.lead(p);
        op.authority = a;
        let now = state.servers[a].item.map(|item| item.id);
        let writes = op.kind != Kind::Get;
        op.step = if self.rules.ambiguous && writes && now != op.seen[a] { Step::Unknown } else { Step::Decide };
    }

    fn spread(&self, state: &mut State, p: usize, op: &mut Running, unanswered: bool) {
        let x = op.pending.trailing_zeros() as usize;
        if x >= self.servers {
            op.step = match op.kind {
                Kind::Delete => Step::Sweep,
                _ if op.refused | op.added != 0 => Step::Confirm,
                _ => Step::Answer,
            };
            return;
        }
        op.pending &= !bit(x);
        if op.kind == Kind::Delete && op.old != op.seen[x] {
            if let Some(id) = op.old {
                state.send(p, x, Write::Remove(Some(id)));
            }
        }
        let write = match (op.kind, op.item) {
            (Kind::Delete, _) => Write::Remove(Some(op.seen[x].unwrap_or(0))),
            (_, Some(item)) if !self.rules.condition => Write::Force(item),
            (_, Some(item)) => Write::Put(item, op.old),
            (_, None) => Write::Remove(None),
        };
        match state.send(p, x, write) {
            Some(true) if !unanswered => {
                if op.old.is_none() && op.kind != Kind::Delete {
                    op.added |= bit(x);
                }
            }
            Some(false) if !unanswered => {
                if op.kind != Kind::Delete && state.proxies[p].knows & bit(x) == 0 {
                    op.refused |= bit(x);
                }
            }
            _ => {
                state.lose(p, x, self.rules);
                state.proxies[p].owed |= bit(x);
                op.missed |= bit(x);
            }
        }
    }

    /// Copies that refused, or had nothing: who is right now?
    fn confirm(&self, state: &mut State, p: usize, op: &mut Running) {
        op.step = Step::Answer;
        if state.lead(p) != op.authority {
            op.step = Step::Again;
            return;
        }
        let here = state.servers[op.authority].item;
        if !state.reaches(p, op.authority) || here.is_none() && state.servers[op.authority].hollow && op.refused != 0 {
            state.lose(p, op.authority, self.rules);
            state.proxies[p].owed |= bit(op.authority);
            op.missed |= bit(op.authority);
            op.step = Step::Late;
            return;
        }
        for x in 0..self.servers {
            let Some(item) = op.item else { continue };
            if here != Some(item) && op.added & bit(x) != 0 {
                state.send(p, x, Write::Remove(Some(item.id)));
            } else if here == Some(item) && op.refused & bit(x) != 0 {
                state.send(p, x, Write::Force(item));
            }
        }
    }

    /// The authority is gone and a copy has refused: whoever still refuses when all has arrived loses the key.
    fn late(&self, state: &mut State, p: usize, op: &mut Running) {
        op.step = Step::Answer;
        for x in (0..self.servers).filter(|&x| op.refused & bit(x) != 0) {
            let Some(item) = op.item else { continue };
            if state.send(p, x, Write::Put(item, op.old)) == Some(false) {
                state.send(p, x, Write::Remove(None));
            }
        }
    }

    /// The second pass of a removal: by id, for copies that were on their way.
    fn sweep(&self, state: &mut State, p: usize, op: &mut Running) {
        for x in 0..self.servers {
            for id in op.seen.iter().flatten() {
                state.send(p, x, Write::Remove(Some(*id)));
            }
        }
        op.step = Step::Answer;
    }

    fn restore(&self, state: &mut State, p: usize, op: &mut Running) {
        let knows = state.proxies[p].knows;
        let has = |x: usize| knows & bit(x) == 0 && x != op.authority && state.reaches(p, x);
        let found = (0..self.servers).filter(|&x| has(x)).find_map(|x| Some((x, state.servers[x].item?)));
        op.step = found.map_or(Step::Answer, |(x, item)| Step::PutBack(x, item));
    }

    /// The owner compares and takes its mark away.
    fn repair(&self, state: &mut State, p: usize, x: usize) {
        let source = state.lead(p);
        if self.rules.compare && state.proxies[p].owed & bit(x) != 0 && source != x {
            state.servers[x].item = state.servers[source].item;
        }
        state.proxies[p].owed &= !bit(x);
        state.proxies[p].lost &= !bit(x);
        state.marks[x] &= !bit(p);
        if !self.rules.mark {
            state.proxies[p].knows &= !bit(x);
        }
    }

    fn may_repair(&self, state: &State, p: usize, x: usize) -> bool {
        let proxy = &state.proxies[p];
        let source = state.lead(p);
        proxy.lost & bit(x) != 0
            && proxy.op.is_none()
            && state.reaches(p, x)
            && (!self.rules.settle || state.servers[x].late.is_empty())
            && (proxy.owed & bit(x) == 0 || source == x || state.reaches(p, source))
    }

    fn steps(&self, state: &State, actions: &mut Vec<Action>) {
        for (p, proxy) in state.proxies.iter().enumerate() {
            let view: u8 = (0..self.servers).filter(|&x| state.marks[x] != 0).map(bit).sum();
            if proxy.knows != view && self.rules.mark {
                actions.push(Action::ReadView(p));
            }
            match &proxy.op {
                None if proxy.next < 2 && state.all_settled(self.rules) => actions.push(Action::Begin(p)),
                Some(op) if self.ready(state, p, op) => {
                    actions.push(Action::Next(p));
                    let lost = op.step == Step::Spread || op.step == Step::Decide && self.rules.done_unanswered;
                    let calm = self.rules.overlap || op.refused | op.added == 0;
                    if state.faults > 0 && lost && calm {
                        actions.push(Action::NextUnanswered(p));
                    }
                }
                _ => {}
            }
            for x in 0..self.servers {
                if self.may_repair(state, p, x) {
                    actions.push(Action::Repair(p, x));
                }
            }
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let server = Server { item: Some(Item { id: 1, value: 0 }), ..Server::default() };
        vec![State {
            servers: vec![server; self.servers],
            proxies: vec![Proxy::default(); 2],
            marks: vec![0; self.servers],
            cut: None,
            faults: 1,
            ids: 1,
            history: LinearizabilityTester::new(Key(Some(0))),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps(state, actions);
        let refused = |proxy: &Proxy| proxy.op.as_ref().is_some_and(|op| op.refused | op.added != 0);
        let fault = state.faults > 0 && (self.rules.overlap || !state.proxies.iter().any(refused));
        for x in 0..self.servers {
            if fault {
                actions.extend([Action::Kill(x), Action::Freeze(x), Action::Cut(0, x), Action::Cut(1, x)]);
            }
            if state.servers[x].dead && self.rules.back_empty {
                actions.push(Action::BackEmpty(x));
            }
            if state.servers[x].frozen || !state.servers[x].late.is_empty() {
                actions.push(Action::Thaw(x));
            }
        }
        if state.cut.is_some() {
            actions.push(Action::Heal);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(p) => self.begin(&mut state, p),
            Action::Next(p) => self.step(&mut state, p, false),
            Action::NextUnanswered(p) => {
                state.faults = 0;
                self.step(&mut state, p, true);
            }
            Action::ReadView(p) => {
                state.proxies[p].knows = (0..self.servers).filter(|&x| state.marks[x] != 0).map(bit).sum();
            }
            Action::Repair(p, x) => self.repair(&mut state, p, x),
            Action::Kill(x) => (state.faults, state.servers[x].dead, state.servers[x].item) = (0, true, None),
            Action::BackEmpty(x) => (state.servers[x].dead, state.servers[x].hollow) = (false, true),
            Action::Freeze(x) => (state.faults, state.servers[x].frozen) = (0, true),
            // It answers again at once; what it was sent before may come later.
            Action::Thaw(x) if state.servers[x].frozen => state.servers[x].frozen = false,
            Action::Thaw(x) => {
                let write = state.servers[x].late.remove(0);
                state.servers[x].apply(write);
            }
            Action::Cut(p, x) => (state.faults, state.cut) = (0, Some((p, x))),
            Action::Heal => state.cut = None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("one memcached", |_, state: &State| state.history.serialized_history().is_some())]
    }
}
