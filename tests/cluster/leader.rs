//! One replica leads, another one takes over within seconds, and nothing is lost by it.

use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::process::Signal;

use crate::bed::Bed;
use crate::fleet::{leading, metric, the_leader};
use crate::load::{Load, none_failed};

/// The goal is 5 s; a machine that is busy otherwise gets four times that.
const TAKEOVER: Duration = Duration::from_secs(20);

#[test]
fn one_of_three_leads_and_another_takes_over() {
    let bed = Bed::without_webhook();
    let mut replicas = bed.replicas(3, &[]);
    let first = the_leader(&replicas);

    // Frozen: it comes back and finds that it is no longer the one.
    let frozen = Instant::now();
    replicas[first].process().signal(Signal::STOP).unwrap();
    let stopped = replicas.remove(first);
    let second = the_leader(&replicas);
    let took = frozen.elapsed();
    println!("leader frozen: another one led after {:.1} s", took.as_secs_f64());
    assert!(took < TAKEOVER, "{took:?}");
    bed.wait_for_endpoints(&[&replicas[0], &replicas[1]]);
    println!("leader frozen: out of the endpoints after {:.1} s", frozen.elapsed().as_secs_f64());
    stopped.process().signal(Signal::CONT).unwrap();
    bed.wait_for_endpoints(&[&replicas[0], &replicas[1], &stopped]);
    assert!(metric(&stopped, "leading") < 0.5, "who was frozen does not lead any more");
    assert_eq!(leading(&replicas), [second]);
    replicas.push(stopped);

    // Killed: gone without a word.
    let killed = Instant::now();
    replicas.remove(second).process().kill().unwrap();
    let third = the_leader(&replicas);
    let took = killed.elapsed();
    println!("leader killed: another one led after {:.1} s", took.as_secs_f64());
    assert!(took < TAKEOVER, "{took:?}");
    bed.wait_for_endpoints(&[&replicas[0], &replicas[1]]);
    println!("leader killed: out of the endpoints after {:.1} s", killed.elapsed().as_secs_f64());

    // Told to end: it gives the Lease back, and nobody waits for it to run out.
    let told = Instant::now();
    replicas[third].process().signal(Signal::TERM).unwrap();
    let ending = replicas.remove(third);
    the_leader(&replicas);
    println!("leader told to end: another one led after {:.1} s", told.elapsed().as_secs_f64());
    ending.process().wait_for_line("gave the Lease back", TAKEOVER).unwrap();
    bed.wait_for_endpoints(&[&replicas[0]]);
    println!("leader told to end: out of the endpoints after {:.1} s", told.elapsed().as_secs_f64());
}

/// Leaders that lose the Lease between any two of their writes, while the CA is followed by another.
#[test]
fn losing_the_lease_in_the_middle_of_a_rotation_does_no_harm() {
    const SECRET: &str = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/memcached-injector/leases/memcached-injector";
    let bed = Bed::without_webhook();
    let replicas = bed.replicas(2, &["--ca-settle", "3s"]);
    let ca = |secret: &Value| secret["data"]["ca.crt"].clone();
    let before = ca(&bed.get(SECRET));
    let load = Load::start(&bed);
    load.wait_for_successes(20);
    let namespace = ["-n", "memcached-injector"];
    let wish = [&["annotate", "secret", "memcached-injector-tls", "memcached.io/rotate=now"], &namespace[..]].concat();
    let said = bed.kubectl(&wish);
    assert!(said.ok, "{}", said.err);
    for round in 0..6 {
        bed.wait_for("somebody to lead", LEASE, |lease| {
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            !holder.is_empty() && holder != "somebody-else"
        });
        // Deleted, and taken by a name that nobody has: both happen to who is partitioned.
        let lost = if round % 2 == 0 {
            bed.kubectl(&[&["delete", "lease", "memcached-injector"], &namespace[..]].concat())
        } else {
            let taken = "{\"spec\": {\"holderIdentity\": \"somebody-else\"}}";
            let patch = ["patch", "lease", "memcached-injector", "--type=merge", "--patch", taken];
            bed.kubectl(&[&patch, &namespace[..]].concat())
        };
        assert!(lost.ok, "{}", lost.err);
    }
    let lost: usize = replicas.iter().map(|one| one.process().log().matches("leading no more").count()).sum();
    assert!(lost >= 4, "leadership was lost {lost} times");
    bed.wait_for("the rotation to end", SECRET, |secret| {
        ca(secret) != before && secret["data"]["next-ca.crt"].is_null() && secret["data"]["previous-ca.crt"].is_null()
    });
    load.wait_for_successes(20);
    none_failed("leaders that lose the Lease during a rotation", &load.stop());
}
