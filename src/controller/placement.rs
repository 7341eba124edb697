//! Where cache servers run, and what the loss of a node or a zone would take: a metric of the leader. Decides nothing and
//! writes nothing; what is at risk says topology/placement.rs.
//!
//! Asked for every few seconds, not watched: a handful of pods for each cluster, from the API server's own memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::clusters::Clusters;
use super::lease::Leadership;
use super::ring::by_cluster;
use super::trouble::Trouble;
use crate::topology::Cluster;
use crate::topology::placement::at_risk;
use crate::webhook::metrics::{Metrics, PlaceLabels};

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// How long a node is believed to be in the zone that it was in.
const ZONES: Duration = Duration::from_secs(300);
/// The label of a node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Looks for ever, while this replica leads.
pub async fn keep(client: Client, clusters: Clusters, mut leadership: Leadership, metrics: Metrics) {
    let mut watcher = Watcher {
        trouble: Trouble::of("placement", metrics.clone()),
        told: HashSet::new(),
        zones: HashMap::new(),
        client,
        clusters,
        metrics,
    };
    loop {
        if !leadership.is_leading() {
            watcher.tell(HashMap::new());
        }
        leadership.wait_until_leading().await;
        let risks = watcher.look().await;
        let what = "what the loss of a node would take is not known: the metric stays as it is";
        if let Some(risks) = watcher.trouble.note(what, risks) {
            watcher.tell(risks);
        }
        tokio::time::sleep(EVERY).await;
    }
}

struct Watcher {
    client: Client,
    clusters: Clusters,
    metrics: Metrics,
    trouble: Trouble,
    /// What the metric says now.
    told: HashSet<PlaceLabels>,
    /// By node: its zone, if it has one, and when it was asked for.
    zones: HashMap<String, (Option<String>, Instant)>,
}

impl Watcher {
    /// The share of keys that are in one place only, for each place.
    async fn look(&mut self) -> anyhow::Result<HashMap<PlaceLabels, f64>> {
        let (sets, topology) = (self.clusters.stateful_sets(), self.clusters.current());
        self.zones.retain(|_, (_, when)| when.elapsed() < ZONES);
        let mut risks = HashMap::new();
        for (id, members) in by_cluster(&sets) {
            let Some(Ok(cluster)) = topology.clusters.get(&id) else { continue };
            let mut nodes = BTreeMap::new();
            for set in members {
                self.whole_pods(&id.namespace, set, &mut nodes)
                    .await
                    .with_context(|| format!("pods of cluster {id}"))?;
            }
            let mut zones = BTreeMap::new();
            for (pod, node) in &nodes {
                if let Some(zone) = self.zone(node).await? {
                    zones.insert(pod.clone(), zone);
                }
            }
            risks.extend(risks_of(cluster, "node", &nodes));
            risks.extend(risks_of(cluster, "zone", &zones));
        }
        Ok(risks)
    }

    /// The node of each pod that is ready: with the component resync that is one whose server holds all that it should.
    async fn whole_pods(
        &self,
        namespace: &str,
        set: &Value,
        nodes: &mut BTreeMap<String, String>,
    ) -> Result<(), kube::Error> {
        let labels = set["spec"]["selector"]["matchLabels"].as_object();
        let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
        let wanted = ListParams::default().labels(&labels.collect::<Vec<_>>().join(",")).match_any();
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&wanted).await?;
        for pod in pods {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            if let Some(node) = node.filter(|_| ready(&pod).is_some() && pod.metadata.deletion_timestamp.is_none()) {
                nodes.insert(pod.name_any(), node);
            }
        }
        Ok(())
    }

    async fn zone(&mut self, node: &str) -> anyhow::Result<Option<String>> {
        if let Some((zone, _)) = self.zones.get(node) {
            return Ok(zone.clone());
        }
        let found = Api::<Node>::all(self.client.clone()).get_metadata_opt(node).await;
        let found = found.with_context(|| format!("node {node}"))?;
        let zone = found.and_then(|node| node.labels().get(ZONE).cloned());
        self.zones.insert(node.to_owned(), (zone.clone(), Instant::now()));
        Ok(zone)
    }

    /// Only what is over is taken away, so that whoever reads the metrics meanwhile finds the rest.
    fn tell(&mut self, risks: HashMap<PlaceLabels, f64>) {
        for over in self.told.iter().filter(|labels| !risks.contains_key(labels)) {
            self.metrics.keys_at_risk.remove(over);
        }
        for (labels, share) in &risks {
            self.metrics.keys_at_risk.get_or_create(labels).set(*share);
        }
        self.told = risks.into_keys().collect();
    }
}

fn risks_of(cluster: &Cluster, kind: &'static str, places: &BTreeMap<String, String>) -> Vec<(PlaceLabels, f64)> {
    let place_of = |server: &str| places.get(server.split('.').next()?).map(String::as_str);
    let labels = |place: &str| PlaceLabels { cluster: cluster.id.to_string(), kind, place: place.to_owned() };
    at_risk(cluster, place_of).into_iter().map(|(place, share)| (labels(place), share)).collect()
}

/// The condition that says that a pod is ready, if it is.
pub(super) fn ready(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")
}
