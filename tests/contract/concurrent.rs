//! Healthy: what eight clients at once see through several proxies is what one memcached could have answered.

use std::thread;
use std::time::Duration;

use testbed::bed::Bed;
use testbed::checker::{Misses, check};
use testbed::history::{Plan, record};
use testbed::parts::memcached::Server;
use testbed::random;

use crate::layout::Layout;
use crate::rerun;

/// Long enough for some ten thousand operations.
const LENGTH: Duration = Duration::from_secs(3);

/// The checker itself is tried on the real thing: whatever it refuses here is its own mistake.
#[test]
fn one_real_memcached_always_passes() {
    let server = Server::start().unwrap();
    let mut plan = Plan::new(random::seed(), vec![server.address()]);
    plan.pause = Duration::ZERO;
    let (history, ()) = record(&plan, || thread::sleep(LENGTH)); // the length of the traffic
    let checked = check(&history, Misses::Never).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.operations > 1000 && checked.unknown == 0, "{checked:?}");
}

/// What eight clients see through the bed's proxies while nothing is wrong.
pub(crate) fn as_one(test: &str, bed: &Bed) {
    let plan = Plan::new(random::seed(), bed.addresses());
    let (history, ()) = record(&plan, || thread::sleep(LENGTH)); // the length of the traffic
    let checked = rerun::assert_one_memcached(test, bed, &history, Misses::Never, &[]);
    assert!(checked.operations > 1000 && checked.unknown == 0, "{checked:?} {:?}", history.unknown());
}

#[test]
fn sharded_is_one_memcached_for_three_proxies() {
    as_one("concurrent::sharded_is_one_memcached_for_three_proxies", &Layout::sharded().start(3));
}
