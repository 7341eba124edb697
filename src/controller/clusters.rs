//! Knows the cache clusters: watches labelled StatefulSets, or was told once.
//!
//! The last known topology goes on serving while the API server is away.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::watch;

use crate::names::label;
use crate::settings::Settings;
use crate::topology::{Topology, discover};
use crate::webhook::metrics::Metrics;

/// The topology as it is now, and the StatefulSets that it is made of.
#[derive(Clone)]
pub struct Clusters {
    topology: watch::Receiver<Arc<Topology>>,
    sets: Option<Store<StatefulSet>>,
}

impl Clusters {
    /// Told once, and never changing.
    pub fn fixed(topology: Topology) -> Clusters {
        Clusters { topology: watch::channel(Arc::new(topology)).1, sets: None }
    }

    /// The topology.
    pub fn current(&self) -> Arc<Topology> {
        self.topology.borrow().clone()
    }

    /// The labelled StatefulSets as the watch has last seen them; none without a watch.
    pub(super) fn stateful_sets(&self) -> Vec<Value> {
        self.sets.as_ref().map(values).unwrap_or_default()
    }

    /// Watches; returns when the first list is in.
    ///
    /// # Errors
    /// When the watch ends before that, which it does only when the process does.
    pub async fn watched(client: Client, settings: Arc<Settings>, metrics: Metrics) -> anyhow::Result<Clusters> {
        let (store, writer) = reflector::store::<StatefulSet>();
        let (sender, receiver) = watch::channel(Arc::new(Topology::default()));
        let config = watcher::Config::default().labels(label::CLUSTER);
        let events = watcher(Api::all(client), config)
            .modify(|set: &mut StatefulSet| set.managed_fields_mut().clear())
            .reflect(writer);
        let (seen, counts) = (store.clone(), metrics.clone());
        let changed = move || {
            publish(discover(&values(&seen), &settings), &sender, &counts);
        };
        tokio::spawn(super::watch::drive("statefulsets", events, metrics, changed));
        store.wait_until_ready().await?;
        Ok(Clusters { topology: receiver, sets: Some(store) })
    }
}

fn values(sets: &Store<StatefulSet>) -> Vec<Value> {
    sets.state().iter().filter_map(|set| serde_json::to_value(&**set).ok()).collect()
}

fn publish(topology: Topology, sender: &watch::Sender<Arc<Topology>>, metrics: &Metrics) {
    let broken = topology.clusters.values().filter(|cluster| cluster.is_err()).count();
    metrics.clusters_broken.set(i64::try_from(broken).unwrap_or(i64::MAX));
    metrics.clusters.set(i64::try_from(topology.clusters.len() - broken).unwrap_or(i64::MAX));
    if **sender.borrow() != topology {
        for (id, cluster) in &topology.clusters {
            match cluster {
                Ok(cluster) => {
                    tracing::info!(cluster = %id, replicas = cluster.replicas.len(), "cluster known")
                }
                Err(problem) => tracing::warn!(cluster = %id, problem, "cluster can't be used"),
            }
        }
        sender.send_replace(Arc::new(topology));
    }
}
