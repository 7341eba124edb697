//! What every request shares: settings, what the controllers know, and whether we are ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::metrics::Metrics;
use crate::controller::clusters::Clusters;
use crate::controller::libraries::Libraries;
use crate::controller::namespaces::Namespaces;
use crate::settings::Settings;

/// The shared state. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// What the operator sets.
    pub settings: Arc<Settings>,
    /// The clusters that are known.
    pub clusters: Clusters,
    /// The namespaces and their defaults.
    pub namespaces: Namespaces,
    /// The ConfigMaps that injected pods mount.
    pub libraries: Libraries,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether we answer.
    pub readiness: Readiness,
}

/// Whether the webhook answers, and whether it is about to end.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    serving: AtomicBool,
    closing: AtomicBool,
}

impl Readiness {
    /// The certificate is loaded and the watches have told what there is.
    pub fn set_serving(&self) {
        self.0.serving.store(true, Ordering::Relaxed);
    }

    /// The end has begun: requests are still answered, connections are not kept.
    pub fn set_closing(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
    }

    /// Whether connections are to be closed.
    pub fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }

    /// Why no request should be sent here; `None` when ready.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.is_closing() {
            Some("shutting down")
        } else if !self.0.serving.load(Ordering::Relaxed) {
            Some("starting: the certificate or the first watch of the API server is missing")
        } else {
            None
        }
    }
}
