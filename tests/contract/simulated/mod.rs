//! The library as it is, in virtual time: eight clients, three proxies and three servers in one process, and a network between
//! them, so that the same seed gives the same order of everything on any machine, however busy. The servers, the network
//! and `mcp` are the Lua files beside this one. Judged by the checker of the real histories (concurrent.rs), and by what
//! the servers hold. Here nothing fails; storms.rs and gutter.rs have the faults.
//!
//! The mutants below show that this finds what it is for.

mod along;
mod glances;
mod gutter;
mod marked;
mod moments;
mod overtaken;
mod pipelined;
mod scale;
mod split;
mod storms;
mod views;

use std::env;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use memcached_injector::routing::library;
use testbed::checker::{Checked, Misses, check};
use testbed::folder::RunFolder;
use testbed::history::{Call, History, Operation, Outcome};
use testbed::random;

use crate::mutants::mutant;

/// Virtual seconds of one run.
const SECONDS: u64 = 4;
/// Runs of each kind; a different seed each, from 1 on or from CONTRACT_SEED.
const RUNS: u64 = 3;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 12;

const HEALTHY: &str = "";

/// What a cluster of three servers is, and for how long clients use it.
#[derive(Clone, Copy)]
struct Shape {
    /// Of each key.
    copies: usize,
    /// Servers of the gutter.
    stand_ins: usize,
    /// Virtual seconds.
    seconds: u64,
    /// What a miss means.
    misses: Misses,
}

impl Shape {
    fn of(copies: usize) -> Shape {
        Shape { copies, stand_ins: 0, seconds: SECONDS, misses: Misses::Gone }
    }
}

/// One run.
struct Seen {
    history: History,
    /// What happened to the servers.
    story: String,
    /// When, without faults, a copy of a key that nobody was asking for held what its leader did not.
    differences: Vec<String>,
    /// How often nobody was asking for a key, and how often a copy of it had nothing then.
    quiet: u32,
    lacking: u32,
    /// How many servers each proxy trusts in the end, of all proxies together.
    trusted: usize,
    /// The marks that servers have in the end.
    marks: Vec<String>,
}

impl Seen {
    /// What the checker found, which is no violation; else it says how to see it `again`.
    fn as_one_memcached(&self, shape: Shape, again: &str) -> Checked {
        let checked = check(&self.history, shape.misses);
        checked.unwrap_or_else(|violation| panic!("{violation}{}\n{again}", self.story))
    }
}

fn run(library: &str, seed: u64, kinds: &str, shape: Shape) -> Seen {
    let Shape { copies, stand_ins, seconds, .. } = shape;
    let globals =
        format!("SEED, SECONDS, KINDS = {seed}, {seconds}, \"{kinds}\"\nCOPIES, STAND_INS = {copies}, {stand_ins}\n");
    let said = play(library, &globals, include_str!("storm.lua"));
    let lines = |kind: &str| -> Vec<String> {
        said.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('\t')).map(str::to_owned).collect()
    };
    let operations = lines("op").iter().map(|line| operation(line)).collect();
    let number = |kind: &str| lines(kind)[0].parse().unwrap();
    Seen {
        history: History { seed, operations },
        story: lines("story").join("\n"),
        differences: lines("differ"),
        quiet: number("quiet"),
        lacking: number("lacking"),
        trusted: lines("trusted").len(),
        marks: lines("mark"),
    }
}

/// What `part` says that happened to proxies with this library; it ends by saying that the storm is over.
fn play(library: &str, globals: &str, part: &str) -> String {
    let scope = |text: &str| format!("do\n{text}\nend\n");
    let text = [
        format!("LIBRARY = [====[\n{library}]====]\n{globals}"),
        scope(include_str!("memcached.lua")),
        scope(include_str!("proxy.lua")),
        scope(include_str!("world.lua")),
        scope(include_str!("scene.lua")),
        scope(part),
    ];
    let folder = RunFolder::new("simulated").unwrap();
    let file = folder.write("play.lua", text.concat()).unwrap();
    let output = Command::new("lua5.4").arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("lua5.4 did not start ({error}): apt-get install lua5.4"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("the storm is over"), "the simulation failed with {globals}{log}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What clients were told in a scene, in order: its lines that say so.
fn told(library: &str, seed: u64, scene: &str) -> Vec<String> {
    let said = play(library, &format!("SEED = {seed}\n"), scene);
    said.lines().filter_map(|line| line.strip_prefix("told\t")).map(str::to_owned).collect()
}

/// One line of the history: start, end (µs), client, proxy, key, call and its two arguments, outcome and its two values.
fn operation(line: &str) -> Operation {
    let field: Vec<&str> = line.split('\t').collect();
    let time = |text: &str| Duration::from_micros(text.parse().unwrap());
    let argument = || field[6].to_owned();
    let call = match field[5] {
        "get" => Call::Get,
        "gets" => Call::Gets,
        "set" => Call::Set(argument()),
        "add" => Call::Add(argument()),
        "append" => Call::Append(argument()),
        "cas" => Call::Cas(argument(), field[7].parse().unwrap()),
        "incr" => Call::Incr(1),
        "delete" => Call::Delete,
        "touch" => Call::Touch,
        other => panic!("no such call: {other}"),
    };
    let outcome = match field[8] {
        "value" => Outcome::Value(field[9].to_owned(), field[10].parse().ok()),
        "miss" => Outcome::Miss,
        "done" => Outcome::Done,
        "notstored" => Outcome::NotStored,
        "exists" => Outcome::Exists,
        "number" => Outcome::Number(field[9].parse().unwrap()),
        _ => Outcome::Unknown(field[9].to_owned()),
    };
    Operation {
        client: field[2].parse().unwrap(),
        proxy: field[3].parse().unwrap(),
        key: field[4].to_owned(),
        call,
        outcome,
        start: time(field[0]),
        end: time(field[1]),
    }
}

/// Those of the runs of one test.
fn seeds() -> Range<u64> {
    let first = env::var(random::SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    first..first + RUNS
}

/// How to see the run of a test of this module again.
fn run_again(test: &str, seed: u64) -> String {
    format!("run again: {}={seed} cargo test --test contract -- --exact simulated::{test}", random::SEED)
}

/// The library does right, whatever the seed.
fn for_all_seeds(test: &str, is_right: impl Fn(&str, u64) -> bool) {
    for seed in seeds() {
        assert!(is_right(&library::library().text, seed), "{}", run_again(test, seed));
    }
}

/// The clients see one memcached, each with a clear answer.
fn holds(test: &str, kinds: &str, shape: Shape) {
    let library = &library::library().text;
    for seed in seeds() {
        let seen = run(library, seed, kinds, shape);
        let again = run_again(test, seed);
        let checked = seen.as_one_memcached(shape, &again);
        assert_eq!(checked.unknown, 0, "{:#?}\n{}\n{again}", seen.history.unknown(), seen.story);
        assert!(checked.operations > 500, "{checked:?}\n{}\n{again}", seen.story);
        if kinds == HEALTHY {
            assert!(seen.differences.is_empty(), "{}\n{again}", seen.differences.join("\n"));
            let Seen { quiet, lacking, .. } = seen;
            assert!(quiet > 100 && lacking * 1000 <= quiet, "a copy has nothing {lacking} times of {quiet}\n{again}");
        }
    }
}

/// A library with a rule broken is noticed while things of these kinds happen. A mutant is a replacement in the text of the
/// joined library; one whose text is no longer there fails and says so.
fn assert_caught(from: &str, to: &str, kinds: &str, shape: Shape) {
    let mutant = mutant(from, to);
    let caught = (1..=LOOKS).any(|seed| {
        let seen = run(&mutant, seed, kinds, shape);
        kinds == HEALTHY && !seen.differences.is_empty() || check(&seen.history, shape.misses).is_err()
    });
    assert!(caught, "nobody noticed");
}

/// Also where writes and removals of one key overlap: a copy that keeps what was removed would be read once it leads.
#[test]
fn copies_agree_whatever_overlaps() {
    holds("copies_agree_whatever_overlaps", HEALTHY, Shape::of(3));
}

#[test]
fn two_copies_agree_whatever_overlaps() {
    holds("two_copies_agree_whatever_overlaps", HEALTHY, Shape::of(2));
}

#[test]
fn a_removal_that_does_not_look_again_is_caught() {
    assert_caught("purge(self,key,b,p,left)\n", "", HEALTHY, Shape::of(3));
}

#[test]
fn overwriting_a_copy_whatever_it_holds_on_the_short_way_is_caught() {
    assert_caught("says ..\" C\".. old,r)", "says,r)", HEALTHY, Shape::of(3));
}

#[test]
fn overwriting_a_copy_whatever_it_holds_is_caught() {
    assert_caught(
        "condition[x]=old and\" C\".. old or\" ME\"\nend\nfor round=1,ROUNDS",
        "condition[x]=\"\"\nend\nfor round=1,ROUNDS",
        HEALTHY,
        Shape::of(3),
    );
}

#[test]
fn leaving_a_copy_that_refused_as_it_is_is_caught() {
    assert_caught(
        "else refused[#refused+1]=x end",
        "elseif false then refused[#refused+1]=x end",
        HEALTHY,
        Shape::of(3),
    );
}

#[test]
fn filling_an_empty_place_without_a_second_look_is_caught() {
    assert_caught("then added[#added+1]=x end", "then added[1]=nil end", HEALTHY, Shape::of(3));
}

#[test]
fn removing_from_the_authority_only_is_caught() {
    assert_caught("if had then answers=self:all(M.remove_id(key,b,had),list,p,key,b)end\n", "", HEALTHY, Shape::of(3));
}
