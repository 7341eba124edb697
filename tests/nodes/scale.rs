//! The number of servers and of copies changes while an app on the nodes goes on, driven as docs/operations.md says.

use std::time::{Duration, Instant};

use testbed::wait::{Look, until};

use crate::app::written;
use crate::bed::Bed;
use crate::refill::{BUSY_KEYS, RESYNC, ROLLOUT, apps, keys, none_lost, rolled, wait_whole};
use crate::traffic::{Seen, in_time, slowest, traffic_while};

/// A change on an idle machine takes some 15 s; every pod has to know the servers first.
const CHANGE: Duration = Duration::from_secs(240);
/// For more servers than nodes.
const MORE_THAN_NODES: &[&str] = &["resync", "cache-spread-soft"];
const SET: &str = "statefulset/memcached";

/// `kubectl apply` of a kustomization that changes the template: it needs more servers than nodes afterwards.
pub(crate) fn a_change_of_the_template_loses_no_key(bed: &Bed) -> String {
    let overlay = bed.overlay(MORE_THAN_NODES);
    rolled(bed, "template", |bed| drop(bed.kubectl(&["apply", "-k", &overlay])))
}

pub(crate) fn servers_are_added_and_taken_away_unnoticed(bed: &Bed) -> String {
    changed(
        bed,
        ("scale", MORE_THAN_NODES),
        &[
            ("3 to 5 servers", &|bed| {
                bed.kubectl(&["scale", SET, "--replicas=5", "--namespace=cache"]);
                wait_ring(bed, 5, None);
            }),
            ("5 to 3 servers", &|bed| {
                bed.kubectl(&["annotate", SET, "memcached.io/servers=3", "--namespace=cache"]);
                wait_ring(bed, 3, None);
                bed.kubectl(&["scale", SET, "--replicas=3", "--namespace=cache"]);
                bed.kubectl(&["annotate", SET, "memcached.io/servers-", "--namespace=cache"]);
                bed.kubectl(&["rollout", "status", SET, "--namespace=cache", ROLLOUT]);
            }),
        ],
    )
}

pub(crate) fn copies_are_taken_away_and_added_unnoticed(bed: &Bed) -> String {
    let annotate = |bed: &Bed, copies: usize| {
        let copies_are = format!("memcached.io/copies={copies}");
        bed.kubectl(&["annotate", "--overwrite", SET, &copies_are, "--namespace=cache"]);
        wait_ring(bed, 3, Some(copies));
    };
    changed(
        bed,
        ("copies", RESYNC),
        &[("all to 1 copy", &|bed| annotate(bed, 1)), ("1 to 2 copies", &|bed| annotate(bed, 2))],
    )
}

type Step<'a> = (&'a str, &'a (dyn Fn(&Bed) + Sync));

/// Each step under traffic; afterwards every key is there.
fn changed(bed: &Bed, (prefix, components): (&str, &[&str]), steps: &[Step<'_>]) -> String {
    let namespace = apps(bed, components);
    let keys = keys(bed, &namespace, prefix);
    let app = &bed.pods(&namespace, "app=replicated", 3)[0];
    let mut busy = written(app, &format!("busy-{prefix}"), BUSY_KEYS);
    let mut figures = Vec::new();
    for (what, step) in steps {
        let start = Instant::now();
        let (seen, ()) = traffic_while(app, &mut busy, || step(bed));
        let took = start.elapsed().as_secs_f64();
        let (after, ()) = traffic_while(app, &mut busy, || wait_whole(bed));
        served(what, &[&seen, &after]);
        figures.push(format!(
            "{what} in {took:.0} s, {} operations, 0 errors, {} misses, slowest {}",
            seen.tally.operations,
            seen.tally.misses + after.tally.misses,
            slowest(&[&seen, &after])
        ));
    }
    none_lost(bed, &namespace, &keys);
    figures.join("; ")
}

/// No error, nothing old, and 99 of 100 reads find their key.
fn served(what: &str, all: &[&Seen]) {
    for seen in all {
        let tally = &seen.tally;
        assert_eq!((tally.errors, tally.refused, tally.wrong), (0, 0, 0), "{what}: {tally:#?}");
        assert!(tally.misses * 100 <= tally.hits + tally.misses, "{what}: {tally:#?}");
        in_time(what, seen);
    }
}

/// Waits until the servers say that a ring of so many servers and copies counts, and none before it.
fn wait_ring(bed: &Bed, servers: usize, copies: Option<usize>) {
    until(&format!("a ring of {servers} servers and {copies:?} copies"), CHANGE, || {
        let view = bed.cache(0).get("__mcp:v")?.map(|item| String::from_utf8_lossy(&item.value).into_owned());
        let numbers: Vec<usize> =
            view.iter().flat_map(|view| view.split(' ')).map_while(|word| word.parse().ok()).collect();
        let there = matches!(numbers[..], [_, s, r, 0, 0] if s == servers && copies.is_none_or(|copies| copies == r));
        let held = bed.kubectl(&["get", SET, "--namespace=cache", "--output=jsonpath={.metadata.annotations}"]);
        Ok(if there { Look::Ready(()) } else { Look::NotYet(format!("{view:?}, {held}")) })
    })
    .unwrap();
}
