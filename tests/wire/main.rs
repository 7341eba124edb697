//! What localhost:11211 promises, on the wire: the routing library in a real memcached proxy, before real memcached
//! servers. One module a promise; every answer is compared as bytes. Does not know pods nor Kubernetes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // how a test stops

mod client;
mod proxy;

mod coherence;
mod commands;
mod edges;
mod failover;
mod fastest;
mod names;
mod order;
mod refresh;
mod reload;
mod replicated;
mod sharded;
