//! The readiness gate of cache pods: the condition `memcached.io/synced`. Only on pods that ask for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::names::SYNCED;
use crate::resync::Need;

/// Whether its memcached runs: where none of a pod's containers does, nothing is held.
pub(super) fn is_running(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.filter_map(|status| status.state.as_ref()).any(|state| state.running.is_some())
}

/// Says at the pod's gate what its server needs. Returns whether the gate is open only because `bound` has passed.
pub(super) async fn set(client: &Client, pod: &Pod, need: &Need, bound: Duration) -> Result<bool, kube::Error> {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    if !gates.into_iter().any(|gate| gate.condition_type == SYNCED) || pod.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let current = conditions.into_iter().find(|condition| condition.type_ == SYNCED);
    let (status, reason, message) = wanted(need, current, bound);
    let said = (status, Some(reason), Some(message));
    let same = |condition: &PodCondition| {
        (condition.status.as_str(), condition.reason.as_deref(), condition.message.as_deref()) == said
    };
    if !current.is_some_and(same) {
        write(client, pod, current, (status, reason, message)).await?;
    }
    Ok(reason == OVERDUE)
}

const OVERDUE: &str = "Overdue";

fn wanted(need: &Need, current: Option<&PodCondition>, bound: Duration) -> (&'static str, &'static str, &'static str) {
    if *need == Need::Nothing {
        return ("True", "Synced", "the server holds every copy that it should");
    }
    let overdue = current.is_some_and(|condition| {
        condition.reason.as_deref() == Some(OVERDUE) || condition.status == "False" && is_older(condition, bound)
    });
    if overdue {
        return ("True", OVERDUE, "the server is not whole; opened all the same, so that nothing waits for ever");
    }
    let message = match need {
        Need::Patience(why) => why,
        Need::Nothing | Need::Declaration | Need::Refill { .. } => "the server is being refilled from the other copies",
    };
    ("False", "Syncing", message)
}

fn is_older(condition: &PodCondition, bound: Duration) -> bool {
    let since = condition.last_transition_time.as_ref().map(|time| Timestamp::now().duration_since(time.0));
    since.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age > bound)
}

async fn write(
    client: &Client,
    pod: &Pod,
    current: Option<&PodCondition>,
    (status, reason, message): (&str, &str, &str),
) -> Result<(), kube::Error> {
    let turned = current.filter(|condition| condition.status == status);
    let since = turned.and_then(|condition| condition.last_transition_time.clone());
    let since = since.map_or_else(|| Timestamp::now().to_string(), |time| time.0.to_string());
    let patch = json!({
        // A pod of the same name that came meanwhile is another one.
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [{
            "type": SYNCED, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        }]},
    });
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => {
            tracing::info!(namespace, pod = pod.name_any(), status, reason, message, "wrote the gate");
            Ok(())
        }
        // Gone, or another pod by now: the watch will say.
        Err(kube::Error::Api(error)) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    const BOUND: Duration = Duration::from_secs(300);

    fn condition(status: &str, reason: &str, age: i64) -> PodCondition {
        PodCondition {
            type_: SYNCED.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            last_transition_time: Some(Time(Timestamp::now() - SignedDuration::from_secs(age))),
            ..PodCondition::default()
        }
    }

    fn said(need: &Need, current: Option<PodCondition>) -> (&'static str, &'static str) {
        let (status, reason, _) = wanted(need, current.as_ref(), BOUND);
        (status, reason)
    }

    #[test]
    fn the_gate_opens_when_the_server_is_whole_or_the_bound_has_passed() {
        let waits = Need::Patience("it does not answer");
        assert_eq!(said(&Need::Nothing, None), ("True", "Synced"));
        assert_eq!(said(&waits, None), ("False", "Syncing"));
        assert_eq!(said(&waits, Some(condition("False", "Syncing", 299))), ("False", "Syncing"));
        assert_eq!(said(&waits, Some(condition("False", "Syncing", 301))), ("True", OVERDUE));
        assert_eq!(said(&waits, Some(condition("True", OVERDUE, 5))), ("True", OVERDUE));
        assert_eq!(said(&Need::Nothing, Some(condition("True", OVERDUE, 5))), ("True", "Synced"));
    }

    #[test]
    fn a_server_that_loses_its_data_again_closes_the_gate_again() {
        assert_eq!(said(&Need::Declaration, Some(condition("True", "Synced", 9999))), ("False", "Syncing"));
    }
}
