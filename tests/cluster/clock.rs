//! A machine whose clock jumps makes no certificate that the API server would refuse: the last good one goes on serving,
//! and a metric and a log line say so.

use std::thread;
use std::time::{Duration, Instant};

use testbed::parts::clock::Clock;
use testbed::parts::injector::{Injector, wait_until_admitting};
use testbed::wait::{Look, until};

use serde_json::json;

use crate::bed::{BOUND, Bed, is_injected, pod};
use crate::fleet::{binary, metric, the_leader};
use crate::load::{Load, none_failed};

const SECRET: &str = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
const SAID: &str = "this machine's clock says";

#[test]
fn a_clock_that_jumps_makes_no_certificate_and_the_last_good_one_goes_on_serving() {
    let bed = Bed::without_webhook();
    let clock = Clock::new().unwrap();
    let binary = clock.wrap(binary()).unwrap();
    let replicas: Vec<_> = (0..2).map(|_| Injector::in_cluster(&binary, &bed.control_plane).unwrap()).collect();
    let leader = &replicas[the_leader(&replicas)];
    let held = bed.get(SECRET)["data"].clone();
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    // Due for renewal, expired long ago, and not valid yet.
    for days in [300, 4000, -300] {
        let said = || leader.process().log().matches(SAID).count();
        let (before, counted) = (said(), metric(leader, "upkeep_errors_total{task=\"certificate\"}"));
        clock.set(days).unwrap();
        until(&format!("the leader to say that its clock is {days} days off"), BOUND, || {
            let now = metric(leader, "upkeep_errors_total{task=\"certificate\"}");
            let seen = said() > before && now > counted;
            Ok(if seen { Look::Ready(()) } else { Look::NotYet(leader.process().tail()) })
        })
        .unwrap();
        load.wait_for_successes(40);
        assert_eq!(bed.get(SECRET)["data"], held, "{days} days off");
        clock.set(0).unwrap();
        load.wait_for_successes(20);
    }
    none_failed("a clock that jumped by 300, 4,000 and -300 days", &load.stop());
    assert_eq!(bed.get(SECRET)["data"], held);
    assert!(leader.process().log().contains("the last good certificate goes on serving"));
}

/// So long a clock is right, and so long it is wrong: about what the API server takes to tell the time.
const MOMENT: Duration = Duration::from_millis(2);
/// Some thirty looks at the certificates; each begins with a wrong clock and sees it right again once in four times.
const FLICKERS: Duration = Duration::from_secs(15);

#[test]
fn a_clock_that_is_wrong_for_a_moment_makes_no_certificate() {
    let bed = Bed::without_webhook();
    let clock = Clock::new().unwrap();
    let _replica = Injector::in_cluster(&clock.wrap(binary()).unwrap(), &bed.control_plane).unwrap();
    let (held, start) = (bed.get(SECRET)["data"].clone(), Instant::now());
    while start.elapsed() < FLICKERS {
        for days in [300, 0] {
            clock.set(days).unwrap();
            thread::sleep(MOMENT);
        }
    }
    assert_eq!(bed.get(SECRET)["data"], held);
}

#[test]
fn a_replica_that_starts_with_a_wrong_clock_replaces_nothing() {
    let bed = Bed::without_webhook();
    drop(bed.replica(&[]));
    let held = bed.get(SECRET)["data"].clone();
    let clock = Clock::new().unwrap();
    clock.set(4000).unwrap();
    let (process, _folder) =
        Injector::spawn_in_cluster(&clock.wrap(binary()).unwrap(), &bed.control_plane, &[]).unwrap();
    process.wait_for_line(SAID, BOUND).unwrap();
    assert_eq!(bed.get(SECRET)["data"], held, "what the others may serve with is left alone");
    clock.set(0).unwrap();
    let shop = bed.namespace(json!({}), json!({}));
    wait_until_admitting(
        &bed.control_plane,
        &pod(&shop, "web", json!({"memcached.io/mode": "replicated"})),
        is_injected,
    )
    .unwrap();
    assert_eq!(bed.get(SECRET)["data"], held);
}
