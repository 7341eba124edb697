//! Differential: a random stream of commands, sent through two proxies in turn and to one plain memcached, is answered
//! alike. Some 20,000 commands; CONTRACT_COMMANDS asks for more. A difference is shrunk to the fewest commands that show it.
//!
//! Commands come in cases of [`CASE`] with keys of their own, so that a case can be run again, or in part, at any time.

mod answer;
mod command;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;

use memcached_injector::request::LocalPlace;
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
struct Pair {
    plain: Side,
    ours: Side,
    reads: Reads,
    case: u32,
}

/// A command that was answered differently.
struct Difference {
    at: usize,
    plain: Vec<Reply>,
    ours: Vec<Reply>,
}

impl Pair {
    /// Runs the commands as a case of its own, up to the first difference.
    fn run(&mut self, commands: &[Command]) -> Option<Difference> {
        self.case += 1;
        self.plain.ids.clear();
        self.ours.ids.clear();
        for (at, command) in commands.iter().enumerate() {
            let plain = self.plain.ask(command, self.case);
            let ours = self.ours.ask(command, self.case);
            match answer::compare(command, self.reads, &plain, &ours) {
                Verdict::Alike => {}
                Verdict::Apart => return None,
                Verdict::Different => return Some(Difference { at, plain, ours }),
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
    let all = env::var(COMMANDS).ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    all / share
}

fn compare(test: &str, bed: &Bed, reads: Reads, share: usize) {
    let seed = random::seed();
    let server = Server::start().unwrap();
    let (plain, ours) = (Side::new(vec![server.address()]), Side::new(bed.addresses()));
    let mut pair = Pair { plain, ours, reads, case: 0 };
    for case in 0..wanted(share).div_ceil(CASE) {
        let mut random = Random::stream(seed, case as u64);
        let commands: Vec<Command> = (0..CASE).map(|_| Command::any(&mut random)).collect();
        if let Some(difference) = pair.run(&commands) {
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
    compare(
        "differential::replicated_coherent_answers_like_one_memcached",
        &Layout::coherent().start_direct(2),
        Reads::Plain,
        1,
    );
}

#[test]
fn two_copies_answer_like_one_memcached() {
    let bed = Layout::coherent().with_two_copies().start_direct(2);
    compare("differential::two_copies_answer_like_one_memcached", &bed, Reads::Plain, 10);
}

#[test]
fn two_sets_answer_like_one_memcached() {
    compare("differential::two_sets_answer_like_one_memcached", &Layout::two_sets().start_direct(2), Reads::Plain, 10);
}

#[test]
fn replicated_fastest_answers_like_one_memcached_in_turn() {
    let test = "differential::replicated_fastest_answers_like_one_memcached_in_turn";
    compare(test, &Layout::fastest().start_direct(2), Reads::Plain, 4);
}

#[test]
fn sharded_answers_like_one_memcached() {
    compare("differential::sharded_answers_like_one_memcached", &Layout::sharded().start_direct(2), Reads::Plain, 4);
}

/// Through one proxy: what another's clients wrote may be as old as the local ttl.
#[test]
fn failover_answers_its_own_pod_like_one_memcached() {
    let bed = Layout::failover(LocalPlace::Internal, 30).start_direct(1);
    compare("differential::failover_answers_its_own_pod_like_one_memcached", &bed, Reads::Local, 4);
}
