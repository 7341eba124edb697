//! The ring changes under eight clients and three proxies: more servers and fewer, more copies and fewer, while servers and
//! drivers die and proxies are late. What clients see stays what ONE memcached could have answered, and no key is lost.
//!
//! The driver is the controller's own (controller/ring_change), here on processes.

use std::thread;
use std::time::{Duration, Instant};

mod begun;
mod controls;
mod held;
mod in_turn;
mod narrow;

use memcached_injector::controller::ring_change::{Change, Held, Proxy, Step, step};
use memcached_injector::routing::library;
use memcached_injector::topology::change::{InForce, Shape};
use testbed::bed::Bed;
use testbed::checker::Misses;
use testbed::fault::Fault;
use testbed::history::{History, Plan, record};
use testbed::random::{self, Random};

use crate::layout::Layout;
use crate::rerun;

/// A change, with its sweep, takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two steps of a driver.
const PAUSE: Duration = Duration::from_millis(200);
/// Keys that no client touches: only a sweep moves them.
const UNTOUCHED: usize = 300;

fn shape(servers: usize, copies: usize) -> Shape {
    Shape { servers, copies }
}

/// What the controller would know of a bed.
fn change(bed: &Bed, layout: &Layout, goal: Shape) -> Change {
    let addresses: Vec<String> = bed.servers().iter().map(|server| server.address().to_string()).collect();
    let proxy = |(number, proxy): (usize, &testbed::parts::proxy::Proxy)| Proxy {
        id: proxy.id(),
        name: format!("shop/web-{number}"),
        reads_rings: true,
    };
    let now = shape(layout.counting, layout.copies as usize);
    Change {
        known: addresses.chunks(layout.servers / layout.sets).map(<[String]>::to_vec).collect(),
        goal,
        floor: InForce { epoch: 1, now, before: None },
        proxies: bed.proxies().iter().enumerate().map(proxy).collect(),
        gone: Vec::new(),
    }
}

fn one_step(change: &Change) -> Result<Step, Held> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(step(change))
}

/// Steps until the goal is in force -> what was done. A driver that is held tries again, as the controller does.
fn drive(change: &Change) -> Vec<String> {
    let (begin, mut told) = (Instant::now(), Vec::new());
    loop {
        let done = one_step(change);
        told.push(format!("{:6.0} ms {done:?}", begin.elapsed().as_secs_f64() * 1e3));
        if matches!(done, Ok(Step::Nothing(_))) {
            return told;
        }
        assert!(begin.elapsed() < PATIENCE, "the change does not come to its end:\n{}", told.join("\n"));
        thread::sleep(PAUSE); // the driver's rate
    }
}

/// A bed with keys that nobody touches from here on.
fn filled(layout: &Layout, library: &str) -> Bed {
    let bed = layout.start_with(library, 3);
    let mut client = bed.proxies()[0].client();
    for key in 0..UNTOUCHED {
        assert!(client.set(&format!("still{key}"), format!("value{key}").as_bytes(), 7, 0).unwrap());
    }
    bed
}

/// How many of the untouched keys a proxy does not find.
fn missing(bed: &Bed, proxy: usize) -> usize {
    let mut client = bed.proxies()[proxy].client();
    let is_there = |key: usize| {
        let item = client.get(&format!("still{key}")).unwrap();
        item.is_some_and(|item| item.value == format!("value{key}").as_bytes() && item.flags == 7)
    };
    UNTOUCHED - (0..UNTOUCHED).map(is_there).filter(|there| *there).count()
}

fn plan(seed: u64, bed: &Bed) -> Plan {
    let mut plan = Plan::new(seed, bed.addresses());
    plan.pause = Duration::from_millis(2); // the changes shall hurt, not the machine
    plan
}

/// One memcached could have answered so, without losing a key, and nobody got an error.
fn assert_kept(test: &str, bed: &Bed, history: &History, story: &[String]) {
    let checked = rerun::assert_one_memcached(test, bed, history, Misses::Never, story);
    let told = story.join("\n");
    assert!(checked.operations > 1000 && checked.unknown == 0, "{checked:?} {:#?}\n{told}", history.unknown());
    for proxy in 0..bed.proxies().len() {
        assert_eq!(missing(bed, proxy), 0, "untouched keys are missing at proxy {proxy}\n{told}");
    }
}

/// The ring goes through these shapes, one after the other.
fn goes_through(test: &str, layout: &Layout, goals: &[Shape]) -> Bed {
    let bed = filled(layout, &library::library().text);
    let (history, story) = record(&plan(random::seed(), &bed), || {
        thread::sleep(Duration::from_millis(500)); // traffic before, between and after
        goals.iter().flat_map(|goal| drive(&change(&bed, layout, *goal))).collect::<Vec<_>>()
    });
    println!("{}\nslowest: {:?}", story.join("\n"), history.slowest().map(ToString::to_string));
    assert_kept(test, &bed, &history, &story);
    bed
}

fn two_copies() -> Layout {
    Layout::coherent().with_two_copies().growing()
}

/// Each server holds the keys that it should, and no others.
fn assert_every_key_is_on(bed: &Bed, servers: usize, copies: usize) {
    let holds =
        |server: usize, key: usize| bed.servers()[server].client().get(&format!("still{key}")).unwrap().is_some();
    for key in 0..UNTOUCHED {
        let holders: Vec<usize> = (0..bed.servers().len()).filter(|server| holds(*server, key)).collect();
        assert!(holders.len() == copies && holders.iter().all(|x| *x < servers), "still{key} is on {holders:?}");
    }
}

#[test]
fn two_copies_grow_from_three_servers_to_five_and_back() {
    let test = "ring_change::two_copies_grow_from_three_servers_to_five_and_back";
    let bed = goes_through(test, &two_copies(), &[shape(5, 2), shape(3, 2)]);
    assert_every_key_is_on(&bed, 3, 2);
}

#[test]
fn one_copy_becomes_two_and_one_again() {
    let layout = Layout { copies: 1, ..Layout::coherent() };
    let test = "ring_change::one_copy_becomes_two_and_one_again";
    let bed = goes_through(test, &layout, &[shape(3, 2)]);
    assert_every_key_is_on(&bed, 3, 2);
    goes_through(test, &Layout::coherent().with_two_copies(), &[shape(3, 1)]);
}

#[test]
fn sharded_grows_from_three_servers_to_five_and_back() {
    let test = "ring_change::sharded_grows_from_three_servers_to_five_and_back";
    let bed = goes_through(test, &Layout::sharded().growing(), &[shape(5, 1), shape(3, 1)]);
    assert_every_key_is_on(&bed, 3, 1);
}

#[test]
fn two_sets_grow_in_step() {
    let layout = Layout { servers: 6, ..Layout::two_sets() };
    let bed = goes_through("ring_change::two_sets_grow_in_step", &layout, &[shape(3, 2), shape(2, 2)]);
    assert_eq!(missing(&bed, 0), 0);
}

/// Killed between the switch and the sweep, and back, empty, a second later: its keys' other copies count.
#[test]
fn a_server_killed_in_the_middle_loses_nothing() {
    let (test, layout) = ("ring_change::a_server_killed_in_the_middle_loses_nothing", two_copies());
    let bed = filled(&layout, &library::library().text);
    let change = change(&bed, &layout, shape(5, 2));
    let (history, story) = record(&plan(random::seed(), &bed), || {
        let mut story = vec![format!("{:?}", one_step(&change))];
        let guard = Fault::Kill(1).apply(&bed).unwrap();
        story.push(format!("server 1 killed; {:?}", one_step(&change)));
        thread::sleep(Duration::from_secs(1)); // how long it is dead
        guard.undo().unwrap();
        story.extend(drive(&change));
        story
    });
    assert!(story[0].contains("Switched"), "{story:#?}");
    let checked = rerun::assert_one_memcached(test, &bed, &history, Misses::Gone, &story);
    assert!(checked.unknown == 0, "{:#?}\n{}", history.unknown(), story.join("\n"));
    assert_eq!(missing(&bed, 2), 0, "untouched keys are missing\n{}", story.join("\n"));
}

/// One member of Q got the ring, then the driver died; another one goes on. Later one dies before the sweep.
#[test]
fn another_driver_goes_on_where_one_died() {
    let (test, layout) = ("ring_change::another_driver_goes_on_where_one_died", two_copies());
    let bed = filled(&layout, &library::library().text);
    let change = change(&bed, &layout, shape(5, 2));
    let (history, story) = record(&plan(random::seed(), &bed), || {
        let first = bed.servers()[0].client().raw("mg __mcp:v v c").unwrap();
        assert!(first.starts_with("VA"), "traffic has made the view: {first}");
        let ring = "2 5 2 3 2";
        bed.servers()[0].client().set("__mcp:v", ring.as_bytes(), 0, 0).unwrap();
        let mut story = vec![format!("server 0 has {ring}, the others have not")];
        story.push(format!("{:?}", one_step(&change)));
        story.extend(drive(&change));
        story
    });
    assert_kept(test, &bed, &history, &story);
}

/// Changes one after the other, among shapes that a seed chooses, on the hot keys alone.
fn storm(bed: &Bed, layout: &Layout, seed: u64, length: Duration) -> Vec<String> {
    let shapes = [shape(3, 1), shape(5, 1), shape(5, 2), shape(3, 2), shape(3, 3), shape(4, 2)];
    let (begin, mut random, mut story) = (Instant::now(), Random::stream(seed, 7), Vec::new());
    while begin.elapsed() < length {
        story.extend(drive(&change(bed, layout, random.pick(&shapes))));
    }
    story
}

#[test]
fn a_storm_of_changes_on_hot_keys_shows_nothing_old() {
    let (test, layout) = ("ring_change::a_storm_of_changes_on_hot_keys_shows_nothing_old", two_copies());
    let bed = filled(&layout, &library::library().text);
    let seed = random::seed();
    let (history, story) = record(&plan(seed, &bed), || storm(&bed, &layout, seed, rerun::storm_length()));
    assert_kept(test, &bed, &history, &story);
}
