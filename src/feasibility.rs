//! Whether a pod that asks can be given what it asks for: every rule is tried, so that one message names all that fails.

use crate::inject::resources::check_budget;
use crate::names::{LOCAL_CONTAINER, PROXY_CONTAINER, VOLUME};
use crate::pod::Pod;
use crate::reason::{Infeasible, Warning};
use crate::request::{LocalPlace, Mode, ModeName, Request};
use crate::topology::{Cluster, ClusterId, Copies, Topology};

/// The cluster that backs a pod, and the copies of each key that this pod's mode means there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The cluster.
    pub cluster: Cluster,
    /// Copies of each key, at least 1.
    pub copies: u32,
}

/// Tries every rule.
///
/// # Errors
/// All that stand in the way.
pub fn check(pod: &Pod, request: &Request, topology: &Topology) -> Result<(Backing, Vec<Warning>), Vec<Infeasible>> {
    let mut failures = Vec::new();
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.host_network == Some(true) {
        failures.push(Infeasible::HostNetwork);
    }
    failures.extend(names_taken(pod, request));
    failures.extend(ports_taken(pod, request));
    failures.extend(windows(&spec));
    let mut warnings = Vec::new();
    match spec.dns_policy.as_deref() {
        Some("Default") => failures.push(Infeasible::DnsPolicy("Default")),
        Some("None") => warnings.push(Warning::OwnResolvers),
        _ => {}
    }
    failures.extend(check_budget(request, pod));
    match backing(request.mode.name(), &request.cluster, topology) {
        Ok(backing) if failures.is_empty() => return Ok((backing, warnings)),
        Ok(_) => {}
        Err(failure) => failures.push(failure),
    }
    Err(failures)
}

/// The containers that `request` adds, each with the port it listens on.
pub fn listeners(request: &Request) -> Vec<(&'static str, u16)> {
    let mut listeners = vec![(PROXY_CONTAINER, request.port)];
    if let Mode::Failover(local) = &request.mode
        && local.place == LocalPlace::Container
    {
        listeners.push((LOCAL_CONTAINER, local_port(request)));
    }
    listeners
}

/// The local cache listens next to the proxy.
pub fn local_port(request: &Request) -> u16 {
    request.port + 1
}

fn names_taken(pod: &Pod, request: &Request) -> Vec<Infeasible> {
    let ours = listeners(request);
    let taken = ours.iter().filter(|(name, _)| pod.all_containers().any(|container| container.name == *name));
    let mut failures: Vec<_> = taken.map(|(name, _)| Infeasible::ContainerNameTaken(name)).collect();
    if pod.volumes().iter().any(|volume| volume.name == VOLUME) {
        failures.push(Infeasible::VolumeNameTaken(VOLUME));
    }
    failures
}

fn ports_taken(pod: &Pod, request: &Request) -> Vec<Infeasible> {
    let mut failures = Vec::new();
    for (ours, port) in listeners(request) {
        let declares = |container: &&crate::pod::Container| {
            container.ports.iter().flatten().any(|declared| declared.container_port == Some(i64::from(port)))
        };
        if let Some(container) = pod.all_containers().find(declares) {
            failures.push(Infeasible::PortTaken { port, container: container.name.clone(), ours });
        }
    }
    failures
}

fn windows(spec: &crate::pod::Spec) -> Option<Infeasible> {
    let selected = |key: &str| {
        let selector = spec.node_selector.as_ref()?;
        selector.get(key)?.as_deref()
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        Some(Infeasible::Windows("spec.os.name"))
    } else if selected("kubernetes.io/os") == Some("windows") {
        Some(Infeasible::Windows("nodeSelector kubernetes.io/os"))
    } else {
        None
    }
}

/// The cluster `id` for a pod of that mode.
///
/// # Errors
/// When it is not known, contradicts itself, or keeps copies that the mode can't use.
pub fn backing(mode: ModeName, id: &ClusterId, topology: &Topology) -> Result<Backing, Infeasible> {
    let cluster = match topology.clusters.get(id) {
        None => {
            return Err(Infeasible::UnknownCluster {
                cluster: id.to_string(),
                known: topology.clusters.keys().map(ToString::to_string).collect(),
            });
        }
        Some(Err(problem)) => {
            return Err(Infeasible::BrokenCluster { cluster: id.to_string(), problem: problem.clone() });
        }
        Some(Ok(cluster)) => cluster,
    };
    Ok(Backing { copies: copies(mode, cluster)?, cluster: cluster.clone() })
}

/// The cluster's shape belongs to the cluster: a pod may not read and write fewer or more copies than others do.
fn copies(mode: ModeName, cluster: &Cluster) -> Result<u32, Infeasible> {
    let impossible = |keeps: String, fix: &str| {
        Err(Infeasible::ImpossibleCopies { mode, cluster: cluster.id.to_string(), keeps, fix: fix.to_owned() })
    };
    let sets = count(cluster.replicas.len());
    let servers = cluster.replicas.first().map_or(0, |replica| count(replica.servers.len()));
    let most = if sets > 1 { sets } else { servers };
    let copies = match (cluster.copies, mode) {
        (Copies::Number(number), _) => number,
        (Copies::All, _) | (Copies::Undeclared, ModeName::Replicated) => most,
        (Copies::Undeclared, _) if sets > 1 => sets,
        (Copies::Undeclared, _) => 1,
    };
    if sets > 1 && copies != sets {
        return impossible(
            format!("has {sets} StatefulSets of one copy each, but declares copies {copies}"),
            "set memcached.io/copies: all on them",
        );
    }
    if copies > most {
        return impossible(
            format!("declares {copies} copies, but has {most} servers"),
            "add servers or lower memcached.io/copies",
        );
    }
    match mode {
        ModeName::Sharded if copies > 1 => {
            impossible(format!("keeps {copies} copies of each key"), "use mode replicated or failover")
        }
        ModeName::Replicated if copies == 1 && most > 1 => impossible(
            "keeps one copy of each key".to_owned(),
            "use mode sharded, or declare more with memcached.io/copies",
        ),
        _ => Ok(copies),
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
