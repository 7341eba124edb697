//! The harness itself: a library with one rule broken must be caught, or a green run proves nothing. A mutant is a
//! replacement in the text of the joined library; one whose text is no longer there fails and says so. Each is shown to
//! what looks for its rule: the steps of a cell, or concurrent traffic and the checker; the library as it is passes both.

use std::thread;
use std::time::Duration;

use memcached_injector::routing::library;
use testbed::checker::{Misses, check};
use testbed::fault::Fault;
use testbed::history::{Plan, record};
use testbed::random;

use crate::cell::{BEFORE, Class, Mode, Sees, Stage};
use crate::layout::Layout;

/// How often the checker looks before it counts as blind; each look has a seed of its own.
const LOOKS: u64 = 4;
/// The length of one look.
const LOOK: Duration = Duration::from_secs(4);

/// The library with a rule broken.
pub(crate) fn mutant(from: &str, to: &str) -> String {
    let text = &library::library().text;
    assert!(text.contains(from), "this mutant no longer fits the library, which has no {from:?}: break the rule anew");
    text.replace(from, to)
}

/// Whether the checker finds a violation in one of a few looks at concurrent traffic, without deletes, through three
/// proxies.
fn is_caught(library: &str) -> bool {
    let seed = random::seed();
    (seed..seed + LOOKS).any(|seed| {
        let bed = Layout::coherent().start_with(library, 3);
        let mut plan = Plan::new(seed, bed.addresses());
        plan.deletes = false;
        let (history, ()) = record(&plan, || thread::sleep(LOOK)); // the length of the traffic
        let verdict = check(&history, Misses::Never);
        if let Err(violation) = &verdict {
            println!("{violation}");
        }
        verdict.is_err()
    })
}

/// What a client sees of a class's keys on a library, after these faults.
fn seen(library: &str, class: Class, faults: &[Fault]) -> Vec<Sees> {
    let stage = Stage::with_library(Mode::Coherent, library);
    stage.fill(BEFORE);
    let guards: Vec<_> = faults.iter().map(|fault| fault.apply(&stage.bed).unwrap()).collect();
    if faults.contains(&Fault::BackEmpty(0)) {
        stage.bed.wait_all_up().unwrap();
    }
    let seen = stage.try_class(class, 0, BEFORE);
    drop(guards);
    seen
}

/// The cell's steps find nothing wrong with the library as it is, and something with the mutant.
fn assert_cell_catches(mutant: &str, class: Class, faults: &[Fault]) {
    let kept = |library: &str| seen(library, class, faults).iter().all(|sees| *sees == Sees::Kept);
    assert!(kept(&library::library().text), "the library as it is fails this cell: see the cell's own test");
    assert!(!kept(mutant), "the cell did not notice");
}

#[test]
fn reading_a_copy_before_the_authority_is_caught() {
    let authority_first = "local function read(t,r,cmd,key,list)\nwhile true do\nlocal p=t:lead(list)";
    let last_first = "local function read(t,r,cmd,key,list)\nwhile true do\nlocal p=list[#list]";
    assert!(!is_caught(&library::library().text), "the library as it is fails");
    assert!(is_caught(&mutant(authority_first, last_first)), "the checker did not notice");
}

#[test]
fn writing_to_the_authority_only_is_caught() {
    let alone = mutant("if x~=p and not self.dead[x]then pending[#pending+1]=x end\n", "");
    assert_cell_catches(&alone, Class::Read, &[Fault::Kill(0)]);
}

#[test]
fn deciding_an_add_without_a_look_at_the_copies_is_caught() {
    let looks = "if not several or not(not did.done and astray(t,did,key,b,list,creates,how.id))then";
    assert_cell_catches(&mutant(looks, "if true then"), Class::Update, &[Fault::BackEmpty(0)]);
}

#[test]
fn taking_the_emptied_authoritys_miss_for_an_answer_is_caught() {
    let asks_again = "if res:hit()or not again(t,key,b_flag(r),p,list)then return res end";
    assert_cell_catches(&mutant(asks_again, "return res"), Class::Read, &[Fault::BackEmpty(0)]);
}

/// The bed's own control: a fault that does nothing would let every library pass.
#[test]
fn a_lost_copy_is_caught_where_no_loss_is_allowed() {
    let bed = Layout::sharded().start(2);
    let plan = Plan::new(random::seed(), bed.addresses());
    let (history, ()) = record(&plan, || {
        for server in 0..3 {
            Fault::BackEmpty(server).apply(&bed).unwrap().undo().unwrap();
            bed.wait_all_up().unwrap();
        }
    });
    assert!(check(&history, Misses::Never).is_err(), "no loss was noticed in {} operations", history.operations.len());
}
