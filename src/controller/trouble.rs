//! Says once what goes wrong, and once that it is over; counts every time. A loop that tries twice a second while the API
//! server is away must not fill the log.

use std::fmt::Display;

use crate::webhook::metrics::{Metrics, TaskLabels};

/// The troubles of one task.
#[derive(Debug)]
pub(super) struct Trouble {
    labels: TaskLabels,
    metrics: Metrics,
    last: Option<String>,
}

impl Trouble {
    /// Of the task that the metric `upkeep_errors` calls so.
    pub(super) fn of(task: &'static str, metrics: Metrics) -> Trouble {
        let labels = TaskLabels { task };
        drop(metrics.upkeep_errors.get_or_create(&labels)); // 0 is a statement too
        Trouble { labels, metrics, last: None }
    }

    /// Notes how it went. `what` says what does not work, and what goes on meanwhile.
    pub(super) fn note<T, E: Display>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.over();
                Some(value)
            }
            Err(error) => {
                self.metrics.upkeep_errors.get_or_create(&self.labels).inc();
                let error = format!("{error:#}");
                if self.last.as_ref() != Some(&error) {
                    tracing::warn!(task = self.labels.task, error, "{what}; trying again");
                    self.last = Some(error);
                }
                None
            }
        }
    }

    /// It works again, or there is nothing left to do.
    pub(super) fn over(&mut self) {
        if self.last.take().is_some() {
            tracing::info!(task = self.labels.task, "works again");
        }
    }
}
