//! A cache is scaled under client traffic: the leader takes its ring from one size to the next, and clients notice nothing.
//! Real memcached servers stand in for the cache pods, and the injected containers run as processes; both are found by the
//! names that they have in a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::folder::workspace_root;
use testbed::parts::injector::Injector;
use testbed::parts::kubelet::{Host, Pod};
use testbed::parts::memcached::Server;
use testbed::parts::names::Names;
use testbed::ports;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, pod};
use crate::documented::commands;
use crate::fleet::{binary, metric, the_leader};
use crate::scale::scale;

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

/// The command as docs/operations.md has it; the new ring's epoch.
fn scale_to(bed: &Bed, servers: &str) -> u64 {
    let text = fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let documented = commands(&text).into_iter().find(|command| {
        command.starts_with("memcached-injector scale ") && command.ends_with(&format!("--servers {servers}"))
    });
    let documented = documented.unwrap();
    let words: Vec<&str> = documented.split(' ').skip(2).chain(["--timeout", "180s", "-o", "json"]).collect();
    let scaled = scale(bed, &words);
    println!("scaled to {servers}:\n{}{}", scaled.err, scaled.out);
    assert_eq!(scaled.code, 0, "{scaled:?}");
    scaled.json()["epoch"].as_u64().unwrap()
}

fn logs(replicas: &[Injector]) -> String {
    replicas.iter().map(|replica| replica.process().tail()).collect::<Vec<_>>().join("\n")
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

/// A pod whose proxy runs, and where the API server has it.
struct Running {
    path: String,
    pod: Pod,
}

/// Brings each pod's changed configuration to its proxy, as a kubelet does.
fn kubelet(bed: &Bed, pods: &[Running], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let set = bed.get(SET);
        assert!(set["spec"]["replicas"].as_u64().unwrap() >= ring(&set).1, "a server goes that the ring counts: {set}");
        for running in pods {
            running.pod.update(&bed.get(&running.path)).unwrap();
        }
        thread::sleep(Duration::from_millis(500)); // a kubelet's own delay
    }
}

/// Runs a pod's proxy, with the library that its namespace has.
fn run(bed: &Bed, stored: &Value, dns: &BTreeMap<String, SocketAddr>) -> Running {
    let text = |field: &str| stored["metadata"][field].as_str().unwrap();
    let mut around = Host { dns: dns.clone(), ..Host::default() };
    for map in bed.libraries(text("namespace")) {
        let path = format!("/api/v1/namespaces/{}/configmaps/{map}", text("namespace"));
        around.config_maps.insert(map, bed.get(&path));
    }
    let path = format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"));
    Running { path, pod: Pod::start(stored, &around).unwrap() }
}

/// A pod with a sidecar.
fn with_sidecar(bed: &Bed, namespace: &str, name: &str, port: u16) -> Value {
    let asks = json!({"memcached.io/mode": "replicated", "memcached.io/port": port.to_string()});
    let mut asks = pod(namespace, name, asks);
    // Nothing here makes tokens.
    asks["spec"]["automountServiceAccountToken"] = json!(false);
    bed.created(&asks)
}

/// A pod of the proxy DaemonSet, for a kubelet that knows sidecars only and one machine for all.
fn of_daemonset(bed: &Bed, port: u16) -> Value {
    let path = "/api/v1/namespaces/cache/pods?labelSelector=app.kubernetes.io/name=memcached-proxy";
    let list = bed.wait_for("a pod of the DaemonSet", path, |list| list["items"][0].is_object());
    let mut pod = list["items"][0].clone();
    pod["metadata"]["annotations"]["memcached.io/port"] = json!(port.to_string());
    let mut container = pod["spec"]["containers"][0].clone();
    container["restartPolicy"] = json!("Always");
    container["startupProbe"] = Value::Null;
    for word in container["args"].as_array_mut().unwrap() {
        match word.as_str() {
            Some("0.0.0.0") => *word = json!("127.0.0.1"),
            Some("11211") => *word = json!(port.to_string()),
            _ => {}
        }
    }
    pod["spec"]["initContainers"] = json!([container]);
    pod
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
    let leases: Vec<_> = (0..3).map(|_| ports::free().unwrap()).collect();
    let dns: BTreeMap<_, _> = hosts.iter().map(|(host, address)| (format!("{host}:11211"), *address)).collect();
    let pods = [
        with_sidecar(&bed, &shop, "web-0", leases[0].number()),
        with_sidecar(&bed, &shop, "web-1", leases[1].number()),
        of_daemonset(&bed, leases[2].number()),
    ];
    let pods: Vec<Running> = pods.iter().map(|stored| run(&bed, stored, &dns)).collect();
    let mut client = Client::new(pods[0].pod.address());
    for key in 0..STILL {
        assert!(client.set(&format!("still-{key}"), b"here", 0, 0).unwrap());
    }

    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let epoch = thread::scope(|scope| {
        // Threads end with the scope, whatever a failing wait does before.
        let _stop = OnDrop(&stop);
        scope.spawn(|| kubelet(&bed, &pods, &stop));
        for (client, running) in (0..).zip(&pods) {
            let (address, stop, seen) = (running.pod.address(), &stop, &seen);
            scope.spawn(move || traffic(client, address, stop, seen));
        }
        // It goes on whatever becomes of the leader.
        let growing = scope.spawn(|| scale_to(&bed, "5"));
        let leader = replicas.remove(the_leader(&replicas));
        leader.process().wait_for_line("a ring change begins", CHANGE).unwrap();
        // In the middle of it; another one goes on.
        leader.process().kill().unwrap();
        drop(leader);
        replicas.push(start());
        let grown = growing.join().unwrap_or_else(|_| panic!("not grown\n{}", logs(&replicas)));
        assert_eq!(ring(&bed.get(SET)), (grown, 5));
        for running in &pods {
            assert_eq!(missing(running.pod.address()), 0, "{} after growing", running.path);
        }
        let shrunk = scale_to(&bed, "3");
        // What a kubelet does to their containers.
        for gone in &servers[3..] {
            gone.kill().unwrap();
        }
        for running in &pods {
            assert_eq!(missing(running.pod.address()), 0, "{} after shrinking", running.path);
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
