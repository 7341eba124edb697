//! An app without a sidecar: the Service of the proxy DaemonSet.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::client::Client;
use testbed::parts::nodes::PodNetwork;

use crate::app::deployment;
use crate::bed::{Bed, PORT, address_of, name_of, node_of};

/// Longer than a proxy's preStop and the endpoints' change together.
const WATCH: Duration = Duration::from_secs(12);

pub(crate) fn an_app_is_served_by_its_own_node(bed: &Bed) -> String {
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, None));
    let apps = bed.pods(&namespace, "app=plain", 3);
    let proxies = bed.pods("cache", "app.kubernetes.io/name=memcached-proxy", 3);
    for app in &apps {
        by_name(bed, app);
        let served = share(bed, app, &proxies);
        let own = proxies.iter().position(|proxy| node_of(proxy) == node_of(app)).unwrap();
        assert!(
            served.iter().enumerate().all(|(proxy, count)| (*count >= 20) == (proxy == own)),
            "{}: {served:?}",
            node_of(app)
        );
    }
    let away = without_own_proxy(bed, &apps[0], &proxies);
    format!("each by its own node's proxy; without it by another's, {away}")
}

/// The Service's name works as the README has it.
fn by_name(bed: &Bed, app: &Value) {
    let namespace = app["metadata"]["namespace"].as_str().unwrap();
    let ask = "printf 'set svc 0 0 2\\r\\nok\\r\\nget svc\\r\\nquit\\r\\n' | nc memcached.cache 11211";
    let said =
        bed.kubectl(&["exec", name_of(app), "--namespace", namespace, "--container", "app", "--", "sh", "-c", ask]);
    assert!(said.contains("STORED") && said.contains("ok"), "{said}");
}

/// How many connections each proxy got while the app made 20 through the Service.
fn share(bed: &Bed, app: &Value, proxies: &[Value]) -> Vec<u64> {
    let count = |proxy: &Value| -> u64 {
        let stats = Client::new(address_of(proxy)).stats("").unwrap();
        let total = stats.iter().find(|(name, _)| name == "total_connections").unwrap();
        total.1.parse().unwrap()
    };
    let before: Vec<u64> = proxies.iter().map(count).collect();
    let service = service(bed);
    let network = PodNetwork::of(app).unwrap();
    network.run(|| (0..20).for_each(|_| drop(Client::new(service).get("svc").unwrap()))).unwrap();
    proxies.iter().map(count).zip(before).map(|(after, before)| after - before).collect()
}

fn service(bed: &Bed) -> SocketAddr {
    let service = bed.get("/api/v1/namespaces/cache/services/memcached");
    let address: IpAddr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(address, PORT)
}

/// Takes the proxy of the app's node away while the app goes on connecting: none of it may fail.
fn without_own_proxy(bed: &Bed, app: &Value, proxies: &[Value]) -> String {
    let node = node_of(app);
    let own = proxies.iter().find(|proxy| node_of(proxy) == node).unwrap();
    let service = service(bed);
    let network = PodNetwork::of(app).unwrap();
    // The DaemonSet would put it back at once on a node without the taint.
    bed.kubectl(&["taint", "node", node, "testbed=away:NoSchedule"]);
    let outcome = thread::scope(|scope| {
        let traffic = scope.spawn(|| network.run(|| connect_for(service, WATCH)).unwrap());
        bed.kubectl(&["delete", "pod", name_of(own), "--namespace", "cache"]);
        traffic.join().unwrap()
    });
    let others: Vec<Value> = proxies.iter().filter(|proxy| node_of(proxy) != node).cloned().collect();
    let served: u64 = share(bed, app, &others).iter().sum();
    bed.kubectl(&["taint", "node", node, "testbed-"]);
    bed.pods("cache", "app.kubernetes.io/name=memcached-proxy", 3);
    assert!(served >= 20, "the other proxies got {served} of 20 connections");
    let (done, failed) = outcome;
    assert!(failed.is_empty(), "{} of {done} failed: {failed:?}", failed.len());
    format!("{done} new connections meanwhile, none failed")
}

/// Connects anew for each operation, 50 times a second.
fn connect_for(service: SocketAddr, length: Duration) -> (usize, Vec<String>) {
    let start = Instant::now();
    let (mut done, mut failed) = (0, Vec::new());
    while start.elapsed() < length {
        if let Err(error) = Client::new(service).get("svc") {
            failed.push(format!("{:.1} s: {error}", start.elapsed().as_secs_f64()));
        }
        done += 1;
        thread::sleep(Duration::from_millis(20)); // the rate
    }
    (done, failed)
}
