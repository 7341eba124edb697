//! Hears the heartbeats of all replicas, and knows which are silent. Decides nothing about them.
//!
//! Silence is measured from when a heartbeat was seen here, by this machine's own steady clock: clocks of two machines are
//! never compared. It counts only while our own heartbeat comes back by the same watch, so a watch that is stuck, or an
//! API server that is away, silences nobody.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::replica::{Beat, Replica};
use crate::webhook::metrics::{Metrics, WatchLabels};

/// A replica that was not heard for that long is silent: three heartbeats, so that two may come late.
pub(super) const SILENT: Duration = Duration::from_secs(3);
/// Our own heartbeat is late by half of one: until it comes nobody becomes silent, because theirs may be late for the same reason. The last
/// one of another may have come a heartbeat before ours.
const LATE: Duration = Duration::from_millis(1500);
/// One of our own was missed: what others missed meanwhile is held against nobody. So a leader that never hears itself more often than that
/// takes nobody out: with an API server as slow as that, a wrong endpoint is no worse than none.
const MISSED: Duration = Duration::from_secs(2);
/// A watch by which we have not heard ourselves for that long is started anew.
const DEAF: Duration = Duration::from_secs(10);
/// Pause before a failed watch is tried again. Short, because leadership and endpoints wait for it; there are few replicas.
const PAUSE: Duration = Duration::from_millis(500);

/// The replicas as this one hears them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Replicas(Arc<Mutex<Table>>);

/// What was heard, and when.
#[derive(Debug)]
struct Table {
    own: String,
    service: String,
    heard: HashMap<String, Heard>,
    leader: Option<(Lease, Instant)>,
    /// Names in the list that is coming in.
    listed: Option<HashSet<String>>,
}

#[derive(Debug)]
struct Heard {
    beat: Beat,
    version: String,
    at: Instant,
}

impl Replicas {
    /// Starts to listen.
    pub(super) fn listen(client: Client, replica: &Replica, metrics: Metrics) -> Replicas {
        let replicas = Replicas(Arc::new(Mutex::new(Table::new(replica))));
        let api = Api::<Lease>::namespaced(client, &replica.namespace);
        tokio::spawn(replicas.clone().drive(api, metrics));
        replicas
    }

    /// The heartbeats of those that are not silent; `None` when we do not even hear ourselves.
    pub(super) fn living(&self) -> Option<Vec<Beat>> {
        self.table().living(Instant::now())
    }

    /// The leader's Lease as it was seen last, and since when it has been as it is. `None` inside: there is none.
    /// `None` outside: we do not hear ourselves, so nothing can be said.
    pub(super) fn leader(&self) -> Option<Option<(Lease, Instant)>> {
        let table = self.table();
        table.hears(Instant::now()).then(|| table.leader.clone())
    }

    async fn drive(self, api: Api<Lease>, metrics: Metrics) {
        let labels = WatchLabels { resource: "leases" };
        loop {
            let mut events = watcher(api.clone(), watcher::Config::default()).backoff(Steady).boxed();
            let mut deaf_since = Instant::now();
            while deaf_since.elapsed() < DEAF {
                // Cancel safe: an event that has not come yet is not lost by the timeout.
                match tokio::time::timeout(PAUSE, events.next()).await {
                    Err(_) | Ok(None) => {}
                    Ok(Some(Ok(event))) => {
                        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9;
                        metrics.watch_last_event.get_or_create(&labels).set(now);
                        self.table().take(event, Instant::now());
                    }
                    Ok(Some(Err(error))) => {
                        if metrics.watch_errors.get_or_create(&labels).inc().is_multiple_of(20) {
                            tracing::warn!(resource = "leases", %error, "the watch failed; leadership and endpoints stay as they are until it is back");
                        }
                    }
                }
                if self.table().hears(Instant::now()) {
                    deaf_since = Instant::now();
                }
            }
            tracing::debug!("not heard ourselves for a while; watching anew");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(replica: &Replica) -> Table {
        Table {
            own: replica.name.clone(),
            service: replica.service.clone(),
            heard: HashMap::new(),
            leader: None,
            listed: None,
        }
    }

    /// Our own last heartbeat, unless we are silent ourselves.
    fn own(&self, now: Instant) -> Option<&Heard> {
        self.heard.get(&self.own).filter(|own| !own.is_silent(now))
    }

    fn hears(&self, now: Instant) -> bool {
        self.own(now).is_some()
    }

    fn living(&self, now: Instant) -> Option<Vec<Beat>> {
        let judged = now.min(self.own(now)?.at + LATE);
        Some(self.heard.values().filter(|heard| !heard.is_silent(judged)).map(|heard| heard.beat.clone()).collect())
    }

    fn take(&mut self, event: Event<Lease>, now: Instant) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(lease) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(lease.name_any());
                }
                self.see(lease, now);
            }
            Event::InitDone => {
                if let Some(listed) = self.listed.take() {
                    self.heard.retain(|name, _| listed.contains(name));
                    self.leader.take_if(|(lease, _)| !listed.contains(&lease.name_any()));
                }
            }
            Event::Apply(lease) => self.see(lease, now),
            Event::Delete(lease) => {
                let name = lease.name_any();
                self.heard.remove(&name);
                self.leader.take_if(|(lease, _)| lease.name_any() == name);
            }
        }
    }

    /// A Lease that has not changed since it was seen last says nothing new, however often it is listed.
    fn see(&mut self, lease: Lease, now: Instant) {
        let (name, version) = (lease.name_any(), lease.resource_version().unwrap_or_default());
        if name == self.service {
            if self.leader.as_ref().is_none_or(|(seen, _)| seen.resource_version().as_deref() != Some(&version)) {
                self.leader = Some((lease, now));
            }
            return;
        }
        let Some(beat) = Beat::read(&lease, &self.service) else { return };
        if self.heard.get(&name).is_some_and(|heard| heard.version == version) {
            return;
        }
        let until = self.heard.get(&self.own).map(|own| own.at);
        if name == self.own && until.is_none_or(|until| now.saturating_duration_since(until) >= MISSED) {
            // What was missed while we heard nothing is held against nobody; who was silent before that still is.
            let heard_till_then = |heard: &Heard| until.is_none_or(|until| !heard.is_silent(until));
            self.heard.values_mut().filter(|heard| heard_till_then(heard)).for_each(|heard| heard.at = now);
            if let Some((_, seen)) = &mut self.leader {
                *seen = now;
            }
        }
        self.heard.insert(name, Heard { beat, version, at: now });
    }
}

impl Heard {
    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= SILENT
    }
}

/// Always the same pause: for a watch that few run, and that must be back soon.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn replica(name: &str, port: u16) -> Replica {
        Replica {
            name: name.to_owned(),
            pod_uid: None,
            service: "memcached-injector".to_owned(),
            namespace: "memcached-injector".to_owned(),
            address: ([192, 0, 2, 1], port).into(),
        }
    }

    struct World {
        table: Table,
        start: Instant,
        version: u32,
    }

    impl World {
        fn new() -> World {
            World { table: Table::new(&replica("a", 1)), start: Instant::now(), version: 0 }
        }

        fn beat(&mut self, name: &str, port: u16, second: u64) -> Lease {
            self.version += 1;
            let replica = replica(name, port);
            let beat = Beat { address: replica.address, ready: true, serving_ca: String::new() };
            let mut lease = replica.lease(&beat);
            lease.metadata.resource_version = Some(self.version.to_string());
            self.table.take(Event::Apply(lease.clone()), self.start + Duration::from_secs(second));
            lease
        }

        fn ports(&self, second: u64) -> Option<Vec<u16>> {
            let living = self.table.living(self.start + Duration::from_secs(second));
            living.map(|living| {
                let mut ports: Vec<_> = living.iter().map(|beat| beat.address.port()).collect();
                ports.sort_unstable();
                ports
            })
        }
    }

    #[test]
    fn one_that_is_not_heard_for_three_seconds_is_silent() {
        let mut world = World::new();
        world.beat("b", 2, 0);
        for second in 1..=3 {
            world.beat("a", 1, second);
            // b's time began when we first heard ourselves.
            assert_eq!(world.ports(second), Some(vec![1, 2]));
        }
        world.beat("a", 1, 4);
        assert_eq!(world.ports(4), Some(vec![1]));
        world.beat("b", 2, 5);
        assert_eq!(world.ports(5), Some(vec![1, 2]));
    }

    #[test]
    fn all_silent_at_once_says_nothing_and_blames_nobody_afterwards() {
        let mut world = World::new();
        world.beat("a", 1, 0);
        world.beat("b", 2, 0);
        assert_eq!(world.ports(60), None, "the API server is away");
        world.beat("a", 1, 61);
        assert_eq!(world.ports(62), Some(vec![1, 2]), "b gets the time that it could not use");
        for second in 62..=64 {
            world.beat("a", 1, second);
        }
        assert_eq!(world.ports(64), Some(vec![1]));
    }

    #[test]
    fn an_api_server_that_is_away_for_less_than_that_makes_nobody_silent() {
        let mut world = World::new();
        world.beat("a", 1, 0);
        world.beat("b", 2, 0);
        world.beat("a", 1, 1);
        assert_eq!(world.ports(3), Some(vec![1, 2]), "neither was heard since, b by chance for longer");
        world.beat("a", 1, 3);
        assert_eq!(world.ports(3), Some(vec![1, 2]), "b gets the time that it could not use");
        for second in 4..=6 {
            world.beat("a", 1, second);
        }
        assert_eq!(world.ports(6), Some(vec![1]), "but no more");
    }

    #[test]
    fn who_was_silent_before_we_heard_nothing_is_silent_after_it() {
        let mut world = World::new();
        world.beat("b", 2, 0);
        for second in 0..=10 {
            world.beat("a", 1, second);
            world.beat("c", 3, second);
        }
        assert_eq!(world.ports(10), Some(vec![1, 3]), "b is dead");
        assert_eq!(world.ports(20), None, "the API server is away");
        world.beat("a", 1, 21);
        assert_eq!(world.ports(21), Some(vec![1, 3]), "only c gets the time that it could not use");
    }

    #[test]
    fn an_old_heartbeat_that_is_listed_again_is_no_sign_of_life() {
        let mut world = World::new();
        let old = world.beat("b", 2, 0);
        let own = world.beat("a", 1, 4);
        let now = world.start + Duration::from_secs(4);
        for event in [Event::Init, Event::InitApply(old), Event::InitApply(own), Event::InitDone] {
            world.table.take(event, now);
        }
        // b was heard first when a had not been heard yet, so its time began with a's.
        assert_eq!(world.ports(5), Some(vec![1, 2]));
        for second in 5..=7 {
            world.beat("a", 1, second);
        }
        assert_eq!(world.ports(7), Some(vec![1]));
    }

    #[test]
    fn what_is_deleted_or_no_longer_listed_is_gone() {
        let mut world = World::new();
        let own = world.beat("a", 1, 0);
        let other = world.beat("b", 2, 0);
        world.table.take(Event::Delete(other.clone()), world.start);
        assert_eq!(world.ports(0), Some(vec![1]));
        world.beat("b", 2, 0);
        for event in [Event::Init, Event::InitApply(own), Event::InitDone] {
            world.table.take(event, world.start);
        }
        assert_eq!(world.ports(0), Some(vec![1]));
    }
}
