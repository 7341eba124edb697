//! What controllers do to cache servers, on real memcached processes: the client that they use, and the refill of servers
//! that came back empty or missed writes. One module a promise. Knows no Kubernetes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // how a test stops

mod client;
mod gutter;
mod lab;
mod refill;
mod speed;

use std::future::Future;

/// Runs what a controller would run.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}
