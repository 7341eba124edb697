//! Makes the library ConfigMap in a namespace before the first pod there is allowed: without it the pod would never start.
//!
//! Never removes one: templates scaled to zero still need it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::routing::{config_map, library};
use crate::webhook::metrics::{Metrics, ResultLabels};

/// A ConfigMap that was there is taken to be there for that long.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Longest wait for the API server; the pod's own creation waits meanwhile, for 5 seconds at most.
const LONGEST_CREATE: Duration = Duration::from_secs(3);

/// The ConfigMaps that injected pods mount.
#[derive(Clone)]
pub struct Libraries(Option<Keeper>);

#[derive(Clone)]
struct Keeper {
    client: Client,
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    metrics: Metrics,
}

/// The ConfigMap could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The API server refused it, or can't be reached.
    #[error("{0}")]
    Refused(#[from] kube::Error),
    /// It could not be written down: a bug.
    #[error("{0}")]
    Written(#[from] serde_json::Error),
    /// It does not answer.
    #[error("the API server did not answer within 3 seconds")]
    NoAnswer,
}

impl Libraries {
    /// Without a cluster there is nothing to keep: whoever runs the pod brings the library.
    pub fn without_cluster() -> Libraries {
        Libraries(None)
    }

    /// Kept through `client`.
    pub fn kept(client: Client, metrics: Metrics) -> Libraries {
        Libraries(Some(Keeper { client, seen: Arc::default(), metrics }))
    }

    /// Makes sure that `namespace` has the ConfigMap.
    ///
    /// # Errors
    /// What the API server says, or that it says nothing.
    pub async fn ensure(&self, namespace: &str) -> Result<(), LibraryError> {
        let Some(keeper) = &self.0 else { return Ok(()) };
        if keeper.remembers(namespace) {
            return Ok(());
        }
        let result = keeper.create(namespace).await;
        keeper.metrics.libraries.get_or_create(&ResultLabels::of(&result)).inc();
        if result.is_ok() {
            keeper.remember(namespace);
        }
        result
    }
}

impl Keeper {
    async fn create(&self, namespace: &str) -> Result<(), LibraryError> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let object = serde_json::from_value(config_map::object(Some(namespace)))?;
        let parameters = PostParams::default();
        // Cancel safe: a creation that is given up may still happen, and then it is there at the next try.
        match tokio::time::timeout(LONGEST_CREATE, api.create(&parameters, &object)).await {
            Err(_) => Err(LibraryError::NoAnswer),
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) => {
                tracing::info!(namespace, name = library::config_map_name(), "made the library ConfigMap");
                Ok(())
            }
        }
    }

    fn remembers(&self, namespace: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(namespace).is_some_and(|when| when.elapsed() < REMEMBERED)
    }

    /// Forgets the old ones meanwhile, so that memory follows the namespaces in use.
    fn remember(&self, namespace: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, when| when.elapsed() < REMEMBERED);
        seen.insert(namespace.to_owned(), Instant::now());
    }
}
