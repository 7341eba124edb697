//! What keeps the installation as it should be, one loop a file, and what the loops know, for the webhook to ask.
//!
//! | file | does |
//! |---|---|
//! | clusters.rs, namespaces.rs | watch what pods are decided by |
//! | libraries.rs | makes the library ConfigMaps |
//! | replica.rs, heartbeat.rs, replicas.rs | who the replicas are; this one's heartbeat; hearing the others |
//! | lease.rs | who leads; every loop that writes what the replicas share asks it |
//! | endpoints.rs | the replicas that the Service sends requests to |
//! | ring.rs | the rings of the caches |
//! | ring_change/ | takes a cache from one ring to the next under traffic |
//! | injected.rs, follow.rs | the injected pods; their configurations, as clusters change |
//! | placement.rs | what the loss of a node or a zone would take |
//! | resync/ | refills servers that came back empty, and opens their pods' gates |
//! | certificates/ | CA, serving certificate, caBundle; or the operator's own files |
//! | upkeep.rs | starts them in order |
//! | watch.rs, trouble.rs | one watch; one task's errors |

pub mod certificates;
pub mod clusters;
mod endpoints;
pub mod follow;
mod heartbeat;
pub mod injected;
pub mod lease;
pub mod libraries;
pub mod namespaces;
pub mod placement;
mod replica;
mod replicas;
pub mod resync;
pub mod ring;
pub mod ring_change;
mod trouble;
pub mod upkeep;
mod watch;
