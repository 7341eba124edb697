//! What came at a bad moment: the authority is lost, emptied or marked once more, just when a request waits for something else. Storms in
//! which servers stall for 50 to 70 ms now and then found these; each is shown by its steps.

use std::collections::BTreeSet;

use memcached_injector::routing::library;

use super::{run_again, seeds, told};
use crate::mutants::mutant;

const BEHIND: &str = include_str!("behind.lua");
const SECOND_MARK: &str = include_str!("second_mark.lua");
const MARKED_AGAIN: &str = include_str!("marked_again.lua");
const EMPTIED_AGAIN: &str = include_str!("emptied_again.lua");
const EMPTIED_BETWEEN: &str = include_str!("emptied_between.lua");
const REMOVED: &str = include_str!("removed.lua");
const DOUBTED_TWICE: &str = include_str!("doubted_twice.lua");
const VAIN: &str = include_str!("vain.lua");
const UNDONE: &str = include_str!("undone.lua");

/// Clients are told what `is_right`, whatever the latencies are.
fn holds(test: &str, scene: &str, is_right: fn(&[String]) -> bool) {
    for seed in seeds() {
        let told = told(&library::library().text, seed, scene);
        assert!(is_right(&told), "{told:?}\n{}", run_again(test, seed));
    }
}

fn is_caught(from: &str, to: &str, scene: &str, is_right: fn(&[String]) -> bool) {
    let mutant = mutant(from, to);
    assert!(seeds().any(|seed| !is_right(&told(&mutant, seed, scene))), "nobody noticed");
}

/// The third proxy's write is the last; the key may be lost.
fn is_last_or_lost(told: &[String]) -> bool {
    matches!(told, [read] if read == "3" || read == "END")
}

#[test]
fn a_copy_that_is_ahead_is_not_set_back() {
    holds("moments::a_copy_that_is_ahead_is_not_set_back", BEHIND, is_last_or_lost);
}

#[test]
fn taking_a_copy_that_has_something_else_for_one_that_is_behind_is_caught() {
    is_caught("if(there or false)==(version.old or false)then", "if true then", BEHIND, is_last_or_lost);
}

/// In ms: TIMEOUT, then FORCE, and a few for the packets.
fn waits_for_one_mark(told: &[String]) -> bool {
    matches!(told, [waited] if waited.parse::<u32>().is_ok_and(|waited| waited <= 140 + 105 + 5))
}

#[test]
fn another_mark_of_a_lost_server_holds_nobody_up() {
    holds("moments::another_mark_of_a_lost_server_holds_nobody_up", SECOND_MARK, waits_for_one_mark);
}

#[test]
fn waiting_for_each_mark_of_a_server_is_caught() {
    is_caught("trusted and rec.turned or rec.till", "rec.till", SECOND_MARK, waits_for_one_mark);
}

/// Eleven increments made eleven numbers.
fn counts_each_once(told: &[String]) -> bool {
    let numbers: BTreeSet<u32> = told.iter().filter_map(|number| number.parse().ok()).collect();
    numbers == (1..=11).collect()
}

#[test]
fn a_server_that_was_trusted_while_a_proxy_did_not_look_is_waited_for() {
    let test = "moments::a_server_that_was_trusted_while_a_proxy_did_not_look_is_waited_for";
    holds(test, MARKED_AGAIN, counts_each_once);
}

#[test]
fn taking_a_new_mark_for_the_one_before_it_is_caught() {
    is_caught("ran_out and(fresh[name]or taken)", "ran_out and taken", MARKED_AGAIN, counts_each_once);
}

fn is_counted(told: &[String]) -> bool {
    told == ["2"]
}

#[test]
fn an_increment_asks_who_has_the_key_when_the_leader_was_emptied_again() {
    let test = "moments::an_increment_asks_who_has_the_key_when_the_leader_was_emptied_again";
    holds(test, EMPTIED_AGAIN, is_counted);
}

#[test]
fn looking_only_at_servers_that_were_never_emptied_is_caught() {
    is_caught("x~=did.p and t:takes(x)and", "x~=did.p and t:clean(x)and", EMPTIED_AGAIN, is_counted);
}

fn is_counted_and_kept(told: &[String]) -> bool {
    told == ["6", "6"]
}

#[test]
fn a_key_outlives_an_authority_that_is_emptied_between_two_steps() {
    let test = "moments::a_key_outlives_an_authority_that_is_emptied_between_two_steps";
    holds(test, EMPTIED_BETWEEN, is_counted_and_kept);
}

#[test]
fn taking_an_emptied_authority_for_a_removal_is_caught() {
    let asks = "if not item and t:emptied(did.p)then return false end";
    is_caught(asks, "", EMPTIED_BETWEEN, is_counted_and_kept);
}

/// What was set, seen and removed does not come back; the key may be lost.
fn stays_removed(told: &[String]) -> bool {
    matches!(told, [read] if read == "2" || read == "END")
}

#[test]
fn a_set_that_was_seen_and_removed_does_not_come_back() {
    holds("moments::a_set_that_was_seen_and_removed_does_not_come_back", REMOVED, stays_removed);
}

#[test]
fn repeating_a_set_behind_its_removal_is_caught() {
    is_caught(
        "if mine and not mine.id and t:lead(list,mine)then t:go_behind(key .. b,how.sent)end",
        "",
        REMOVED,
        stays_removed,
    );
}

#[test]
fn a_removal_does_not_wait_for_a_set_that_was_in_doubt_twice() {
    let test = "moments::a_removal_does_not_wait_for_a_set_that_was_in_doubt_twice";
    holds(test, DOUBTED_TWICE, waits_for_one_mark);
}

#[test]
fn leaving_the_first_doubt_open_is_caught() {
    let closes = "self:close_doubt()\nself.open,how.doubt.open=how.doubt,true";
    is_caught(closes, "self.open,how.doubt.open=how.doubt,true", DOUBTED_TWICE, waits_for_one_mark);
}

#[test]
fn what_came_to_the_copies_after_its_removal_does_not_stay() {
    holds("moments::what_came_to_the_copies_after_its_removal_does_not_stay", VAIN, |told| told == ["END"]);
}

#[test]
fn leaving_what_was_put_upon_a_version_that_came_in_vain_is_caught() {
    let looks = "holding_others(added,t:all(M.remove_id(key,b,id),added,nil,key,b))";
    is_caught(looks, "t:all(M.remove_id(key,b,id),added,nil,key,b)and{}", VAIN, |told| told == ["END"]);
}

#[test]
fn what_was_made_astray_and_seen_is_not_made_again() {
    holds("moments::what_was_made_astray_and_seen_is_not_made_again", UNDONE, |told| told == ["2", "END"]);
}

#[test]
fn taking_what_may_not_be_undone_for_undone_is_caught() {
    let doubts = "if undo and not t:ask(undo,did.p)then t:doubt(how,key .. b)end";
    is_caught(doubts, "if undo then t:ask(undo,did.p)end", UNDONE, |told| told == ["2", "END"]);
}
