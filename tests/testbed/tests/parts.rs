//! The promises of the test bed itself, on real parts; one module a promise. What the parts are used for is tested elsewhere.

#![allow(clippy::unwrap_used)] // a test stops at the first surprise, its helper functions too

#[path = "parts/control_plane.rs"]
mod control_plane;
#[path = "parts/lifetime.rs"]
mod lifetime;
#[path = "parts/memcached.rs"]
mod memcached;
#[path = "parts/missing.rs"]
mod missing;
#[path = "parts/pod.rs"]
mod pod;
#[path = "parts/proxy.rs"]
mod proxy;
#[path = "parts/relay.rs"]
mod relay;
#[path = "parts/workload.rs"]
mod workload;
