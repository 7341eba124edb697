//! Sends this replica's heartbeat: one Lease a replica, written every second and at once when something changes.
//!
//! Server-side apply, so that one request does whatever the Lease is: missing, old, or changed by somebody.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::watch;

use super::replica::{Beat, MANAGER, Replica};
use super::trouble::Trouble;
use crate::webhook::Readiness;
use crate::webhook::metrics::Metrics;

/// Pause between two heartbeats.
const EVERY: Duration = Duration::from_secs(1);
/// A heartbeat that takes longer is given up: the next one is due.
const LONGEST: Duration = Duration::from_secs(2);

/// Beats for ever. `serving_ca` is the fingerprint of the CA whose certificate is served.
pub(super) async fn beat(
    client: Client,
    replica: Replica,
    mut readiness: Readiness,
    mut serving_ca: watch::Receiver<String>,
    metrics: Metrics,
) {
    let api = Api::<Lease>::namespaced(client, &replica.namespace);
    let mut trouble = Trouble::of("heartbeat", metrics.clone());
    loop {
        let (ready, ca) = (readiness.may_be_called(), serving_ca.borrow_and_update().clone());
        let beat = Beat { address: replica.address, ready, serving_ca: ca };
        let sent = send(&api, &replica, &beat).await;
        let what = "no heartbeat could be sent: without it this replica is taken out of the Service by the leader";
        if trouble.note(what, sent).is_some() {
            metrics.api_server_last_answer.set(time::OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9);
            if ready {
                readiness.set_announced();
            }
        }
        // Cancel safe: each of them only waits. Whichever ends first, what is sent next is read anew.
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = readiness.changed() => {}
            Ok(()) = serving_ca.changed() => {}
        }
    }
}

async fn send(api: &Api<Lease>, replica: &Replica, beat: &Beat) -> anyhow::Result<()> {
    let parameters = PatchParams::apply(MANAGER).force();
    let lease = replica.lease(beat);
    tokio::time::timeout(LONGEST, api.patch(&replica.name, &parameters, &Patch::Apply(&lease))).await??;
    Ok(())
}
