//! The harness itself: a library with one rule broken must be caught, or a green run proves nothing. A mutant is a
//! replacement in the text of the joined library; one whose text is no longer there fails and says so. Each is shown to
//! what looks for its rule, which the library as it is passes.

use std::thread;
use std::time::Duration;

use memcached_injector::routing::library;
use memcached_injector::routing::order::Order;
use testbed::checker::{Misses, check};
use testbed::client::{Client, Stored};
use testbed::fault::{Fault, From};
use testbed::history::{Plan, record};
use testbed::random;

use crate::cell::{BEFORE, Class, Mode, Sees, Stage};
use crate::layout::Layout;

/// The library with a rule broken.
pub(crate) fn mutant(from: &str, to: &str) -> String {
    broken(&library::library().text, from, to)
}

/// A library with one more rule broken.
pub(crate) fn broken(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "this mutant no longer fits the library, which has no {from:?}: break the rule anew");
    text.replace(from, to)
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

/// What a client reads on a library, once `EXISTS` has told it that its item was written, while that write has not come to the
/// key's last copy.
fn read_after_exists(library: &str) -> String {
    const KEY: &str = "read-after-exists";
    let bed = Layout::coherent().start_with(library, 2);
    let mut client = Client::new(bed.addresses()[1]);
    assert!(client.set(KEY, b"before", 0, 0).unwrap());
    let id = client.gets(KEY).unwrap().unwrap().cas.unwrap();
    let order = Order::new(&[3], 3).unwrap().of(KEY.as_bytes());
    let held = Fault::RequestsLost(From::Proxy(0), order[2]).apply(&bed).unwrap();
    let read = thread::scope(|scope| {
        let writer = scope.spawn(|| Client::new(bed.addresses()[0]).set(KEY, b"after", 0, 0).unwrap());
        bed.servers()[order[0]].wait_holds(KEY, "after", Duration::from_secs(10)).unwrap();
        assert_eq!(client.cas(KEY, b"mine", id).unwrap(), Stored::Exists);
        let read = client.get(KEY).unwrap().map(|item| item.value);
        assert!(writer.join().unwrap());
        read
    });
    held.undo().unwrap();
    String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
}

#[test]
fn reading_a_copy_before_the_authority_is_caught() {
    let usual = ("local handle=t.H[list[1]][1]", "local handle=t.H[list[#list]][1]");
    let otherwise = (
        "local function read(t,r,cmd,key,list)\nwhile true do\nlocal p=t:lead(list)",
        "local function read(t,r,cmd,key,list)\nwhile true do\nlocal p=t:lead(list) and list[#list]",
    );
    let text = &library::library().text;
    let last_first = broken(&mutant(usual.0, usual.1), otherwise.0, otherwise.1);
    assert_eq!(read_after_exists(text), "after", "the library as it is");
    assert_eq!(read_after_exists(&last_first), "before", "the mutant");
}

#[test]
fn writing_to_the_authority_only_is_caught() {
    let alone = mutant("if x~=p and not self.dead[x]then pending[#pending+1]=x end\n", "");
    assert_cell_catches(&alone, Class::Read, &[Fault::Kill(0)]);
}

#[test]
fn deciding_an_add_without_a_look_at_the_copies_is_caught() {
    let looks = "if not several or not(not did.done and astray(t,did,key,b,list,creates,how))then";
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
