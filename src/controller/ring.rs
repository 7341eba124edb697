//! Publishes the rings: the leader writes the annotation `memcached.io/ring` on the cache StatefulSets.
//!
//! What the ring should be says topology/ring.rs. hold-statefulsets-to-rings.yaml holds our identity to that annotation.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::clusters::Clusters;
use super::lease::Leadership;
use super::trouble::Trouble;
use crate::names::{annotation, label};
use crate::topology::ring::{self, Ring, Servers};
use crate::webhook::metrics::Metrics;

/// A look costs nothing: what it looks at is in memory.
const EVERY: Duration = Duration::from_secs(1);

/// Goes round for ever, while this replica leads.
pub async fn keep(client: Client, clusters: Clusters, mut leadership: Leadership, metrics: Metrics) {
    let mut trouble = Trouble::of("ring", metrics);
    loop {
        leadership.wait_until_leading().await;
        let result = round(&client, &clusters.stateful_sets()).await;
        trouble.note("a ring can't be published: servers that were added hold no keys yet", result);
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(client: &Client, sets: &[Value]) -> anyhow::Result<()> {
    for members in by_cluster(sets).into_values() {
        // One that can't be read makes the whole cluster unusable, which topology/discover.rs says; nothing is published.
        let Ok(rings) = members.iter().map(|set| Ring::of(set)).collect::<Result<Vec<_>, _>>() else { continue };
        let known: Vec<_> = rings.into_iter().zip(members.iter().map(|set| Servers::of(set))).collect();
        for (set, ring) in members.iter().zip(ring::next(&known).unwrap_or_default()) {
            publish(client, set, ring).await?;
        }
    }
    Ok(())
}

/// The StatefulSets that hold data, by namespace and cluster; a gutter holds none.
fn by_cluster(sets: &[Value]) -> BTreeMap<(&str, &str), Vec<&Value>> {
    let mut clusters: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for set in sets {
        let labels = &set["metadata"]["labels"];
        if let (Some(namespace), Some(cluster)) =
            (set["metadata"]["namespace"].as_str(), labels[label::CLUSTER].as_str())
            && labels[label::ROLE] != "gutter"
        {
            clusters.entry((namespace, cluster)).or_default().push(set);
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
