//! What the README promises of a cluster, on a real API server with the real manifests: one module a promise.
//!
//! Nodes are kwok's: pods are really created, admitted and scheduled, but no container runs. The webhook runs as a
//! process, with the manifests' own service account and no more rights than they give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod bed;
mod cert_manager;
mod clock;
mod documented;
mod environment;
mod fleet;
mod follow;
mod gate;
mod gutter;
mod install;
mod leader;
mod life;
mod load;
mod many;
mod outage;
mod placement;
mod replicas;
mod rights;
mod ring;
mod rotation;
mod scale;
mod topology;
mod trust;
mod upgrade;
mod workloads;
