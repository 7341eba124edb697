//! Starts what looks after the running installation, in order: hear and be heard, elect, then what the leader writes.

use std::path::Path;

use axum_server::tls_rustls::RustlsConfig;
use kube::Client;
use tokio::sync::watch;

pub use super::replica::Replica;

use super::certificates::{Ageing, Around, Certificates, Files};
use super::lease::{self, Leadership};
use super::replicas::Replicas;
use super::{endpoints, heartbeat};
use crate::webhook::Readiness;
use crate::webhook::metrics::Metrics;

/// Where the certificates come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// We make them.
    Own(Ageing),
    /// Somebody else does, caBundle included; they are files in this folder.
    Files(&'a Path),
}

/// Starts everything; returns when there is a certificate to serve with. The leadership is for loops that come later.
///
/// # Errors
/// When certificate files can't be read. Everything else is tried until it works.
pub async fn start(
    client: Client,
    replica: Replica,
    source: Source<'_>,
    readiness: Readiness,
    metrics: Metrics,
) -> anyhow::Result<(RustlsConfig, Leadership)> {
    let (serving_ca, heard_ca) = watch::channel(String::new());
    let replicas = Replicas::listen(client.clone(), &replica, metrics.clone());
    tokio::spawn(heartbeat::beat(client.clone(), replica.clone(), readiness.clone(), heard_ca, metrics.clone()));
    let leadership = lease::take_part(client.clone(), replica.clone(), replicas.clone(), readiness, metrics.clone());
    tokio::spawn(endpoints::keep(
        client.clone(),
        replica.clone(),
        replicas.clone(),
        leadership.clone(),
        metrics.clone(),
    ));
    let tls = match source {
        Source::Files(folder) => {
            let files = Files::open(folder, metrics)?;
            let tls = files.tls();
            tokio::spawn(files.keep());
            tls
        }
        Source::Own(ageing) => {
            let around = Around { client, replica, replicas, leadership: leadership.clone(), serving_ca, metrics };
            let certificates = Certificates::obtain(around, ageing).await?;
            let tls = certificates.tls();
            tokio::spawn(certificates.keep());
            tls
        }
    };
    Ok((tls, leadership))
}
