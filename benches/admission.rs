//! `cargo bench --bench admission`: what one webhook replica can take. Owns load and measurement; judges nothing.
//!
//! Client and server share the machine, so requests a second are a lower bound; the server's own CPU time for each request
//! is the figure to compare.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::admission::{Verdict, admit, review_of};
use testbed::parts::injector::Injector;
use testbed::report::{Cell, Style, Table};
use testbed::usage;

/// Connections that the load keeps open: several API servers, each with a few.
const CONNECTIONS: usize = 16;
/// Length of each measurement.
const LENGTH: Duration = Duration::from_secs(5);

fn main() {
    let webhook = Injector::standalone(Path::new(env!("CARGO_BIN_EXE_memcached-injector")), &[]).unwrap();
    let idle = rss(&webhook);
    let mut table = Table::new(&["pod", "review", "patch", "requests/s", "server CPU/request", "p50", "p99", "RSS"]);
    for (name, mode, padding) in [("small", "replicated", 0), ("small", "failover", 0), ("5 KB", "replicated", 4500)] {
        let pod = pod(mode, padding);
        let Verdict::Allowed(admitted) = admit(&webhook, "/inject", &pod, "shop").unwrap() else { panic!("denied") };
        let load = load(&webhook, &review_of(&pod, "shop"));
        let cells = [
            format!("{name}, {mode}"),
            format!("{} B", review_of(&pod, "shop").to_string().len()),
            format!("{} B", admitted.patch.to_string().len()),
            format!("{:.0}", load.per_second),
            format!("{:.0} us", load.cpu.as_secs_f64() * 1e6),
            format!("{:.2} ms", load.median.as_secs_f64() * 1e3),
            format!("{:.2} ms", load.p99.as_secs_f64() * 1e3),
            format!("{:.1} MB", rss(&webhook)),
        ];
        table.row(cells.into_iter().map(Cell::from).collect());
    }
    print!("{}", table.render(Style::of_stdout()));
    println!("RSS before the first request: {idle:.1} MB; {CONNECTIONS} connections, TLS, keep-alive");
}

/// A pod of about the size that `padding` (bytes of environment) says.
fn pod(mode: &str, padding: usize) -> Value {
    let env: Vec<Value> = (0..padding / 90)
        .map(|number| json!({"name": format!("VARIABLE_{number:04}"), "value": "x".repeat(40)}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"memcached.io/mode": mode}},
        "spec": {"containers": [{"name": "web", "image": "shop/web:1.0", "env": env, "resources": {"requests": {"cpu": "100m"}}}]},
    })
}

struct Load {
    per_second: f64,
    cpu: Duration,
    median: Duration,
    p99: Duration,
}

fn load(webhook: &Injector, review: &Value) -> Load {
    let body = review.to_string();
    let pid = webhook.process().pid();
    let (count, cpu_before, start) = (AtomicU64::new(0), usage::cpu(pid).unwrap(), Instant::now());
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let client = || {
            let mut times = Vec::new();
            let https = webhook.https().unwrap().clone();
            while start.elapsed() < LENGTH {
                let asked = Instant::now();
                let (status, _) = https.post("/inject", "application/json", body.as_bytes()).unwrap();
                assert_eq!(status, 200);
                times.push(asked.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            times
        };
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let requests = u32::try_from(count.into_inner()).unwrap();
    times.sort();
    Load {
        per_second: f64::from(requests) / start.elapsed().as_secs_f64(),
        cpu: (usage::cpu(pid).unwrap() - cpu_before) / requests,
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

/// Resident memory in MB.
fn rss(webhook: &Injector) -> f64 {
    let bytes = usage::resident(webhook.process().pid()).unwrap();
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}
