//! Placement: what the loss of one place, a node or a zone, would take: keys that have several copies, all of them there.
//!
//! Pure; where servers run says controller/placement.rs. Keys with one copy go with their server wherever it runs, so there is
//! nothing that another placement could save, and nothing is said.

use std::collections::BTreeMap;

use super::Cluster;

/// Keys that are looked at. Which they are does not matter: the order spreads them evenly.
const SAMPLE: u32 = 4096;

/// For each place that holds servers of the cluster, the share of its keys (0 to 1) that are there and nowhere else.
///
/// `place_of` says where a server, `host:port`, runs; `None` for one that does not run, or is not whole: it holds nothing.
pub fn at_risk<'a>(cluster: &Cluster, place_of: impl Fn(&str) -> Option<&'a str>) -> BTreeMap<&'a str, f64> {
    let Some(order) = cluster.order().filter(|order| order.copies() > 1) else { return BTreeMap::new() };
    let places: Vec<Option<&str>> =
        cluster.replicas.iter().flat_map(|replica| &replica.servers).map(|server| place_of(server)).collect();
    let mut lost: BTreeMap<&str, u32> = places.iter().flatten().map(|place| (*place, 0)).collect();
    for key in 0..SAMPLE {
        let holders = order.of(&key.to_le_bytes());
        let mut holders = holders.into_iter().filter_map(|server| places.get(server).copied().flatten());
        let Some(first) = holders.next() else { continue };
        if holders.all(|other| other == first) {
            *lost.entry(first).or_default() += 1;
        }
    }
    lost.into_iter().map(|(place, keys)| (place, f64::from(keys) / f64::from(SAMPLE))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::topology::{ClusterId, Consistency, Copies, Replica};

    /// Servers are called after where they run: `NODE-rest`, and `-rest` where they do not.
    fn risk(copies: Copies, replicas: &[&[&str]]) -> Vec<(String, u32)> {
        let replica = |servers: &&[&str]| Replica {
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
            joining: Vec::new(),
        };
        let cluster = Cluster {
            gutter: Vec::new(),
            id: ClusterId { namespace: "cache".to_owned(), name: "memcached".to_owned() },
            replicas: replicas.iter().map(replica).collect(),
            copies,
            consistency: Consistency::Coherent,
            epoch: 1,
        };
        let names: Vec<String> = replicas.concat().iter().map(|server| (*server).to_owned()).collect();
        let node = |server: &str| {
            let name = names.iter().find(|name| *name == server)?;
            name.split('-').next().filter(|node| !node.is_empty())
        };
        let percent = |share: f64| (share * 100.0).round() as u32;
        at_risk(&cluster, node).into_iter().map(|(place, share)| (place.to_owned(), percent(share))).collect()
    }

    fn told(places: &[(&str, u32)]) -> Vec<(String, u32)> {
        places.iter().map(|(place, percent)| ((*place).to_owned(), *percent)).collect()
    }

    #[test]
    fn copies_on_different_nodes_are_safe() {
        let safe = told(&[("a", 0), ("b", 0), ("c", 0)]);
        assert_eq!(risk(Copies::Number(2), &[&["a-0", "b-1", "c-2"]]), safe);
        assert_eq!(risk(Copies::Undeclared, &[&["a-0", "b-1", "c-2"]]), safe);
        assert_eq!(risk(Copies::All, &[&["a-0", "b-1", "c-2"], &["b-3", "c-4", "a-5"]]), safe, "aligned");
    }

    #[test]
    fn neighbours_on_one_node_are_not() {
        // Of three pairs of neighbours one is on one node.
        let risk = risk(Copies::Number(2), &[&["a-0", "a-1", "b-2"]]);
        assert!(matches!(&risk[..], [(_, 31..=35), (_, 0)]), "{risk:?}");
        assert_eq!(self::risk(Copies::All, &[&["a-0", "a-1", "a-2"]]), told(&[("a", 100)]));
        let aligned = self::risk(Copies::All, &[&["a-0", "b-1"], &["b-2", "b-3"]]);
        assert!(matches!(&aligned[..], [(_, 0), (_, 45..=55)]), "{aligned:?}");
    }

    #[test]
    fn a_server_that_does_not_run_holds_nothing() {
        let risk = risk(Copies::Number(2), &[&["a-0", "b-1", "-2"]]);
        assert!(matches!(&risk[..], [(_, 31..=35), (_, 31..=35)]), "{risk:?}");
        assert_eq!(self::risk(Copies::Number(2), &[&["-0", "-1", "-2"]]), told(&[]));
    }

    #[test]
    fn of_keys_with_one_copy_nothing_is_said() {
        assert_eq!(risk(Copies::Number(1), &[&["a-0", "b-1", "c-2"]]), told(&[]));
        assert_eq!(risk(Copies::Undeclared, &[&["a-0"]]), told(&[]));
    }
}
