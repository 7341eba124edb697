//! The library as it is, in virtual time: eight clients, three proxies and three servers in one process, a network between them,
//! and faults at random moments, so that the same seed gives the same storm on any machine, however busy. The servers, the
//! network and `mcp` are the Lua files beside this one. Judged by the checker of the real histories (concurrent.rs), and by
//! what the servers hold.
//!
//! The mutants below show that this finds what it is for: each rule of docs/coherence.md, taken out, is caught.

use std::env;
use std::process::Command;
use std::time::Duration;

use memcached_injector::routing::library;
use testbed::checker::{Misses, check};
use testbed::folder::RunFolder;
use testbed::history::{Call, History, Operation, Outcome};
use testbed::random;

/// Virtual seconds of one run.
const SECONDS: u64 = 8;
/// Runs of each kind; a different seed each, from 1 on or from CONTRACT_SEED.
const RUNS: u64 = 3;
/// Runs that a mutant may pass before this counts as blind to it.
const LOOKS: u64 = 12;

/// How many clients of a storm may be told that an outcome is not known (docs/coherence.md, Open).
const UNKNOWN: usize = 1;

const HEALTHY: &str = "";
const DEATHS: &str = "kill,empty";
const STALLS: &str = "freeze,stale";
const CUTS: &str = "cut,blackhole";
const LOSSES: &str = "requestslost,replieslost";
const SLOW: &str = "slow,starve,delay";
const ALL: &str = "kill,freeze,empty,stale,slow,starve,cut,blackhole,requestslost,replieslost,delay";

/// One run.
struct Seen {
    history: History,
    /// What happened to the servers.
    story: String,
    /// When servers held different things of a key that nobody was asking for.
    differences: Vec<String>,
}

fn run(library: &str, seed: u64, kinds: &str, copies: usize) -> Seen {
    let part = |text: &str| format!("do\n{text}\nend\n");
    let text = [
        format!(
            "LIBRARY = [====[\n{library}]====]\nSEED, SECONDS, KINDS, COPIES = {seed}, {SECONDS}, \"{kinds}\", {copies}\n"
        ),
        part(include_str!("memcached.lua")),
        part(include_str!("proxy.lua")),
        part(include_str!("world.lua")),
        part(include_str!("storm.lua")),
    ];
    let folder = RunFolder::new("simulated").unwrap();
    let file = folder.write("storm.lua", text.concat()).unwrap();
    let output = Command::new("lua5.4").arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("lua5.4 did not start ({error}): apt-get install lua5.4"));
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(log.contains("the storm is over"), "seed {seed}: the simulation failed: {log}");
    let lines = |kind: &str| -> Vec<String> {
        said.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('\t')).map(str::to_owned).collect()
    };
    let operations = lines("op").iter().map(|line| operation(line)).collect();
    Seen { history: History { seed, operations }, story: lines("story").join("\n"), differences: lines("differ") }
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

/// The library keeps its promise in runs of these kinds: one memcached, and a clear answer.
fn holds(test: &str, kinds: &str, copies: usize) {
    let first = env::var(random::SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + RUNS {
        let seen = run(&library::library().text, seed, kinds, copies);
        let again = format!("{}={seed} cargo test --test contract -- --exact simulated::{test}", random::SEED);
        let checked = check(&seen.history, Misses::Gone);
        let checked = checked.unwrap_or_else(|violation| panic!("{violation}{}\nrun again: {again}", seen.story));
        let clear = if kinds == HEALTHY || kinds == SLOW { 0 } else { UNKNOWN };
        assert!(checked.unknown <= clear, "{:#?}\n{}\nrun again: {again}", seen.history.unknown(), seen.story);
        assert!(checked.operations > 500, "{checked:?}\n{}\nrun again: {again}", seen.story);
        if kinds == HEALTHY {
            assert!(seen.differences.is_empty(), "{}\nrun again: {again}", seen.differences.join("\n"));
        }
    }
}

/// A library with a rule broken is noticed in runs of these kinds. A mutant is a replacement in the text of the joined
/// library; one whose text is no longer there fails and says so.
fn assert_caught(from: &str, to: &str, kinds: &str) {
    let text = &library::library().text;
    assert!(text.contains(from), "this mutant no longer fits the library, which has no {from:?}: break the rule anew");
    let mutant = text.replace(from, to);
    let caught = (1..=LOOKS).any(|seed| {
        let seen = run(&mutant, seed, kinds, 3);
        kinds == HEALTHY && !seen.differences.is_empty() || check(&seen.history, Misses::Gone).is_err()
    });
    assert!(caught, "nobody noticed");
}

/// Also where writes and removals of one key overlap: a copy that keeps what was removed would be read once it leads.
#[test]
fn copies_agree_whatever_overlaps() {
    holds("copies_agree_whatever_overlaps", HEALTHY, 3);
}

#[test]
fn two_copies_agree_whatever_overlaps() {
    holds("two_copies_agree_whatever_overlaps", HEALTHY, 2);
}

#[test]
fn servers_die_and_come_back_empty() {
    holds("servers_die_and_come_back_empty", DEATHS, 3);
}

#[test]
fn servers_freeze_and_come_back_with_old_data() {
    holds("servers_freeze_and_come_back_with_old_data", STALLS, 3);
}

#[test]
fn one_proxy_is_cut_off_from_a_server() {
    holds("one_proxy_is_cut_off_from_a_server", CUTS, 3);
}

#[test]
fn packets_are_lost_in_one_direction() {
    holds("packets_are_lost_in_one_direction", LOSSES, 3);
}

#[test]
fn servers_and_paths_are_slow() {
    holds("servers_and_paths_are_slow", SLOW, 3);
}

#[test]
fn everything_in_random_order() {
    holds("everything_in_random_order", ALL, 3);
}

#[test]
fn everything_in_random_order_with_two_copies() {
    holds("everything_in_random_order_with_two_copies", ALL, 2);
}

#[test]
fn repeating_what_was_done_without_an_answer_is_caught() {
    let done = "if done then return{done=true";
    assert_caught(done, "if done and false then return{done=true", LOSSES);
}

#[test]
fn reading_a_server_that_was_emptied_is_caught() {
    let looks = "if not res or not res:ok()or res:hit()then return false end\nlocal now";
    assert_caught(looks, "if true then return false end\nlocal now", DEATHS);
}

#[test]
fn trusting_a_server_that_was_not_compared_is_caught() {
    assert_caught("if compare(t,x,key,b)then", "if true then", STALLS);
}

#[test]
fn taking_an_old_mark_for_a_new_one_is_caught() {
    let newer = "elseif mark.state==(mark.owner==\"all\"and\"d\"or\"r\")then";
    assert_caught(newer, "elseif mark.state==\"d\"then", CUTS);
}

#[test]
fn a_removal_that_does_not_look_again_is_caught() {
    assert_caught("purge(self,key,b,p,left)\n", "", HEALTHY);
}

#[test]
fn overwriting_a_copy_whatever_it_holds_is_caught() {
    assert_caught(
        "condition[x]=old and\" C\".. old or\" ME\"\nend\nfor _=1,ROUNDS",
        "condition[x]=\"\"\nend\nfor _=1,ROUNDS",
        HEALTHY,
    );
}

#[test]
fn leaving_a_copy_that_refused_as_it_is_is_caught() {
    assert_caught("else refused[#refused+1]=x end", "elseif false then refused[#refused+1]=x end", HEALTHY);
}

#[test]
fn filling_an_empty_place_without_a_second_look_is_caught() {
    assert_caught("then added[#added+1]=x end", "then added[1]=nil end", HEALTHY);
}

#[test]
fn removing_from_the_authority_only_is_caught() {
    assert_caught("if had then answers=self:all(M.remove_id(key,b,had),list,p,key,b)end\n", "", HEALTHY);
}
