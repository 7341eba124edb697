//! One watch of the API server: what it has seen stays in a store, its errors are counted and retried with backoff.

use std::fmt::Debug;

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{Error, Event};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::webhook::metrics::{Metrics, WatchLabels};

/// Drives `events` (already reflected into a store) for ever, and calls `changed` after each.
pub(super) async fn drive<K>(
    resource: &'static str,
    events: impl Stream<Item = Result<Event<K>, Error>>,
    metrics: Metrics,
    changed: impl Fn(),
) where
    K: Clone,
{
    let labels = WatchLabels { resource };
    let mut events = std::pin::pin!(events.default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
                metrics.watch_last_event.get_or_create(&labels).set(now);
                // While a list is coming in the store still holds the last one.
                if !matches!(event, Event::Init | Event::InitApply(_)) {
                    changed();
                }
            }
            Err(error) => {
                metrics.watch_errors.get_or_create(&labels).inc();
                tracing::warn!(resource, %error, "the watch failed; what it last saw goes on counting until it is back");
            }
        }
    }
}

/// Watches one object by its name, so that RBAC can bound the right to that name. The store is empty while it is not there.
pub(super) fn one<K>(api: Api<K>, resource: &'static str, name: &str, metrics: &Metrics) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = reflector(writer, watcher(api, config));
    tokio::spawn(drive(resource, events, metrics.clone(), || {}));
    store
}
