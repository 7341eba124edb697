//! A cluster: replicas of shards of named servers, and how many copies of a key they keep.

use std::collections::BTreeMap;
use std::fmt;

use crate::routing::order::Order;
use crate::settings::is_dns_label;

/// A cluster's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId {
    /// Where its StatefulSets are.
    pub namespace: String,
    /// Their label `memcached.io/cluster`.
    pub name: String,
}

/// Why a text is no cluster name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster is named [NAMESPACE/]NAME, each of lower case letters, digits and dashes")]
pub struct ClusterIdError;

impl ClusterId {
    /// Reads `[namespace/]name`.
    ///
    /// # Errors
    /// When a part is no DNS label, or there are more than two.
    pub fn parse(text: &str, default_namespace: &str) -> Result<ClusterId, ClusterIdError> {
        let (namespace, name) = text.split_once('/').unwrap_or((default_namespace, text));
        if is_dns_label(namespace) && is_dns_label(name) {
            Ok(ClusterId { namespace: namespace.to_owned(), name: name.to_owned() })
        } else {
            Err(ClusterIdError)
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Copies of each key that a cluster declares (annotation `memcached.io/copies`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Nothing declared: the mode decides, as in the seed.
    Undeclared,
    /// On every server, or on every replica where there are several.
    All,
    /// That many, at least 1.
    Number(u32),
}

/// What two clients on two nodes may see (annotation `memcached.io/consistency`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// What they would see on one memcached.
    Coherent,
    /// The fastest replica's answer; a weaker contract.
    Fastest,
}

impl Consistency {
    /// As users and the proxy's configuration spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Coherent => "coherent",
            Consistency::Fastest => "fastest",
        }
    }
}

/// The servers of one StatefulSet, in ordinal order, as `host.:port`: fully qualified with a trailing dot, so that no search
/// list is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Those that the ring counts.
    pub servers: Vec<String>,
    /// Those after them, which hold no keys before the ring counts them.
    pub joining: Vec<String>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub id: ClusterId,
    /// One for each StatefulSet that holds keys, in the order of their replica labels; never empty, nor is any of them.
    pub replicas: Vec<Replica>,
    /// The stand-ins, as `host.:port`: who answers for a key while none of its servers is trusted. They hold no shard.
    pub gutter: Vec<String>,
    /// Copies of each key.
    pub copies: Copies,
    /// What clients may see.
    pub consistency: Consistency,
    /// The ring's epoch, from 1.
    pub epoch: u64,
}

impl Cluster {
    /// Which servers hold a key's copies. Where no copies are declared a key is on all servers: the mode `replicated` means
    /// that. `None` for a cluster that no StatefulSets make.
    pub fn order(&self) -> Option<Order> {
        let lists: Vec<usize> = self.replicas.iter().map(|replica| replica.servers.len()).collect();
        let servers = lists.first().copied()?;
        let copies = match self.copies {
            Copies::Undeclared | Copies::All => servers,
            Copies::Number(number) => usize::try_from(number).ok()?.min(servers),
        };
        Order::new(&lists, copies)
    }

    /// How many servers a proxy of it knows at most: those that the ring counts, those that wait for it, and stand-ins.
    pub fn known_servers(&self) -> usize {
        let of_replicas = self.replicas.iter().map(|replica| replica.servers.len() + replica.joining.len());
        of_replicas.sum::<usize>() + self.gutter.len()
    }
}

/// Every cluster that is known, and for each that can't be used the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// By name.
    pub clusters: BTreeMap<ClusterId, Result<Cluster, String>>,
}
