//! Who this replica is, and what it tells the others by its heartbeat. Sends none (heartbeat.rs), hears none (replicas.rs).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

/// Where a replica answers; on its heartbeat Lease.
const ENDPOINT: &str = "memcached.io/endpoint";
/// Whether requests may be sent there.
const READY: &str = "memcached.io/ready";
/// Fingerprint of the CA whose certificate it serves; empty when the operator brings the certificate.
const SERVING_CA: &str = "memcached.io/serving-ca";
/// Tells heartbeats from the leader's Lease, by the Service's name.
pub(super) const HEARTBEAT_OF: &str = "memcached.io/heartbeat-of";
/// Seconds after which a silent Lease of ours counts for nothing, as its reader sees it.
pub(super) const LEASE_SECONDS: i32 = 3;

/// This process among its equals.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Unique among the living: the pod's name.
    pub name: String,
    /// The pod's uid, so that its heartbeat Lease goes with it; `None` outside of a pod.
    pub pod_uid: Option<String>,
    /// Name of the Service, of both webhook configurations and of the leader's Lease.
    pub service: String,
    /// The namespace of all of them.
    pub namespace: String,
    /// Where the API server reaches this replica.
    pub address: SocketAddr,
}

/// What one heartbeat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    /// Where it answers.
    pub(super) address: SocketAddr,
    /// Whether it does.
    pub(super) ready: bool,
    /// Fingerprint of the CA of the certificate that it serves.
    pub(super) serving_ca: String,
}

impl Replica {
    /// The Lease that says so now.
    pub(super) fn lease(&self, beat: &Beat) -> Lease {
        let annotations = [
            (ENDPOINT, beat.address.to_string()),
            (READY, beat.ready.to_string()),
            (SERVING_CA, beat.serving_ca.clone()),
        ];
        let owner = self.pod_uid.as_ref().map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        });
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(BTreeMap::from([(HEARTBEAT_OF.to_owned(), self.service.clone())])),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.name.clone()),
                lease_duration_seconds: Some(LEASE_SECONDS),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

impl Beat {
    /// Reads a heartbeat of that Service; `None` when the Lease is none, or was written by somebody who does not know how.
    pub(super) fn read(lease: &Lease, service: &str) -> Option<Beat> {
        if lease.labels().get(HEARTBEAT_OF).map(String::as_str) != Some(service) {
            return None;
        }
        let said = |key: &str| lease.annotations().get(key);
        Some(Beat {
            address: said(ENDPOINT)?.parse().ok()?,
            ready: said(READY)? == "true",
            serving_ca: said(SERVING_CA).cloned().unwrap_or_default(),
        })
    }
}

/// Every Lease and EndpointSlice of ours is written under this name.
pub(super) const MANAGER: &str = "memcached-injector";
