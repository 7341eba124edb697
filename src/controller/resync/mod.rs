//! Resync: servers that came back empty, or that missed writes, get everything from their keys' other copies, and the gate
//! of their pods opens then. The leader does it; what is done so far lies on the servers, so that another goes on with it.
//!
//! | file | does |
//! |---|---|
//! | shape.rs | a cluster's servers, and connections to them |
//! | board.rs | the marks on the servers that hold the view |
//! | care.rs | looks after one cluster: what each server holds, what it needs, one refill at a time |
//! | refill.rs | lists, compares and copies, until nothing changes |
//! | pace.rs | no faster than clients stand |
//! | gate.rs | the condition `memcached.io/synced` of cache pods |
//! | rollout.rs | several StatefulSets of one cluster roll as one |
//!
//! What a server or an item needs is decided in crate::resync.

mod board;
mod care;
mod gate;
mod pace;
mod refill;
mod rollout;
mod shape;

pub use care::Care;
pub use pace::Limits;
pub use shape::Shape;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::clusters::Clusters;
use super::lease::Leadership;
use super::trouble::Trouble;
use crate::names::label;
use crate::resync::Need;
use crate::topology::ClusterId;
use crate::webhook::metrics::Metrics;

/// Pause between two looks at a cluster.
const EVERY: Duration = Duration::from_secs(1);

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How fast.
    pub limits: Limits,
    /// After that time a pod's gate opens though its server is not whole, so that nothing is blocked for ever.
    pub bound: Duration,
}

/// Looks after all clusters for ever, while this replica leads.
pub async fn keep(client: Client, clusters: Clusters, mut leadership: Leadership, manner: Manner, metrics: Metrics) {
    let mut keeper = Keeper {
        trouble: Trouble::of("resync", metrics.clone()),
        cares: BTreeMap::new(),
        client,
        clusters,
        manner,
        metrics,
    };
    loop {
        leadership.wait_until_leading().await;
        keeper.while_leading(&leadership).await;
    }
}

struct Keeper {
    client: Client,
    clusters: Clusters,
    manner: Manner,
    metrics: Metrics,
    trouble: Trouble,
    cares: BTreeMap<ClusterId, Care>,
}

impl Keeper {
    /// Watches only while leading, so that the other replicas cost the API server nothing.
    async fn while_leading(&mut self, leadership: &Leadership) {
        let (store, writer) = reflector::store::<Pod>();
        let wanted = watcher::Config::default().labels(label::CLUSTER);
        let pods = watcher(Api::<Pod>::all(self.client.clone()), wanted)
            .default_backoff()
            .modify(|pod: &mut Pod| pod.managed_fields_mut().clear())
            .reflect(writer);
        // The watch goes on while a refill takes its time.
        let metrics = self.metrics.clone();
        let watching = tokio::spawn(super::watch::drive("cache-pods", pods, metrics, || {}));
        let mut ready = pin!(store.wait_until_ready());
        while leadership.is_leading() {
            // Cancel safe: both only wait.
            tokio::select! {
                _ = &mut ready => break,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        while leadership.is_leading() {
            self.round(&store, leadership).await;
            tokio::time::sleep(EVERY).await;
        }
        watching.abort();
        self.cares.clear();
        self.metrics.servers_unsynced.set(0);
        self.metrics.resync_overdue.set(0);
        self.metrics.cache_pods_outdated.set(0);
    }

    async fn round(&mut self, store: &Store<Pod>, leadership: &Leadership) {
        let topology = self.clusters.current();
        self.cares.retain(|id, _| topology.clusters.get(id).is_some_and(Result::is_ok));
        for (id, cluster) in &topology.clusters {
            let shape = cluster.as_ref().ok().and_then(Shape::of);
            match (self.cares.get_mut(id), shape) {
                (Some(care), Some(shape)) => care.adopt(shape),
                (None, Some(shape)) => {
                    let care = Care::new(shape, self.manner.limits, self.metrics.clone());
                    self.cares.insert(id.clone(), care);
                }
                (_, None) => drop(self.cares.remove(id)),
            }
        }
        let (client, manner) = (&self.client, self.manner);
        let sets = self.clusters.stateful_sets();
        let mut rounds: Vec<BoxFuture<'_, anyhow::Result<Counts>>> = Vec::new();
        for (id, care) in &mut self.cares {
            rounds.push(Box::pin(one(client, (id, &sets), care, store, leadership, manner)));
        }
        // Together, so that one cluster's refill keeps no other's gates waiting.
        let results = join_all(rounds).await;
        let mut counts = Counts::default();
        for result in results {
            let what =
                "a server that came back empty, or missed writes, can't be refilled; reads fill what they ask for";
            if let Some(more) = self.trouble.note(what, result) {
                counts.unsynced += more.unsynced;
                counts.overdue += more.overdue;
                counts.outdated += more.outdated;
            }
        }
        self.metrics.cache_pods_outdated.set(counts.outdated);
        self.metrics.servers_unsynced.set(counts.unsynced);
        self.metrics.resync_overdue.set(counts.overdue);
    }
}

#[derive(Default)]
struct Counts {
    unsynced: i64,
    overdue: i64,
    outdated: i64,
}

/// One round of one cluster: look, say so at the gates, then do what is needed most.
async fn one(
    client: &Client,
    (id, sets): (&ClusterId, &[Value]),
    care: &mut Care,
    store: &Store<Pod>,
    leadership: &Leadership,
    manner: Manner,
) -> anyhow::Result<Counts> {
    let pods: BTreeMap<String, std::sync::Arc<Pod>> = store
        .state()
        .into_iter()
        .filter(|pod| pod.namespace().as_deref() == Some(id.namespace.as_str()))
        .map(|pod| (pod.name_any(), pod))
        .collect();
    let pod_of = |server: &str| pods.get(server.split('.').next().unwrap_or_default());
    let running: Vec<bool> =
        care.addresses().iter().map(|address| pod_of(address).is_some_and(|pod| gate::is_running(pod))).collect();
    let Some(needs) = care.look(&running).await else {
        return Ok(Counts::default()); // a ring change is under way: it moves keys by itself
    };
    let mut sums = Counts::default();
    for (address, need) in care.addresses().iter().zip(&needs) {
        sums.unsynced += i64::from(*need != Need::Nothing);
        if let Some(pod) = pod_of(address) {
            sums.overdue += i64::from(gate::set(client, pod, need, manner.bound).await?);
        }
    }
    // A server that the ring does not count yet has nothing to miss, and the ring waits until it is ready.
    let counts = |name: &String| care.addresses().iter().any(|address| address.split('.').next() == Some(name));
    for pod in pods.iter().filter(|(name, _)| !counts(name)).map(|(_, pod)| pod) {
        if pod.labels().get(label::CLUSTER) == Some(&id.name) {
            gate::set(client, pod, &Need::Nothing, manner.bound).await?;
        }
    }
    care.act(&needs, &|| leadership.is_leading()).await?;
    let addresses = care.addresses();
    let servers: Vec<_> = addresses.iter().map(|address| pod_of(address)).zip(&needs).collect();
    let (turn, outdated) = rollout::look(id, sets, &servers);
    sums.outdated = i64::try_from(outdated).unwrap_or(i64::MAX);
    if let Some(pod) = turn.filter(|_| leadership.is_leading()) {
        rollout::evict(client, pod).await?;
    }
    Ok(sums)
}
