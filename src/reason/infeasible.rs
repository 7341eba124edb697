//! Why a pod that asks can't be given its memcached although it asks well: its own shape, or the cluster's.

use std::fmt;

use crate::names::{annotation, label};
use crate::quantity::Quantity;
use crate::request::{ModeName, one_of};

/// A pod, or a cluster, that does not allow what is asked for. All that apply are reported at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Infeasible {
    /// The pod uses the node's network.
    HostNetwork,
    /// A container of the pod has a name that we need.
    ContainerNameTaken(&'static str),
    /// A volume of the pod has the name that we need.
    VolumeNameTaken(&'static str),
    /// A container of the pod declares a port that we need.
    PortTaken {
        /// The port.
        port: u16,
        /// Whose it is.
        container: String,
        /// Whose it would be.
        ours: &'static str,
    },
    /// The pod wants a Windows node.
    Windows(&'static str),
    /// The pod can't resolve the servers' names.
    DnsPolicy(&'static str),
    /// The pod's own budget is too small for us.
    PodResources {
        /// cpu or memory.
        resource: &'static str,
        /// requests or limits.
        list: &'static str,
        /// What the pod has.
        has: Quantity,
        /// What its containers and ours need.
        needs: Quantity,
    },
    /// Nobody knows that cluster.
    UnknownCluster {
        /// As asked for.
        cluster: String,
        /// Those that are known.
        known: Vec<String>,
    },
    /// The cluster's StatefulSets can't be used.
    BrokenCluster {
        /// Its name.
        cluster: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The mode does not fit the copies that the cluster keeps.
    ImpossibleCopies {
        /// What the pod asks for.
        mode: ModeName,
        /// The cluster.
        cluster: String,
        /// What it keeps, as a sentence.
        keeps: String,
        /// What to do.
        fix: String,
    },
}

impl Infeasible {
    /// The code.
    pub fn code(&self) -> &'static str {
        match self {
            Infeasible::HostNetwork => "host-network",
            Infeasible::ContainerNameTaken(_) => "container-name-taken",
            Infeasible::VolumeNameTaken(_) => "volume-name-taken",
            Infeasible::PortTaken { .. } => "port-taken",
            Infeasible::Windows(_) => "windows",
            Infeasible::DnsPolicy(_) => "dns-policy",
            Infeasible::PodResources { .. } => "pod-resources",
            Infeasible::UnknownCluster { .. } => "unknown-cluster",
            Infeasible::BrokenCluster { .. } => "broken-cluster",
            Infeasible::ImpossibleCopies { .. } => "impossible-copies",
        }
    }
}

impl std::error::Error for Infeasible {}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opt_out = format!("set {}: none to create it without", annotation::MODE);
        match self {
            Infeasible::HostNetwork => write!(
                f,
                "hostNetwork is on, and the proxy's port would be the node's; use the proxy DaemonSet's Service instead, or {opt_out}"
            ),
            Infeasible::ContainerNameTaken(name) => {
                write!(f, "it has a container named {name} of its own; rename that, or {opt_out}")
            }
            Infeasible::VolumeNameTaken(name) => {
                write!(f, "it has a volume named {name} of its own; rename that, or {opt_out}")
            }
            Infeasible::PortTaken { port, container, ours } => {
                write!(
                    f,
                    "container {container} has port {port}, which {ours} needs; set {} to a free one, or {opt_out}",
                    annotation::PORT
                )
            }
            Infeasible::Windows(how) => {
                write!(f, "it wants Windows nodes ({how}), and memcached is for Linux; {opt_out}")
            }
            Infeasible::DnsPolicy(policy) => {
                write!(f, "dnsPolicy {policy} can't resolve the cache servers' names; use ClusterFirst, or {opt_out}")
            }
            Infeasible::PodResources { resource, list, has, needs } => write!(
                f,
                "spec.resources.{list}.{resource} is {has}, and its containers with the proxy need {needs}; raise it, or lower memcached.io/proxy-{resource}-{}",
                list.trim_end_matches('s')
            ),
            Infeasible::UnknownCluster { cluster, known } => {
                let choices: Vec<&str> = known.iter().map(String::as_str).collect();
                let hint = if choices.is_empty() {
                    format!("no StatefulSet carries label {}", label::CLUSTER)
                } else {
                    one_of(cluster, &choices)
                };
                write!(f, "cluster {cluster} is not known; {hint}")
            }
            Infeasible::BrokenCluster { cluster, problem } => {
                write!(f, "cluster {cluster} can't be used: {problem}")
            }
            Infeasible::ImpossibleCopies { mode, cluster, keeps, fix } => {
                write!(f, "mode {} does not fit cluster {cluster}, which {keeps}; {fix}", mode.as_str())
            }
        }
    }
}
