//! One copy of each key and a stand-in: a proxy that ends, or falls silent, while a server is away leaves its mark on it, and
//! with it what it alone knew. Nobody can repair the server then, but one that came back empty has nothing to repair.

use memcached_injector::resync::Need;
use testbed::client::Client;
use testbed::wait::{Look, until};

use crate::lab::{BOUND, Lab, Layout};
use crate::run;

const ONE_COPY: Layout = Layout { lists: &[3], copies: 1, stand_ins: 1 };
/// Of the servers the one that is away, and the stand-in.
const AWAY: usize = 1;
const STAND_IN: usize = 3;

fn keys() -> Vec<String> {
    (0..60).map(|number| format!("key-{number}")).collect()
}

fn write_all(client: &mut Client) {
    for key in keys() {
        assert!(client.set(&key, b"new", 0, 0).unwrap(), "{key}");
    }
}

fn is_distrusted(lab: &Lab) -> bool {
    lab.bed.marks().iter().any(|marks| marks.contains("d1-2"))
}

/// Only the one that was away: another that a busy machine has slowed down for a moment may be where it was.
fn until_trusted(lab: &Lab) {
    run(lab.until(&mut lab.care(), |needs| needs[AWAY] == Need::Nothing));
}

#[test]
fn a_server_that_came_back_empty_is_trusted_again_though_who_marked_it_is_gone() {
    let lab = Lab::start(ONE_COPY);
    let [mut gone, mut other] = [0, 1].map(|proxy| Client::new(lab.bed.addresses()[proxy]));
    write_all(&mut gone);
    lab.bed.servers()[AWAY].kill().unwrap();
    write_all(&mut gone);
    lab.bed.servers()[AWAY].restart_empty().unwrap();
    assert!(is_distrusted(&lab));
    until_trusted(&lab);
    assert!(!is_distrusted(&lab), "{:?}", lab.bed.marks());
    write_all(&mut other);
    lab.bed.servers()[STAND_IN].kill().unwrap();
    for key in keys() {
        assert_eq!(other.get(&key).unwrap().unwrap().value, b"new", "{key}");
    }
    // Who is still there takes away what is left of the mark, when the stand-in can't hold anything any more.
    until("the marks to go", BOUND, || {
        for key in keys() {
            other.get(&key)?;
        }
        let marks = lab.bed.marks();
        Ok(if marks.iter().all(|marks| !marks.contains("1-2")) {
            Look::Ready(())
        } else {
            Look::NotYet(marks.join(" "))
        })
    })
    .unwrap();
}

#[test]
fn a_server_with_old_values_that_nobody_knows_is_not_trusted_until_it_starts_empty() {
    let lab = Lab::start(ONE_COPY);
    let [mut gone, mut other] = [0, 1].map(|proxy| Client::new(lab.bed.addresses()[proxy]));
    for key in keys() {
        assert!(gone.set(&key, b"old", 0, 0).unwrap());
    }
    let frozen = lab.bed.servers()[AWAY].freeze().unwrap();
    write_all(&mut gone);
    frozen.thaw();
    let says_what_to_do = |need: &Need| matches!(need, Need::Patience(why) if why.contains("delete its pod"));
    run(lab.until(&mut lab.care(), |needs| says_what_to_do(&needs[AWAY])));
    assert!(is_distrusted(&lab));
    for key in keys() {
        assert_ne!(other.get(&key).unwrap().map(|item| item.value), Some(b"old".to_vec()), "{key}");
    }
    lab.bed.servers()[AWAY].restart_empty().unwrap();
    until_trusted(&lab);
    assert!(!is_distrusted(&lab), "{:?}", lab.bed.marks());
}
