//! Reads clusters from labelled StatefulSets, live or from manifests alike.
//!
//! Pure: who watches the StatefulSets is the controller's business. The published ring says how many servers count; until
//! one is published `spec.replicas` does, with epoch 1.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ring::Ring;
use super::{Cluster, ClusterId, Consistency, Copies, Replica, Topology};
use crate::names::{MEMCACHED_PORT, annotation, label};
use crate::settings::Settings;

/// Upper bound of servers in one StatefulSet: a configuration that lists more would not fit an annotation.
const MOST_SERVERS: u64 = 1000;

/// One labelled StatefulSet, read.
struct Member {
    name: String,
    replica: u32,
    servers: Replica,
    epoch: u64,
    copies: Copies,
    consistency: Consistency,
}

/// The cluster that exists when nothing else is known: three servers, as the base manifests install them.
pub fn built_in(settings: &Settings) -> Topology {
    let id = settings.default_cluster.clone();
    let servers = (0..3)
        .map(|ordinal| {
            address(&id.name, ordinal, &format!("{}-headless", id.name), &id.namespace, settings, MEMCACHED_PORT)
        })
        .collect();
    let cluster = Cluster {
        id: id.clone(),
        replicas: vec![Replica { servers, joining: Vec::new() }],
        gutter: Vec::new(),
        copies: Copies::Undeclared,
        consistency: Consistency::Coherent,
        epoch: 1,
    };
    Topology { clusters: BTreeMap::from([(id, Ok(cluster))]) }
}

/// The cluster whose keys a StatefulSet holds; none without the label, and none for a gutter, which stands in for dead
/// servers and holds no shard.
pub fn cluster_of(set: &Value) -> Option<ClusterId> {
    named_cluster(set).filter(|_| !is_gutter(set))
}

fn is_gutter(set: &Value) -> bool {
    label_of(set, label::ROLE) == Some("gutter")
}

fn named_cluster(set: &Value) -> Option<ClusterId> {
    let name = label_of(set, label::CLUSTER)?;
    let namespace = set.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    Some(ClusterId { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The clusters that `sets` make.
pub fn discover<'a>(sets: impl IntoIterator<Item = &'a Value>, settings: &Settings) -> Topology {
    let mut members: BTreeMap<ClusterId, Result<Vec<Member>, String>> = BTreeMap::new();
    let mut gutters: BTreeMap<ClusterId, BTreeMap<&str, &Value>> = BTreeMap::new();
    for set in sets {
        let Some(id) = named_cluster(set) else {
            continue;
        };
        if is_gutter(set) {
            let name = set.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            gutters.entry(id).or_default().insert(name, set);
            continue;
        }
        let entry = members.entry(id.clone()).or_insert_with(|| Ok(Vec::new()));
        match (entry.as_mut(), read(set, &id, settings)) {
            (Ok(list), Ok(member)) => list.push(member),
            (Ok(_), Err(problem)) => *entry = Err(problem),
            (Err(_), _) => {}
        }
    }
    let cluster = |(id, members): (ClusterId, Result<Vec<Member>, String>)| {
        let gutter = gutters.get(&id).map_or(Ok(Vec::new()), |sets| gutter(sets, &id, settings));
        let joined = members.and_then(|members| join(id.clone(), members, gutter?));
        (id, joined)
    };
    Topology { clusters: members.into_iter().map(cluster).collect() }
}

/// The stand-ins of a cluster, those of several StatefulSets by their names. One that is scaled to nothing has none.
fn gutter(sets: &BTreeMap<&str, &Value>, id: &ClusterId, settings: &Settings) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for (name, set) in sets {
        if set.pointer("/spec/replicas").and_then(Value::as_u64) != Some(0) {
            all.extend(servers(set, None, name, id, settings)?.servers);
        }
    }
    Ok(all)
}

fn join(id: ClusterId, mut members: Vec<Member>, gutter: Vec<String>) -> Result<Cluster, String> {
    members.sort_by(|a, b| (a.replica, &a.name).cmp(&(b.replica, &b.name)));
    for pair in members.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let both = format!("StatefulSets {}/{} and {}/{}", id.namespace, a.name, id.namespace, b.name);
        if a.replica == b.replica {
            return Err(format!(
                "{both} are both replica {} of it; give each its own label {}",
                a.replica,
                label::REPLICA
            ));
        }
        if a.copies != b.copies || a.consistency != b.consistency {
            return Err(format!(
                "{both} contradict each other; give both the same {} and {}",
                annotation::COPIES,
                annotation::CONSISTENCY
            ));
        }
    }
    let Some(first) = members.first() else {
        return Err("it has no StatefulSet that holds data".to_owned());
    };
    Ok(Cluster {
        copies: first.copies,
        consistency: first.consistency,
        epoch: members.iter().map(|member| member.epoch).max().unwrap_or(1),
        replicas: members.into_iter().map(|member| member.servers).collect(),
        gutter,
        id,
    })
}

fn read(set: &Value, id: &ClusterId, settings: &Settings) -> Result<Member, String> {
    let text = |pointer: &str| set.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").ok_or_else(|| "a StatefulSet of it has no name".to_owned())?;
    let wrong = |what: &str, value: &str, want: &str| {
        format!("StatefulSet {}/{name}: {what} {value:?} is not {want}", id.namespace)
    };
    let replica = match label_of(set, label::REPLICA) {
        None => 0,
        Some(value) => value.parse().map_err(|_| wrong(label::REPLICA, value, "a whole number from 0"))?,
    };
    let copies = match annotation_of(set, annotation::COPIES) {
        None => Copies::Undeclared,
        Some("all") => Copies::All,
        Some(value) => match value.parse() {
            Ok(number) if number >= 1 => Copies::Number(number),
            _ => {
                return Err(wrong(annotation::COPIES, value, "\"all\" or a whole number from 1"));
            }
        },
    };
    let consistency = match annotation_of(set, annotation::CONSISTENCY) {
        None | Some("coherent") => Consistency::Coherent,
        Some("fastest") => Consistency::Fastest,
        Some(value) => {
            return Err(wrong(annotation::CONSISTENCY, value, "\"coherent\" or \"fastest\""));
        }
    };
    if let Some(value) = annotation_of(set, annotation::SERVERS)
        && !value.parse().is_ok_and(|servers: u64| servers > 0)
    {
        return Err(wrong(annotation::SERVERS, value, "a whole number from 1"));
    }
    let ring = Ring::of(set).map_err(|error| {
        format!("StatefulSet {}/{name}: {} can't be read ({error}); remove it", id.namespace, annotation::RING)
    })?;
    let servers = servers(set, ring, name, id, settings)?;
    let epoch = ring.map_or(1, |ring| ring.epoch);
    Ok(Member { name: name.to_owned(), replica, servers, epoch, copies, consistency })
}

fn servers(
    set: &Value,
    ring: Option<Ring>,
    name: &str,
    id: &ClusterId,
    settings: &Settings,
) -> Result<Replica, String> {
    let number = |pointer: &str, default: u64| match set.pointer(pointer) {
        None | Some(Value::Null) => Some(default),
        Some(value) => value.as_u64(),
    };
    let place = format!("StatefulSet {}/{name}", id.namespace);
    let replicas =
        number("/spec/replicas", 1).ok_or_else(|| format!("{place}: spec.replicas is not a whole number"))?;
    let counts = ring.map_or(replicas, |ring| ring.servers);
    let count = counts.max(replicas);
    let start = number("/spec/ordinals/start", 0)
        .ok_or_else(|| format!("{place}: spec.ordinals.start is not a whole number"))?;
    if counts == 0 {
        return Err(format!("{place} has no servers (spec.replicas is 0)"));
    }
    if count > MOST_SERVERS {
        return Err(format!("{place} has {count} servers; at most {MOST_SERVERS} are supported"));
    }
    let service = set.pointer("/spec/serviceName").and_then(Value::as_str).unwrap_or_default();
    if !crate::settings::is_dns_label(service) || !name.split('.').all(crate::settings::is_dns_label) {
        return Err(format!("{place}: its servers have no DNS names; give it a headless Service (spec.serviceName)"));
    }
    let port = port(set);
    let names = |from: u64, to: u64| {
        let ordinals = start.saturating_add(from)..start.saturating_add(to);
        ordinals.map(|ordinal| address(name, ordinal, service, &id.namespace, settings, port)).collect()
    };
    Ok(Replica { servers: names(0, counts), joining: names(counts, count) })
}

/// The container port named `memcached`, else the first, else memcached's own.
fn port(set: &Value) -> u16 {
    let ports = set.pointer("/spec/template/spec/containers/0/ports").and_then(Value::as_array);
    let ports = ports.map(Vec::as_slice).unwrap_or_default();
    let named = ports.iter().find(|port| port.get("name").and_then(Value::as_str) == Some("memcached"));
    named
        .or(ports.first())
        .and_then(|port| port.get("containerPort")?.as_u64())
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(MEMCACHED_PORT)
}

fn address(set: &str, ordinal: u64, service: &str, namespace: &str, settings: &Settings, port: u16) -> String {
    format!("{set}-{ordinal}.{service}.{namespace}.svc.{}.:{port}", settings.cluster_domain)
}

fn label_of<'a>(set: &'a Value, key: &str) -> Option<&'a str> {
    set.pointer("/metadata/labels")?.get(key)?.as_str()
}

fn annotation_of<'a>(set: &'a Value, key: &str) -> Option<&'a str> {
    set.pointer("/metadata/annotations")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn set(name: &str, replica: &str, extra: Value) -> Value {
        json!({
            "metadata": {
                "name": name, "namespace": "cache", "annotations": extra,
                "labels": {"memcached.io/cluster": "main", "memcached.io/replica": replica},
            },
            "spec": {"replicas": 2, "serviceName": name},
        })
    }

    fn only(sets: &[Value]) -> Result<Cluster, String> {
        discover(sets, &Settings::default()).clusters.into_values().next().unwrap()
    }

    #[test]
    fn replicas_come_in_the_order_of_their_labels() {
        let cluster = only(&[set("b", "1", json!({})), set("a", "0", json!({}))]).unwrap();
        assert_eq!(cluster.replicas[0].servers[1], "a-1.a.cache.svc.cluster.local.:11211");
        assert_eq!(cluster.replicas[1].servers[0], "b-0.b.cache.svc.cluster.local.:11211");
    }

    #[test]
    fn contradicting_statefulsets_are_both_named() {
        let problem =
            only(&[set("a", "0", json!({})), set("b", "1", json!({"memcached.io/copies": "2"}))]).unwrap_err();
        assert!(problem.contains("cache/a") && problem.contains("cache/b"), "{problem}");
        let problem = only(&[set("a", "0", json!({})), set("b", "0", json!({}))]).unwrap_err();
        assert!(problem.contains("cache/a") && problem.contains("cache/b"), "{problem}");
    }

    #[test]
    fn a_gutter_adds_stand_ins_and_no_shard() {
        let gutter = |name: &str, servers: u64| {
            let mut gutter = set(name, "9", json!({"memcached.io/ring": "not its own"}));
            gutter["metadata"]["labels"]["memcached.io/role"] = json!("gutter");
            gutter["spec"]["replicas"] = json!(servers);
            gutter
        };
        let cluster = only(&[gutter("h", 1), set("a", "0", json!({})), gutter("g", 1), gutter("i", 0)]).unwrap();
        assert_eq!(cluster.replicas.len(), 1);
        assert_eq!(cluster.gutter, ["g-0.g.cache.svc.cluster.local.:11211", "h-0.h.cache.svc.cluster.local.:11211"]);
        let mut nameless = gutter("g", 1);
        nameless["spec"]["serviceName"] = json!("");
        let problem = only(&[set("a", "0", json!({})), nameless]).unwrap_err();
        assert!(problem.contains("StatefulSet cache/g") && problem.contains("headless Service"), "{problem}");
        assert!(discover(&[gutter("g", 1)], &Settings::default()).clusters.is_empty(), "alone it makes no cluster");
    }

    #[test]
    fn wrong_copies_and_no_servers_are_errors_that_name_the_set() {
        let mut empty = set("a", "0", json!({}));
        empty["spec"]["replicas"] = json!(0);
        for problem in [only(&[set("a", "0", json!({"memcached.io/copies": "two"}))]), only(&[empty])] {
            assert!(problem.unwrap_err().contains("StatefulSet cache/a"));
        }
    }

    #[test]
    fn a_published_ring_counts_and_not_the_replicas() {
        let ring = json!({"memcached.io/ring": r#"{"epoch":7,"servers":3}"#});
        let cluster = only(&[set("a", "0", ring)]).unwrap();
        assert_eq!((cluster.epoch, cluster.replicas[0].servers.len()), (7, 3));
        assert!(cluster.replicas[0].joining.is_empty(), "{:?}", cluster.replicas[0]);
        let problem = only(&[set("a", "0", json!({"memcached.io/ring": "three"}))]).unwrap_err();
        assert!(problem.contains("StatefulSet cache/a: memcached.io/ring can't be read"), "{problem}");
    }

    #[test]
    fn servers_that_the_ring_does_not_count_yet_are_joining() {
        let ring = json!({"memcached.io/ring": r#"{"epoch":7,"servers":1}"#});
        let replica = only(&[set("a", "0", ring)]).unwrap().replicas.remove(0);
        assert_eq!(replica.servers, ["a-0.a.cache.svc.cluster.local.:11211"]);
        assert_eq!(replica.joining, ["a-1.a.cache.svc.cluster.local.:11211"]);
    }

    #[test]
    fn ordinals_and_ports_are_honoured() {
        let mut moved = set("a", "0", json!({}));
        moved["spec"]["ordinals"] = json!({"start": 5});
        moved["spec"]["template"] = json!({"spec": {"containers": [{"ports": [{"containerPort": 8080}, {"name": "memcached", "containerPort": 11311}]}]}});
        assert_eq!(only(&[moved]).unwrap().replicas[0].servers[0], "a-5.a.cache.svc.cluster.local.:11311");
    }
}
