//! Rolls several StatefulSets of one cluster as one. Kubernetes rolls each without a look at the other, so one
//! `kubectl apply` would take two copies of a key down; those with the strategy `OnDelete` it leaves alone, and the leader
//! evicts their outdated pods, one at a time, through the disruption budget that they share.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::gate::is_running;
use crate::controller::placement::ready;
use crate::resync::{Need, Standing, next};
use crate::topology::{ClusterId, cluster_of};

/// On a StatefulSet's pod: of which of its templates it was made.
const REVISION: &str = "controller-revision-hash";

/// A server's pod, where it has one, and what the server needs.
pub(super) type Server<'a> = (Option<&'a Arc<Pod>>, &'a Need);

/// The pod that is to be replaced now, and how many are outdated.
pub(super) fn look<'a>(id: &ClusterId, sets: &[Value], servers: &[Server<'a>]) -> (Option<&'a Arc<Pod>>, usize) {
    let sets: Vec<&Value> = sets.iter().filter(|set| is_rolled_here(id, set)).collect();
    if sets.len() < 2 {
        return (None, 0);
    }
    let pods: Vec<Standing> = servers.iter().map(|server| standing(&sets, server)).collect();
    let outdated = pods.iter().filter(|pod| pod.outdated).count();
    (next(&pods).and_then(|pod| servers[pod].0), outdated)
}

/// Evicts a pod. The budget may refuse that, and the pod may be another one by now: then the next round looks again.
///
/// # Errors
/// When the API server does not answer, or this identity may not.
pub(super) async fn evict(client: &Client, pod: &Pod) -> Result<(), kube::Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let preconditions = Some(Preconditions { uid: pod.uid(), resource_version: None });
    let params = EvictParams {
        delete_options: Some(DeleteParams { preconditions, ..DeleteParams::default() }),
        ..EvictParams::default()
    };
    match Api::<Pod>::namespaced(client.clone(), &namespace).evict(&pod.name_any(), &params).await {
        Ok(_) => {
            tracing::info!(namespace, pod = pod.name_any(), "evicted, to be made anew from its StatefulSet's template");
            Ok(())
        }
        Err(kube::Error::Api(error)) if error.is_not_found() || error.is_conflict() || error.code == 429 => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_rolled_here(id: &ClusterId, set: &Value) -> bool {
    // A gutter holds no copies, so it rolls by itself.
    cluster_of(set).as_ref() == Some(id)
        && set.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete")
}

fn standing(sets: &[&Value], (pod, need): &Server<'_>) -> Standing {
    let Some(pod) = pod else { return Standing { outdated: false, settled: false, down: false } };
    let owner = pod.owner_references().iter().find(|owner| owner.kind == "StatefulSet").map(|owner| &owner.uid);
    let set = sets.iter().find(|set| set["metadata"]["uid"].as_str() == owner.map(String::as_str));
    let stays = pod.metadata.deletion_timestamp.is_none();
    let wanted = set.filter(|set| knows_its_template(set)).and_then(|set| set["status"]["updateRevision"].as_str());
    let settle = set.and_then(|set| set["spec"]["minReadySeconds"].as_u64()).unwrap_or(0);
    Standing {
        outdated: wanted.is_some_and(|wanted| pod.labels().get(REVISION).map(String::as_str) != Some(wanted)),
        settled: stays && **need == Need::Nothing && is_ready_for(pod, Duration::from_secs(settle)),
        down: stays && !is_running(pod),
    }
}

/// Has its controller seen the template that stands there?
fn knows_its_template(set: &Value) -> bool {
    set["status"]["observedGeneration"] == set["metadata"]["generation"]
}

fn is_ready_for(pod: &Pod, length: Duration) -> bool {
    let since = ready(pod).and_then(|condition| condition.last_transition_time.as_ref());
    let age = since.and_then(|time| Duration::try_from(Timestamp::now().duration_since(time.0)).ok());
    age.is_some_and(|age| age >= length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn id() -> ClusterId {
        ClusterId { namespace: "cache".to_owned(), name: "memcached".to_owned() }
    }

    fn set(uid: &str, strategy: &str) -> Value {
        json!({
            "metadata": {"namespace": "cache", "uid": uid, "generation": 2, "labels": {"memcached.io/cluster": "memcached"}},
            "spec": {"minReadySeconds": 10, "updateStrategy": {"type": strategy}},
            "status": {"observedGeneration": 2, "updateRevision": "new"},
        })
    }

    fn pod(set: &str, revision: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": {
                "name": set, "labels": {"controller-revision-hash": revision},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": set, "uid": set}],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [{
                    "name": "memcached", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {}},
                }],
            },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn an_outdated_pod_of_two_sets_is_next_and_the_rest_is_counted() {
        let sets = [set("a", "OnDelete"), set("b", "OnDelete")];
        let (new, old, other) = (pod("a", "new"), pod("a", "old"), pod("b", "old"));
        let servers = [(Some(&new), &Need::Nothing), (Some(&old), &Need::Nothing), (Some(&other), &Need::Nothing)];
        let (turn, outdated) = look(&id(), &sets, &servers);
        assert!(Arc::ptr_eq(turn.unwrap(), &old));
        assert_eq!(outdated, 2);
        let waiting = [servers[0], servers[1], (Some(&other), &Need::Declaration)];
        assert_eq!(look(&id(), &sets, &waiting).0.map(|pod| pod.name_any()), None);
        assert_eq!(look(&id(), &sets, &[servers[1], (None, &Need::Nothing)]).0.map(|pod| pod.name_any()), None);
    }

    #[test]
    fn a_gutter_does_not_roll_with_the_servers_that_it_stands_in_for() {
        let mut gutter = set("g", "OnDelete");
        gutter["metadata"]["labels"]["memcached.io/role"] = json!("gutter");
        let (old, stand_in) = (pod("a", "old"), pod("g", "old"));
        let servers = [(Some(&old), &Need::Nothing), (Some(&stand_in), &Need::Nothing)];
        let (turn, outdated) = look(&id(), &[set("a", "OnDelete"), gutter], &servers);
        assert_eq!((turn.map(|pod| pod.name_any()), outdated), (None, 0));
    }

    #[test]
    fn what_kubernetes_rolls_by_itself_is_left_to_it() {
        let old = pod("a", "old");
        let servers = [(Some(&old), &Need::Nothing)];
        assert_eq!(look(&id(), &[set("a", "OnDelete")], &servers).1, 0, "one set");
        assert_eq!(look(&id(), &[set("a", "RollingUpdate"), set("b", "RollingUpdate")], &servers).1, 0);
    }
}
