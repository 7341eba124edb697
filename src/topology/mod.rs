//! Which servers make a cluster and how they hold its keys.
//!
//! Owns the cluster's shape (cluster.rs) and how it is read from StatefulSets (discover.rs). How a proxy uses it is
//! routing's business.

mod cluster;
mod discover;

pub use cluster::{Cluster, ClusterId, ClusterIdError, Consistency, Copies, Replica, Topology};
pub use discover::{built_in, discover};
