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
    /// `spec.replicas`, or fewer as the annotation `memcached.io/servers` says: a cluster is scaled down when they count no more.
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
        let replicas = number("/spec/replicas").unwrap_or(1);
        let fewer = set.pointer("/metadata/annotations").and_then(|all| all.get(annotation::SERVERS)?.as_str());
        let fewer = fewer.and_then(|text| text.parse().ok()).filter(|fewer| *fewer > 0).unwrap_or(replicas);
        Servers { wanted: replicas.min(fewer), ready: ready.unwrap_or(0) }
    }
}

/// The rings that the StatefulSets of one cluster should carry where one of them carries none yet: what there is counts, as
/// it did without a ring. In their order, all of one epoch; `None` when each has its own, or has no server at all.
pub fn first(sets: &[(Option<Ring>, Servers)]) -> Option<Vec<Ring>> {
    if sets.iter().all(|(ring, _)| ring.is_some()) || sets.iter().any(|(_, servers)| servers.wanted == 0) {
        return None;
    }
    let epoch = sets.iter().filter_map(|(ring, _)| ring.map(|ring| ring.epoch)).max().unwrap_or(0) + 1;
    let counts = |(ring, servers): &(Option<Ring>, Servers)| ring.map_or(servers.wanted, |ring| ring.servers);
    Some(sets.iter().map(|set| Ring { epoch, servers: counts(set) }).collect())
}

/// How many servers of each StatefulSet should count: all that are wanted, once every one that is added is ready.
///
/// `None` where nothing is to change: a cluster scaled to nothing keeps the ring that it had, because it has no server to use
/// and will have the same ones again.
pub fn goal(sets: &[(Ring, Servers)]) -> Option<u64> {
    if sets.iter().any(|(_, servers)| servers.wanted == 0) {
        return None;
    }
    let all_ready = sets.iter().all(|(_, servers)| servers.ready >= servers.wanted);
    let counts = |(ring, servers): &(Ring, Servers)| {
        if servers.wanted > ring.servers && !all_ready { ring.servers } else { servers.wanted }
    };
    sets.iter().map(counts).min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn first_of(sets: &[(Option<u64>, u64)]) -> Option<Vec<(u64, u64)>> {
        let set = |(servers, wanted): &(Option<u64>, u64)| {
            (servers.map(|servers| Ring { epoch: 4, servers }), Servers { wanted: *wanted, ready: 0 })
        };
        let sets: Vec<_> = sets.iter().map(set).collect();
        first(&sets).map(|rings| rings.into_iter().map(|ring| (ring.epoch, ring.servers)).collect())
    }

    fn goal_of(sets: &[(u64, u64, u64)]) -> Option<u64> {
        let set = |(servers, wanted, ready): &(u64, u64, u64)| {
            (Ring { epoch: 1, servers: *servers }, Servers { wanted: *wanted, ready: *ready })
        };
        goal(&sets.iter().map(set).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_ring_is_what_there_is() {
        assert_eq!(first_of(&[(None, 3)]), Some(vec![(1, 3)]));
        assert_eq!(first_of(&[(Some(3), 5), (None, 3)]), Some(vec![(5, 3), (5, 3)]), "one that is added");
        assert_eq!((first_of(&[(Some(3), 5)]), first_of(&[(None, 0)])), (None, None));
    }

    #[test]
    fn it_grows_once_every_new_server_is_ready() {
        assert_eq!(goal_of(&[(3, 5, 4)]), Some(3));
        assert_eq!(goal_of(&[(3, 5, 5)]), Some(5));
    }

    #[test]
    fn a_lost_server_a_rollout_and_a_scale_to_nothing_change_nothing() {
        assert_eq!(goal_of(&[(3, 3, 0)]), Some(3));
        assert_eq!(goal_of(&[(3, 3, 2)]), Some(3));
        assert_eq!(goal_of(&[(3, 0, 0)]), None);
    }

    #[test]
    fn it_shrinks_at_once() {
        assert_eq!(goal_of(&[(5, 3, 5)]), Some(3));
    }

    #[test]
    fn the_sets_of_one_cluster_turn_together() {
        assert_eq!(goal_of(&[(3, 5, 5), (3, 5, 4)]), Some(3));
        assert_eq!(goal_of(&[(3, 5, 5), (3, 5, 5)]), Some(5));
        assert_eq!(goal_of(&[(3, 5, 5), (3, 3, 3)]), Some(3), "as long as one is not scaled");
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
        set["metadata"]["annotations"] = json!({"memcached.io/servers": "3"});
        assert_eq!(Servers::of(&set).wanted, 3, "before it is scaled down");
    }
}
