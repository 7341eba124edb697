//! Who leads: one of the replicas, by a Lease in our own namespace. Every replica serves; only the leader writes what they
//! share.
//!
//! Clocks of two machines are never compared: a Lease has ended when it has been seen unchanged for its own duration. Who
//! was the leader and is slow to notice does no harm, because every write carries the resourceVersion that it was
//! made from: the new leader's write makes the old one's fail.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;

use super::replica::{LEASE_SECONDS, Replica};
use super::replicas::Replicas;
use super::trouble::Trouble;
use crate::webhook::Readiness;
use crate::webhook::metrics::Metrics;

/// Pause between two looks. Part of the time in which a dead leader is replaced.
const EVERY: Duration = Duration::from_millis(250);
/// The leader renews its Lease that often: two renewals may come late.
const RENEW: Duration = Duration::from_secs(1);
/// The leader stops by itself when it could not renew for that long: before anybody else may lead.
const GIVE_UP: Duration = Duration::from_millis(LEASE_SECONDS as u64 * 1000 - 500);
/// Longest wait for one write.
const LONGEST: Duration = Duration::from_secs(2);

/// Whether this replica leads. Cheap to clone.
///
/// A loop that writes asks [`Leadership::is_leading`] before each write, and begins by
/// [`Leadership::wait_until_leading`].
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this replica leads now.
    pub fn is_leading(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns once this replica leads; never when the election has ended.
    pub async fn wait_until_leading(&mut self) {
        let leading = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if self.0.wait_for(leading).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once this replica does not lead (any more), a quarter of a second late at most.
    pub async fn lost(&self) {
        while self.is_leading() {
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Takes part in the election until the end begins, then gives the Lease back.
pub(super) fn take_part(
    client: Client,
    replica: Replica,
    replicas: Replicas,
    readiness: Readiness,
    metrics: Metrics,
) -> Leadership {
    let (sender, receiver) = watch::channel(None);
    let api = Api::namespaced(client, &replica.namespace);
    let trouble = Trouble::of("lease", metrics.clone());
    let candidate = Candidate { api, replica, replicas, metrics, trouble, leading: sender, held: None };
    tokio::spawn(candidate.run(readiness));
    Leadership(receiver)
}

struct Candidate {
    api: Api<Lease>,
    replica: Replica,
    replicas: Replicas,
    metrics: Metrics,
    trouble: Trouble,
    leading: watch::Sender<Option<Instant>>,
    /// The Lease as we wrote it last, and when that write began.
    held: Option<(Lease, Instant)>,
}

impl Candidate {
    async fn run(mut self, mut readiness: Readiness) {
        while !readiness.is_closing() {
            self.step().await;
            // Cancel safe: both only wait.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = readiness.closing() => {}
            }
        }
        self.give_back().await;
    }

    async fn step(&mut self) {
        match &self.held {
            Some((_, renewed)) if renewed.elapsed() >= GIVE_UP => self.lose("it could not be renewed in time"),
            Some((_, renewed)) if renewed.elapsed() < RENEW => {}
            Some((lease, _)) => self.write(Some(lease.clone())).await,
            None => {
                // Without hearing ourselves we can't tell an old Lease from a watch that is stuck.
                let Some(seen) = self.replicas.leader() else { return };
                if seen.as_ref().is_none_or(|(lease, since)| self.may_take(lease, *since)) {
                    self.write(seen.map(|(lease, _)| lease)).await;
                }
            }
        }
    }

    /// Whether a Lease that has been as it is `since` then is nobody's, or ours from before a restart.
    fn may_take(&self, lease: &Lease, since: Instant) -> bool {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(LEASE_SECONDS);
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        holder.is_empty() || holder == self.replica.name || since.elapsed() >= duration
    }

    /// Takes or renews the Lease, on top of the one that was seen.
    async fn write(&mut self, seen: Option<Lease>) {
        let began = Instant::now();
        let lease = self.renewed(seen);
        let parameters = PostParams::default();
        let write = async {
            match lease.metadata.resource_version {
                None => self.api.create(&parameters, &lease).await,
                Some(_) => self.api.replace(&self.replica.service, &parameters, &lease).await,
            }
        };
        // Cancel safe: a write that is given up may still happen; then our own name is found in the Lease.
        let written = tokio::time::timeout(LONGEST, write).await;
        match written {
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                self.trouble.over();
                self.lose("another replica was first");
            }
            Ok(Ok(lease)) => {
                self.trouble.over();
                if self.held.is_none() {
                    tracing::info!(replica = self.replica.name, "leading");
                    self.metrics.leading.set(1);
                }
                self.held = Some((lease, began));
                self.leading.send_replace(Some(began + GIVE_UP));
            }
            Ok(Err(error)) => self.failed(error.into()),
            Err(late) => self.failed(late.into()),
        }
    }

    fn failed(&mut self, error: anyhow::Error) {
        let what = "the Lease of the leader can't be written: certificates, caBundle and endpoints stay as they are";
        self.trouble.note::<(), _>(what, Err(error));
    }

    fn renewed(&self, seen: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = seen.unwrap_or_default();
        let metadata = ObjectMeta { name: Some(self.replica.service.clone()), ..ObjectMeta::default() };
        if lease.metadata.name.is_none() {
            lease.metadata = metadata;
        }
        let before = lease.spec.take().unwrap_or_default();
        let mine = before.holder_identity.as_ref() == Some(&self.replica.name);
        let changes = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            acquire_time: if mine { before.acquire_time.clone() } else { Some(now.clone()) },
            holder_identity: Some(self.replica.name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            lease_transitions: Some(if mine { changes } else { changes.saturating_add(1) }),
            renew_time: Some(now),
            ..before
        });
        lease
    }

    fn lose(&mut self, why: &str) {
        if self.held.take().is_some() {
            tracing::warn!(replica = self.replica.name, why, "leading no more");
        }
        self.metrics.leading.set(0);
        self.leading.send_replace(None);
    }

    /// Nobody has to wait for a Lease that was given back.
    async fn give_back(mut self) {
        let Some((mut lease, _)) = self.held.take() else { return };
        self.leading.send_replace(None);
        self.metrics.leading.set(0);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let parameters = PostParams::default();
        let write = self.api.replace(&self.replica.service, &parameters, &lease);
        match tokio::time::timeout(LONGEST, write).await {
            Ok(Ok(_)) => tracing::info!(replica = self.replica.name, "gave the Lease back"),
            _ => tracing::warn!("the Lease could not be given back; another replica leads when it has run out"),
        }
    }
}
