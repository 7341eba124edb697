//! Traffic from inside an app's pod while something happens to the cluster, and what it must come to. Owns the judgement of
//! times: what the product took counts, what the machine kept from the processes that take part does not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testbed::parts::nodes::container_process;
use testbed::starved::{Starved, Watch};
use testbed::workload::{Tally, Workload};

use crate::app::from_inside;

/// Operations a second.
const RATE: u32 = 200;
/// A dead server was seen to cost 254 ms for a few requests; a test allows four times as long.
const SLOWEST: Duration = Duration::from_millis(4 * 260);
/// Of traffic; the event is in its middle.
const LENGTH: Duration = Duration::from_secs(16);
/// Pieces of traffic that goes on for as long as an event takes.
const PIECE: Duration = Duration::from_secs(2);

/// What traffic came to, and how long the processes that take part in it had no processor meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) tally: Tally,
    starved: Starved,
}

/// Traffic for 16 s while, on a thread of its own, `event` happens after half of them.
pub(crate) fn during(app: &Value, workload: &mut Workload, event: impl FnOnce() + Send) -> Seen {
    let (tell, told) = mpsc::channel();
    watched(app, || {
        thread::scope(|scope| {
            let happening = scope.spawn(move || told.recv().map(|()| event()));
            let tally = from_inside(app, move |_| workload.mixed(LENGTH, RATE, || tell.send(()).unwrap()));
            happening.join().unwrap().unwrap();
            tally
        })
    })
}

/// A look at every key.
pub(crate) fn reading(app: &Value, keys: &Workload) -> Seen {
    watched(app, || from_inside(app, |localhost| keys.through(localhost).read_all()))
}

/// Traffic for as long as `event` takes, at least two seconds.
pub(crate) fn traffic_while<T: Send>(
    app: &Value,
    workload: &mut Workload,
    event: impl FnOnce() -> T + Send,
) -> (Seen, T) {
    let over = AtomicBool::new(false);
    let mut outcome = None;
    let seen = watched(app, || {
        thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                from_inside(app, |_| {
                    let mut sum = Tally::default();
                    loop {
                        let last = over.load(Ordering::Relaxed);
                        sum.add(workload.mixed(PIECE, RATE, || ()));
                        if last {
                            return sum;
                        }
                    }
                })
            });
            let end = EndOnDrop(&over); // also when `event` panics: the scope waits for the traffic
            outcome = Some(event());
            drop(end);
            traffic.join().unwrap()
        })
    });
    (seen, outcome.expect("the event is over"))
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// No error, no lost key, nothing old, and no operation that took longer than it may.
pub(crate) fn unharmed(what: &str, all: &[&Seen]) {
    for seen in all {
        let tally = &seen.tally;
        assert_eq!((tally.errors, tally.refused, tally.wrong, tally.misses), (0, 0, 0, 0), "{what}: {tally:#?}");
        in_time(what, seen);
    }
}

/// An operation's time counts without what its processes waited for a processor.
pub(crate) fn in_time(what: &str, seen: &Seen) {
    for slow in &seen.tally.slow {
        let starved = seen.starved.between(slow.start, slow.end);
        let took = (slow.end - slow.start).saturating_sub(starved);
        assert!(took <= SLOWEST, "{what}: {}, {} ms of it without a processor", slow.what, starved.as_millis());
    }
}

/// The slowest operation, and what the machine had to do with it.
pub(crate) fn slowest(all: &[&Seen]) -> String {
    let Some(seen) = all.iter().max_by_key(|seen| seen.tally.slowest) else { return "no traffic".to_owned() };
    let starved = seen.tally.slow.first().map(|slow| seen.starved.between(slow.start, slow.end));
    let starved = starved.filter(|starved| *starved > Duration::from_millis(20));
    let starved = starved.map(|starved| format!(" (up to {} ms of them without a processor)", starved.as_millis()));
    format!("{} ms{}", seen.tally.slowest.as_millis(), starved.unwrap_or_default())
}

fn watched(app: &Value, work: impl FnOnce() -> Tally) -> Seen {
    let proxy = container_process(app, "memcached-proxy").unwrap();
    let watch = Watch::begin(move || {
        let own = std::process::id(); // the traffic's client
        vec![vec![own], vec![proxy], cache_servers()]
    });
    let tally = work();
    Seen { tally, starved: watch.end().unwrap() }
}

/// The cache servers' processes, by the arguments that the manifests give them.
fn cache_servers() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let serves = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').take(3).eq(["memcached", "-m", "256"])
    };
    pids.filter(serves).collect()
}
