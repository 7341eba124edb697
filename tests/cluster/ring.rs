//! A cache is scaled under client traffic: the leader takes its ring from one size to the next, and clients notice nothing.
//! Real memcached servers stand in for the cache pods, and the injected containers run as processes; both are found by the
//! names that they have in a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::parts::injector::Injector;
use testbed::parts::kubelet::{Host, Pod};
use testbed::parts::memcached::Server;
use testbed::parts::names::Names;
use testbed::ports;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, pod};
use crate::fleet::{binary, metric, the_leader};

const SET: &str = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
/// Keys that clients write and read all the time, and keys that nobody touches while the ring changes.
const BUSY: usize = 100;
const STILL: usize = 200;
/// A change with its sweep takes some seconds; kubelets another few to bring a configuration.
const CHANGE: Duration = Duration::from_secs(180);

fn ring(set: &Value) -> (u64, u64) {
    let text = set["metadata"]["annotations"]["memcached.io/ring"].as_str().unwrap_or("{}");
    let ring: Value = serde_json::from_str(text).unwrap();
    (ring["epoch"].as_u64().unwrap_or(0), ring["servers"].as_u64().unwrap_or(0))
}

/// `kubectl VERB` the cache's StatefulSet, with one word more.
fn kubectl(bed: &Bed, verb: &str, word: &str) {
    let said = bed.kubectl(&[verb, "statefulset", "memcached", "--namespace", "cache", word]);
    assert!(said.ok, "{}", said.err);
}

/// Waits until that many servers count.
fn wait_for_ring(bed: &Bed, replicas: &[Injector], servers: u64) -> u64 {
    let set = bed.control_plane.wait_for("the ring to change", SET, CHANGE, |set| ring(set).1 == servers);
    let logs = || replicas.iter().map(|replica| replica.process().tail()).collect::<Vec<_>>().join("\n");
    ring(&set.unwrap_or_else(|error| panic!("{error:#}\n{}", logs()))).0
}

/// What clients saw that they should not have.
#[derive(Debug, Default)]
struct Seen {
    operations: usize,
    errors: Vec<String>,
    stale: Vec<String>,
    misses: usize,
}

/// Writes and reads its own keys through one pod until it is told to stop.
fn traffic(client: u8, address: SocketAddr, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut connection = Client::new(address);
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for key in 0..BUSY {
            let key = format!("busy-{client}-{key}");
            let written = connection.set(&key, round.to_string().as_bytes(), 0, 0);
            let read = connection.get(&key);
            let mut seen = seen.lock().unwrap();
            seen.operations += 2;
            match (&written, &read) {
                (Ok(true), Ok(Some(item))) if item.value == round.to_string().as_bytes() => {}
                (Ok(true), Ok(Some(item))) => seen.stale.push(format!("{key}: {item:?} after {round}")),
                (Ok(true), Ok(None)) => seen.misses += 1,
                _ => seen.errors.push(format!("{key}: {written:?} {read:?}")),
            }
        }
        thread::sleep(Duration::from_millis(50)); // the machine is for the change, too
    }
}

/// Brings each pod's changed configuration to its proxy, as a kubelet does.
fn kubelet(bed: &Bed, namespace: &str, pods: &[(String, Pod)], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for (name, running) in pods {
            running.update(&bed.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))).unwrap();
        }
        thread::sleep(Duration::from_millis(500)); // a kubelet's own delay
    }
}

fn missing(address: SocketAddr) -> usize {
    let mut client = Client::new(address);
    (0..STILL).filter(|key| client.get(&format!("still-{key}")).unwrap().is_none()).count()
}

#[test]
fn scaling_from_three_to_five_and_back_under_traffic_fails_no_client_and_loses_no_key() {
    let bed = Bed::without_webhook_on(5);
    let servers: Vec<Server> = (0..5).map(|_| Server::start().unwrap()).collect();
    let host = |number: usize| format!("memcached-{number}.memcached-headless.cache.svc.cluster.local.");
    let hosts: BTreeMap<_, _> = servers.iter().enumerate().map(|(number, one)| (host(number), one.address())).collect();
    let names = Names::new(&hosts).unwrap();
    let binary = names.wrap(binary()).unwrap();
    kubectl(&bed, "annotate", "memcached.io/copies=2");
    let start = || Injector::in_cluster(&binary, &bed.control_plane).unwrap();
    let mut replicas = vec![start(), start()];
    bed.wait_for("the first ring", SET, |set| ring(set) == (1, 3));

    let shop = bed.namespace(json!({}), json!({}));
    let leases: Vec<_> = (0..2).map(|_| ports::free().unwrap()).collect();
    let dns = hosts.iter().map(|(host, address)| (format!("{host}:11211"), *address)).collect();
    let mut around = Host { dns, ..Host::default() };
    let pods: Vec<(String, Pod)> = leases
        .iter()
        .enumerate()
        .map(|(number, port)| {
            let name = format!("web-{number}");
            let asks = json!({"memcached.io/mode": "replicated", "memcached.io/port": port.number().to_string()});
            let mut asks = pod(&shop, &name, asks);
            // Nothing here makes tokens.
            asks["spec"]["automountServiceAccountToken"] = json!(false);
            let stored = bed.created(&asks);
            for map in bed.libraries(&shop) {
                let path = format!("/api/v1/namespaces/{shop}/configmaps/{map}");
                around.config_maps.insert(map, bed.get(&path));
            }
            (name, Pod::start(&stored, &around).unwrap())
        })
        .collect();
    let mut client = Client::new(pods[0].1.address());
    for key in 0..STILL {
        assert!(client.set(&format!("still-{key}"), b"here", 0, 0).unwrap());
    }

    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let epoch = thread::scope(|scope| {
        // Threads end with the scope, whatever a failing wait does before.
        let _stop = OnDrop(&stop);
        scope.spawn(|| kubelet(&bed, &shop, &pods, &stop));
        for (client, (_, pod)) in (0..).zip(&pods) {
            let (address, stop, seen) = (pod.address(), &stop, &seen);
            scope.spawn(move || traffic(client, address, stop, seen));
        }
        kubectl(&bed, "scale", "--replicas=5");
        let leader = replicas.remove(the_leader(&replicas));
        leader.process().wait_for_line("a ring change begins", CHANGE).unwrap();
        // In the middle of it; another one goes on.
        leader.process().kill().unwrap();
        drop(leader);
        replicas.push(start());
        let grown = wait_for_ring(&bed, &replicas, 5);
        for (name, pod) in &pods {
            assert_eq!(missing(pod.address()), 0, "{name} after growing");
        }
        // Fewer count before fewer are there.
        kubectl(&bed, "annotate", "memcached.io/servers=3");
        let shrunk = wait_for_ring(&bed, &replicas, 3);
        kubectl(&bed, "scale", "--replicas=3");
        kubectl(&bed, "annotate", "memcached.io/servers-");
        for gone in &servers[3..] {
            gone.kill().unwrap();
        }
        for (name, pod) in &pods {
            assert_eq!(missing(pod.address()), 0, "{name} after shrinking");
        }
        assert!(grown > 1 && shrunk > grown, "{grown} {shrunk}");
        shrunk
    });
    let seen = seen.into_inner().unwrap();
    println!(
        "{} operations, {} errors, {} stale, {} misses; epoch {epoch}",
        seen.operations,
        seen.errors.len(),
        seen.stale.len(),
        seen.misses
    );
    assert!(seen.operations > 1000, "{}", seen.operations);
    assert!(seen.errors.is_empty() && seen.stale.is_empty() && seen.misses == 0, "{seen:?}");
    let moved: f64 = replicas.iter().map(|replica| metric(replica, "ring_keys_moved_total")).sum();
    assert!(moved > 0.0, "progress is counted");
    until("the leader to be done", BOUND, || {
        let changing: f64 = replicas.iter().map(|replica| metric(replica, "rings_changing")).sum();
        Ok(if changing < 0.5 { Look::Ready(()) } else { Look::NotYet(changing.to_string()) })
    })
    .unwrap();
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
