//! One copy of each key and a stand-in: what eight clients see through three proxies while servers die, freeze, are cut off and
//! come back, empty or with old data, one after the other: the next fault waits until the one before is mended. A key may be missed;
//! nothing old may be seen, then or later, and no client gets an error.

use std::time::Duration;

use testbed::checker::Misses;
use testbed::history::{Call, History, Outcome, Plan, record};
use testbed::random;
use testbed::storm::{Kind, Storm};

use crate::coherent_under_faults::PAUSE;
use crate::layout::Layout;
use crate::rerun;

const KINDS: [Kind; 6] = [Kind::Kill, Kind::BackEmpty, Kind::BackStale, Kind::Freeze, Kind::Cut, Kind::Blackhole];
/// A request that took so long has waited for a lost server.
const FOUND_OUT: Duration = Duration::from_millis(80);
/// Said of an operation by [`decided_anew`].
pub(crate) const ANEW: &str = "decided anew";

/// An update that a server did before it was lost, without an answer, is decided anew where the key is missing; so what it
/// says then is no proof that it did nothing (docs/coherence.md, Open).
pub(crate) fn decided_anew(history: &mut History) {
    for operation in &mut history.operations {
        let refused = matches!(operation.outcome, Outcome::Miss | Outcome::NotStored | Outcome::Exists);
        let updates = matches!(operation.call, Call::Add(_) | Call::Append(_) | Call::Cas(..) | Call::Incr(_));
        if refused && updates && operation.end - operation.start > FOUND_OUT {
            operation.outcome = Outcome::Unknown(ANEW.to_owned());
        }
    }
}

#[test]
fn a_stand_in_shows_nothing_old_while_server_after_server_is_away() {
    let seed = random::seed();
    let bed = Layout::sharded().with_a_gutter().start(3);
    let mut plan = Plan::new(seed, bed.addresses());
    plan.pause = PAUSE;
    let mut storm = Storm::new(seed, rerun::storm_length(), &KINDS);
    storm.marked = 0; // of a key's server and its stand-in, one is whole
    let (mut history, story) = record(&plan, || storm.rage(&bed));
    let test = "gutter_under_clients::a_stand_in_shows_nothing_old_while_server_after_server_is_away";
    let again = rerun::command(test, seed);
    let story = story.unwrap_or_else(|error| panic!("{error:#}\nrun again: {again}"));
    decided_anew(&mut history);
    let checked = rerun::assert_one_memcached(test, &bed, &history, Misses::Hidden, &story);
    let failed: Vec<String> = history.unknown().into_keys().filter(|why| why != ANEW).collect();
    assert!(failed.is_empty(), "{failed:?}\n{story:#?}\nrun again: {again}");
    assert!(checked.operations > 1000, "{checked:?}");
}
