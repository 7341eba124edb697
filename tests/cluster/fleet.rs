//! Several replicas of the webhook, and which of them leads. Owns starting them; each ends when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::parts::injector::{self, Injector, addresses, endpoint_slices, wait_until_admitting};
use testbed::usage;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, is_injected, pod};

impl Bed {
    /// One more replica of the webhook, which is among the endpoints when this returns.
    pub(crate) fn replica(&self, more: &[&str]) -> Injector {
        Injector::in_cluster_with(binary(), &self.control_plane, more).unwrap()
    }

    /// So many replicas, and the API server really asks them.
    pub(crate) fn replicas(&self, count: usize, more: &[&str]) -> Vec<Injector> {
        let replicas = (0..count).map(|_| self.replica(more)).collect();
        let namespace = self.namespace(json!({}), json!({}));
        let asks = pod(&namespace, "probe", json!({"memcached.io/mode": "replicated"}));
        wait_until_admitting(&self.control_plane, &asks, is_injected).unwrap();
        replicas
    }

    /// A file with the CA of the webhook's certificate, as the Secret has it.
    pub(crate) fn webhook_ca(&self) -> PathBuf {
        let template = "go-template={{index .data \"ca.crt\" | base64decode}}";
        let said =
            self.kubectl(&["get", "secret", "memcached-injector-tls", "-n", "memcached-injector", "-o", template]);
        assert!(said.ok, "{}", said.err);
        let file = self.control_plane.folder().join("webhook-ca.crt");
        std::fs::write(&file, said.out).unwrap();
        file
    }

    /// Waits until exactly these replicas are the Service's endpoints; returns how long it took.
    pub(crate) fn wait_for_endpoints(&self, replicas: &[&Injector]) -> Duration {
        let start = Instant::now();
        let mut wanted: Vec<_> = replicas.iter().map(|replica| replica.admission_address()).collect();
        wanted.sort();
        self.wait_for(&format!("the endpoints to be {wanted:?}"), &endpoint_slices(), |list| {
            let mut there = addresses(list);
            there.sort();
            there == wanted
        });
        start.elapsed()
    }
}

/// The binary under test: cargo's, or the one that `MEMCACHED_INJECTOR` names (a release build takes less memory).
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_memcached-injector"));
    BINARY.get_or_init(|| std::env::var_os(injector::BINARY).map_or_else(built, PathBuf::from))
}

/// A number among a replica's metrics, 0 when there is none of that name (labels included).
pub(crate) fn metric(replica: &Injector, name: &str) -> f64 {
    let (_, text) = replica.health("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("memcached_injector_{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Memory of a replica in MB: all of it, and without the program itself, which in a debug build is larger than all else.
pub(crate) fn memory(replica: &Injector) -> (f64, f64) {
    let pid = replica.process().pid();
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    (megabytes(usage::resident(pid).unwrap()), megabytes(usage::anonymous(pid).unwrap()))
}

/// Which of them lead, by their own metrics.
pub(crate) fn leading(replicas: &[Injector]) -> Vec<usize> {
    let leads = |replica: &Injector| metric(replica, "leading") > 0.5;
    replicas.iter().enumerate().filter(|(_, replica)| leads(replica)).map(|(index, _)| index).collect()
}

/// Waits until exactly one of them leads, and says which.
pub(crate) fn the_leader(replicas: &[Injector]) -> usize {
    until("exactly one leader", BOUND, || {
        let leading = leading(replicas);
        Ok(if let [one] = leading[..] { Look::Ready(one) } else { Look::NotYet(format!("{leading:?}")) })
    })
    .unwrap()
}

/// The caBundles of a webhook configuration, one an entry.
pub(crate) fn ca_bundles(config: &Value) -> Vec<String> {
    let entries = config["webhooks"].as_array().unwrap().iter();
    entries.map(|entry| entry["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()).collect()
}
