//! What every request shares: settings, what the controllers know, and whether we are ready.

use std::sync::Arc;

use tokio::sync::watch;

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

/// Whether the webhook answers, and whether it is about to end. Cheap to clone; all clones tell the same.
#[derive(Debug, Clone)]
pub struct Readiness {
    sender: Arc<watch::Sender<State>>,
    receiver: watch::Receiver<State>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    serving: bool,
    announced: bool,
    closing: bool,
}

impl Default for Readiness {
    fn default() -> Self {
        let (sender, receiver) = watch::channel(State::default());
        Readiness { sender: Arc::new(sender), receiver }
    }
}

impl Readiness {
    /// The certificate is loaded and the watches have told what there is.
    pub fn set_serving(&self) {
        self.set(|state| state.serving = true);
    }

    /// The other replicas know that we serve, or there are none to know.
    pub fn set_announced(&self) {
        self.set(|state| state.announced = true);
    }

    /// The end has begun: requests are still answered, connections are not kept.
    pub fn set_closing(&self) {
        self.set(|state| state.closing = true);
    }

    /// Whether the end has begun.
    pub fn is_closing(&self) -> bool {
        self.sender.borrow().closing
    }

    /// Whether the Service may send requests here.
    pub fn may_be_called(&self) -> bool {
        let state = *self.sender.borrow();
        state.serving && !state.closing
    }

    /// Returns once something of it has changed since the last call.
    pub async fn changed(&mut self) {
        // The sender is ours, so it is there.
        let _ = self.receiver.changed().await;
    }

    /// Returns once the end has begun.
    pub async fn closing(&mut self) {
        let _ = self.receiver.wait_for(|state| state.closing).await;
    }

    /// Why no request should be sent here; `None` when ready.
    pub fn obstacle(&self) -> Option<&'static str> {
        let state = *self.sender.borrow();
        if state.closing {
            Some("shutting down")
        } else if !state.serving {
            Some("starting: the certificate or the first watch of the API server is missing")
        } else if !state.announced {
            Some("starting: no heartbeat could be sent yet")
        } else {
            None
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.sender.send_if_modified(|state| {
            let before = *state;
            change(state);
            *state != before
        });
    }
}
