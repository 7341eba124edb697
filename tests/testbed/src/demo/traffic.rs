//! The traffic of the story: keys written and read back, a server killed in the middle, keys read back again, and the table.
//! Owns amounts and times; what a mode promises about them is `promise.rs`'s.

use std::time::Duration;

use anyhow::{Context, Result};
use testbed::parts::kubelet::Pod;
use testbed::parts::memcached::Server;
use testbed::report::{Cell, Ink, Table};
use testbed::workload::{Tally, Workload};

use super::story::Story;
use crate::Mode;

/// The server that dies.
const VICTIM: usize = 1;

/// What a mode's traffic came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The mode.
    pub mode: Mode,
    /// Phases in order, each with its name.
    pub phases: Vec<(&'static str, Tally)>,
}

/// How much traffic.
struct Amount {
    keys: usize,
    /// Of each value.
    bytes: usize,
    mixed: Duration,
    /// Operations a second.
    rate: u32,
}

const FULL: Amount = Amount { keys: 1_000, bytes: 500, mixed: Duration::from_secs(8), rate: 500 };
const BRIEF: Amount = Amount { keys: 300, bytes: 500, mixed: Duration::from_secs(4), rate: 300 };

/// Drives the traffic through the first pod's proxy, kills a server in the middle of it, and reads everything back, through
/// the second pod's proxy as well where there is one.
pub(super) fn run(story: &mut Story, mode: Mode, pods: &[Pod], servers: &[Server], brief: bool) -> Result<Outcome> {
    let amount = if brief { BRIEF } else { FULL };
    let pod = pods.first().context("the demo started no pod")?;
    let second = pods.get(1).map(Pod::address);
    let mut workload = Workload::new(pod.address(), mode.name(), amount.keys, amount.bytes);
    let mut phases = vec![("write every key", workload.write_all()), ("read back", workload.read_all())];
    phases.extend(second.map(|address| ("read back by the second pod", workload.through(address).read_all())));
    if !brief {
        story.step("Traffic, as the app would make it");
        story.say(&format!(
            "{} keys written and read back through {}. Where they are now{}:",
            workload.keys(),
            pod.address(),
            if mode == Mode::Replicated { " (a few items on each server are the proxies' own)" } else { "" }
        ));
        let mut items = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            items.push((format!("memcached-{number}"), format!("{} items", server.stat("curr_items")?)));
        }
        story.items(&items);
        story.step("A cache server dies under traffic");
        let seconds = amount.mixed.as_secs();
        story.say(&format!(
            "{seconds} s of reads and writes, {} a second; after half of it, kill -9 of memcached-{VICTIM}.",
            amount.rate
        ));
    }
    let mut killed = Ok(());
    let during = workload.mixed(amount.mixed, amount.rate, || killed = servers[VICTIM].kill());
    killed?;
    phases.push(("a server dies meanwhile", during));
    phases.push(("read back, one server dead", workload.read_all()));
    phases.extend(second.map(|address| ("the same by the second pod", workload.through(address).read_all())));
    if !brief {
        story.step("What the app noticed");
    }
    let outcome = Outcome { mode, phases };
    show(story, &outcome);
    Ok(outcome)
}

/// The table of an outcome, and what was said when something went wrong.
pub(super) fn show(story: &mut Story, outcome: &Outcome) {
    let mut table = Table::new(&["", "operations", "hits", "misses", "stale", "refused writes", "errors", "slowest"]);
    let may_lose = outcome.mode.may_lose();
    let count = |count: u64, allowed: bool| match count {
        0 => Cell::from(0),
        _ if allowed => Cell::from(count),
        _ => Cell::new(count.to_string(), Ink::Bad),
    };
    for (name, tally) in &outcome.phases {
        table.row(vec![
            (*name).into(),
            tally.operations.into(),
            tally.hits.into(),
            count(tally.misses, may_lose),
            count(tally.wrong, false),
            count(tally.refused, may_lose),
            count(tally.errors, false),
            format!("{:.1} ms", tally.slowest.as_secs_f64() * 1_000.0).into(),
        ]);
    }
    story.table(&table);
    for (name, tally) in &outcome.phases {
        for (message, count) in &tally.messages {
            story.note(&format!("{name}: {count} x {message}"));
        }
    }
}
