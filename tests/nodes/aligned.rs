//! Two StatefulSets with one copy of each key each (components/cache-aligned): rolled as one, and no node takes both copies.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::client::Client;
use testbed::parts::kwok::is_ready;
use testbed::parts::nodes::{Death, NEXT_MEMCACHED};
use testbed::wait::{Look, until};

use crate::app::written;
use crate::bed::{Bed, address_of, name_of, node_of};
use crate::refill::{BUSY_KEYS, KEYS, keys_until, none_lost};
use crate::traffic::{during, slowest, traffic_while, unharmed};

const CACHES: &str = "memcached.io/cluster=memcached";
/// Six servers one after the other, 20 s each on an idle machine.
const ROLLOUT: Duration = Duration::from_secs(400);
/// Until a server is refilled that has come back.
const WHOLE: Duration = Duration::from_secs(180);

pub(crate) fn one_change_of_two_sets_takes_one_copy_at_a_time(bed: &Bed) -> String {
    let start = Instant::now();
    let overlay = bed.overlay(&["cache-aligned", "resync"]);
    bed.kubectl(&["apply", "-k", &overlay]);
    bed.wait_installed();
    wait_whole(bed);
    let came_up = start.elapsed().as_secs_f64();
    apart(bed);
    let namespace = bed.namespace();
    bed.apply(&crate::app::deployment(&namespace, Some("replicated")));
    let app = &bed.pods(&namespace, "app=replicated", 3)[0];
    let keys = keys_until(bed, &namespace, "aligned", wait_whole);
    let mut busy = written(app, "busy-aligned", BUSY_KEYS);
    let start = Instant::now();
    let away = Mutex::new(Vec::new());
    let (seen, ()) = traffic_while(app, &mut busy, || {
        let image = format!("memcached={NEXT_MEMCACHED}");
        bed.kubectl(&["set", "image", "statefulset", "--selector", CACHES, &image, "--namespace=cache"]);
        until("all six servers to have the new image", ROLLOUT, || {
            let pods = caches(bed);
            // A gate that is closed because a proxy repairs something there takes nothing away.
            let absent = 6 - pods.iter().filter(|pod| stays(pod) && runs(pod) && is_whole(pod)).count();
            away.lock().unwrap().push(absent);
            let new = pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == NEXT_MEMCACHED).count();
            let there = new == 6 && absent == 0;
            Ok(if there { Look::Ready(()) } else { Look::NotYet(format!("{new} new, {absent} away")) })
        })
        .unwrap();
    });
    let took = start.elapsed().as_secs_f64();
    let most = away.into_inner().unwrap().into_iter().max().unwrap_or(0);
    assert_eq!(most, 1, "servers that were away at once");
    let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
    unharmed("image of both sets", &[&seen, &after]);
    let rolled = slowest(&[&seen, &after]);

    apart(bed);
    let victim = node_of(&bed.pods(&namespace, "app=replicated", 3)[1]).to_owned();
    let seen = during(app, &mut busy, || bed.nodes.kill(&victim, Death::Silent).unwrap());
    bed.nodes.revive(&victim).unwrap();
    let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
    unharmed("node of both sets", &[&seen, &after]);
    bed.pods(&namespace, "app=replicated", 3);
    none_lost(bed, &namespace, &keys);
    let killed = slowest(&[&seen, &after]);
    bed.kubectl(&["delete", "-k", &overlay]);
    format!(
        "up in {came_up:.0} s; one image change of both sets: at most 1 server away, all six in {took:.0} s, slowest \
         {rolled}; a node killed: slowest {killed}; {KEYS} keys, 0 lost, 0 errors"
    )
}

fn caches(bed: &Bed) -> Vec<Value> {
    let list = bed.get(&format!("/api/v1/namespaces/cache/pods?labelSelector={CACHES}"));
    list["items"].as_array().cloned().unwrap_or_default()
}

fn stays(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

fn runs(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "ContainersReady" && one["status"] == "True"))
}

/// Servers of the same number have the same keys: no node has both.
fn apart(bed: &Bed) {
    let mut places: Vec<(String, String)> = caches(bed)
        .iter()
        .map(|pod| (name_of(pod).rsplit('-').next().unwrap_or_default().to_owned(), node_of(pod).to_owned()))
        .collect();
    places.sort();
    let all = places.len();
    places.dedup();
    assert_eq!((all, places.len()), (6, 6), "{places:?}");
}

/// Waits until every server holds its copies, as its gate and it itself say.
fn wait_whole(bed: &Bed) {
    until("all six servers to be whole", WHOLE, || {
        let pods = caches(bed);
        let whole = pods.iter().filter(|pod| is_ready(pod) && stays(pod) && is_synced(pod) && is_whole(pod)).count();
        let names: Vec<&str> = pods.iter().filter(|pod| !is_synced(pod) || !is_whole(pod)).map(name_of).collect();
        Ok(if whole == 6 { Look::Ready(()) } else { Look::NotYet(format!("{whole} are ready, not whole: {names:?}")) })
    })
    .unwrap();
}

fn is_synced(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "memcached.io/synced" && one["reason"] == "Synced"))
}

fn is_whole(pod: &Value) -> bool {
    pod["status"]["podIP"].is_string()
        && Client::new(address_of(pod)).raw("mg __mcp:w").is_ok_and(|answer| answer == "HD")
}
