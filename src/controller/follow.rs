//! Live follow: when a cluster changes, the configuration of every pod that runs with it is written anew, and the kubelet
//! brings it to the proxy in seconds.
//!
//! Only the leader, at a bounded rate, and only while hold-pods-to-configurations.yaml is in force, which keeps our
//! identity to that one annotation on injected pods. What a configuration should be says routing/config.rs.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::clusters::Clusters;
use super::lease::Leadership;
use super::trouble::Trouble;
use crate::names::{annotation, label};
use crate::routing::config;
use crate::webhook::metrics::{Metrics, ResultLabels};

/// Pause between two rounds; a round's patches are what one second may bring.
const EVERY: Duration = Duration::from_secs(1);
/// Rounds between two looks whether the policy is there.
const POLICY_EVERY: u32 = 10;
/// A pod that was written is not looked at again before the watch must have seen the write.
const SETTLED: Duration = Duration::from_secs(30);
/// The policy and its binding have one name.
const POLICY: &str = "memcached-injector-pods";

/// All that we need of a pod: the API server sends no more.
type Metadata = PartialObjectMeta<Pod>;

/// Whether and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Pods a second; 0 turns following off, and then a metric says how many are behind.
    pub per_second: u32,
}

/// Follows for ever, while this replica leads.
pub async fn keep(client: Client, clusters: Clusters, mut leadership: Leadership, rate: Rate, metrics: Metrics) {
    let mut follower = Follower {
        trouble: Trouble::of("follow", metrics.clone()),
        written: HashMap::new(),
        client,
        clusters,
        rate,
        metrics,
    };
    loop {
        leadership.wait_until_leading().await;
        follower.while_leading(&leadership).await;
    }
}

struct Follower {
    client: Client,
    clusters: Clusters,
    rate: Rate,
    metrics: Metrics,
    trouble: Trouble,
    /// By uid: what was written and when, until the watch must have seen it.
    written: HashMap<String, (String, Instant)>,
}

/// A pod whose configuration is not what it should be.
struct Behind {
    pod: std::sync::Arc<Metadata>,
    current: String,
    wanted: String,
}

impl Follower {
    /// Watches only while leading, so that the other replicas cost the API server nothing.
    async fn while_leading(&mut self, leadership: &Leadership) {
        let (store, writer) = reflector::store::<Metadata>();
        let wanted = watcher::Config::default().labels(&format!("{}=true", label::INJECTED));
        let watch = watcher(Api::<Metadata>::all(self.client.clone()), wanted)
            .default_backoff()
            .modify(keep_what_is_ours)
            .reflect(writer);
        let mut watch = pin!(watch);
        let mut tick = tokio::time::interval(EVERY);
        let (mut round, mut guarded) = (0_u32, false);
        while leadership.is_leading() {
            // Cancel safe: an event that was not taken stays in the stream, a tick that was missed comes at once.
            tokio::select! {
                Some(event) = watch.next() => { self.trouble.note("running pods keep the configuration that they have", event); }
                _ = tick.tick() => {
                    if round.is_multiple_of(POLICY_EVERY) {
                        guarded = self.is_guarded().await;
                    }
                    round = round.wrapping_add(1);
                    self.round(&store, guarded).await;
                }
            }
        }
        self.metrics.pods_behind.set(0);
        self.metrics.pods_injected.set(0);
    }

    async fn round(&mut self, store: &Store<Metadata>, guarded: bool) {
        self.written.retain(|_, (_, when)| when.elapsed() < SETTLED);
        let behind = self.behind(store);
        self.metrics.pods_injected.set(i64::try_from(store.len()).unwrap_or(i64::MAX));
        self.metrics.pods_behind.set(i64::try_from(behind.len()).unwrap_or(i64::MAX));
        if !guarded {
            return;
        }
        for pod in behind.into_iter().take(self.rate.per_second as usize) {
            let result = self.write(&pod).await;
            self.metrics.pods_followed.get_or_create(&ResultLabels::of(&result)).inc();
            match result {
                Ok(()) => {
                    let uid = pod.pod.uid().unwrap_or_default();
                    self.written.insert(uid, (pod.wanted, Instant::now()));
                }
                // Gone, or changed meanwhile: the watch will say what it is now.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 422 => {}
                Err(error) => {
                    self.trouble.note::<(), _>("running pods keep the configuration that they have", Err(error));
                    return;
                }
            }
        }
    }

    fn behind(&self, store: &Store<Metadata>) -> Vec<Behind> {
        let topology = self.clusters.current();
        let pods = store.state().into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.filter_map(|pod| {
            let current = pod.annotations().get(annotation::PROXY_CONFIG)?.clone();
            // What another release wrote, or nobody of ours, or for a cluster that is gone, stays.
            let wanted = config::follow(&current, &topology).ok()?;
            let is_written = self.written.get(&pod.uid()?).is_some_and(|(written, _)| *written == wanted);
            (wanted != current && !is_written).then_some(Behind { pod, current, wanted })
        })
        .collect()
    }

    /// With a `test` of what was read, so that nobody's change is overwritten.
    async fn write(&self, behind: &Behind) -> Result<(), kube::Error> {
        let path = format!("/metadata/annotations/{}", annotation::PROXY_CONFIG.replace('/', "~1"));
        let operations = json!([
            {"op": "test", "path": path, "value": behind.current},
            {"op": "replace", "path": path, "value": behind.wanted},
        ]);
        let patch = Patch::Json::<()>(serde_json::from_value(operations).map_err(kube::Error::SerdeError)?);
        let namespace = behind.pod.namespace().unwrap_or_default();
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        api.patch_metadata(&behind.pod.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Whether the policy that holds us to the one annotation is there, and denies.
    async fn is_guarded(&mut self) -> bool {
        if self.rate.per_second == 0 {
            return false;
        }
        let policy = Api::<ValidatingAdmissionPolicy>::all(self.client.clone());
        let binding = Api::<ValidatingAdmissionPolicyBinding>::all(self.client.clone());
        let found = async {
            policy.get(POLICY).await?;
            let binding = binding.get(POLICY).await?;
            let actions = binding.spec.and_then(|spec| spec.validation_actions).unwrap_or_default();
            anyhow::ensure!(actions.iter().any(|action| action == "Deny"), "its binding does not deny");
            Ok(())
        };
        let what = "running pods are not followed, because the ValidatingAdmissionPolicy memcached-injector-pods is not in force";
        self.trouble.note(what, found.await).is_some()
    }
}

/// 5,000 pods with everything that tools write on them would not be a small webhook any more.
fn keep_what_is_ours(pod: &mut Metadata) {
    pod.managed_fields_mut().clear();
    pod.metadata.owner_references = None;
    pod.labels_mut().clear();
    pod.annotations_mut().retain(|key, _| key == annotation::PROXY_CONFIG);
}
