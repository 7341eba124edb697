//! Scaling a cluster, decided: what to write to its StatefulSets next, or what to wait for.
//!
//! Pure; cli/scale.rs asks and writes. The way up: more servers, then the ring. The way down: the ring, then fewer servers,
//! in a write that fails unless the ring is still what it was seen to be; so no server goes that holds the only copy of a key.

use serde_json::{Value, json};

use super::Copies;
use super::ring::{Ring, Servers};
use crate::names::annotation;

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// To be written; then look again.
    Write(Write),
    /// Who has to do something first, for a person to read.
    Wait(String),
    /// All is as wanted; the epoch of the ring.
    Done(u64),
}

/// A change of one StatefulSet.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Its name.
    pub set: String,
    /// A JSON patch that fails when what it relies on has changed.
    pub patch: Value,
    /// What it does, for a person to read.
    pub what: String,
}

/// Why it is not done: keys would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it keeps {copies} copies of each key, which {to} {servers} can't hold; scale to {copies} or more, or declare fewer \
     copies first ({annotation})",
    servers = if *.to == 1 { "server" } else { "servers" },
    annotation = annotation::COPIES
)]
pub struct TooFew {
    /// That the cluster declares.
    pub copies: u32,
    /// Servers that were wanted.
    pub to: u64,
}

/// Whether so many servers can hold what the cluster promises: several StatefulSets hold one copy each.
///
/// # Errors
/// When they can't.
pub fn check(sets: usize, copies: Copies, to: u64) -> Result<(), TooFew> {
    match copies {
        Copies::Number(copies) if sets == 1 && u64::from(copies) > to => Err(TooFew { copies, to }),
        _ => Ok(()),
    }
}

/// The next step to `to` servers in each of a cluster's StatefulSets, which can be read as a cluster.
pub fn next(sets: &[Value], to: u64) -> Next {
    let sets: Vec<Set> = sets.iter().map(Set::of).collect();
    // What a cluster without a ring is told to have, it takes for what it has: nothing would be moved.
    if let Some(set) = sets.iter().find(|set| set.ring.is_none()) {
        return Next::Wait(format!("StatefulSet {} has no ring yet; the webhook publishes it: does it run?", set.name));
    }
    if let Some(write) = sets.iter().find_map(|set| set.wish(to)) {
        return Next::Write(write);
    }
    if sets.iter().any(|set| set.counting() != Some(to)) {
        return Next::Wait(waiting_for_ring(&sets, to));
    }
    if let Some(write) = sets.iter().find_map(|set| set.settle(to)) {
        return Next::Write(write);
    }
    match sets.iter().find(|set| set.pods != Some(to)) {
        Some(Set { name, pods: Some(pods), .. }) => Next::Wait(format!("StatefulSet {name} has {pods} pods")),
        Some(Set { name, .. }) => Next::Wait(format!("StatefulSet {name} is not looked after by its controller yet")),
        None => Next::Done(sets.iter().filter_map(|set| set.ring).map(|ring| ring.epoch).max().unwrap_or_default()),
    }
}

fn waiting_for_ring(sets: &[Set], to: u64) -> String {
    let counting: Vec<String> = sets.iter().filter_map(Set::counting).map(|servers| servers.to_string()).collect();
    let away: Vec<String> = sets
        .iter()
        .filter(|set| set.servers.ready < set.replicas)
        .map(|set| format!("; {} of {} servers of {} are ready", set.servers.ready, set.replicas, set.name))
        .collect();
    format!("the ring counts {} servers, to be {to}{}", counting.join(" and "), away.concat())
}

/// What of a StatefulSet matters here.
struct Set<'a> {
    name: &'a str,
    replicas: u64,
    servers: Servers,
    ring: Option<Ring>,
    /// The annotation that says it.
    ring_text: &'a str,
    /// `memcached.io/servers`.
    fewer: Option<&'a str>,
    /// As its controller sees them; `None` while that has not seen the last change.
    pods: Option<u64>,
}

impl Set<'_> {
    fn of(set: &Value) -> Set<'_> {
        let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64);
        let annotation = |key: &str| set.pointer("/metadata/annotations").and_then(|all| all.get(key)?.as_str());
        let current = number("/status/observedGeneration") >= number("/metadata/generation");
        Set {
            name: set.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default(),
            replicas: number("/spec/replicas").unwrap_or(1),
            servers: Servers::of(set),
            ring: Ring::of(set).ok().flatten(),
            ring_text: annotation(annotation::RING).unwrap_or_default(),
            fewer: annotation(annotation::SERVERS),
            pods: number("/status/replicas").filter(|_| current),
        }
    }

    fn counting(&self) -> Option<u64> {
        self.ring.map(|ring| ring.servers)
    }

    /// Says what is wanted, where the StatefulSet says something else; takes no server away.
    fn wish(&self, to: u64) -> Option<Write> {
        if self.replicas > to {
            let wanted = to.to_string();
            if self.fewer == Some(&wanted) {
                return None;
            }
            let patch =
                json!([self.test_replicas(), {"op": "add", "path": pointer(annotation::SERVERS), "value": wanted}]);
            return Some(self.write(patch, format!("let {to} of its {} servers count", self.replicas)));
        }
        if self.replicas < to {
            let mut patch = vec![self.test_replicas(), replace_replicas(to)];
            patch.extend(self.forget_fewer());
            return Some(self.write(json!(patch), format!("scaled from {} to {to}", self.replicas)));
        }
        let others = self.fewer.filter(|fewer| *fewer != to.to_string());
        others
            .and(self.forget_fewer())
            .map(|forget| self.write(json!([forget]), "let all its servers count".to_owned()))
    }

    /// Takes away the servers that count no more, and the word that they do not.
    fn settle(&self, to: u64) -> Option<Write> {
        if self.replicas > to {
            let unchanged = json!({"op": "test", "path": pointer(annotation::RING), "value": self.ring_text});
            let mut patch = vec![unchanged, self.test_replicas(), replace_replicas(to)];
            patch.extend(self.forget_fewer());
            return Some(self.write(json!(patch), format!("scaled from {} to {to}", self.replicas)));
        }
        self.forget_fewer().map(|forget| self.write(json!([forget]), "let all its servers count".to_owned()))
    }

    fn test_replicas(&self) -> Value {
        json!({"op": "test", "path": "/spec/replicas", "value": self.replicas})
    }

    fn forget_fewer(&self) -> Option<Value> {
        self.fewer.map(|_| json!({"op": "remove", "path": pointer(annotation::SERVERS)}))
    }

    fn write(&self, patch: Value, what: String) -> Write {
        Write { set: self.name.to_owned(), patch, what: format!("StatefulSet {}: {what}", self.name) }
    }
}

fn replace_replicas(to: u64) -> Value {
    json!({"op": "replace", "path": "/spec/replicas", "value": to})
}

fn pointer(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn set(name: &str, replicas: u64, ring: u64, fewer: Option<&str>, pods: u64) -> Value {
        let mut set = json!({
            "metadata": {"name": name, "generation": 1, "annotations": {
                "memcached.io/ring": format!("{{\"epoch\":4,\"servers\":{ring}}}"),
            }},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "replicas": pods, "readyReplicas": pods},
        });
        if let Some(fewer) = fewer {
            set["metadata"]["annotations"]["memcached.io/servers"] = json!(fewer);
        }
        set
    }

    /// Applies the next write as an API server does, or says why there is none.
    fn written(set: &Value, to: u64) -> Result<Value, String> {
        match next(std::slice::from_ref(set), to) {
            Next::Write(write) => {
                let mut after = set.clone();
                json_patch::patch(&mut after, &serde_json::from_value::<json_patch::Patch>(write.patch).unwrap())
                    .unwrap();
                Ok(after)
            }
            Next::Wait(why) => Err(why),
            Next::Done(epoch) => Err(format!("done at {epoch}")),
        }
    }

    #[test]
    fn down_the_ring_goes_first_and_the_servers_after_it() {
        let asked = written(&set("a", 5, 5, None, 5), 3).unwrap();
        assert_eq!(asked, set("a", 5, 5, Some("3"), 5));
        assert_eq!(written(&asked, 3).unwrap_err(), "the ring counts 5 servers, to be 3");
        let moved = set("a", 5, 3, Some("3"), 5);
        assert_eq!(written(&moved, 3).unwrap(), set("a", 3, 3, None, 5));
        assert_eq!(written(&set("a", 3, 3, None, 4), 3).unwrap_err(), "StatefulSet a has 4 pods");
        assert_eq!(written(&set("a", 3, 3, None, 3), 3).unwrap_err(), "done at 4");
    }

    #[test]
    fn the_write_that_takes_servers_away_fails_if_the_ring_has_changed() {
        let Next::Write(write) = next(&[set("a", 5, 3, Some("3"), 5)], 3) else { panic!() };
        let patch: json_patch::Patch = serde_json::from_value(write.patch).unwrap();
        assert!(json_patch::patch(&mut set("a", 5, 5, Some("3"), 5), &patch).is_err());
        assert!(json_patch::patch(&mut set("a", 7, 3, Some("3"), 5), &patch).is_err(), "or somebody else has scaled");
    }

    #[test]
    fn up_the_servers_go_first_and_the_ring_after_them() {
        let asked = written(&set("a", 3, 3, Some("3"), 3), 5).unwrap();
        assert_eq!(asked, set("a", 5, 3, None, 3));
        assert_eq!(
            written(&asked, 5).unwrap_err(),
            "the ring counts 3 servers, to be 5; 3 of 5 servers of a are ready"
        );
        assert_eq!(written(&set("a", 5, 5, None, 5), 5).unwrap_err(), "done at 4");
    }

    #[test]
    fn turning_back_lets_all_count_again() {
        assert_eq!(written(&set("a", 5, 3, Some("3"), 5), 5).unwrap(), set("a", 5, 3, None, 5));
        assert_eq!(written(&set("a", 3, 3, Some("3"), 3), 3).unwrap(), set("a", 3, 3, None, 3), "what a person left");
    }

    #[test]
    fn without_a_ring_nothing_is_written() {
        let mut new = set("a", 5, 5, None, 5);
        new["metadata"]["annotations"] = json!({});
        assert!(written(&new, 3).unwrap_err().contains("no ring yet"));
    }

    #[test]
    fn several_sets_go_together() {
        let half = [set("a", 5, 5, Some("3"), 5), set("b", 5, 5, None, 5)];
        let Next::Write(write) = next(&half, 3) else { panic!() };
        assert_eq!(write.set, "b");
        let one = [set("a", 5, 3, Some("3"), 5), set("b", 5, 5, Some("3"), 5)];
        assert_eq!(next(&one, 3), Next::Wait("the ring counts 3 and 5 servers, to be 3".to_owned()));
    }

    #[test]
    fn fewer_servers_than_copies_are_refused() {
        assert_eq!(check(1, Copies::Number(2), 1), Err(TooFew { copies: 2, to: 1 }));
        assert!(
            check(1, Copies::Number(2), 1)
                .unwrap_err()
                .to_string()
                .contains("2 copies of each key, which 1 server can't")
        );
        assert_eq!(check(1, Copies::Number(2), 2), Ok(()));
        assert_eq!((check(1, Copies::All, 1), check(2, Copies::Number(2), 1)), (Ok(()), Ok(())));
    }
}
