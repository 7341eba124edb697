//! Live follow: when a cluster changes, the configuration of every pod that runs with it is written anew, and the kubelet
//! brings it to the proxy in seconds.
//!
//! Only the leader, at a bounded rate, and only while hold-pods-to-configurations.yaml is in force, which keeps our
//! identity to that one annotation on injected pods. What a configuration should be says routing/config.rs.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::clusters::Clusters;
use super::injected::{Injected, InjectedPods, Metadata, SharedPods};
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
/// Pause between two lines that say how many pods are behind.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Pods in one answer while all are listed. With the default, 500, a new leader of 5,000 pods took 26 MB and not 13.
const PAGE: u32 = 100;
/// The policy and its binding have one name.
const POLICY: &str = "memcached-injector-pods";

/// Whether and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Pods a second; 0 turns following off, and then a metric says how many are behind.
    pub per_second: u32,
}

/// Follows for ever, while this replica leads.
pub async fn keep(
    client: Client,
    clusters: Clusters,
    pods: SharedPods,
    mut leadership: Leadership,
    rate: Rate,
    metrics: Metrics,
) {
    // 0 is a statement too.
    drop(metrics.pods_followed.get_or_create(&ResultLabels { result: "ok" }));
    let mut follower = Follower {
        trouble: Trouble::of("follow", metrics.clone()),
        written: HashMap::new(),
        told: None,
        client,
        clusters,
        pods,
        rate,
        metrics,
    };
    loop {
        leadership.wait_until_leading().await;
        follower.while_leading(&leadership).await;
    }
}

/// Takes what the watch of injected pods says, for ever.
async fn hear(client: Client, pods: SharedPods, metrics: Metrics) {
    let mut trouble = Trouble::of("follow", metrics);
    let wanted = watcher::Config::default().labels(&format!("{}=true", label::INJECTED)).page_size(PAGE);
    let mut watch = pin!(watcher(Api::<Metadata>::all(client), wanted).default_backoff());
    while let Some(event) = watch.next().await {
        if let Some(event) = trouble.note("running pods keep the configuration that they have", event) {
            pods.lock().take(event);
        }
    }
}

struct Follower {
    client: Client,
    clusters: Clusters,
    pods: SharedPods,
    rate: Rate,
    metrics: Metrics,
    trouble: Trouble,
    /// By uid: what was written and when, until the watch must have seen it.
    written: HashMap<String, (Arc<str>, Instant)>,
    /// How many pods were said to be behind, and when.
    told: Option<(usize, Instant)>,
}

/// A pod whose configuration is not what it should be.
struct Behind {
    uid: String,
    pod: Injected,
    wanted: Arc<str>,
}

impl Follower {
    /// Watches only while leading, so that the other replicas cost the API server nothing.
    async fn while_leading(&mut self, leadership: &Leadership) {
        *self.pods.lock() = InjectedPods::default();
        // Both at once: a round may take longer than its second, and what is not heard meanwhile would be written again.
        // Cancel safe: what was heard is kept, what was written stands on the pods.
        tokio::select! {
            () = hear(self.client.clone(), self.pods.clone(), self.metrics.clone()) => {}
            () = self.rounds(leadership) => {}
        }
        self.metrics.pods_behind.set(0);
        self.metrics.pods_injected.set(0);
    }

    async fn rounds(&mut self, leadership: &Leadership) {
        let mut tick = tokio::time::interval(EVERY);
        // A round that took long must not be made up for by several at once: the rate is a bound.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut round, mut guarded) = (0_u32, false);
        while leadership.is_leading() {
            tick.tick().await;
            if round.is_multiple_of(POLICY_EVERY) {
                guarded = self.is_guarded().await;
            }
            round = round.wrapping_add(1);
            self.round(guarded).await;
        }
    }

    async fn round(&mut self, guarded: bool) {
        self.written.retain(|_, (_, when)| when.elapsed() < SETTLED);
        let (behind, all) = self.behind();
        self.metrics.pods_injected.set(i64::try_from(all).unwrap_or(i64::MAX));
        self.metrics.pods_behind.set(i64::try_from(behind.len()).unwrap_or(i64::MAX));
        if !guarded {
            self.tell_how_many_are_behind(behind.len());
            return;
        }
        // What a list says that is still coming in may be older than what we have written since.
        if !self.pods.lock().is_complete() {
            return;
        }
        for pod in behind.into_iter().take(self.rate.per_second as usize) {
            let result = self.write(&pod).await;
            self.metrics.pods_followed.get_or_create(&ResultLabels::of(&result)).inc();
            match result {
                Ok(()) => {
                    self.written.insert(pod.uid, (pod.wanted, Instant::now()));
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

    /// For who has turned following off, or has no policy: at once when it begins, then once a minute.
    fn tell_how_many_are_behind(&mut self, behind: usize) {
        let is_news = match self.told {
            None => behind > 0,
            Some((told, when)) => told != behind && (told == 0 || behind == 0 || when.elapsed() >= TELL_EVERY),
        };
        if is_news {
            tracing::warn!(behind, "running pods have another configuration than they should, and are not followed");
            self.told = Some((behind, Instant::now()));
        }
    }

    /// Those that are behind, and how many there are in all.
    fn behind(&self) -> (Vec<Behind>, usize) {
        let pods = self.pods.lock();
        let topology = self.clusters.current();
        // Thousands of pods have a handful of configurations.
        let mut known = HashMap::<(&str, Option<u32>), Option<Arc<str>>>::new();
        let mut behind = Vec::new();
        for (uid, pod) in pods.iter() {
            // What another release wrote, or nobody of ours, or for a cluster that is gone, stays.
            let follow = || config::follow(&pod.config, pod.format, &topology).ok().map(Arc::from);
            let Some(wanted) = known.entry((&*pod.config, pod.format)).or_insert_with(follow) else { continue };
            let is_written = self.written.get(uid).is_some_and(|(written, _)| written == wanted);
            if *wanted != pod.config && !is_written {
                behind.push(Behind { uid: uid.to_owned(), pod: pod.clone(), wanted: wanted.clone() });
            }
        }
        (behind, pods.len())
    }

    /// With a `test` of what was read, so that nobody's change is overwritten.
    async fn write(&self, behind: &Behind) -> Result<(), kube::Error> {
        let path = format!("/metadata/annotations/{}", annotation::PROXY_CONFIG.replace('/', "~1"));
        let operations = json!([
            {"op": "test", "path": path, "value": &*behind.pod.config},
            {"op": "replace", "path": path, "value": &*behind.wanted},
        ]);
        let patch = Patch::Json::<()>(serde_json::from_value(operations).map_err(kube::Error::SerdeError)?);
        let api = Api::<Pod>::namespaced(self.client.clone(), &behind.pod.namespace);
        api.patch_metadata(&behind.pod.name, &PatchParams::default(), &patch).await?;
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
