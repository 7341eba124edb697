//! The quality-of-service class that Kubernetes gives a pod, and what it means for the containers we add.
//!
//! Follows `ComputePodQOS` of Kubernetes 1.36: all containers count, init containers too; only cpu and memory count;
//! pod-level resources, when set, decide alone.

use crate::pod::{Pod, Resources};

/// A pod's class; the kernel kills the lower ones first when a node runs out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Every container limits cpu and memory and requests as much.
    Guaranteed,
    /// Anything between.
    Burstable,
    /// Nobody asks for anything.
    BestEffort,
}

/// The two resources that make the class.
pub const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// The class of `pod` as it is, without us.
pub fn class(pod: &Pod) -> QosClass {
    if let Some(resources) = pod.resources() {
        return class_of(&[Some(resources)]);
    }
    let all: Vec<_> = pod.all_containers().map(|container| container.resources.as_ref()).collect();
    class_of(&all)
}

fn class_of(all: &[Option<&Resources>]) -> QosClass {
    let asks =
        |resources: Option<&Resources>, name| resources.is_some_and(|resources| resources.request(name).is_some());
    let full = |resources: Option<&Resources>, name| {
        resources.is_some_and(|resources| {
            resources.limit(name).is_some() && resources.limit(name) == resources.request(name)
        })
    };
    if !all.iter().any(|resources| RESOURCES.iter().any(|name| asks(*resources, name))) {
        QosClass::BestEffort
    } else if all.iter().all(|resources| RESOURCES.iter().all(|name| full(*resources, name))) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn class_of_pod(spec: serde_json::Value) -> QosClass {
        class(&Pod::read(&json!({ "spec": spec })).unwrap())
    }

    #[test]
    fn a_pod_that_asks_for_nothing_is_best_effort() {
        assert_eq!(class_of_pod(json!({"containers": [{"name": "a"}]})), QosClass::BestEffort);
        let zero = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "0"}}}]});
        assert_eq!(class_of_pod(zero), QosClass::BestEffort);
    }

    #[test]
    fn limits_alone_make_a_pod_guaranteed() {
        let limits = json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]});
        assert_eq!(class_of_pod(limits), QosClass::Guaranteed);
    }

    #[test]
    fn an_init_container_without_limits_takes_the_class_away() {
        let spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}],
        });
        assert_eq!(class_of_pod(spec), QosClass::Burstable);
    }

    #[test]
    fn pod_level_resources_decide_alone() {
        let spec = json!({
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1m"}}}],
        });
        assert_eq!(class_of_pod(spec), QosClass::Guaranteed);
    }
}
