//! A change of the ring, decided: what is in force, what is wanted, what comes next, and where keys are meanwhile.
//!
//! Pure; controller/ring_change does it. docs/coherence.md says why it is right.

use crate::routing::order::Order;

/// How a ring spreads keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Servers that count, of each list the first; at least 1.
    pub servers: usize,
    /// Copies of a key; 0 as each proxy's mode says (all servers in `replicated`, else one). Of several lists one each.
    pub copies: usize,
}

/// The ring that counts: what the servers that hold the view name with the highest epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// From 1; a higher one is newer.
    pub epoch: u64,
    /// Where keys belong.
    pub now: Shape,
    /// Where they may still be.
    pub before: Option<Shape>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// What is wanted is in force.
    Nothing,
    /// Prepare, then publish this.
    Begin(InForce),
    /// Empty the servers of the ring before, then publish this. Also where something else is wanted by now: that comes after.
    Finish(InForce),
}

/// The next step towards `goal`.
pub fn next(in_force: InForce, goal: Shape) -> Next {
    let epoch = in_force.epoch + 1;
    match in_force.before {
        Some(_) => Next::Finish(InForce { epoch, before: None, ..in_force }),
        None if in_force.now == goal => Next::Nothing,
        None => Next::Begin(InForce { epoch, now: goal, before: Some(in_force.now) }),
    }
}

impl InForce {
    /// From the five numbers of a view; `None` where no proxy wrote them.
    pub fn of(numbers: [u64; 5]) -> Option<InForce> {
        let shape = |servers: u64, copies: u64| {
            Some(Shape { servers: usize::try_from(servers).ok()?, copies: usize::try_from(copies).ok()? })
        };
        let [epoch, servers, copies, before, copies_before] = numbers;
        let before = if before == 0 { None } else { Some(shape(before, copies_before)?) };
        let now = shape(servers, copies).filter(|now| now.servers > 0)?;
        Some(InForce { epoch, now, before })
    }

    /// The five numbers of a view.
    pub fn numbers(self) -> [u64; 5] {
        let before = self.before.unwrap_or(Shape { servers: 0, copies: 0 });
        let shapes = [self.now.servers, self.now.copies, before.servers, before.copies].map(|number| number as u64);
        [self.epoch, shapes[0], shapes[1], shapes[2], shapes[3]]
    }
}

/// Where a ring keeps keys. Servers are numbered through all lists that are known, from 0.
#[derive(Debug, Clone)]
pub struct Placement {
    order: Order,
    /// Servers of a list that count.
    servers: usize,
    /// The number of each list's first server.
    first: Vec<usize>,
}

impl Placement {
    /// Of a ring over lists of so many known servers each. `None` where it counts more than there are, has no server, or
    /// several lists are not equally long: their ring can't change.
    pub fn of(shape: Shape, known: &[usize]) -> Option<Placement> {
        let even = known.iter().all(|servers| Some(servers) == known.first());
        let enough = known.iter().all(|servers| *servers >= shape.servers);
        let copies = if shape.copies == 0 { shape.servers } else { shape.copies.min(shape.servers) };
        let order = Order::new(&vec![shape.servers; known.len()], copies).filter(|_| even && enough)?;
        let first = (0..known.len()).map(|list| known[..list].iter().sum()).collect();
        Some(Placement { order, servers: shape.servers, first })
    }

    /// A key's servers, its authority first.
    pub fn servers_of(&self, key: &[u8]) -> Vec<usize> {
        let order = self.order.of(key).into_iter();
        order.map(|server| self.first[server / self.servers] + server % self.servers).collect()
    }

    /// All servers that count.
    pub fn all(&self) -> Vec<usize> {
        self.first.iter().flat_map(|first| *first..first + self.servers).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const THREE: Shape = Shape { servers: 3, copies: 2 };
    const FIVE: Shape = Shape { servers: 5, copies: 2 };

    #[test]
    fn a_change_begins_goes_on_to_its_end_and_is_over() {
        let start = InForce { epoch: 1, now: THREE, before: None };
        assert_eq!(next(start, THREE), Next::Nothing);
        let Next::Begin(both) = next(start, FIVE) else { panic!() };
        assert_eq!(both.numbers(), [2, 5, 2, 3, 2]);
        let Next::Finish(end) = next(both, FIVE) else { panic!() };
        assert_eq!(end.numbers(), [3, 5, 2, 0, 0]);
        assert_eq!(next(end, FIVE), Next::Nothing);
        assert_eq!(next(both, THREE), Next::Finish(end), "what was begun is finished before it is turned back");
    }

    #[test]
    fn a_ring_is_five_numbers() {
        for numbers in [[1, 3, 3, 0, 0], [2, 5, 0, 3, 0]] {
            assert_eq!(InForce::of(numbers).unwrap().numbers(), numbers);
        }
        assert_eq!(InForce::of([1, 0, 0, 0, 0]), None);
    }

    #[test]
    fn servers_keep_their_numbers_when_more_are_known() {
        let (small, large) = (Placement::of(THREE, &[5]).unwrap(), Placement::of(FIVE, &[5]).unwrap());
        let stays = |key: &[u8]| small.servers_of(key)[0] == large.servers_of(key)[0];
        let keys: Vec<String> = (0..1000).map(|key| format!("k{key}")).collect();
        let staying = keys.iter().filter(|key| stays(key.as_bytes())).count();
        assert!((500..700).contains(&staying), "{staying} of 1000 keep their authority");
        assert_eq!((small.all(), large.all()), (vec![0, 1, 2], vec![0, 1, 2, 3, 4]));
        let lists = Placement::of(Shape { servers: 2, copies: 2 }, &[4, 4]).unwrap();
        assert_eq!(lists.all(), [0, 1, 4, 5]);
        let mut servers = lists.servers_of(b"k");
        servers.sort_unstable();
        assert_eq!(servers[1], servers[0] + 4);
    }

    #[test]
    fn without_copies_of_its_own_a_ring_keeps_a_key_everywhere() {
        let all = Placement::of(Shape { servers: 3, copies: 0 }, &[3]).unwrap();
        assert_eq!(all.servers_of(b"k").len(), 3);
    }

    #[test]
    fn impossible_rings_have_no_placement() {
        assert!(Placement::of(FIVE, &[3]).is_none() && Placement::of(THREE, &[3, 4]).is_none());
        assert!(Placement::of(Shape { servers: 0, copies: 1 }, &[3]).is_none());
    }
}
