//! The injected pods as live follow needs them: where each is, and which configuration it runs with. Made of a watch's
//! events; asks and writes nothing.
//!
//! Small on purpose: thousands of pods share a handful of configurations, so each is kept once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use serde_json::Value;

use crate::names::annotation;

/// All that the API server sends us of a pod.
pub(super) type Metadata = PartialObjectMeta<Pod>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Injected {
    pub(super) namespace: String,
    pub(super) name: String,
    /// What its annotation says now.
    pub(super) config: Arc<str>,
    /// The newest configuration format that its library reads, where its status says so.
    pub(super) format: Option<u32>,
}

/// All of them as the leader's watch sees them, for every loop that asks. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct SharedPods(Arc<Mutex<InjectedPods>>);

impl SharedPods {
    pub(super) fn lock(&self) -> MutexGuard<'_, InjectedPods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are known, by uid.
#[derive(Debug, Default)]
pub(super) struct InjectedPods {
    pods: HashMap<String, Injected>,
    configs: HashSet<Arc<str>>,
    /// Uids in the list that is coming in.
    listed: Option<HashSet<String>>,
    /// A whole list was seen.
    complete: bool,
}

impl InjectedPods {
    /// Whether none is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Each with its uid.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Injected)> {
        self.pods.iter().map(|(uid, pod)| (uid.as_str(), pod))
    }

    /// Takes what the watch says.
    pub(super) fn take(&mut self, event: Event<Metadata>) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::Apply(pod) | Event::InitApply(pod) => self.see(&pod),
            Event::Delete(pod) => {
                self.pods.remove(&pod.uid().unwrap_or_default());
            }
            Event::InitDone => {
                self.complete = true;
                if let Some(listed) = self.listed.take() {
                    self.pods.retain(|uid, _| listed.contains(uid));
                    self.pods.shrink_to_fit();
                }
            }
        }
        self.configs.retain(|config| Arc::strong_count(config) > 1);
    }

    /// One that ends needs no other configuration, and one without an annotation has none of ours.
    fn see(&mut self, pod: &Metadata) {
        let Some(uid) = pod.uid() else { return };
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.clone());
        }
        let config = pod.annotations().get(annotation::PROXY_CONFIG);
        match config.filter(|_| pod.metadata.deletion_timestamp.is_none()) {
            None => {
                self.pods.remove(&uid);
            }
            Some(config) => {
                let config = self.shared(config);
                let namespace = pod.namespace().unwrap_or_default();
                let format = pod.annotations().get(annotation::STATUS).and_then(|status| format_of(status));
                self.pods.insert(uid, Injected { namespace, name: pod.name_any(), config, format });
            }
        }
    }

    fn shared(&mut self, config: &str) -> Arc<str> {
        if let Some(known) = self.configs.get(config) {
            return known.clone();
        }
        let config = Arc::<str>::from(config);
        self.configs.insert(config.clone());
        config
    }
}

fn format_of(status: &str) -> Option<u32> {
    let status: Value = serde_json::from_str(status).ok()?;
    u32::try_from(status.get("format")?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pod(name: &str, config: Option<&str>) -> Metadata {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": {annotation::PROXY_CONFIG: config.unwrap_or("")}},
        }))
        .map(|mut pod: Metadata| {
            if config.is_none() {
                pod.annotations_mut().clear();
            }
            pod
        })
        .unwrap()
    }

    fn known(pods: &InjectedPods) -> Vec<(&str, &str)> {
        let mut known: Vec<_> = pods.iter().map(|(uid, pod)| (uid, &*pod.config)).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn pods_come_change_and_go() {
        let mut pods = InjectedPods::default();
        pods.take(Event::Apply(pod("a", Some("one"))));
        pods.take(Event::Apply(pod("b", Some("one"))));
        assert_eq!(known(&pods), [("a", "one"), ("b", "one")]);
        assert_eq!(pods.configs.len(), 1, "kept once");
        pods.take(Event::Apply(pod("b", Some("two"))));
        pods.take(Event::Delete(pod("a", Some("one"))));
        assert_eq!((known(&pods), pods.configs.len()), (vec![("b", "two")], 1));
        pods.take(Event::Apply(pod("b", None)));
        assert_eq!((pods.len(), pods.configs.len()), (0, 0));
    }

    #[test]
    fn the_status_says_which_format_a_library_reads() {
        let mut pods = InjectedPods::default();
        for (name, status) in [("a", r#"{"version":"0","format":3}"#), ("b", r#"{"version":"0"}"#), ("c", "?")] {
            let mut pod = pod(name, Some("one"));
            pod.annotations_mut().insert(annotation::STATUS.to_owned(), status.to_owned());
            pods.take(Event::Apply(pod));
        }
        let mut formats: Vec<_> = pods.iter().map(|(uid, pod)| (uid, pod.format)).collect();
        formats.sort_unstable();
        assert_eq!(formats, [("a", Some(3)), ("b", None), ("c", None)]);
    }

    #[test]
    fn one_that_ends_is_left_alone() {
        let mut pods = InjectedPods::default();
        pods.take(Event::Apply(pod("a", Some("one"))));
        let mut ending = pod("a", Some("one"));
        ending.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        pods.take(Event::Apply(ending));
        assert_eq!(pods.len(), 0);
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut pods = InjectedPods::default();
        pods.take(Event::Apply(pod("a", Some("one"))));
        for event in [Event::Init, Event::InitApply(pod("b", Some("one"))), Event::InitDone] {
            pods.take(event);
        }
        assert_eq!(known(&pods), [("b", "one")]);
    }
}
