//! Many pods: live follow reaches all of them at the rate that is configured and no faster, goes on where a leader ended,
//! and the webhook stays small.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::parts::injector::Injector;
use testbed::wait::{Look, until};

use crate::bed::{Bed, pod};
use crate::fleet::{memory, metric, the_leader};
use crate::load;

/// Pods a second, several times the default, so that the test ends in a minute.
const RATE: u32 = 100;
const PODS: usize = 5_000;
/// Pods that did not ask.
const OTHERS: usize = 1_000;
/// Each has a proxy of the DaemonSet, which is followed too.
const NODES: usize = 50;
/// Creations under way at once.
const HANDS: usize = 4;
/// What the webhook may take in MB beside the program itself, which is 9 more in a release build: half of 40 in all is for
/// an allocator that keeps more than here.
const MOST_MEMORY: f64 = 20.0;
/// Noise of an allocator, in MB.
const NOISE: f64 = 1.0;
/// Five thousand pods take a minute or two on two cores.
const LONG: Duration = Duration::from_secs(10 * 60);

#[test]
fn five_thousand_pods_follow_at_the_configured_rate_and_the_webhook_stays_small() {
    let _alone = load::alone();
    let bed = Bed::without_webhook_on(NODES);
    let rate = RATE.to_string();
    let mut replicas = bed.replicas(2, &["--follow-rate", &rate]);
    let shop = bed.namespace(json!({}), json!({}));
    println!("at rest: {:.1} MB", largest(&replicas));
    make_pods(&bed, &shop, "web", PODS, "replicated");
    wait_for(&replicas[the_leader(&replicas)], "pods_injected", (PODS + NODES) as f64);
    let before = largest(&replicas);
    make_pods(&bed, &shop, "plain", OTHERS, "none");
    let after = largest(&replicas);
    println!("with {PODS} pods {before:.1} MB, with {OTHERS} more that did not ask {after:.1} MB");
    assert!(after < before + NOISE, "it grew with pods that it did not inject");

    let patched = patches(&bed);
    let said = bed.kubectl(&["scale", "statefulset", "memcached", "-n", "cache", "--replicas=5"]);
    assert!(said.ok, "{}", said.err);
    let fastest = watch(&bed, patched, &mut replicas);
    wait_for(&replicas[0], "pods_behind", 0.0);
    let (all, own) = memory(&replicas[0]);
    println!("at most {fastest:.0} a second; afterwards {all:.1} MB, {own:.1} of it beside the program");
    assert!(fastest <= f64::from(RATE) * 1.1, "{fastest} a second");
    // The API server may not count the one that the leader which was killed had under way.
    let (all, made) = ((PODS + NODES) as f64, patches(&bed) - patched);
    assert!(made <= all && made >= all - 1.0, "{made} patches of {all} pods: no pod twice");
    // Each that fails is one that was written already: the last ones of the leader that died may be.
    let again = metric(&replicas[0], "pods_followed_total{result=\"error\"}");
    assert!(again <= f64::from(RATE), "{again} were written again");
    assert_all_are_current(&bed, &shop);
    assert!(own < MOST_MEMORY, "{own:.1} MB");
}

/// Watches the API server count patches until every pod was followed, and kills the leader after a third of them. The most
/// that it has carried out in a second, over five seconds.
fn watch(bed: &Bed, patched: f64, replicas: &mut Vec<Injector>) -> f64 {
    let began = Instant::now();
    let mut seen = VecDeque::from([(began, patched)]);
    let mut fastest = 0.0_f64;
    let goal = (PODS + NODES) as f64;
    until("every pod to be followed", LONG, || {
        thread::sleep(Duration::from_millis(500)); // the distance between two counts
        let now = (Instant::now(), patches(bed));
        seen.push_back(now);
        while seen.front().is_some_and(|(when, _)| now.0 - *when > Duration::from_secs(5)) {
            seen.pop_front();
        }
        if let Some((when, count)) = seen.front().filter(|(when, _)| now.0 - *when > Duration::from_secs(4)) {
            fastest = fastest.max((now.1 - count) / (now.0 - *when).as_secs_f64());
        }
        let done = now.1 - patched;
        if replicas.len() == 2 && done > goal / 3.0 {
            let leader = replicas.remove(the_leader(replicas));
            leader.process().kill()?;
        }
        Ok(if done >= goal - 1.0 { Look::Ready(()) } else { Look::NotYet(format!("{done} of {goal}")) })
    })
    .unwrap();
    assert_eq!(replicas.len(), 1, "the leader was killed in the middle");
    println!("{PODS} pods followed in {:.0} s, with another leader from a third on", began.elapsed().as_secs_f64());
    fastest
}

fn largest(replicas: &[Injector]) -> f64 {
    replicas.iter().map(|one| memory(one).1).fold(0.0, f64::max)
}

/// On their nodes by name: the scheduler and a Deployment's controller would take most of the time.
fn make_pods(bed: &Bed, namespace: &str, app: &str, count: usize, mode: &str) {
    let began = Instant::now();
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    thread::scope(|scope| {
        for hand in 0..HANDS {
            let (client, path) = (bed.control_plane.client(), &path);
            scope.spawn(move || {
                for number in (hand..count).step_by(HANDS) {
                    let mut pod = pod(namespace, &format!("{app}-{number}"), json!({"memcached.io/mode": mode}));
                    pod["metadata"]["labels"]["app"] = json!(app);
                    pod["spec"]["nodeName"] = json!(format!("node-{}", number % NODES));
                    let (status, answer) = client.post_json(path, &pod).unwrap();
                    assert_eq!(status, 201, "{answer}");
                }
            });
        }
    });
    println!("{count} pods of {app} made in {:.0} s", began.elapsed().as_secs_f64());
}

fn wait_for(replica: &Injector, name: &str, wanted: f64) {
    until(&format!("{name} to be {wanted}"), LONG, || {
        let now = metric(replica, name);
        Ok(if (now - wanted).abs() < 0.5 { Look::Ready(()) } else { Look::NotYet(format!("{now}")) })
    })
    .unwrap();
}

fn assert_all_are_current(bed: &Bed, namespace: &str) {
    let is_current = |pod: &Value| {
        let config = pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str();
        config.is_some_and(|config| config.contains("memcached-4."))
    };
    let (mut next, mut current) = (String::new(), 0);
    loop {
        let page =
            bed.get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app=web&limit=500&continue={next}"));
        current += page["items"].as_array().unwrap().iter().filter(|pod| is_current(pod)).count();
        next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
    }
    assert_eq!(current, PODS);
}

/// Patches of pods (not of their status) that the API server has carried out.
fn patches(bed: &Bed) -> f64 {
    let (status, text) = bed.control_plane.client().get("/metrics").unwrap();
    assert_eq!(status, 200);
    let wanted = ["code=\"200\"", "resource=\"pods\"", "subresource=\"\"", "verb=\"PATCH\""];
    let lines = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let counts = lines.filter(|line| wanted.iter().all(|label| line.contains(label)));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
