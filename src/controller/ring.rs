//! The rings: the leader publishes each cluster's as the annotation `memcached.io/ring` of its StatefulSets, and drives its
//! change when servers are added, taken away, or keep other copies.
//!
//! What the ring should be says topology/ring.rs; how a cache is taken there under traffic, ring_change/. All that was done
//! so far stands on the cache servers, so a new leader goes on with it. hold-statefulsets-to-rings.yaml holds our identity to
//! that annotation.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::bail;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::clusters::Clusters;
use super::injected::SharedPods;
use super::lease::Leadership;
use super::ring_change::{Change, Proxy, Step, step};
use super::trouble::Trouble;
use crate::names::annotation;
use crate::routing::config;
use crate::topology::change::{InForce, Shape};
use crate::topology::ring::{self, Ring, Servers};
use crate::topology::{Cluster, ClusterId, Copies, cluster_of};
use crate::webhook::metrics::Metrics;

/// Pause between two looks, and between two steps of a change.
const EVERY: Duration = Duration::from_secs(1);
/// Pods that an error names, at most.
const NAMED: usize = 3;

/// Goes round for ever, while this replica leads.
pub async fn keep(client: Client, clusters: Clusters, pods: SharedPods, mut leadership: Leadership, metrics: Metrics) {
    let trouble = Trouble::of("ring", metrics.clone());
    let mut keeper = Keeper { client, clusters, pods, settled: HashMap::new(), trouble, metrics };
    loop {
        if !leadership.is_leading() {
            // Who led meanwhile may have begun something.
            keeper.settled.clear();
            keeper.metrics.rings_changing.set(0);
        }
        leadership.wait_until_leading().await;
        let still = leadership.clone();
        // Cancel safe: a step that is given up is gone on with by whoever leads next.
        tokio::select! {
            () = keeper.round() => {}
            () = still.lost() => {}
        }
        tokio::time::sleep(EVERY).await;
    }
}

struct Keeper {
    client: Client,
    clusters: Clusters,
    pods: SharedPods,
    /// What each cluster was seen to have and to want, when there was nothing to do.
    settled: HashMap<ClusterId, Shape>,
    trouble: Trouble,
    metrics: Metrics,
}

impl Keeper {
    async fn round(&mut self) {
        let sets = self.clusters.stateful_sets();
        let (mut changing, mut held) = (0, Ok(()));
        for (id, members) in by_cluster(&sets) {
            match self.cluster(&id, &members).await {
                Ok(true) => {}
                Ok(false) => changing += 1,
                Err(error) => {
                    changing += 1;
                    held = held.and(Err(error.context(format!("cluster {id}"))));
                }
            }
        }
        self.metrics.rings_changing.set(changing);
        self.trouble.note("a ring stays as it is: servers that were added hold no keys yet", held);
    }

    /// One look at a cluster, or one step of its change. Whether all is as it should be.
    async fn cluster(&mut self, id: &ClusterId, members: &[&Value]) -> anyhow::Result<bool> {
        // One that can't be read makes the whole cluster unusable, which topology/discover.rs says; nothing is published.
        let topology = self.clusters.current();
        let Some(Ok(cluster)) = topology.clusters.get(id) else { return Ok(true) };
        let rings: Vec<_> = members.iter().map(|set| Ring::of(set).unwrap_or_default()).collect();
        let known: Vec<_> = rings.into_iter().zip(members.iter().map(|set| Servers::of(set))).collect();
        if let Some(first) = ring::first(&known) {
            self.publish(members, &first).await?;
            return Ok(true);
        }
        let known: Vec<_> = known.into_iter().filter_map(|(ring, servers)| Some((ring?, servers))).collect();
        let Some(servers) = ring::goal(&known) else { return Ok(true) };
        let goal = shape(cluster, servers);
        let is_published = |ring: &Ring| ring.servers == servers && ring.epoch == cluster.epoch;
        let published = known.iter().all(|(ring, _)| is_published(ring));
        if published && self.settled.get(id) == Some(&goal) {
            return Ok(true);
        }
        let grows = known.iter().any(|(ring, _)| ring.servers < servers);
        let proxies = self.proxies(id, grows)?;
        let (change, before) = (change(cluster, members, &known, goal, proxies), cluster.epoch);
        match step(&change).await {
            Ok(Step::Nothing(in_force)) => {
                let rings = vec![Ring { epoch: in_force.epoch, servers }; members.len()];
                self.publish(members, &rings).await?;
                self.settled.insert(id.clone(), goal);
                return Ok(true);
            }
            Ok(Step::Swept { moved, left }) => {
                self.metrics.ring_keys_moved.inc_by(u64::try_from(moved.saturating_sub(left)).unwrap_or(u64::MAX));
                tracing::info!(cluster = %id, moved, left, "a ring change brings keys to their new servers");
            }
            Ok(Step::Switched(ring)) => {
                tracing::info!(cluster = %id, epoch = ring.epoch, before, servers, "a ring change begins: both rings count");
            }
            Ok(Step::Finished(ring)) => {
                tracing::info!(cluster = %id, epoch = ring.epoch, servers, "a ring change is over: the new ring counts");
            }
            // Nothing is wanted, and nobody can tell whether something was begun: its servers are away, and will be back.
            Err(held) if published => {
                tracing::debug!(cluster = %id, %held, "the ring in force can't be read");
                return Ok(true);
            }
            Err(held) => return Err(held.into()),
        }
        Ok(false)
    }

    /// Who uses the cluster. Before it grows everybody's configuration has to list the servers that join: follow.rs sees to it.
    fn proxies(&self, id: &ClusterId, grows: bool) -> anyhow::Result<Vec<Proxy>> {
        let pods = self.pods.lock();
        if !pods.is_complete() {
            bail!("the injected pods are not known yet");
        }
        let topology = self.clusters.current();
        // Thousands of pods have a handful of configurations.
        let mut seen = HashMap::<(&str, Option<u32>), Option<(bool, bool)>>::new();
        let (mut proxies, mut behind) = (Vec::new(), Vec::new());
        for (uid, pod) in pods.iter() {
            let look = || {
                let (cluster, reads_rings) = config::reads_rings(&pod.config)?;
                let is_behind =
                    config::follow(&pod.config, pod.format, &topology).is_ok_and(|wanted| *wanted != *pod.config);
                (cluster == *id).then_some((reads_rings, is_behind))
            };
            let Some((reads_rings, is_behind)) = *seen.entry((&*pod.config, pod.format)).or_insert_with(look) else {
                continue;
            };
            let name = format!("{}/{}", pod.namespace, pod.name);
            if is_behind {
                behind.push(name.clone());
            }
            proxies.push(Proxy { id: uid.to_owned(), name, reads_rings });
        }
        if grows && !behind.is_empty() {
            bail!(
                "{} pods do not list the new servers yet, such as {}",
                behind.len(),
                behind[..behind.len().min(NAMED)].join(", ")
            );
        }
        Ok(proxies)
    }

    /// Writes those that differ.
    async fn publish(&self, members: &[&Value], rings: &[Ring]) -> anyhow::Result<()> {
        for (set, ring) in members.iter().zip(rings) {
            if Ring::of(set) != Ok(Some(*ring)) {
                publish(&self.client, set, *ring).await?;
            }
        }
        Ok(())
    }
}

/// How a ring of so many servers spreads the cluster's keys.
fn shape(cluster: &Cluster, servers: u64) -> Shape {
    let servers = usize::try_from(servers).unwrap_or(usize::MAX);
    let copies = match (cluster.replicas.len(), cluster.copies) {
        // By each pod's mode.
        (1, Copies::Undeclared) => 0,
        (1, Copies::All) => servers,
        (1, Copies::Number(copies)) => usize::try_from(copies).unwrap_or(usize::MAX),
        (lists, _) => lists,
    };
    Shape { servers, copies }
}

fn change(
    cluster: &Cluster,
    members: &[&Value],
    known: &[(Ring, Servers)],
    goal: Shape,
    proxies: Vec<Proxy>,
) -> Change {
    let lists = cluster.replicas.iter().map(|replica| [&replica.servers[..], &replica.joining].concat());
    let counting = known.iter().map(|(ring, _)| ring.servers).min().unwrap_or(1);
    let floor = InForce { epoch: cluster.epoch, now: shape(cluster, counting), before: None };
    let lists: Vec<Vec<String>> = lists.collect();
    // A StatefulSet's pods go from the last one on; what it has no pod for any more is gone with what it held.
    let pods = members.iter().filter_map(|set| set["status"]["replicas"].as_u64()).max();
    let pods = pods.and_then(|pods| usize::try_from(pods).ok()).unwrap_or(usize::MAX).max(goal.servers);
    let gone = lists.iter().flat_map(|list| list.iter().skip(pods).cloned()).collect();
    Change { known: lists, goal, floor, proxies, gone }
}

/// The StatefulSets that hold keys, by cluster.
pub(super) fn by_cluster(sets: &[Value]) -> BTreeMap<ClusterId, Vec<&Value>> {
    let mut clusters: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for set in sets {
        if let Some(id) = cluster_of(set) {
            clusters.entry(id).or_default().push(set);
        }
    }
    clusters
}

/// Fails when the StatefulSet has changed since it was read: the next round sees what it is now.
async fn publish(client: &Client, set: &Value, ring: Ring) -> anyhow::Result<()> {
    let text = |field: &str| set["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let value = json!(serde_json::to_string(&ring)?);
    let addition = if set["metadata"]["annotations"].is_object() {
        let key = annotation::RING.replace('/', "~1");
        json!({"op": "add", "path": format!("/metadata/annotations/{key}"), "value": value})
    } else {
        json!({"op": "add", "path": "/metadata/annotations", "value": {annotation::RING: value}})
    };
    let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": text("resourceVersion")});
    let patch = Patch::Json::<()>(serde_json::from_value(json!([unchanged, addition]))?);
    Api::<StatefulSet>::namespaced(client.clone(), namespace)
        .patch_metadata(name, &PatchParams::default(), &patch)
        .await?;
    tracing::info!(namespace, name, epoch = ring.epoch, servers = ring.servers, "published the ring");
    Ok(())
}
