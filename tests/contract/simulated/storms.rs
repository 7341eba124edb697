//! Storms in virtual time: several faults, one after the other, in the same run, on a few hot keys. Servers die and come back
//! empty, freeze, come back with old data, are slow, are cut off from one proxy or from all; packets are lost in one
//! direction or both. A whole copy of each key stays: the next fault waits until proxies trust one more server than there are
//! copies to lose. Nothing old may be seen, no increment repeated or lost, and no client may get an error, then or later.
//!
//! The mutants show that each rule of docs/coherence.md that storms need is needed.

use testbed::checker::{Misses, check};

use super::{Shape, assert_caught, holds, run, run_again, seeds};
use crate::mutants::{broken, mutant};

const DEATHS: &str = "kill,empty";
const STALLS: &str = "freeze,stale";
const CUTS: &str = "cut,blackhole";
const LOSSES: &str = "requestslost,replieslost";
const SLOW: &str = "slow,starve,delay";
const ALL: &str = "kill,freeze,empty,stale,slow,starve,cut,blackhole,requestslost,replieslost,delay";

/// On keys that are used so seldom that what a server missed is still missing when it is to be trusted again.
const REPAIRS: &str = "seldom,freeze,stale,cut,kill";

/// Long enough for some fifty faults, and for a key's servers to be emptied or marked one after the other: then the one that was emptied
/// first leads, and misses what another has until that is trusted again.
const LONG: Shape = Shape { copies: 3, stand_ins: 0, seconds: 200, misses: Misses::Hidden };
/// Long enough for some five faults.
const STORM: Shape = Shape { copies: 3, stand_ins: 0, seconds: 8, misses: Misses::Gone };

#[test]
fn servers_die_and_come_back_empty() {
    holds("storms::servers_die_and_come_back_empty", DEATHS, STORM);
}

#[test]
fn servers_freeze_and_come_back_with_old_data() {
    holds("storms::servers_freeze_and_come_back_with_old_data", STALLS, STORM);
}

#[test]
fn one_proxy_is_cut_off_from_a_server() {
    holds("storms::one_proxy_is_cut_off_from_a_server", CUTS, STORM);
}

#[test]
fn packets_are_lost_in_one_direction() {
    holds("storms::packets_are_lost_in_one_direction", LOSSES, STORM);
}

#[test]
fn servers_and_paths_are_slow() {
    holds("storms::servers_and_paths_are_slow", SLOW, STORM);
}

#[test]
fn everything_in_random_order() {
    holds("storms::everything_in_random_order", ALL, STORM);
}

#[test]
fn everything_in_random_order_with_two_copies() {
    holds("storms::everything_in_random_order_with_two_copies", ALL, Shape { copies: 2, ..STORM });
}

/// For up to 20 ms, as on a busy machine: what storms on real processes let pass.
#[test]
fn everything_in_random_order_while_all_parts_stall_for_moments() {
    let test = "storms::everything_in_random_order_while_all_parts_stall_for_moments";
    holds(test, &format!("{ALL},stalls20"), STORM);
}

#[test]
fn what_a_server_missed_is_repaired_before_it_is_trusted() {
    holds("storms::what_a_server_missed_is_repaired_before_it_is_trusted", REPAIRS, LONG);
}

/// Virtual seconds in which three servers are restarted and then nothing is found missing for as long as it takes, twice over.
const ROLL: Shape = Shape { copies: 3, stand_ins: 0, seconds: 14, misses: Misses::Gone };

/// Restarts of all servers, one after the other, by a library with this changed. The minute of docs/coherence.md, rule 9, takes 2 s.
fn restarted(seed: u64, from: &str, to: &str) -> super::Seen {
    let impatient = mutant("M.QUIET=60000", "M.QUIET=2000");
    run(&broken(&impatient, from, to), seed, "roll", ROLL)
}

#[test]
fn restarted_servers_lead_again_though_nobody_fills_them() {
    for seed in seeds() {
        let seen = restarted(seed, "", "");
        let again = run_again("storms::restarted_servers_lead_again_though_nobody_fills_them", seed);
        let checked = seen.as_one_memcached(ROLL, &again);
        assert_eq!(checked.unknown, 0, "{:#?}\n{}\n{again}", seen.history.unknown(), seen.story);
        assert_eq!(seen.marks, Vec::<String>::new(), "{}\n{again}", seen.story);
        assert_eq!(seen.trusted, 9, "three proxies do not trust three servers each\n{}\n{again}", seen.story);
    }
}

#[test]
fn leaving_the_marks_of_servers_that_have_started_anew_is_caught() {
    let over = "mark.over=complete and mark.owner==\"all\"and mark.state==\"r\"and now - mark.since>STAYS";
    assert!(!restarted(1, over, "mark.over=false").marks.is_empty(), "nobody noticed");
}

#[test]
fn repeating_what_was_done_without_an_answer_is_caught() {
    assert_caught("if done then\nif mine.old", "if done and false then\nif mine.old", LOSSES, STORM);
}

#[test]
fn leaving_memcacheds_own_id_on_a_number_is_caught() {
    assert_caught("M.STAMP=\"D0 v t E\"", "M.STAMP=\"D0 v t O\"", LOSSES, STORM);
}

#[test]
fn trusting_a_server_that_was_not_compared_is_caught() {
    assert_caught("if compare(t,x,key,b)then", "if true then", REPAIRS, LONG);
}

#[test]
fn taking_an_old_mark_for_a_new_one_is_caught() {
    let newer = "elseif mark.state==(mark.owner==\"all\"and\"d\"or\"r\")then";
    assert_caught(newer, "elseif mark.state==\"d\"then", CUTS, STORM);
}

/// The library with so few handles that requests use up those of a server.
fn with_few_handles() -> String {
    mutant("local HANDLES<const> =16", "local HANDLES<const> =8")
}

/// Storms in which it happens, each with its seed; none in which others see what such a request did at a server that is lost before it
/// could say so (docs/coherence.md, Open).
const ASKED_TOO_OFTEN: [(u64, &str); 5] = [(1, STALLS), (4, ALL), (5, LOSSES), (8, ALL), (9, LOSSES)];

#[test]
fn a_request_that_has_asked_a_server_too_often_ends() {
    for (seed, kinds) in ASKED_TOO_OFTEN {
        run(&with_few_handles(), seed, kinds, STORM).as_one_memcached(STORM, &format!("seed {seed}, {kinds}"));
    }
}

#[test]
fn going_on_without_a_server_that_was_asked_too_often_is_caught() {
    let ends = "else self.used_up,self.dead[x],self.hurt=true,true,true end";
    let library = broken(&with_few_handles(), ends, "else self.dead[x],self.hurt=true,true end");
    let noticed = |(seed, kinds)| check(&run(&library, seed, kinds, STORM).history, STORM.misses).is_err();
    assert!(ASKED_TOO_OFTEN.into_iter().any(noticed), "nobody noticed");
}

#[test]
#[should_panic(expected = "a request never ends")]
fn asking_for_a_server_for_ever_is_caught() {
    let library = broken(&with_few_handles(), "else self.used_up,self.dead[x],self.hurt=true,true,true end", "end");
    for seed in 1..=super::LOOKS {
        run(&library, seed, SLOW, STORM);
    }
}

#[test]
fn using_the_next_authority_at_once_is_caught() {
    assert_caught("local left=settled(self.servers,list,p,now)- now", "local left=0", CUTS, STORM);
}
