//! The steps themselves: what a proxy does next, what may happen meanwhile, and the model that stateright explores. The
//! state they change is the parent module's.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use stateright::{Model, Property};

use super::*;

impl Cluster {
    fn begin(&self, state: &mut State, p: usize) {
        let kind = self.scripts[p][state.proxies[p].next];
        state.history.on_invoke(p, kind.op()).expect("one operation at a time");
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
            id: 0,
            doubtful: false,
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
            Step::Again => state.all_settled(self.rules) && (op.doubtful || !state.goes_first_elsewhere(p, self.rules)),
            Step::Late => !state.spreads_elsewhere(p),
            Step::Answer => {
                let known = |x: usize| op.missed & bit(x) == 0 || state.settled(x, self.rules);
                !self.rules.force || (0..self.servers).all(known)
            }
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
        op.id = state.ids;
        op.doubtful = false;
        op.old = state.servers[a].item;
        for x in 0..self.servers {
            op.seen[x] = state.servers[x].item.map(|item| item.id);
        }
        let answer = state.send(p, a, Write::Run(op.kind, op.id));
        if answer.is_none() || unanswered {
            state.lose(p, a, self.rules);
            if op.kind != Kind::Get {
                state.proxies[p].owed |= bit(a);
                op.missed |= bit(a);
                op.doubtful = true;
            }
            op.step = Step::Again;
            return;
        }
        let overwrites = matches!(op.kind, Kind::Set(_));
        if op.old.is_none() && !overwrites && state.emptied(p, a, self.rules) {
            op.step = Step::Again;
            return;
        }
        op.item = state.servers[a].item;
        op.ret = Some(match (op.kind, op.item) {
            (Kind::Get | Kind::Incr, None) => Ret::Miss,
            (Kind::Get | Kind::Incr, Some(item)) => Ret::Value(item.value),
            (Kind::Set(_) | Kind::Delete, _) => Ret::Done,
        });
        let done = op.kind == Kind::Get || op.ret == Some(Ret::Miss);
        op.step = if done { Step::Answer } else { self.publish(op) };
    }

    /// What the authority holds goes to the copies.
    fn publish(&self, op: &mut Running) -> Step {
        op.pending = (0..self.servers).filter(|&x| x != op.authority).map(bit).sum();
        Step::Spread
    }

    /// The authority was lost: its mark is in force, the next one decides, unless it is found that ours was done.
    fn again(&self, state: &mut State, p: usize, op: &mut Running) {
        let a = state.lead(p);
        op.authority = a;
        op.step = Step::Decide;
        if !op.doubtful || !self.rules.resolve || op.kind == Kind::Delete {
            return;
        }
        let here = state.servers[a].item.filter(|item| item.id == op.id);
        let noted = |x: usize| state.servers[x].passed.iter().find(|(id, _)| *id == op.id);
        let note = (0..self.servers).filter(|&x| state.reaches(p, x)).find_map(noted);
        let value = match (here, note) {
            (Some(item), _) => Some(item.value),
            (None, Some((_, number))) => *number,
            (None, None) => return,
        };
        op.doubtful = false;
        op.ret = if op.kind == Kind::Incr { value.map(Ret::Value) } else { Some(Ret::Done) };
        op.step = match (&op.ret, here) {
            (None, _) => Step::Unknown,
            (Some(_), None) => Step::Answer,
            (Some(_), Some(_)) => {
                (op.item, op.old) = (here, None);
                self.publish(op)
            }
        };
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
        let old = op.old.map(|item| item.id);
        if op.kind == Kind::Delete
            && old != op.seen[x]
            && let Some(id) = old
        {
            self.note(state, p, x, Some((id, None)));
            state.send(p, x, Write::Remove(Some(id)));
        }
        let write = match (op.kind, op.item) {
            (Kind::Delete, _) => Write::Remove(Some(op.seen[x].unwrap_or(0))),
            (_, Some(item)) if !self.rules.condition => Write::Force(item),
            (_, Some(item)) => Write::Put(item, old),
            (_, None) => Write::Remove(None),
        };
        match state.send(p, x, write) {
            Some(true) if !unanswered => {
                if op.old.is_none() && op.kind != Kind::Delete {
                    op.added |= bit(x);
                }
            }
            Some(false) if !unanswered => {
                if op.kind != Kind::Delete {
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

    /// Server x never held the version that ours was built upon.
    fn note(&self, state: &mut State, p: usize, x: usize, version: Option<(u8, Option<u8>)>) {
        let Some(version) = version.filter(|_| self.rules.notes && state.reaches(p, x)) else { return };
        if !state.servers[x].passed.contains(&version) {
            state.servers[x].passed.push(version);
            state.servers[x].passed.sort_unstable();
        }
    }

    /// Copies that refused, or had nothing: who is right now?
    fn confirm(&self, state: &mut State, p: usize, op: &mut Running) {
        op.step = Step::Answer;
        if state.lead(p) != op.authority {
            (op.step, op.doubtful) = (Step::Again, true);
            return;
        }
        let number = |item: Item| (item.id, (op.kind == Kind::Incr).then_some(item.value));
        for x in (0..self.servers).filter(|&x| op.refused & bit(x) != 0) {
            self.note(state, p, x, op.old.map(number));
        }
        let here = state.servers[op.authority].item;
        let reached = state.reaches(p, op.authority);
        if !reached {
            state.lose(p, op.authority, self.rules);
            state.proxies[p].owed |= bit(op.authority);
            op.missed |= bit(op.authority);
        }
        if !reached || here.is_none() && state.emptied(p, op.authority, self.rules) {
            op.step = Step::Late;
            return;
        }
        for x in 0..self.servers {
            let Some(item) = op.item else { continue };
            if here != Some(item) && op.added & bit(x) != 0 {
                state.send(p, x, Write::Remove(Some(item.id)));
            } else if here == Some(item) && op.refused & bit(x) != 0 {
                state.send(p, x, Write::Force(item));
            } else if here.is_some() && op.old.is_some() && op.refused & bit(x) != 0 && self.rules.own {
                state.send(p, x, Write::Put(item, op.old.map(|item| item.id)));
            }
        }
    }

    /// The authority is gone and a copy has refused, or had nothing: all that was on its way has arrived. Who has what ours was built
    /// upon gets it, who has something newer has a note of ours; what else there is goes.
    fn late(&self, state: &mut State, p: usize, op: &mut Running) {
        op.step = Step::Answer;
        let Some(item) = op.item else { return };
        for x in 0..self.servers {
            let passed = state.servers[x].passed.iter().any(|(id, _)| *id == item.id);
            let there = state.servers[x].item.map(|item| item.id);
            if op.added & bit(x) != 0 && passed {
                state.send(p, x, Write::Remove(Some(item.id)));
            } else if op.refused & bit(x) != 0 && !passed && there == op.old.map(|item| item.id) {
                state.send(p, x, Write::Put(item, there));
            } else if op.refused & bit(x) != 0 && !passed && there.is_some() {
                for copy in 0..self.servers {
                    state.send(p, copy, Write::Remove(there));
                }
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

    /// The owner compares and takes its mark away.
    fn repair(&self, state: &mut State, p: usize, x: usize) {
        let source = state.lead(p);
        if self.rules.compare && state.proxies[p].owed & bit(x) != 0 && source != x {
            state.servers[x].item = state.servers[source].item;
        }
        if state.servers[x].hollow && self.rules.emptied {
            state.marks[x] |= ALL;
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
                None if proxy.next < 2
                    && state.all_settled(self.rules)
                    && !state.goes_first_elsewhere(p, self.rules) =>
                {
                    actions.push(Action::Begin(p));
                }
                Some(op) if self.ready(state, p, op) => {
                    actions.push(Action::Next(p));
                    if state.faults > 0 && matches!(op.step, Step::Spread | Step::Decide) {
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
        for x in 0..self.servers {
            if state.faults > 0 {
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
