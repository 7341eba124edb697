//! What an operator can count: every metric of the webhook and its controllers, in one place.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Labels of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// `inject`, `skip` or `deny`.
    pub decision: &'static str,
    /// The code of reason/.
    pub reason: &'static str,
}

/// Labels of something that works or does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// `ok` or `error`.
    pub result: &'static str,
}

impl ResultLabels {
    /// Of a `Result`.
    pub fn of<T, E>(result: &Result<T, E>) -> ResultLabels {
        ResultLabels { result: if result.is_ok() { "ok" } else { "error" } }
    }
}

/// Labels of a refused request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabels {
    /// HTTP status.
    pub status: u16,
}

/// Labels of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchLabels {
    /// `namespaces`, `statefulsets`, `leases`, ...: what is watched.
    pub resource: &'static str,
}

/// Labels of an upkeep task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskLabels {
    /// `lease`, `heartbeat`, `endpoints`, `certificate`, `ca-bundle`, `ring`, `follow`, `placement` or `resync`.
    pub task: &'static str,
}

/// Labels of a place that may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlaceLabels {
    /// The cache cluster, `namespace/name`.
    pub cluster: String,
    /// `node` or `zone`.
    pub kind: &'static str,
    /// Its name.
    pub place: String,
}

/// Seconds since 1970, to the millisecond and better.
type Timestamp = Gauge<f64, AtomicU64>;

/// All metrics. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Pods decided on.
    pub decisions: Family<DecisionLabels, Counter>,
    /// How long an answer took, without TLS.
    pub duration: Histogram,
    /// Requests that were no question.
    pub bad_requests: Family<StatusLabels, Counter>,
    /// Bugs that a request hit; it was answered with 500.
    pub panics: Counter,
    /// Library ConfigMaps wanted in a namespace.
    pub libraries: Family<ResultLabels, Counter>,
    /// When the certificate that is served ends.
    pub certificate_expiry: Timestamp,
    /// Webhook configurations whose caBundle was put in place.
    pub ca_bundle_patches: Family<ResultLabels, Counter>,
    /// Certificates replaced by others while serving.
    pub certificate_reloads: Counter,
    /// Failed attempts of what keeps the installation up.
    pub upkeep_errors: Family<TaskLabels, Counter>,
    /// 1 while this replica leads.
    pub leading: Gauge,
    /// Replicas that the leader has put among the Service's endpoints.
    pub endpoints: Gauge,
    /// When the API server last answered this replica's heartbeat.
    pub api_server_last_answer: Timestamp,
    /// Errors of a watch.
    pub watch_errors: Family<WatchLabels, Counter>,
    /// When a watch last said anything.
    pub watch_last_event: Family<WatchLabels, Timestamp>,
    /// Namespaces whose label has a value that is not known; their pods are left alone.
    pub namespaces_mislabelled: Gauge,
    /// Pods that carry our label, as the leader sees them.
    pub pods_injected: Gauge,
    /// Of these, how many run with another configuration than they should.
    pub pods_behind: Gauge,
    /// Configurations of running pods that were written anew.
    pub pods_followed: Family<ResultLabels, Counter>,
    /// Cache servers that do not hold all that they should, as the leader sees them.
    pub servers_unsynced: Gauge,
    /// Of these, how many have their pod's gate open because the bound has passed.
    pub resync_overdue: Gauge,
    /// Cache pods that wait for their turn to be made anew, where several StatefulSets roll as one.
    pub cache_pods_outdated: Gauge,
    /// Refills of a server.
    pub resyncs: Family<ResultLabels, Counter>,
    /// Items put on servers by refills.
    pub resync_items: Counter,
    /// Their values, in bytes.
    pub resync_bytes: Counter,
    /// Items that refills took away, because the others do not have them any more.
    pub resync_removed: Counter,
    /// Share of a cluster's keys, 0 to 1, whose every copy is in that place, as the leader sees them.
    pub keys_at_risk: Family<PlaceLabels, Gauge<f64, AtomicU64>>,
    /// Clusters whose ring is not what it should be yet, as the leader sees them.
    pub rings_changing: Gauge,
    /// Keys that changes of rings have brought to other servers.
    pub ring_keys_moved: Counter,
    /// Clusters that pods can use.
    pub clusters: Gauge,
    /// Clusters that contradict themselves.
    pub clusters_broken: Gauge,
}

impl Metrics {
    /// New metrics and the registry that prints them.
    pub fn new() -> (Metrics, Registry) {
        let metrics = Metrics {
            decisions: Family::default(),
            // From 50 microseconds, the time of a small pod, to the 5 seconds after which the API server gives up.
            duration: Histogram::new([0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0]),
            bad_requests: Family::default(),
            panics: Counter::default(),
            libraries: Family::default(),
            certificate_reloads: Counter::default(),
            upkeep_errors: Family::default(),
            leading: Gauge::default(),
            endpoints: Gauge::default(),
            certificate_expiry: Timestamp::default(),
            ca_bundle_patches: Family::default(),
            api_server_last_answer: Timestamp::default(),
            watch_errors: Family::default(),
            watch_last_event: Family::default(),
            namespaces_mislabelled: Gauge::default(),
            pods_injected: Gauge::default(),
            pods_behind: Gauge::default(),
            pods_followed: Family::default(),
            servers_unsynced: Gauge::default(),
            resync_overdue: Gauge::default(),
            cache_pods_outdated: Gauge::default(),
            resyncs: Family::default(),
            resync_items: Counter::default(),
            resync_bytes: Counter::default(),
            resync_removed: Counter::default(),
            keys_at_risk: Family::default(),
            rings_changing: Gauge::default(),
            ring_keys_moved: Counter::default(),
            clusters: Gauge::default(),
            clusters_broken: Gauge::default(),
        };
        let registry = metrics.register();
        (metrics, registry)
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("memcached_injector");
        let r = &mut registry;
        r.register("decisions", "Pods decided on, by decision and reason", self.decisions.clone());
        r.register_with_unit(
            "request_duration",
            "Time to answer an AdmissionReview",
            Unit::Seconds,
            self.duration.clone(),
        );
        r.register("bad_requests", "Requests that were no AdmissionReview, by HTTP status", self.bad_requests.clone());
        r.register("panics", "Requests answered with 500 because of a bug", self.panics.clone());
        r.register("library_configmaps", "Library ConfigMaps wanted in a namespace, by result", self.libraries.clone());
        r.register("certificate_reloads", "Certificates changed while serving", self.certificate_reloads.clone());
        r.register("upkeep_errors", "Failed attempts to keep the installation up, by task", self.upkeep_errors.clone());
        r.register("leading", "1 while this replica leads", self.leading.clone());
        r.register("endpoints", "Replicas that the leader sends requests to", self.endpoints.clone());
        r.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends",
            self.certificate_expiry.clone(),
        );
        r.register(
            "ca_bundle_patches",
            "Webhook configurations given the caBundle, by result",
            self.ca_bundle_patches.clone(),
        );
        r.register(
            "api_server_last_answer_timestamp_seconds",
            "When the API server last answered this replica, which it does every second",
            self.api_server_last_answer.clone(),
        );
        r.register("watch_errors", "Errors of a watch, by resource", self.watch_errors.clone());
        r.register(
            "watch_last_event_timestamp_seconds",
            "When a watch last said anything",
            self.watch_last_event.clone(),
        );
        r.register(
            "namespaces_mislabelled",
            "Namespaces whose label memcached.io/inject is not known",
            self.namespaces_mislabelled.clone(),
        );
        r.register(
            "pods_injected",
            "Pods with a memcached of ours, as the leader sees them",
            self.pods_injected.clone(),
        );
        r.register(
            "pods_behind",
            "Pods whose proxy has another configuration than it should",
            self.pods_behind.clone(),
        );
        r.register(
            "pods_followed",
            "Configurations of running pods written anew, by result",
            self.pods_followed.clone(),
        );
        self.register_resync(r);
        r.register(
            "keys_at_risk_ratio",
            "Share of a cache cluster's keys whose every copy is on that node or in that zone, as the leader sees them",
            self.keys_at_risk.clone(),
        );
        r.register(
            "rings_changing",
            "Clusters whose ring is not what it should be yet, as the leader sees them",
            self.rings_changing.clone(),
        );
        r.register(
            "ring_keys_moved",
            "Keys that changes of rings have brought to other servers",
            self.ring_keys_moved.clone(),
        );
        r.register("clusters", "Clusters that pods can use", self.clusters.clone());
        r.register("clusters_broken", "Clusters whose StatefulSets can't be used", self.clusters_broken.clone());
        registry
    }

    fn register_resync(&self, r: &mut Registry) {
        r.register(
            "cache_servers_unsynced",
            "Cache servers that do not hold every copy that they should, as the leader sees them",
            self.servers_unsynced.clone(),
        );
        r.register(
            "resync_overdue",
            "Cache pods whose gate memcached.io/synced was opened by the bound",
            self.resync_overdue.clone(),
        );
        r.register(
            "cache_pods_outdated",
            "Cache pods that wait for their turn to be made anew, of clusters whose StatefulSets roll as one",
            self.cache_pods_outdated.clone(),
        );
        drop(self.resyncs.get_or_create(&ResultLabels { result: "ok" })); // 0 is a statement too
        r.register("resyncs", "Refills of a cache server, by result", self.resyncs.clone());
        r.register("resync_items", "Items put on cache servers by refills", self.resync_items.clone());
        r.register_with_unit(
            "resync",
            "Values put on cache servers by refills",
            Unit::Bytes,
            self.resync_bytes.clone(),
        );
        r.register(
            "resync_removed_items",
            "Items taken from cache servers by refills, since the other copies were gone",
            self.resync_removed.clone(),
        );
    }

    /// Counts a decision.
    pub fn count(&self, verdict: &crate::decide::Verdict) {
        let labels = DecisionLabels { decision: verdict.outcome(), reason: verdict.code() };
        self.decisions.get_or_create(&labels).inc();
    }
}
