//! A long life in short: certificates that live for a minute, replicas that come and go, leaders that are lost, caches that
//! are scaled, an API server that restarts; pods are created all the while, and one replica lives through all of it.
//!
//! `TESTBED_LIFE=30` makes it thirty minutes long; one and a half are what `cargo test` has time for.

use std::env;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::parts::injector::{Injector, addresses_of, endpoint_slices};
use testbed::process::Signal;

use crate::bed::{BOUND, Bed};
use crate::fleet::{memory, metric, the_leader};
use crate::load::{Creation, Load, report};

/// How long, in minutes.
const LIFE: &str = "TESTBED_LIFE";
const SHORT: Duration = Duration::from_secs(90);
/// A CA follows another after 60 s, a serving certificate after 30 s.
const LIVES: [&str; 8] = ["--ca-life", "90s", "--serving-life", "45s", "--ca-settle", "3s", "--shutdown-delay", "8"];
const SERVING: f64 = 30.0;
/// An API server that has just started times out by itself while what has piled up is worked off.
const SETTLING: Duration = Duration::from_secs(5);

/// What was done to it, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Rolled,
    Killed,
    ApiServerRestarted,
}

const EVENTS: [Event; 4] = [Event::Rolled, Event::Killed, Event::Rolled, Event::ApiServerRestarted];

/// One event and what was seen until the next.
#[derive(Debug)]
struct Chapter {
    event: Event,
    began: Instant,
    /// When it was over, and the next seconds showed what came of it.
    over: Instant,
    ended: Instant,
    /// Calls that failed at the Service's first port and were made again at its second.
    again: f64,
    /// Why the last of them did.
    why: String,
    /// MB of the replica that lives through all of it.
    memory: f64,
}

#[test]
fn a_long_life_fails_no_pod_and_takes_no_more_memory() {
    let minutes = env::var(LIFE).ok().map(|text| Duration::from_secs(60 * text.parse::<u64>().unwrap()));
    let life = minutes.unwrap_or(SHORT);
    let bed = Bed::without_webhook_on(5);
    // The one that lives through it is not the leader at first.
    let mut other = bed.replicas(1, &LIVES).remove(0);
    let old = bed.replica(&LIVES);
    let load = Load::start(&bed);
    load.wait_for_successes(40);
    let (mut chapters, start) = (Vec::new(), Instant::now());
    for event in EVENTS.into_iter().cycle() {
        let (began, before) = (Instant::now(), again(&bed));
        scale(&bed, if chapters.len() % 2 == 0 { 5 } else { 3 });
        other = happen(&bed, event, &old, other);
        let over = Instant::now();
        load.wait_for_successes(100);
        forget_the_dead(&bed, &[&old, &other]);
        let again = if event == Event::ApiServerRestarted { 0.0 } else { again(&bed) - before };
        let why = if again > 0.0 { why(&bed) } else { String::new() };
        chapters.push(Chapter { event, began, over, ended: Instant::now(), again, why, memory: memory(&old).1 });
        if start.elapsed() >= life && chapters.len() >= EVENTS.len() {
            break;
        }
    }
    let lived = start.elapsed();
    let creations = load.stop();
    tell(&bed, lived, &creations, &chapters);
    let failed: Vec<_> =
        creations.iter().filter(|one| is_ours(one, &chapters)).map(|one| place(one, &chapters)).collect();
    assert!(failed.is_empty(), "{} failed, such as {:#?}", failed.len(), &failed[..failed.len().min(5)]);
    let reloads = metric(&old, "certificate_reloads_total");
    assert!(reloads >= (lived.as_secs_f64() / SERVING).floor() - 1.0, "{reloads} certificates in {lived:?}");
    assert_is_flat(&chapters.iter().map(|chapter| chapter.memory).collect::<Vec<_>>());
    the_leader(&[old, other]);
}

/// What happens, to the replica that is not `old`; returns who takes its place.
fn happen(bed: &Bed, event: Event, old: &Injector, other: Injector) -> Injector {
    match event {
        Event::Rolled => {
            // As the Deployment does it: one more first, then one less.
            let new = bed.replica(&LIVES);
            other.process().signal(Signal::TERM).unwrap();
            assert!(other.process().wait_exit(BOUND).unwrap().success());
            new
        }
        Event::Killed => {
            other.process().kill().unwrap();
            bed.wait_for_endpoints(&[old]);
            bed.replica(&LIVES)
        }
        Event::ApiServerRestarted => {
            bed.control_plane.stop_api_server().unwrap();
            bed.control_plane.start_api_server().unwrap();
            bed.wait_for_endpoints(&[old, &other]);
            other
        }
    }
}

/// Takes away what a pod's end takes with it: its heartbeat, and the slices of a port that no other replica has.
fn forget_the_dead(bed: &Bed, living: &[&Injector]) {
    let living: Vec<_> = living.iter().map(|one| one.admission_address()).collect();
    let heartbeats = "/apis/coordination.k8s.io/v1/namespaces/memcached-injector/leases\
                      ?labelSelector=memcached.io/heartbeat-of=memcached-injector";
    let is_dead = |lease: &Value| {
        let at = lease["metadata"]["annotations"]["memcached.io/endpoint"].as_str().unwrap();
        living.iter().all(|one| one.to_string() != at)
    };
    let is_empty = |slice: &Value| {
        let port = slice["ports"][0]["port"].as_u64().unwrap();
        living.iter().all(|one| u64::from(one.port()) != port)
    };
    delete(bed, "lease", &bed.get(heartbeats), is_dead);
    delete(bed, "endpointslice", &bed.get(&endpoint_slices()), is_empty);
}

fn delete(bed: &Bed, kind: &str, list: &Value, which: impl Fn(&Value) -> bool) {
    for object in list["items"].as_array().unwrap().iter().filter(|object| which(object)) {
        let said =
            bed.kubectl(&["delete", kind, object["metadata"]["name"].as_str().unwrap(), "-n", "memcached-injector"]);
        assert!(said.ok, "{}", said.err);
    }
}

/// What an API server that restarts refuses by itself is not the webhook's.
fn is_ours(one: &Creation, chapters: &[Chapter]) -> bool {
    let away = |chapter: &Chapter| {
        chapter.event == Event::ApiServerRestarted
            && one.began + one.took >= chapter.began
            && one.began <= chapter.over + SETTLING
    };
    let Some(error) = &one.error else { return false };
    error.contains("not injected") || !chapters.iter().any(away)
}

/// A failure, and what had happened last when it began.
fn place(one: &Creation, chapters: &[Chapter]) -> String {
    let last = chapters.iter().rev().find(|chapter| chapter.began <= one.began);
    let told = last.map(|chapter| format!("{:.1?} after {:?} began", one.began - chapter.began, chapter.event));
    format!("{}: {:?} after {:.1?}", told.unwrap_or_default(), one.error, one.took)
}

fn tell(bed: &Bed, lived: Duration, creations: &[Creation], chapters: &[Chapter]) {
    report(&format!("a life of {:.0} s", lived.as_secs_f64()), creations);
    let count = |event| chapters.iter().filter(|chapter| chapter.event == event).count();
    println!(
        "{} rolled, {} killed, {} API servers restarted; endpoints now {:?}",
        count(Event::Rolled),
        count(Event::Killed),
        count(Event::ApiServerRestarted),
        addresses_of(&bed.get(&endpoint_slices()), "https"),
    );
    for chapter in chapters {
        println!(
            "{:?}: {:.1} s, {:.1} MB, {} asked again {}",
            chapter.event,
            (chapter.ended - chapter.began).as_secs_f64(),
            chapter.memory,
            chapter.again,
            chapter.why
        );
    }
}

/// The largest of the last third is not more than the largest of the first, but for an allocator's noise.
fn assert_is_flat(memory: &[f64]) {
    let third = memory.len().div_ceil(3);
    let largest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let (first, last) = (largest(&memory[..third]), largest(&memory[memory.len() - third..]));
    assert!(last <= first * 1.1 + 1.0, "it grew from {first:.1} to {last:.1} MB");
}

/// Creations that the API server let pass at the first port, since it started.
fn again(bed: &Bed) -> f64 {
    let (status, text) = bed.control_plane.client().get("/metrics").unwrap();
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count{"));
    let counts = lines.filter(|line| line.contains("memcached.io"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn why(bed: &Bed) -> String {
    let log = bed.control_plane.api_server_log();
    let last = log.lines().rev().find(|line| line.contains("failing open")).unwrap_or_default();
    last.split_once("failing open ").map_or(last, |(_, why)| why).to_owned()
}

fn scale(bed: &Bed, servers: u32) {
    let replicas = format!("--replicas={servers}");
    let said = bed.kubectl(&["scale", "statefulset", "memcached", "-n", "cache", &replicas]);
    assert!(said.ok, "{}", said.err);
}
