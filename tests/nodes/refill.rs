//! Nodes that die, drains and rolling updates with the component resync: no key is lost, not even one that nobody reads.
//! Each event comes only when the servers have everything again that the one before took away.

use std::time::{Duration, Instant};

use testbed::parts::nodes::{Death, NEXT_MEMCACHED};
use testbed::wait::{Look, until};
use testbed::workload::Workload;

use crate::app::{deployment, from_inside, written};
use crate::bed::{BOUND, Bed, node_of};
use crate::traffic::{during, slowest, traffic_while, unharmed};

/// Written once and not read before the end.
pub(crate) const KEYS: usize = 20_000;
/// Of the traffic.
pub(crate) const BUSY_KEYS: usize = 500;
/// Three servers one after the other, each refilled, and the 10 s of minReadySeconds: 45 s on an idle machine.
pub(crate) const ROLLOUT: &str = "--timeout=240s";

/// What a proxy owes that has gone silent is looked after by the leader 75 s later, and a busy machine takes its time.
const WHOLE_BOUND: Duration = Duration::from_secs(180);

/// What these tests stand on. Applied by each of them, as it may be the only one that runs.
pub(crate) const RESYNC: &[&str] = &["resync"];

pub(crate) fn the_component_gates_cache_pods_on_their_data(bed: &Bed) -> String {
    bed.wait_installed();
    let start = Instant::now();
    bring(bed, RESYNC);
    for pod in bed.pods("cache", "memcached.io/cluster=memcached", 3) {
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        let gate =
            conditions.iter().find(|condition| condition["type"] == "memcached.io/synced").expect("it has a gate");
        assert_eq!((&gate["status"], &gate["reason"]), (&"True".into(), &"Synced".into()), "{gate:#}");
    }
    only_that_condition(bed);
    format!("applied and rolled in {:.1} s", start.elapsed().as_secs_f64())
}

/// Whatever happens to the webhook, its identity writes nothing else of a pod's status.
fn only_that_condition(bed: &Bed) {
    let injector = "--as=system:serviceaccount:memcached-injector:memcached-injector";
    let patch = |kind: &str, field: &str| {
        let condition = format!(r#"{{"type": "{kind}", "status": "False"}}"#);
        let status = format!(r#"{{"status": {{"conditions": [{condition}]{field}}}}}"#);
        let args = ["patch", "pod", "memcached-0", "--namespace=cache", "--subresource=status", "--dry-run=server"];
        bed.nodes.control_plane().kubectl_text(args.into_iter().chain([injector, "--patch", &status]))
    };
    // kubectl reads before it patches, which the injector needs not.
    let (role, binding) = ("clusterrole/testbed-read-status", "clusterrolebinding/testbed-read-status");
    bed.kubectl(&["create", "clusterrole", "testbed-read-status", "--verb=get", "--resource=pods/status,pods"]);
    let account = "--serviceaccount=memcached-injector:memcached-injector";
    bed.kubectl(&["create", "clusterrolebinding", "testbed-read-status", "--clusterrole=testbed-read-status", account]);
    until("the API server to know the binding", BOUND, || {
        Ok(patch("memcached.io/synced", "")
            .map_or_else(|error| Look::NotYet(format!("{error:#}")), |_| Look::Ready(())))
    })
    .unwrap();
    for (kind, field) in [("Ready", ""), ("memcached.io/synced", r#", "phase": "Failed""#)] {
        let refused = format!("{:#}", patch(kind, field).unwrap_err());
        assert!(refused.contains("memcached-injector-gates"), "{kind}: {refused}");
    }
    bed.kubectl(&["delete", role, binding]);
}

pub(crate) fn each_node_dies_in_turn_and_no_key_is_lost(bed: &Bed) -> String {
    let namespace = apps(bed, RESYNC);
    let keys = keys(bed, &namespace, "dies");
    let mut figures = Vec::new();
    for (number, death) in [(1, Death::Silent), (2, Death::LinkDown), (0, Death::Silent)] {
        let apps = bed.pods(&namespace, "app=replicated", 3);
        let (app, victim) = (&apps[(number + 1) % 3], node_of(&apps[number]));
        let mut busy = written(app, &format!("busy-{victim}"), BUSY_KEYS);
        let tally = during(app, &mut busy, || bed.nodes.kill(victim, death).unwrap());
        bed.nodes.revive(victim).unwrap();
        let start = Instant::now();
        // What it owes the dead server the app's proxy sets right with the requests that come.
        let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
        unharmed(victim, &[&tally, &after]);
        figures.push(format!("{}, whole after {:.0} s", slowest(&[&tally, &after]), start.elapsed().as_secs_f64()));
    }
    none_lost(bed, &namespace, &keys);
    format!("{KEYS} keys, 0 lost; slowest operation at each death and time to refill: {}", figures.join("; "))
}

pub(crate) fn each_node_is_drained_in_turn_and_no_key_is_lost(bed: &Bed) -> String {
    let namespace = apps(bed, RESYNC);
    let keys = keys(bed, &namespace, "drained");
    let mut figures = Vec::new();
    for number in 0..3 {
        let apps = bed.pods(&namespace, "app=replicated", 3);
        let (app, victim) = (&apps[(number + 1) % 3], node_of(&apps[number]));
        let mut busy = written(app, &format!("busy-{victim}"), BUSY_KEYS);
        let start = Instant::now();
        let (tally, drained) = traffic_while(app, &mut busy, || bed.nodes.drain(victim, WHOLE_BOUND).unwrap());
        let took = start.elapsed().as_secs_f64();
        drop(drained);
        let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
        unharmed(victim, &[&tally, &after]);
        figures.push(format!("{took:.0} s (slowest operation {})", slowest(&[&tally, &after])));
    }
    none_lost(bed, &namespace, &keys);
    format!("{KEYS} keys, 0 lost, 0 errors; each drain took {}", figures.join(", "))
}

pub(crate) fn a_rolling_restart_loses_no_key(bed: &Bed) -> String {
    rolled(bed, "restart", |bed| {
        bed.kubectl(&["rollout", "restart", "statefulset/memcached", "--namespace=cache"]);
    })
}

pub(crate) fn a_change_of_the_image_loses_no_key(bed: &Bed) -> String {
    let image = format!("memcached={NEXT_MEMCACHED}");
    rolled(bed, "image", |bed| {
        bed.kubectl(&["set", "image", "statefulset/memcached", &image, "--namespace=cache"]);
    })
}

/// Everything rolled by `change`, under traffic.
pub(crate) fn rolled(bed: &Bed, what: &str, change: impl FnOnce(&Bed) + Send) -> String {
    let namespace = apps(bed, RESYNC);
    let keys = keys(bed, &namespace, what);
    let app = &bed.pods(&namespace, "app=replicated", 3)[0];
    let mut busy = written(app, &format!("busy-{what}"), BUSY_KEYS);
    let start = Instant::now();
    let (seen, ()) = traffic_while(app, &mut busy, || {
        change(bed);
        bed.kubectl(&["rollout", "status", "statefulset/memcached", "--namespace=cache", ROLLOUT]);
    });
    let took = start.elapsed().as_secs_f64();
    let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
    unharmed(what, &[&seen, &after]);
    none_lost(bed, &namespace, &keys);
    format!(
        "{KEYS} keys, 0 lost; {} operations, 0 errors, slowest {}; all three in {took:.0} s",
        seen.tally.operations,
        slowest(&[&seen, &after])
    )
}

/// Applies the manifests with these components, and waits until all is rolled and whole.
fn bring(bed: &Bed, components: &[&str]) {
    bed.kubectl(&["apply", "-k", &bed.overlay(components)]);
    bed.kubectl(&["rollout", "status", "deployment/memcached-injector", "--namespace=memcached-injector", ROLLOUT]);
    bed.kubectl(&["rollout", "status", "statefulset/memcached", "--namespace=cache", ROLLOUT]);
    wait_whole(bed);
}

/// A cluster with these components, and three pods with a sidecar, one a node; returns their namespace.
pub(crate) fn apps(bed: &Bed, components: &[&str]) -> String {
    bring(bed, components);
    let namespace = bed.namespace();
    bed.apply(&deployment(&namespace, Some("replicated")));
    bed.pods(&namespace, "app=replicated", 3);
    namespace
}

/// Written through a proxy that is asked on until no server is owed anything: where it took a busy server for one that is
/// away it has to set that right, and would be waited for if it fell silent.
pub(crate) fn keys(bed: &Bed, namespace: &str, prefix: &str) -> Workload {
    keys_until(bed, namespace, prefix, wait_whole)
}

/// The same for a cluster of another shape, which `whole` waits for.
pub(crate) fn keys_until(bed: &Bed, namespace: &str, prefix: &str, whole: fn(&Bed)) -> Workload {
    let writer = &bed.pods(namespace, "app=replicated", 3)[0];
    let keys = written(writer, prefix, KEYS);
    let mut busy = written(writer, &format!("{prefix}-writer"), BUSY_KEYS);
    let (seen, ()) = traffic_while(writer, &mut busy, || whole(bed));
    unharmed(prefix, &[&seen]);
    keys
}

pub(crate) fn none_lost(bed: &Bed, namespace: &str, keys: &Workload) {
    let reader = &bed.pods(namespace, "app=replicated", 3)[1];
    let tally = from_inside(reader, |localhost| keys.through(localhost).read_all());
    assert_eq!((tally.hits, tally.misses, tally.wrong, tally.errors), (KEYS as u64, 0, 0, 0), "{tally:?}");
}

/// Waits until every cache server has everything, as the servers themselves say, and its pod is ready.
pub(crate) fn wait_whole(bed: &Bed) {
    let servers = bed.caches_ready(WHOLE_BOUND);
    bed.wait_installed();
    until("every cache server to be whole and unmarked", WHOLE_BOUND, || {
        let state: Vec<String> = (0..servers).map(|number| state(bed, number)).collect();
        let whole = state.iter().all(|state| state == "whole");
        Ok(if whole { Look::Ready(()) } else { Look::NotYet(format!("{state:?}")) })
    })
    .unwrap();
    bed.pods("cache", "memcached.io/cluster=memcached", servers);
}

fn state(bed: &Bed, number: usize) -> String {
    let mut server = bed.cache(number);
    match (server.raw("mg __mcp:w"), server.get("__mcp:v")) {
        (Ok(answer), _) if answer != "HD" => "emptied".to_owned(),
        (Ok(_), Ok(Some(view))) if view.value.windows(2).any(|two| two == b" d") => {
            String::from_utf8_lossy(&view.value).into_owned()
        }
        (Ok(_), Ok(_)) => "whole".to_owned(),
        (Err(error), _) | (_, Err(error)) => error.to_string(),
    }
}
