//! One watch of the API server: what it has seen stays in a store, its errors are counted and retried with backoff.

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error, Event};

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
