//! The tests' own controls: what is left out must show.

use std::time::Duration;

use memcached_injector::routing::library;
use testbed::checker::{Misses, check};
use testbed::history::record;
use testbed::random;
use testbed::wait::{Look, until};

use super::{PATIENCE, UNTOUCHED, filled, missing, plan, storm, two_copies};
use crate::layout::Layout;

/// Proxies that turn as soon as they see the ring.
#[test]
fn turning_without_waiting_out_the_lease_is_caught() {
    let text = &library::library().text;
    let (wait, none) = ("at_once and start or start+FORCE", "start");
    assert!(text.contains(wait), "this mutant no longer fits the library: break the rule anew");
    let layout = two_copies();
    let seed = random::seed();
    let caught = (seed..seed + 6).any(|seed| {
        let bed = filled(&layout, &text.replace(wait, none));
        let mut plan = plan(seed, &bed);
        plan.pause = Duration::ZERO;
        let (history, _) = record(&plan, || storm(&bed, &layout, seed, Duration::from_secs(10)));
        check(&history, Misses::Never).is_err()
    });
    assert!(caught, "the checker did not notice");
}

/// And a change that is called finished though nothing was moved.
#[test]
fn finishing_without_a_sweep_loses_keys() {
    let layout = Layout::sharded().growing();
    let bed = filled(&layout, &library::library().text);
    let publish = |ring: &str| {
        for server in &bed.servers()[..3] {
            assert!(server.client().set("__mcp:v", ring.as_bytes(), 0, 0).unwrap());
        }
    };
    publish("2 5 1 3 1");
    publish("3 5 1 0 0");
    let (mut client, register) = (bed.proxies()[0].client(), format!("__mcp:p:{}", bed.proxies()[0].id()));
    until("the proxy to turn", PATIENCE, || {
        client.get("still0")?;
        let said =
            bed.servers()[0].client().get(&register)?.map(|item| String::from_utf8_lossy(&item.value).into_owned());
        Ok(if said.as_deref() == Some("5 3") { Look::Ready(()) } else { Look::NotYet(format!("{said:?}")) })
    })
    .unwrap();
    let lost = missing(&bed, 0);
    assert!(lost > UNTOUCHED / 10, "only {lost} of {UNTOUCHED} keys are missing");
}
