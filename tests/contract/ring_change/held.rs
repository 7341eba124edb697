//! Who holds a ring change up, and what clients see meanwhile: nothing. The driver names who it waits for.

use std::thread;
use std::time::{Duration, Instant};

use memcached_injector::controller::ring_change::{Held, Proxy};
use memcached_injector::routing::library;
use testbed::history::record;
use testbed::parts::memcached::Server;
use testbed::random;

use super::{PATIENCE, UNTOUCHED, assert_kept, change, drive, filled, missing, one_step, plan, shape, two_copies};
use crate::layout::Layout;

/// Its configuration lists three servers for two more seconds: the driver names it, and waits.
#[test]
fn a_late_proxy_holds_the_change_and_is_named() {
    let (test, layout) = ("ring_change::held::a_late_proxy_holds_the_change_and_is_named", two_copies());
    let bed = filled(&layout, &library::library().text);
    let addresses = |proxy: usize| -> Vec<_> { (0..5).map(|x| bed.relay(proxy, x).unwrap().address()).collect() };
    let short = Layout { servers: 3, ..layout.clone() };
    bed.proxies()[2].configure(&short.config(&addresses(2)[..3], None)).unwrap();
    bed.proxies()[2].wait_log("epoch 1, servers 3").unwrap();
    let change = change(&bed, &layout, shape(5, 2));
    let register = format!("__mcp:p:{}", bed.proxies()[2].id());
    let (history, story) = record(&plan(random::seed(), &bed), || {
        let named = Held::Unprepared(vec!["shop/web-2 (knows 3 of 5)".to_owned()]);
        bed.servers()[0].wait_holds(&register, "3 1", PATIENCE).unwrap();
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            assert_eq!(one_step(&change), Err(named.clone()));
        }
        bed.proxies()[2].configure(&layout.config(&addresses(2), None)).unwrap();
        drive(&change)
    });
    assert!(story.iter().any(|line| line.contains("Finished")), "{story:#?}");
    assert_kept(test, &bed, &history, &story);
}

/// The library before rings, and a configuration of its format, beside proxies of this build: as one memcached, and the driver
/// changes nothing before that pod is gone.
#[test]
fn a_library_that_knows_no_rings_runs_beside_and_holds_the_change_by_name() {
    let test = "ring_change::held::a_library_that_knows_no_rings_runs_beside_and_holds_the_change_by_name";
    let layout = two_copies();
    let bed = filled(&layout, &library::library().text);
    let addresses: Vec<_> = bed.servers()[..3].iter().map(Server::address).collect();
    let config = Layout { servers: 3, ..layout.clone() }.config(&addresses, None);
    let lines = config.replace("format = 2", "format = 1");
    let old: Vec<&str> =
        lines.lines().filter(|line| !line.contains("copies_by") && !line.starts_with("  servers")).collect();
    let old =
        testbed::parts::proxy::Proxy::start(include_str!("../library-before-rings.txt"), &old.join("\n")).unwrap();
    let mut change = change(&bed, &layout, shape(5, 2));
    change.proxies.push(Proxy { id: old.id(), name: "shop/old-0".to_owned(), reads_rings: false });
    let mut plan = plan(random::seed(), &bed);
    plan.proxies.push(old.address());
    let (history, held) = record(&plan, || {
        thread::sleep(Duration::from_secs(2)); // the length of the traffic
        one_step(&change)
    });
    assert_eq!(held, Err(Held::Unaware(vec!["shop/old-0".to_owned()])));
    assert_kept(test, &bed, &history, &[]);
}

/// What happens to a proxy if the ring is changed all the same.
#[test]
fn a_proxy_behind_the_ring_reads_on_and_says_so_for_writes() {
    let layout = two_copies();
    let bed = filled(&layout, &library::library().text);
    let addresses: Vec<_> = (0..5).map(|x| bed.relay(2, x).unwrap().address()).collect();
    let short = Layout { servers: 3, ..layout.clone() };
    bed.proxies()[2].configure(&short.config(&addresses[..3], None)).unwrap();
    bed.proxies()[2].wait_log("epoch 1, servers 3").unwrap();
    for server in &bed.servers()[..3] {
        assert!(server.client().set("__mcp:v", b"2 5 2 3 2", 0, 0).unwrap());
    }
    assert_eq!(missing(&bed, 2), 0, "what was not moved yet is read where it was");
    let mut client = bed.proxies()[2].client();
    let writes = (0..UNTOUCHED).map(|key| client.raw(&format!("touch still{key} 0")));
    let refused = writes.filter(|answer| match answer {
        Ok(line) => line != "TOUCHED",
        Err(error) => {
            let told = error.to_string();
            assert!(told.ends_with("this proxy does not know the servers of the ring in force yet"), "{told}");
            true
        }
    });
    let refused = refused.count();
    assert!((UNTOUCHED / 4..UNTOUCHED).contains(&refused), "{refused} of {UNTOUCHED} writes were refused");
    bed.proxies()[2].configure(&layout.config(&addresses, None)).unwrap();
    bed.proxies()[2].wait_log("epoch 1, servers 5").unwrap();
    drive(&change(&bed, &layout, shape(5, 2)));
    assert_eq!(missing(&bed, 2), 0);
}
