//! A machine that gives servers and proxies too little time to answer: slow is not dead, so nothing that is stored may be lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use testbed::bed::Bed;
use testbed::process::Signal;
use testbed::random::{self, Random};
use testbed::workload::Workload;

use crate::layout::Layout;

const KEYS: usize = 30_000;
const LENGTH: Duration = Duration::from_secs(15);
/// Operations a second of each client that asks meanwhile.
const RATE: u32 = 100;
/// A process stands still for up to so long, which is more than a proxy waits for a server (150 ms), ...
const STANDSTILL_MS: usize = 300;
/// ... and then runs for up to so long.
const RUNNING_MS: usize = 300;

/// Stops and continues one process again and again until it is `over`, at moments of its own.
fn starve(mut random: Random, over: &AtomicBool, signal: impl Fn(Signal)) {
    while !over.load(Ordering::Relaxed) {
        signal(Signal::STOP);
        thread::sleep(Duration::from_millis(random.below(STANDSTILL_MS) as u64)); // the fault itself, not a wait
        signal(Signal::CONT);
        thread::sleep(Duration::from_millis(random.below(RUNNING_MS) as u64));
    }
}

/// All servers and proxies are starved while clients ask for keys of their own.
fn overload(bed: &Bed, seed: u64, clients: &mut [Workload]) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        for (number, server) in bed.servers().iter().enumerate() {
            let signal = server.signaller();
            scope.spawn(move || starve(Random::stream(seed, number as u64), over, |what| signal(what).unwrap()));
        }
        for (number, proxy) in bed.proxies().iter().enumerate() {
            let random = Random::stream(seed, 100 + number as u64);
            scope.spawn(move || starve(random, over, |what| proxy.signal(what).unwrap()));
        }
        let asking: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| client.mixed(LENGTH, RATE, || {}))).collect();
        let seen: Vec<_> = asking.into_iter().map(|client| client.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        seen.iter().for_each(|tally| {
            println!("while starved: {} of {} misses, {:?}", tally.misses, tally.operations, tally.messages)
        });
    });
}

#[test]
fn a_starved_machine_loses_no_key() {
    let seed = random::seed();
    let bed = Layout::coherent().with_two_copies().start(2);
    let mut stored = Workload::new(bed.addresses()[0], "stored", KEYS, 100);
    assert_eq!(stored.write_all().stored, KEYS as u64);
    let mut clients: Vec<_> =
        (0..4).map(|number| Workload::new(bed.addresses()[number % 2], &format!("busy{number}"), 200, 100)).collect();
    clients.iter_mut().for_each(|client| drop(client.write_all()));
    overload(&bed, seed, &mut clients);
    bed.wait_all_up().unwrap(); // a server that did not answer counts as down for a second
    thread::scope(|scope| {
        for address in bed.addresses() {
            let mut reader = stored.through(address);
            scope.spawn(move || {
                let tally = reader.read_all();
                assert_eq!((tally.hits, tally.misses, tally.wrong), (KEYS as u64, 0, 0), "seed {seed}: {tally:#?}");
            });
        }
    });
}
