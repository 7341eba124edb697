//! The injected containers' real commands, as the patch has them, serve an app from three real memcached servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::admission::{Verdict, admit};
use testbed::client::Client;
use testbed::parts::injector::{Injector, library_config_maps};
use testbed::parts::kubelet::{Host, Pod};
use testbed::parts::memcached::Server;
use testbed::wait::{Look, until};
use testbed::{folder::RunFolder, ports};

use crate::binary;

/// The proxy looks at its file every second or two; four times that.
const RELOAD: Duration = Duration::from_secs(8);

struct Bed {
    servers: Vec<Server>,
    pod: Value,
    sidecars: Pod,
    _ports: Vec<ports::Port>,
}

/// Admits a pod with these annotations by the real webhook and starts what it was given.
fn start(mut annotations: Value) -> Bed {
    let webhook = Injector::standalone(binary(), &[]).unwrap();
    let servers: Vec<Server> = (0..3).map(|_| Server::start().unwrap()).collect();
    let ports = ports::free_run(2).unwrap();
    annotations["memcached.io/port"] = json!(ports[0].number().to_string());
    let asks = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"containers": [{"name": "app"}]},
    });
    let Verdict::Allowed(admitted) = admit(&webhook, "/inject", &asks, "shop").unwrap() else { panic!("denied") };
    let folder = RunFolder::new("manifest").unwrap();
    let manifest = folder.write("pod.yaml", asks.to_string()).unwrap();
    let config_maps = library_config_maps(binary(), &manifest).unwrap();
    let host = Host { dns: dns(&servers), config_maps };
    let sidecars = Pod::start(&admitted.pod, &host).unwrap();
    Bed { servers, pod: admitted.pod, sidecars, _ports: ports }
}

fn dns(servers: &[Server]) -> BTreeMap<String, SocketAddr> {
    let name = |ordinal| format!("memcached-{ordinal}.memcached-headless.cache.svc.cluster.local.:11211");
    servers.iter().enumerate().map(|(ordinal, server)| (name(ordinal), server.address())).collect()
}

/// Which servers hold the key.
fn holders(bed: &Bed, key: &str) -> Vec<usize> {
    let holds = |server: &Server| server.client().get(key).unwrap().is_some();
    (0..bed.servers.len()).filter(|at| holds(&bed.servers[*at])).collect()
}

fn serves(bed: &Bed) {
    let mut app = Client::new(bed.sidecars.address());
    for number in 0..60_u32 {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        assert!(app.set(&key, value.as_bytes(), number, 0).unwrap());
        let item = app.get(&key).unwrap().unwrap();
        assert_eq!((item.value.as_slice(), item.flags), (value.as_bytes(), number));
    }
    assert!(app.delete("key-0").unwrap());
    assert!(app.get("key-0").unwrap().is_none());
}

#[test]
fn replicated_keeps_every_key_on_every_server() {
    let bed = start(json!({"memcached.io/mode": "replicated"}));
    serves(&bed);
    for server in &bed.servers {
        let mut direct = server.client();
        for number in 1..60_u32 {
            let item = direct.get(&format!("key-{number}")).unwrap().unwrap();
            assert_eq!(item.value, format!("value-{number}").as_bytes());
        }
        assert!(direct.get("key-0").unwrap().is_none(), "it was deleted everywhere");
    }
}

#[test]
fn sharded_keeps_every_key_on_one_server() {
    let bed = start(json!({"memcached.io/mode": "sharded"}));
    serves(&bed);
    let places: Vec<_> = (1..60).map(|number| holders(&bed, &format!("key-{number}"))).collect();
    assert!(places.iter().all(|servers| servers.len() == 1), "{places:?}");
    assert!((0..3).all(|server| places.contains(&vec![server])), "{places:?}");
}

#[test]
fn failover_answers_from_the_local_container_and_from_the_proxys_own_memory() {
    for place in ["container", "internal"] {
        let bed = start(json!({"memcached.io/mode": "failover", "memcached.io/local-cache": place}));
        serves(&bed);
        let gets = || bed.servers.iter().map(|server| server.stat("cmd_get").unwrap()).sum::<u64>();
        let mut app = Client::new(bed.sidecars.address());
        app.get("key-1").unwrap().unwrap();
        let before = gets();
        for _ in 0..20 {
            app.get("key-1").unwrap().unwrap();
        }
        assert_eq!(gets(), before, "{place}: a local hit asks no cluster");
    }
}

#[test]
fn a_changed_configuration_is_picked_up_live_and_a_broken_one_refused() {
    let bed = start(json!({"memcached.io/mode": "replicated"}));
    let mut app = Client::new(bed.sidecars.address());
    assert!(app.set("before", b"1", 0, 0).unwrap());
    let with = |config: &str| {
        let mut pod = bed.pod.clone();
        pod["metadata"]["annotations"]["memcached.io/proxy-config"] = json!(config);
        pod
    };
    let good = bed.pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap();
    let log = || bed.sidecars.container("memcached-proxy").unwrap().log();
    let logged = |what: &str| {
        until(what, RELOAD, || {
            let log = log();
            Ok(if log.contains(what) { Look::Ready(()) } else { Look::NotYet(log) })
        })
        .unwrap();
    };

    bed.sidecars.update(&with(&good.replace("format = 2", "format = "))).unwrap();
    logged("refused");
    assert_eq!(app.get("before").unwrap().unwrap().value, b"1", "the last good one serves on");

    let one_copy = good
        .replace("copies = 3", "copies = 1")
        .replace("by = \"mode\"", "by = \"cluster\"")
        .replace("epoch = 1", "epoch = 2");
    bed.sidecars.update(&with(&one_copy)).unwrap();
    logged("epoch 2");
    let mut tries = 0;
    until("a key to be written to one server only", RELOAD, || {
        tries += 1;
        let key = format!("after-{tries}");
        app.set(&key, b"2", 0, 0)?;
        let servers = holders(&bed, &key);
        Ok(if servers.len() == 1 { Look::Ready(()) } else { Look::NotYet(format!("on servers {servers:?}")) })
    })
    .unwrap();
}
