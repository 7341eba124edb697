//! The traffic of the story: keys written and read back, a server killed in the middle, keys read back again, the table and
//! the verdict. Owns amounts and times; what a mode promises is said in `mod.rs`.

use std::time::Duration;

use anyhow::Result;
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
pub(crate) struct Outcome {
    mode: Mode,
    /// Phases in order, each with its name.
    pub phases: Vec<(&'static str, Tally)>,
}

/// How much traffic.
struct Amount {
    keys: usize,
    bytes: usize,
    mixed: Duration,
    /// Operations a second.
    rate: u32,
}

const FULL: Amount = Amount {
    keys: 1_000,
    bytes: 500,
    mixed: Duration::from_secs(8),
    rate: 500,
};
const BRIEF: Amount = Amount {
    keys: 300,
    bytes: 500,
    mixed: Duration::from_secs(4),
    rate: 300,
};

/// Drives the traffic through the pod's proxy and kills a server in the middle of it.
pub(crate) fn run(
    story: &mut Story,
    mode: Mode,
    pod: &Pod,
    servers: &[Server],
    brief: bool,
) -> Result<Outcome> {
    let amount = if brief { BRIEF } else { FULL };
    let mut workload = Workload::new(pod.address(), mode.name(), amount.keys, amount.bytes);
    if !brief {
        story.step("Traffic, as the app would make it");
    }
    let written = workload.write_all();
    let read = workload.read_all();
    if !brief {
        story.say(&format!(
            "{} keys written and read back through {}.",
            workload.keys(),
            pod.address()
        ));
        story.say("Where they are:");
        for (number, server) in servers.iter().enumerate() {
            story.item(
                &format!("memcached-{number}"),
                &format!("{} items", server.stat("curr_items")?),
            );
        }
        story.step("A cache server dies under traffic");
        let seconds = amount.mixed.as_secs();
        story.say(&format!("{seconds} s of reads and writes, {} a second; after half of it, kill -9 of memcached-{VICTIM}.", amount.rate));
    }
    let mut killed = Ok(());
    let during = workload.mixed(amount.mixed, amount.rate, || {
        killed = servers[VICTIM].kill()
    });
    killed?;
    let after = workload.read_all();
    let phases = vec![
        ("write every key", written),
        ("read back", read),
        ("a server dies meanwhile", during),
        ("read back, one server dead", after),
    ];
    let outcome = Outcome { mode, phases };
    if !brief {
        story.step("What the app noticed");
    }
    show(story, &outcome);
    Ok(outcome)
}

/// Says of each mode whether its promise was kept; `true` when all were.
pub(crate) fn conclude(story: &mut Story, outcomes: &[Outcome]) -> bool {
    story.step("Promises");
    let style = story.style();
    let mut all = true;
    for outcome in outcomes {
        let kept = outcome.mode.keeps_promise(outcome);
        all &= kept;
        story.item(
            outcome.mode.name(),
            &format!("{}: {}", style.verdict(kept), outcome.mode.promise()),
        );
    }
    all
}

fn show(story: &mut Story, outcome: &Outcome) {
    let mut table = Table::new(&[
        "",
        "operations",
        "hits",
        "misses",
        "stale",
        "refused writes",
        "errors",
        "slowest",
    ]);
    for (name, tally) in &outcome.phases {
        let counts = [tally.misses, tally.wrong, tally.refused, tally.errors];
        let mut row: Vec<Cell> = vec![(*name).into(), tally.operations.into(), tally.hits.into()];
        row.extend(counts.map(|count| {
            if count == 0 {
                Cell::from(0)
            } else {
                Cell::new(count.to_string(), Ink::Bad)
            }
        }));
        row.push(format!("{:.1} ms", tally.slowest.as_secs_f64() * 1_000.0).into());
        table.row(row);
    }
    story.table(&table);
    for (name, tally) in &outcome.phases {
        for (message, count) in &tally.messages {
            story.note(&format!("{name}: {count} x {message}"));
        }
    }
}
