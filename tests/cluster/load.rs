//! Pod creations as a cluster under load has them: one every 50 ms, whatever became of the ones before; each asks for a
//! cache, and is a dry run. One load at a time. Owns sending and counting; what may fail is the tests' to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::https::Client;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, is_injected, pod};

/// Pause between two creations: 20 a second.
const EVERY: Duration = Duration::from_millis(50);

/// Most creations under way at once, so that a starved machine is not starved further by what piles up. A frozen replica
/// of two holds up some 30 of them.
const MOST: usize = 60;
/// Held while a load goes on: two at a time would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// One creation that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// What went wrong; `None` when the pod came back injected.
    pub(crate) error: Option<String>,
}

/// Creations going on until this is dropped or [`Load::stop`]ped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Creation>>>,
    sender: Option<JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Load {
    /// Begins, in a namespace of its own.
    pub(crate) fn start(bed: &Bed) -> Load {
        let alone = alone();
        let namespace = bed.namespace(json!({}), json!({}));
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (client, stopping, results) = (bed.control_plane.client(), stop.clone(), done.clone());
        let sender = thread::spawn(move || {
            let mut under_way = Vec::new();
            let mut next = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                under_way.retain(|one: &JoinHandle<()>| !one.is_finished());
                if under_way.len() < MOST {
                    let (client, namespace, results) = (client.clone(), namespace.clone(), results.clone());
                    under_way.push(thread::spawn(move || {
                        let creation = create(&client, &namespace);
                        results.lock().unwrap().push(creation);
                    }));
                }
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            under_way.into_iter().for_each(|one| one.join().unwrap());
        });
        Load { stop, done, sender: Some(sender), _alone: alone }
    }

    /// Ends it and returns what was tried, in order.
    pub(crate) fn stop(mut self) -> Vec<Creation> {
        self.end();
        let mut done = self.done.lock().unwrap().clone();
        done.sort_by_key(|creation| creation.began);
        done
    }

    /// Waits until so many creations that began from now on have ended well, one after the other.
    pub(crate) fn wait_for_successes(&self, wanted: usize) {
        let from = Instant::now();
        until("pod creations to succeed", BOUND, || {
            let done = self.done.lock().unwrap();
            let since: Vec<_> = done.iter().filter(|creation| creation.began >= from).collect();
            let run = since.iter().rev().take_while(|creation| creation.error.is_none()).count();
            let last = since.iter().rev().find_map(|creation| creation.error.clone());
            Ok(if run >= wanted { Look::Ready(()) } else { Look::NotYet(format!("{run}; {last:?}")) })
        })
        .unwrap();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // It has nothing to tell that the test could still hear.
            let _ = sender.join();
        }
    }
}

/// Waits until no load goes on, and lets none begin until this is dropped: for what would be one to others.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that could disturb the next one.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many creations at once, in a namespace of their own.
pub(crate) fn burst(bed: &Bed, count: usize) -> Vec<Creation> {
    let namespace = bed.namespace(json!({}), json!({}));
    let client = bed.control_plane.client();
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(|| create(&client, &namespace))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// One creation.
pub(crate) fn create(client: &Client, namespace: &str) -> Creation {
    let began = Instant::now();
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let answer = client.post_json(&path, &pod(namespace, "web", json!({"memcached.io/mode": "replicated"})));
    let error = match answer {
        Ok((201, stored)) if is_injected(&stored) => None,
        Ok((201, _)) => Some("created, but not injected".to_owned()),
        Ok((status, said)) => Some(format!("{status}: {}", said["message"].as_str().unwrap_or(&said.to_string()))),
        Err(error) => Some(format!("no answer: {error:#}")),
    };
    Creation { began, took: began.elapsed(), error }
}

/// Prints what was measured, and returns the failures.
pub(crate) fn report<'a>(what: &str, creations: &'a [Creation]) -> Vec<&'a Creation> {
    let failed: Vec<_> = creations.iter().filter(|creation| creation.error.is_some()).collect();
    let mut took: Vec<_> = creations.iter().map(|creation| creation.took).collect();
    took.sort();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default().as_millis();
    println!(
        "{what}: {} pod creations, {} failed; half within {} ms, 99 % within {} ms, slowest {} ms",
        creations.len(),
        failed.len(),
        at(50),
        at(99),
        took.last().copied().unwrap_or_default().as_millis(),
    );
    failed
}

/// Panics with the first failures when there are any.
pub(crate) fn none_failed(what: &str, creations: &[Creation]) {
    let failed = report(what, creations);
    let first = creations.first().map(|creation| creation.began);
    let told: Vec<_> = failed
        .iter()
        .take(5)
        .map(|one| (first.map(|first| one.began - first), one.took, one.error.as_deref().unwrap_or_default()))
        .collect();
    assert!(failed.is_empty(), "{what}: {} failed, such as {told:#?}", failed.len());
}
