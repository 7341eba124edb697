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
        if op.kind == Kind::Delete
            && op.old != op.seen[x]
            && let Some(id) = op.old
        {
            state.send(p, x, Write::Remove(Some(id)));
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
