//! Differential: a random stream of commands, sent through two proxies in turn and to one plain memcached, is answered
//! alike. 100,000 commands; CONTRACT_COMMANDS asks for more. A difference is shrunk to the fewest commands that show it.
//!
//! Commands come in cases of [`CASE`] with keys of their own, so that a case can be run again, or in part, at any time.

mod answer;
mod command;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memcached_injector::request::LocalPlace;
use memcached_injector::topology::Consistency;
use testbed::bed::Bed;
use testbed::parts::memcached::Server;
use testbed::random::{self, Random, SEED};

use crate::layout::Layout;
use answer::{Reads, Reply, Verdict};
use command::Command;
use wire::Connection;

/// Commands in all, when set.
const COMMANDS: &str = "CONTRACT_COMMANDS";
/// Commands of a case: enough for a state to build up, few enough to shrink at once.
const CASE: usize = 100;
/// Differences that may fail to repeat in a run, or come while a server stalls. What repeats in calm is no accident; what
/// concurrency and faults show is looked for in other tests.
const ACCIDENTS: usize = 3;
/// A command that takes this long has waited for a server that the machine kept from answering.
const STALL: Duration = Duration::from_millis(100);
/// How often a case is run until no server stalls: only then a difference counts.
const CALM_TRIES: usize = 20;

/// memcached counts in place, which leaves an item stale that was so, or makes a new item where another thread holds the old one. By
/// default its LRU maintainer does, from an item's second read until it runs again: plain memcached so answers one stream of
/// commands in two ways. Without that thread it has one answer.
const STEADY: [&str; 2] = ["-o", "no_lru_maintainer"];

/// One side: its connections, used in turn as the commands say, and the cas ids that it has shown.
struct Side {
    addresses: Vec<SocketAddr>,
    connections: Vec<Connection>,
    /// By key: what was shown, in order of appearance.
    ids: BTreeMap<usize, Vec<u64>>,
}

impl Side {
    fn new(addresses: Vec<SocketAddr>) -> Side {
        let connections = addresses.iter().map(|address| Connection::open(*address)).collect();
        Side { addresses, connections, ids: BTreeMap::new() }
    }

    fn ask(&mut self, command: &Command, case: u32) -> Vec<Reply> {
        let number = command.proxy % self.connections.len();
        let request = command.render(case, |key| self.ids.get(&key).and_then(|ids| ids.last()).copied().unwrap_or(1));
        let answer = self.connections[number].exchange(&request).unwrap_or_else(|problem| {
            // The next command finds a fresh connection; this one's problem is its answer.
            self.connections[number] = Connection::open(self.addresses[number]);
            format!("({problem})\r\n").into_bytes()
        });
        let ids = command.key.map(|key| self.ids.entry(key).or_default());
        answer::parse(&answer, ids)
    }
}

/// The two sides and the number of the next case.
struct Pair<'a> {
    bed: &'a Bed,
    plain: Side,
    ours: Side,
    /// Past the proxies.
    servers: Vec<Connection>,
    reads: Reads,
    /// Whether the layout promises nothing for a server that is silent for too long: `fastest`, and one copy of a key.
    stalls_show: bool,
    seed: u64,
    accidents: usize,
    case: u32,
}

/// A command that was answered differently.
struct Difference {
    at: usize,
    plain: Vec<Reply>,
    ours: Vec<Reply>,
    /// Of our answers up to this one.
    slowest: Duration,
}

impl Pair<'_> {
    /// Runs the commands as a case of its own, up to the first difference.
    fn run(&mut self, commands: &[Command]) -> Option<Difference> {
        for _ in 0..CALM_TRIES {
            let called_down = self.called_down();
            let outcome = self.run_once(commands);
            self.forget();
            let difference = outcome?;
            if difference.slowest < STALL && self.called_down() == called_down {
                return Some(difference);
            }
            if !self.stalls_show {
                self.accident();
            }
            println!("a server stalled (slowest command {:?}); the case is run again", difference.slowest);
            self.bed.wait_all_up().unwrap();
        }
        panic!("{CALM_TRIES} times a server stalled: this machine is too busy for this test");
    }

    /// Counts a difference that proves nothing.
    fn accident(&mut self) {
        self.accidents += 1;
        assert!(
            self.accidents <= ACCIDENTS,
            "more than {ACCIDENTS} differences that did not repeat (seed {})",
            self.seed
        );
    }

    /// Takes the keys of this case from all servers.
    fn forget(&mut self) {
        let request = command::forget(self.case);
        for server in self.servers.iter_mut().chain(&mut self.plain.connections) {
            server.exchange(&request).expect("a server without a fault answers");
        }
    }

    /// How often a proxy has called a server down. None is, so it was kept from answering.
    fn called_down(&self) -> u64 {
        let count = |stats: Vec<(String, String)>| {
            stats.iter().find(|(name, _)| name == "proxy_backend_marked_bad").and_then(|(_, value)| value.parse().ok())
        };
        let counts = self.bed.proxies().iter().map(|proxy| count(proxy.client().stats("").unwrap()));
        counts.map(|count: Option<u64>| count.expect("a proxy counts the servers that it called down")).sum()
    }

    fn run_once(&mut self, commands: &[Command]) -> Option<Difference> {
        let mut slowest = Duration::ZERO;
        self.case += 1;
        self.plain.ids.clear();
        self.ours.ids.clear();
        for (at, command) in commands.iter().enumerate() {
            let plain = self.plain.ask(command, self.case);
            let asked = Instant::now();
            let ours = self.ours.ask(command, self.case);
            slowest = asked.elapsed().max(slowest);
            match answer::compare(command, self.reads, &plain, &ours) {
                Verdict::Alike => {}
                Verdict::Apart => return None,
                Verdict::Different => return Some(Difference { at, plain, ours, slowest }),
            }
        }
        None
    }

    /// The fewest commands that still differ: halves, quarters, ... single ones are left out as long as they do.
    fn shrink(&mut self, mut commands: Vec<Command>, mut difference: Difference) -> (Vec<Command>, Difference) {
        commands.truncate(difference.at + 1);
        let mut size = commands.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < commands.len() {
                let mut fewer = commands.clone();
                fewer.drain(start..(start + size).min(commands.len()));
                if let Some(found) = self.run(&fewer) {
                    fewer.truncate(found.at + 1);
                    (commands, difference) = (fewer, found);
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        (commands, difference)
    }
}

/// How many commands a layout gets: a share for those whose code another layout runs too.
fn wanted(share: usize) -> usize {
    let all = env::var(COMMANDS).ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    all / share
}

fn compare(test: &str, layout: &Layout, proxies: usize, reads: Reads, share: usize) {
    let bed = &layout.start_direct(proxies, &STEADY);
    let seed = random::seed();
    let server = Server::start_with(&STEADY).unwrap();
    let (plain, ours) = (Side::new(vec![server.address()]), Side::new(bed.addresses()));
    let stalls_show = layout.consistency == Consistency::Fastest || layout.copies == 1;
    let servers = bed.servers().iter().map(|server| Connection::open(server.address())).collect();
    let mut pair = Pair { bed, plain, ours, servers, reads, stalls_show, seed, accidents: 0, case: 0 };
    for case in 0..wanted(share).div_ceil(CASE) {
        let mut random = Random::stream(seed, case as u64);
        let commands: Vec<Command> = (0..CASE).map(|_| Command::any(&mut random)).collect();
        if let Some(first) = pair.run(&commands) {
            let Some(difference) = pair.run(&commands) else {
                let (plain, ours) = (answer::show(&first.plain), answer::show(&first.ours));
                println!("did not repeat: {}\nplain: {plain}\nours:  {ours}", commands[first.at]);
                pair.accident();
                continue;
            };
            let (commands, difference) = pair.shrink(commands, difference);
            let told: String = commands.iter().map(|command| format!("  {command}\n")).collect();
            panic!(
                "\none memcached and the proxies answer the last of these differently (seed {seed}, case {case}):\n{told}\
                 plain: {}\nours:  {}\nrun again: {SEED}={seed} {COMMANDS}={} cargo test --test contract -- --exact {test}\n",
                answer::show(&difference.plain),
                answer::show(&difference.ours),
                wanted(1),
            );
        }
    }
}

#[test]
fn replicated_coherent_answers_like_one_memcached() {
    let test = "differential::replicated_coherent_answers_like_one_memcached";
    compare(test, &Layout::coherent(), 2, Reads::Authority, 1);
}

#[test]
fn two_copies_answer_like_one_memcached() {
    let test = "differential::two_copies_answer_like_one_memcached";
    compare(test, &Layout::coherent().with_two_copies(), 2, Reads::Authority, 20);
}

#[test]
fn two_sets_answer_like_one_memcached() {
    compare("differential::two_sets_answer_like_one_memcached", &Layout::two_sets(), 2, Reads::Authority, 20);
}

#[test]
fn replicated_fastest_answers_like_one_memcached_in_turn() {
    let test = "differential::replicated_fastest_answers_like_one_memcached_in_turn";
    compare(test, &Layout::fastest(), 2, Reads::AnyCopy, 20);
}

#[test]
fn sharded_answers_like_one_memcached() {
    compare("differential::sharded_answers_like_one_memcached", &Layout::sharded(), 2, Reads::Authority, 20);
}

/// Through one proxy: what another's clients wrote may be as old as the local ttl.
#[test]
fn failover_answers_its_own_pod_like_one_memcached() {
    let test = "differential::failover_answers_its_own_pod_like_one_memcached";
    compare(test, &Layout::failover(LocalPlace::Internal, 30), 1, Reads::Local, 20);
}
