//! The ring: how many servers of each StatefulSet count, with an epoch that only grows.
//!
//! Explicit state, published as an annotation on the StatefulSet, so that a restart, a rollout, a lost node or a new
//! injector changes nothing. Pure: reads and decides; the leader writes (controller/ring.rs).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::annotation;

/// A published ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// From 1; a higher one is newer.
    pub epoch: u64,
    /// Servers that hold keys: ordinals from the StatefulSet's first, at least 1.
    pub servers: u64,
}

/// What a StatefulSet says of its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Servers {
    /// `spec.replicas`.
    pub wanted: u64,
    /// `status.readyReplicas`, as far as the status is about this spec.
    pub ready: u64,
}

impl Ring {
    /// The ring in an annotation's value.
    ///
    /// # Errors
    /// When it is not one that this release wrote.
    pub fn parse(text: &str) -> Result<Ring, String> {
        let ring: Ring = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if ring.epoch == 0 || ring.servers == 0 {
            return Err("epoch and servers count from 1".to_owned());
        }
        Ok(ring)
    }

    /// The ring that a StatefulSet carries, if it carries one.
    ///
    /// # Errors
    /// As [`Ring::parse`].
    pub fn of(set: &Value) -> Result<Option<Ring>, String> {
        let published = set.pointer("/metadata/annotations").and_then(|all| all.get(annotation::RING)?.as_str());
        published.map(Ring::parse).transpose()
    }
}

impl Servers {
    /// Reads them; a status of an older spec counts as nobody ready.
    pub fn of(set: &Value) -> Servers {
        let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64);
        let current = number("/status/observedGeneration") >= number("/metadata/generation");
        let ready = number("/status/readyReplicas").filter(|_| current);
        Servers { wanted: number("/spec/replicas").unwrap_or(1), ready: ready.unwrap_or(0) }
    }
}

/// The rings that the StatefulSets of one cluster should carry, in their order; all of one epoch.
///
/// It grows once every new server of every set is ready, and shrinks at once, because servers that are gone hold nothing.
/// `None` when nothing is to be written.
pub fn next(sets: &[(Option<Ring>, Servers)]) -> Option<Vec<Ring>> {
    let epoch = sets.iter().filter_map(|(ring, _)| ring.map(|ring| ring.epoch)).max().unwrap_or(0);
    let all_ready = sets.iter().all(|(_, servers)| servers.ready >= servers.wanted);
    let servers: Vec<u64> = sets
        .iter()
        .map(|(ring, servers)| match ring {
            // Nobody counted before: what there is counts, as it did without a ring.
            None => servers.wanted,
            Some(ring) if servers.wanted > ring.servers && !all_ready => ring.servers,
            Some(_) => servers.wanted,
        })
        .collect();
    let same = sets
        .iter()
        .zip(&servers)
        .all(|((ring, _), servers)| ring.is_some_and(|ring| ring.servers == *servers && ring.epoch == epoch));
    // A cluster scaled to nothing keeps the ring that it had: it has no server to use, and will have the same ones again.
    if same || servers.contains(&0) {
        return None;
    }
    Some(servers.into_iter().map(|servers| Ring { epoch: epoch + 1, servers }).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn set(ring: Option<(u64, u64)>, wanted: u64, ready: u64) -> (Option<Ring>, Servers) {
        (ring.map(|(epoch, servers)| Ring { epoch, servers }), Servers { wanted, ready })
    }

    fn next_of(sets: &[(Option<Ring>, Servers)]) -> Option<Vec<(u64, u64)>> {
        next(sets).map(|rings| rings.into_iter().map(|ring| (ring.epoch, ring.servers)).collect())
    }

    #[test]
    fn the_first_ring_is_what_there_is() {
        assert_eq!(next_of(&[set(None, 3, 0)]), Some(vec![(1, 3)]));
    }

    #[test]
    fn it_grows_once_every_new_server_is_ready() {
        assert_eq!(next_of(&[set(Some((1, 3)), 5, 4)]), None);
        assert_eq!(next_of(&[set(Some((1, 3)), 5, 5)]), Some(vec![(2, 5)]));
    }

    #[test]
    fn a_lost_server_a_rollout_and_a_scale_to_nothing_change_nothing() {
        assert_eq!(next_of(&[set(Some((4, 3)), 3, 0)]), None);
        assert_eq!(next_of(&[set(Some((4, 3)), 3, 2)]), None);
        assert_eq!(next_of(&[set(Some((4, 3)), 0, 0)]), None);
    }

    #[test]
    fn it_shrinks_at_once() {
        assert_eq!(next_of(&[set(Some((2, 5)), 3, 5)]), Some(vec![(3, 3)]));
    }

    #[test]
    fn the_sets_of_one_cluster_turn_together() {
        assert_eq!(next_of(&[set(Some((1, 3)), 5, 5), set(Some((1, 3)), 5, 4)]), None);
        assert_eq!(next_of(&[set(Some((1, 3)), 5, 5), set(Some((1, 3)), 5, 5)]), Some(vec![(2, 5), (2, 5)]));
        // A leader that died between two writes: the next one finishes what it began.
        assert_eq!(next_of(&[set(Some((2, 5)), 5, 5), set(Some((1, 3)), 5, 5)]), Some(vec![(3, 5), (3, 5)]));
    }

    #[test]
    fn a_ring_that_nobody_wrote_is_an_error() {
        for wrong in [
            "",
            "3",
            "{}",
            r#"{"epoch":0,"servers":3}"#,
            r#"{"epoch":1,"servers":0}"#,
            r#"{"epoch":1,"servers":3,"x":1}"#,
        ] {
            assert!(Ring::parse(wrong).is_err(), "{wrong}");
        }
        let set = json!({"metadata": {"annotations": {"memcached.io/ring": r#"{"epoch":2,"servers":3}"#}}});
        assert_eq!(Ring::of(&set), Ok(Some(Ring { epoch: 2, servers: 3 })));
    }

    #[test]
    fn a_status_of_an_older_spec_is_nobody_ready() {
        let mut set = json!({"metadata": {"generation": 2}, "spec": {"replicas": 5}, "status": {"observedGeneration": 1, "readyReplicas": 5}});
        assert_eq!(Servers::of(&set), Servers { wanted: 5, ready: 0 });
        set["status"]["observedGeneration"] = json!(2);
        assert_eq!(Servers::of(&set), Servers { wanted: 5, ready: 5 });
    }
}
