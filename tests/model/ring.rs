//! A ring change as steps between which anything may happen: one key with one copy moves from an old server to a new one,
//! under two proxies with a client each and a driver that sweeps. Follows lua/ring.lua and lua/move.lua. Given: the view is
//! one register, no server fails (protocol.rs has what happens then), and an operation ends within a lease.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use stateright::{Checker, Model, Property};

use crate::protocol::Kind;
use crate::spec::{Key, Ret};

const OLD: usize = 0;
const NEW: usize = 1;
/// The driver, among those who act.
const DRIVER: usize = 2;

/// The rules that can be taken out one by one.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Turn only when everybody has seen the ring, and what began in the old one has ended.
    lease: bool,
    /// Before that, read in the new ring, the old one and the new one again; without, in the old one.
    look_everywhere: bool,
    /// A write removes the key on the old server before it is answered.
    clear: bool,
    /// Who moves or removes the key excludes others who do.
    lock: bool,
}

const ALL: Rules = Rules { lease: true, look_everywhere: true, clear: true, lock: true };

const SCRIPTS: [[[Kind; 2]; 2]; 5] = [
    [[Kind::Incr, Kind::Incr], [Kind::Incr, Kind::Get]],
    [[Kind::Set(7), Kind::Get], [Kind::Incr, Kind::Get]],
    [[Kind::Set(7), Kind::Get], [Kind::Delete, Kind::Get]],
    [[Kind::Delete, Kind::Get], [Kind::Get, Kind::Get]],
    [[Kind::Get, Kind::Delete], [Kind::Incr, Kind::Get]],
];

struct Change {
    script: [[Kind; 2]; 2],
    rules: Rules,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Item {
    id: u8,
    value: u8,
}

#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq, PartialOrd)]
enum Phase {
    #[default]
    Before,
    Pending,
    Turned,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Step {
    InOldRing,
    /// The first look, in the new ring.
    Read,
    /// The new ring, the old one, the new one again.
    Everywhere(usize),
    Look,
    Lock,
    LookAgain,
    Add(Item),
    Confirm(Item),
    TakeBack(Item),
    Moved,
    Run,
    Clear,
    Release,
    Answer,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Running {
    kind: Kind,
    step: Step,
    ret: Ret,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Proxy {
    phase: Phase,
    next: usize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    items: [Option<Item>; 2],
    lock: Option<usize>,
    published: bool,
    swept: bool,
    proxies: [Proxy; 2],
    running: [Option<Running>; 3],
    ids: u8,
    history: LinearizabilityTester<usize, Key>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Action {
    Publish,
    See(usize),
    Turn(usize),
    Begin(usize),
    Sweep,
    Next(usize),
}

impl State {
    /// The command at one server, at once.
    fn run(&mut self, kind: Kind, server: usize) -> Ret {
        self.ids += 1;
        let (id, item) = (self.ids, self.items[server]);
        match kind {
            Kind::Get => item.map_or(Ret::Miss, |item| Ret::Value(item.value)),
            Kind::Set(value) => {
                self.items[server] = Some(Item { id, value });
                Ret::Done
            }
            Kind::Incr => {
                self.items[server] = item.map(|item| Item { id, value: item.value + 1 });
                self.items[server].map_or(Ret::Miss, |item| Ret::Value(item.value))
            }
            Kind::Delete => {
                self.items[server] = None;
                Ret::Done
            }
        }
    }

    fn read(&self, server: usize) -> Ret {
        self.items[server].map_or(Ret::Miss, |item| Ret::Value(item.value))
    }
}

impl Change {
    fn may_turn(&self, state: &State) -> bool {
        let seen = state.proxies.iter().all(|proxy| proxy.phase > Phase::Before);
        let in_old = |running: &Running| running.step == Step::InOldRing;
        !self.rules.lease || seen && !state.running.iter().flatten().any(in_old)
    }

    fn begin(&self, state: &mut State, p: usize) {
        let proxy = &mut state.proxies[p];
        let kind = self.script[p][proxy.next];
        proxy.next += 1;
        state.history.on_invoke(p, kind.op()).expect("one operation at a time");
        let step = match (proxy.phase, kind) {
            (Phase::Before, _) => Step::InOldRing,
            (Phase::Pending, _) if self.rules.look_everywhere => Step::Everywhere(0),
            (Phase::Pending, _) => Step::InOldRing,
            (Phase::Turned, Kind::Get) => Step::Read,
            (Phase::Turned, Kind::Set(_)) => Step::Run,
            (Phase::Turned, Kind::Incr) => Step::Look,
            (Phase::Turned, Kind::Delete) => Step::Lock,
        };
        state.running[p] = Some(Running { kind, step, ret: Ret::Done });
    }

    /// May this step be taken now?
    fn ready(&self, state: &State, running: &Running) -> bool {
        !self.rules.lock || running.step != Step::Lock || state.lock.is_none()
    }

    /// The next step of whoever acts.
    fn step(&self, state: &mut State, actor: usize) {
        let Some(mut now) = state.running[actor].take() else { return };
        let keeps_lock = now.kind == Kind::Delete;
        now.step = match now.step {
            Step::InOldRing => {
                now.ret = state.run(now.kind, OLD);
                Step::Answer
            }
            Step::Read => {
                now.ret = state.read(NEW);
                if now.ret == Ret::Miss { Step::Look } else { Step::Answer }
            }
            Step::Everywhere(look) => {
                now.ret = state.read([NEW, OLD, NEW][look]);
                if now.ret == Ret::Miss && look < 2 { Step::Everywhere(look + 1) } else { Step::Answer }
            }
            Step::Look if state.items[NEW].is_none() && state.items[OLD].is_some() => Step::Lock,
            Step::Look => after_move(now.kind, actor),
            Step::Lock => {
                state.lock = Some(actor);
                Step::LookAgain
            }
            Step::LookAgain => match (state.items[NEW], state.items[OLD]) {
                (None, Some(item)) => Step::Add(item),
                _ => Step::Moved,
            },
            Step::Add(item) if state.items[NEW].is_none() => {
                state.items[NEW] = Some(item);
                Step::Confirm(item)
            }
            Step::Add(_) => Step::Moved,
            Step::Confirm(item) if state.items[OLD] == Some(item) => {
                state.items[OLD] = None;
                Step::Moved
            }
            Step::Confirm(item) => Step::TakeBack(item),
            Step::TakeBack(item) => {
                if state.items[NEW].is_some_and(|new| new.id == item.id) {
                    state.items[NEW] = None;
                }
                Step::Moved
            }
            Step::Moved => {
                if !keeps_lock {
                    state.lock = None;
                }
                after_move(now.kind, actor)
            }
            Step::Run => {
                now.ret = state.run(now.kind, NEW);
                if self.rules.clear { Step::Clear } else { Step::Release }
            }
            Step::Clear => {
                state.items[OLD] = None;
                Step::Release
            }
            Step::Release => {
                if keeps_lock {
                    state.lock = None;
                }
                Step::Answer
            }
            Step::Answer if actor == DRIVER => return,
            Step::Answer => {
                state.history.on_return(actor, now.ret).expect("it was begun");
                return;
            }
        };
        state.running[actor] = Some(now);
    }
}

fn after_move(kind: Kind, actor: usize) -> Step {
    match kind {
        _ if actor == DRIVER => Step::Answer,
        Kind::Get => Step::Everywhere(0),
        _ => Step::Run,
    }
}

impl Model for Change {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            items: [Some(Item { id: 1, value: 0 }), None],
            lock: None,
            published: false,
            swept: false,
            proxies: [Proxy::default(), Proxy::default()],
            running: [None, None, None],
            ids: 1,
            history: LinearizabilityTester::new(Key(Some(0))),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.published {
            actions.push(Action::Publish);
        }
        for (p, proxy) in state.proxies.iter().enumerate() {
            match proxy.phase {
                Phase::Before if state.published => actions.push(Action::See(p)),
                Phase::Pending if self.may_turn(state) => actions.push(Action::Turn(p)),
                _ => {}
            }
            let waits = proxy.phase == Phase::Pending;
            let next = self.script[p].get(proxy.next).filter(|kind| !waits || **kind == Kind::Get);
            if state.running[p].is_none() && next.is_some() {
                actions.push(Action::Begin(p));
            }
        }
        if !state.swept && state.proxies.iter().all(|proxy| proxy.phase == Phase::Turned) {
            actions.push(Action::Sweep);
        }
        for (actor, running) in state.running.iter().enumerate() {
            if running.as_ref().is_some_and(|running| self.ready(state, running)) {
                actions.push(Action::Next(actor));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Publish => state.published = true,
            Action::See(p) => state.proxies[p].phase = Phase::Pending,
            Action::Turn(p) => state.proxies[p].phase = Phase::Turned,
            Action::Begin(p) => self.begin(&mut state, p),
            Action::Sweep => {
                state.swept = true;
                state.running[DRIVER] = Some(Running { kind: Kind::Get, step: Step::Look, ret: Ret::Done });
            }
            Action::Next(actor) => self.step(&mut state, actor),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("one memcached", |_, state: &State| state.history.serialized_history().is_some())]
    }
}

/// The shortest way to a broken promise, if there is one: its steps.
fn broken(script: usize, rules: Rules) -> Option<Vec<String>> {
    let checker = Change { script: SCRIPTS[script], rules }.checker().threads(2).spawn_bfs().join();
    println!("ring, script {script}, {rules:?}: {} states", checker.unique_state_count());
    let path = checker.discovery("one memcached")?;
    let told = |state: &State| format!("{:?}, {:?}", state.items, state.running);
    Some(path.into_vec().iter().map(|(state, action)| format!("{action:?} after {}", told(state))).collect())
}

fn needed(rules: Rules) {
    let trace = (0..SCRIPTS.len()).find_map(|script| broken(script, rules));
    let trace = trace.unwrap_or_else(|| panic!("{rules:?} breaks nothing: the rule is not needed, or not modelled"));
    println!("  {}", trace.join("\n  "));
}

#[test]
fn a_key_that_moves_is_one_memcached() {
    for script in 0..SCRIPTS.len() {
        if let Some(trace) = broken(script, ALL) {
            panic!("script {script}: broken by\n  {}", trace.join("\n  "));
        }
    }
}

#[test]
fn turning_without_waiting_a_lease_breaks_it() {
    needed(Rules { lease: false, ..ALL });
}

#[test]
fn reading_the_old_ring_alone_while_others_turn_breaks_it() {
    needed(Rules { look_everywhere: false, ..ALL });
}

#[test]
fn answering_a_write_before_the_old_server_lost_the_key_breaks_it() {
    needed(Rules { clear: false, ..ALL });
}

#[test]
fn a_removal_beside_a_move_without_a_lock_breaks_it() {
    needed(Rules { lock: false, ..ALL });
}
