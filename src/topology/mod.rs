//! Which servers make a cluster and how they hold its keys.
//!
//! Owns the cluster's shape (cluster.rs), how it is read from StatefulSets (discover.rs), the ring (ring.rs), its
//! change (change.rs), scaling (scaling.rs), and what the loss of a node would take
//! (placement.rs). How a proxy uses it is routing's business.

pub mod change;
mod cluster;
mod discover;
pub mod placement;
pub mod ring;
pub mod scaling;

pub use cluster::{Cluster, ClusterId, ClusterIdError, Consistency, Copies, Replica, Topology};
pub use discover::{built_in, cluster_of, discover};
