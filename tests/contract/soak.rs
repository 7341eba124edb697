//! A proxy's long life: clients, faults and a reload every second. Nothing grows, no client gets an error, nothing old is read.
//! Takes half a minute; SOAK_MINUTES=30 is the long form, run by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use testbed::bed::Bed;
use testbed::parts::proxy::Proxy;
use testbed::random;
use testbed::storm::{Kind, Storm};
use testbed::usage;
use testbed::workload::{Tally, Workload};

use crate::layout::Layout;

/// Operations a second of each client: the faults shall hurt, not the machine.
const RATE: u32 = 100;
const KEYS: usize = 500;
/// What may come on top of what there was after the warm-up: buffers and contexts that one more burst needed.
const MEGABYTES: u64 = 8;

/// What must not grow.
#[derive(Debug)]
struct Figures {
    /// Resident memory of each proxy, in MB.
    resident: Vec<u64>,
    /// Memory of each proxy's Lua, in kB.
    lua: Vec<u64>,
    /// Open files of each proxy: connections, mostly.
    files: Vec<usize>,
    /// Connections to each server.
    connections: Vec<u64>,
}

impl Figures {
    fn of(bed: &Bed) -> Figures {
        let resident = |proxy: &Proxy| usage::resident(proxy.pid()).unwrap() >> 20;
        let files = |proxy: &Proxy| fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count();
        Figures {
            resident: bed.proxies().iter().map(resident).collect(),
            lua: bed.proxies().iter().map(|proxy| stat(proxy, "proxy", "vm_memory_kb")).collect(),
            files: bed.proxies().iter().map(files).collect(),
            connections: bed.servers().iter().map(|server| server.stat("curr_connections").unwrap()).collect(),
        }
    }
}

fn stat(proxy: &Proxy, group: &str, name: &str) -> u64 {
    let stats = proxy.client().stats(group).unwrap();
    let value = stats.iter().find(|(known, _)| known.ends_with(name)).map(|(_, value)| value);
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in stats {group}: {stats:?}"))
}

fn length() -> Duration {
    let minutes = env::var("SOAK_MINUTES").ok().map(|text| text.parse::<u64>().unwrap());
    minutes.map_or(Duration::from_secs(30), |minutes| Duration::from_secs(60 * minutes))
}

/// Clients ask for so much longer than faults come: a server that was away for 2.5 s, the longest fault, is trusted some 5 s later, and only
/// while clients ask. The storm waits for that.
const MENDED: Duration = Duration::from_secs(10);

/// Two clients of each proxy for `length`, a reload every second, and `faults` meanwhile -> what the clients saw.
fn live(bed: &Bed, length: Duration, configs: &[String; 2], faults: impl FnOnce()) -> Vec<Tally> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number: usize| {
                let address = bed.proxies()[number % bed.proxies().len()].address();
                let mut workload = Workload::new(address, &format!("soak{number}"), KEYS, 200);
                scope.spawn(move || {
                    workload.write_all();
                    workload.mixed(length, RATE, || {})
                })
            })
            .collect();
        let over = &over;
        scope.spawn(move || {
            for config in configs.iter().cycle() {
                bed.proxies().iter().for_each(|proxy| proxy.configure(config).unwrap());
                thread::sleep(Duration::from_secs(1)); // the rate of the reloads
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        faults();
        let tallies = clients.into_iter().map(|client| client.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        tallies
    })
}

#[test]
fn reloads_and_faults_leave_nothing_behind() {
    let (seed, length) = (random::seed(), length());
    println!("seed {seed}, {length:?}");
    let bed = Layout::coherent().start_direct(2, &[]);
    let config =
        Layout::coherent().config(&bed.servers().iter().map(|server| server.address()).collect::<Vec<_>>(), None);
    let configs = [format!("-- even\n{config}"), format!("-- odd\n{config}")];
    live(&bed, Duration::from_secs(5), &configs, || {});
    let (before, start) = (Figures::of(&bed), Instant::now());
    let storm = Storm::new(seed, length, &[Kind::Kill, Kind::Freeze, Kind::BackEmpty]);
    let tallies = live(&bed, length + MENDED, &configs, || drop(storm.rage(&bed).unwrap()));
    let after = Figures::of(&bed);
    println!("{:?}\nbefore {before:?}\nafter  {after:?}\n{tallies:#?}", start.elapsed());
    for tally in &tallies {
        assert_eq!((tally.wrong, tally.errors, tally.refused), (0, 0, 0), "seed {seed}: {tallies:#?}");
    }
    let grown = |before: &[u64], after: &[u64], by: u64| before.iter().zip(after).any(|(b, a)| *a > *b + by);
    let report = format!("seed {seed}: before {before:?}, after {after:?}");
    assert!(!grown(&before.resident, &after.resident, MEGABYTES), "{report}");
    assert!(!grown(&before.lua, &after.lua, MEGABYTES << 10), "{report}");
    assert!(!grown(&before.connections, &after.connections, 2), "{report}");
    assert!(before.files.iter().zip(&after.files).all(|(b, a)| *a <= *b + 2), "{report}");
    for proxy in bed.proxies() {
        let reloads = stat(proxy, "", "config_reloads");
        assert!(reloads >= length.as_secs() / 3, "only {reloads} reloads: the cron that looks has stopped");
    }
}
