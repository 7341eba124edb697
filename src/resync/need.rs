//! Which servers have to be refilled or compared, from which others, and which may count as whole.

use crate::routing::order::Order;

/// What a look at a server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Its pod is not running: whatever it held is gone.
    Nothing,
    /// It runs and does not answer: it may hold anything.
    Unknown,
    /// It answers and has been emptied since it last was whole.
    Emptied,
    /// It answers and has been whole since it last was refilled.
    Whole,
}

/// A server as it was found, and the marks on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it holds.
    pub held: Held,
    /// A proxy has marked it, and takes that mark away by itself when it owes the server nothing any more.
    pub owed: bool,
    /// The proxies that marked it had their time: they are silent, or gone.
    pub orphaned: bool,
    /// It carries the mark that only a controller takes away: somebody has to compare everything.
    pub unsure: bool,
    /// When it was marked: in milliseconds since 1970, 0 where no mark tells; then among the others. Of servers that are all
    /// marked, the one with the highest rank leads.
    pub rank: (u64, usize),
}

impl Seen {
    /// Whether proxies read it, and it has what it should.
    fn is_source(&self) -> bool {
        self.held == Held::Whole && !self.owed && !self.unsure
    }

    /// Whether it is left to a controller to make it whole.
    fn is_left(&self) -> bool {
        self.unsure || self.orphaned
    }
}

/// What a server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// It has everything: its pod may count as ready.
    Nothing,
    /// Somebody else has to do something first, as it says.
    Patience(&'static str),
    /// No other server has anything for it: it may be called whole at once.
    Declaration,
    /// Everything that it shares with these servers has to be compared. It is whole afterwards unless `partly`: another
    /// server that may have something for it can't be asked now.
    Refill {
        /// Servers to take items from.
        from: Vec<usize>,
        /// Whether others may have more.
        partly: bool,
    },
}

/// What each server of a cluster needs, in their order.
pub fn needs(order: &Order, servers: &[Seen]) -> Vec<Need> {
    (0..servers.len()).map(|target| need(order, servers, target)).collect()
}

fn need(order: &Order, servers: &[Seen], target: usize) -> Need {
    let this = servers[target];
    match this.held {
        Held::Nothing => return Need::Patience("its pod does not run"),
        Held::Unknown => return Need::Patience("it does not answer"),
        Held::Emptied | Held::Whole if order.copies() == 1 => return alone(this),
        Held::Whole if this.owed && !this.is_left() => {
            return Need::Patience("proxies are repairing it");
        }
        Held::Whole if !this.owed && !this.unsure => return Need::Nothing,
        Held::Emptied | Held::Whole => {}
    }
    let others: Vec<usize> = (0..servers.len()).filter(|other| shares(order, target, *other)).collect();
    let from: Vec<usize> = others.iter().copied().filter(|other| servers[*other].is_source()).collect();
    let may_have_more = |other: &usize| match servers[*other].held {
        Held::Nothing | Held::Emptied => false,
        Held::Unknown => true,
        // Of two that nobody vouches for the one marked last leads, and so needs nothing of the other.
        Held::Whole if servers[*other].is_left() && this.held == Held::Whole => servers[*other].rank > this.rank,
        Held::Whole => !servers[*other].is_source(),
    };
    let partly = others.iter().any(may_have_more);
    if from.is_empty() && partly {
        return Need::Patience("no server that has its keys can be asked");
    }
    if from.is_empty() { Need::Declaration } else { Need::Refill { from, partly } }
}

/// What a server needs that is the only one of its keys. It is marked only where stand-ins serve its keys meanwhile.
fn alone(this: Seen) -> Need {
    match this.held {
        // Whatever it was owed, it holds nothing old.
        Held::Emptied if this.owed || this.unsure => Need::Declaration,
        Held::Emptied => Need::Nothing,
        _ if this.is_left() => {
            Need::Patience("it holds old values, and who knew which is gone: delete its pod, so that it starts empty")
        }
        _ if this.owed => Need::Patience("proxies are repairing it"),
        _ => Need::Nothing,
    }
}

/// Whether there are keys that both servers hold.
fn shares(order: &Order, one: usize, other: usize) -> bool {
    match order {
        Order::Rotated { servers, copies } => {
            let apart = one.abs_diff(other);
            one != other && apart.min(servers - apart) < *copies
        }
        Order::Aligned { lists } => list_of(lists, one) != list_of(lists, other),
    }
}

fn list_of(lists: &[usize], server: usize) -> usize {
    let ends = lists.iter().scan(0, |end, servers| {
        *end += servers;
        Some(*end)
    });
    ends.take_while(|end| *end <= server).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: Seen = Seen { held: Held::Whole, owed: false, orphaned: false, unsure: false, rank: (0, 0) };
    const EMPTIED: Seen = Seen { held: Held::Emptied, ..WHOLE };
    const DOWN: Seen = Seen { held: Held::Unknown, ..WHOLE };
    const GONE: Seen = Seen { held: Held::Nothing, ..WHOLE };
    const OWED: Seen = Seen { owed: true, ..WHOLE };
    const UNSURE: Seen = Seen { unsure: true, rank: (0, 1), ..WHOLE };

    fn first(copies: usize, servers: &[Seen]) -> Need {
        needs(&Order::new(&[servers.len()], copies).unwrap(), servers).swap_remove(0)
    }

    fn refill(from: &[usize], partly: bool) -> Need {
        Need::Refill { from: from.to_vec(), partly }
    }

    #[test]
    fn an_emptied_server_is_refilled_from_those_that_share_keys_with_it() {
        assert_eq!(first(3, &[EMPTIED, WHOLE, WHOLE]), refill(&[1, 2], false));
        assert_eq!(first(2, &[EMPTIED, WHOLE, WHOLE, WHOLE]), refill(&[1, 3], false));
        let aligned = Order::new(&[2, 2], 2).unwrap();
        assert_eq!(needs(&aligned, &[WHOLE, EMPTIED, WHOLE, WHOLE])[1], refill(&[2, 3], false));
    }

    #[test]
    fn one_copy_is_whole_as_it_is() {
        assert_eq!(first(1, &[EMPTIED, WHOLE]), Need::Nothing);
        assert_eq!(first(1, &[DOWN, WHOLE]), Need::Patience("it does not answer"));
    }

    #[test]
    fn one_copy_that_nobody_can_repair_has_to_start_empty() {
        assert_eq!(first(1, &[Seen { owed: true, ..EMPTIED }, WHOLE]), Need::Declaration);
        assert_eq!(first(1, &[Seen { unsure: true, ..EMPTIED }, WHOLE]), Need::Declaration);
        assert_eq!(first(1, &[OWED, WHOLE]), Need::Patience("proxies are repairing it"));
        for left in [Seen { orphaned: true, ..OWED }, UNSURE] {
            assert!(matches!(first(1, &[left, WHOLE]), Need::Patience(why) if why.contains("delete its pod")));
        }
    }

    #[test]
    fn a_new_cluster_is_whole() {
        assert_eq!(first(2, &[EMPTIED, EMPTIED, EMPTIED]), Need::Declaration);
        assert_eq!(first(3, &[EMPTIED, EMPTIED, GONE]), Need::Declaration, "a pod that waits for a node holds nothing");
    }

    #[test]
    fn a_server_that_may_hold_the_last_copy_is_waited_for() {
        assert!(matches!(first(3, &[EMPTIED, EMPTIED, DOWN]), Need::Patience(_)));
        assert!(matches!(first(3, &[EMPTIED, EMPTIED, OWED]), Need::Patience(_)));
        assert_eq!(first(3, &[EMPTIED, WHOLE, DOWN]), refill(&[1], true));
        assert_eq!(first(3, &[EMPTIED, WHOLE, OWED]), refill(&[1], true));
        assert_eq!(first(2, &[EMPTIED, WHOLE, DOWN, WHOLE]), refill(&[1, 3], false), "that one shares no key with it");
    }

    #[test]
    fn marks_of_proxies_are_theirs_to_take_away() {
        assert!(matches!(first(3, &[OWED, WHOLE, WHOLE]), Need::Patience(_)));
        // Emptied it needs more than they owe it.
        assert_eq!(first(3, &[Seen { owed: true, ..EMPTIED }, WHOLE, WHOLE]), refill(&[1, 2], false));
    }

    #[test]
    fn a_server_that_silent_proxies_owe_is_compared_for_them() {
        let left = Seen { orphaned: true, rank: (0, 1), ..OWED };
        assert_eq!(first(3, &[left, WHOLE, WHOLE]), refill(&[1, 2], false));
        assert!(matches!(first(2, &[left, Seen { rank: (0, 2), ..left }]), Need::Patience(_)));
        assert_eq!(first(2, &[Seen { rank: (0, 2), ..left }, left]), Need::Declaration);
    }

    #[test]
    fn of_two_unsure_servers_the_one_marked_last_needs_nothing_of_the_other() {
        let last = Seen { rank: (0, 2), ..UNSURE };
        assert_eq!(first(3, &[last, UNSURE, WHOLE]), refill(&[2], false));
        assert_eq!(first(3, &[UNSURE, last, WHOLE]), refill(&[2], true));
        assert_eq!(first(2, &[last, UNSURE]), Need::Declaration);
        assert!(matches!(first(2, &[UNSURE, last]), Need::Patience(_)));
        assert!(matches!(first(2, &[EMPTIED, UNSURE]), Need::Patience(_)), "it may have been emptied unmarked");
    }
}
