//! A server that came back empty gets everything, whatever the layout and whoever interrupts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use memcached_injector::controller::resync::Limits;
use memcached_injector::resync::Need;
use testbed::checker::{Misses, check};
use testbed::client::Client;
use testbed::history::{Plan, record};
use testbed::random;
use testbed::wait::{Look, until};

use crate::lab::{BOUND, LAYOUTS, LIMITS, Lab, Layout};
use crate::run;

const ROTATED: Layout = Layout { lists: &[3], copies: 2, stand_ins: 0 };
const ALL: Layout = Layout { lists: &[3], copies: 3, stand_ins: 0 };
/// Keys that a proxy can't remember all when one server misses them: LIMIT of marks.lua is 20,000.
const TOO_MANY: usize = 21_000;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(50);

/// Items of every kind, written through a proxy and never read: with flags, with a lifetime, in base64, large, empty.
fn fill(lab: &Lab, count: usize) -> Vec<String> {
    let mut client = Client::new(lab.bed.addresses()[0]);
    let mut keys = Vec::new();
    for number in 0..count {
        let (size, lifetime) = (if number % 100 == 0 { 200_000 } else { number % 300 }, (number % 2 * 7200) as u32);
        assert!(client.set(&format!("key-{number}"), &vec![b'v'; size], number as u32, lifetime).unwrap());
        keys.push(format!("key-{number}"));
    }
    for key in ["YSBi", "AAECAw=="] {
        assert_eq!(client.raw(&format!("ms {key} 1 b F7 T7200\r\nx")).unwrap(), "HD");
        keys.push(format!("{key} b"));
    }
    keys
}

#[test]
fn an_emptied_server_gets_everything_in_every_layout() {
    for layout in LAYOUTS {
        let lab = Lab::start(layout);
        let keys = fill(&lab, 1500);
        run(async {
            let mut care = lab.care();
            lab.until_whole(&mut care).await;
            for emptied in 0..2 {
                lab.bed.servers()[emptied].restart_empty().unwrap();
                assert!(matches!(lab.needs(&mut care).await[emptied], Need::Refill { partly: false, .. }));
                lab.until_whole(&mut care).await;
                assert_eq!(lab.assert_equal(&keys).await, keys.len(), "{layout:?}");
                lab.assert_unmarked().await;
            }
        });
    }
}

/// From when the server is marked; before that it is the proxies' affair (docs/coherence.md, rule 7).
#[test]
fn clients_see_one_memcached_while_a_server_is_refilled() {
    for layout in [ALL, ROTATED] {
        let lab = Lab::start(layout);
        fill(&lab, 1500);
        // Slow enough that clients write, delete and touch much of what is under way.
        let mut care = lab.care_with(Limits { bytes: 20 << 20, items: 3_000, ..LIMITS });
        run(lab.until_whole(&mut care));
        let mut plan = Plan::new(random::seed(), lab.bed.addresses());
        plan.registers = 40;
        lab.bed.servers()[0].restart_empty().unwrap();
        run(async {
            let needs = lab.needs(&mut care).await;
            care.act(&needs, &|| false).await.unwrap();
        });
        let (history, ()) = record(&plan, || run(lab.until_whole(&mut care)));
        let checked = check(&history, Misses::Gone).unwrap_or_else(|violation| panic!("{layout:?}: {violation}"));
        assert!(checked.operations > 1000, "{checked:?}");
    }
}

#[test]
fn what_was_deleted_meanwhile_is_not_brought_back() {
    let lab = Lab::start(ALL);
    let keys = fill(&lab, 3000);
    run(async {
        let mut care = lab.care_with(Limits { items: 3_000, ..LIMITS });
        lab.until_whole(&mut care).await;
        lab.bed.servers()[0].restart_empty().unwrap();
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| {
                let mut client = Client::new(lab.bed.addresses()[1]);
                let text = keys.iter().filter(|key| !key.ends_with(" b"));
                text.step_by(2).filter(|key| client.delete(key).unwrap()).count()
            });
            let handle = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| handle.block_on(lab.until_whole(&mut care)));
            assert_eq!(deleting.join().unwrap(), 1500);
        });
        assert_eq!(lab.assert_equal(&keys).await, keys.len() - 1500);
    });
}

#[test]
fn another_leader_goes_on_with_an_interrupted_refill() {
    let lab = Lab::start(ROTATED);
    let keys = fill(&lab, 3000);
    run(async {
        let mut care = lab.care();
        lab.until_whole(&mut care).await;
        lab.bed.servers()[1].restart_empty().unwrap();
        let needs = lab.needs(&mut care).await;
        let asked = AtomicUsize::new(0);
        // Two batches of 500, and then it does not lead any more.
        let stopped = care.act(&needs, &|| asked.fetch_add(1, Ordering::Relaxed) < 3).await.unwrap_err();
        assert!(stopped.to_string().contains("another replica leads"), "{stopped}");
        let copied = lab.metrics.resync_items.get();
        assert!(copied > 0 && copied < 2000, "{copied} items");
        drop(care);
        let mut other = lab.care();
        assert!(matches!(lab.needs(&mut other).await[1], Need::Refill { .. }), "it is still not whole");
        lab.until_whole(&mut other).await;
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        lab.assert_unmarked().await;
        let share =
            keys.iter().filter(|key| lab.order().of(key.trim_end_matches(" b").as_bytes()).contains(&1)).count();
        assert_eq!(lab.metrics.resync_items.get(), share as u64, "nothing was copied twice");
    });
}

#[test]
fn the_last_copy_is_waited_for() {
    let lab = Lab::start(Layout { lists: &[2], copies: 2, stand_ins: 0 });
    let keys = fill(&lab, 500);
    run(async {
        let mut care = lab.care();
        lab.until_whole(&mut care).await;
        let frozen = lab.bed.servers()[1].freeze().unwrap();
        lab.bed.servers()[0].restart_empty().unwrap();
        let needs = lab.needs(&mut care).await;
        assert!(needs.iter().all(|need| matches!(need, Need::Patience(_))), "{needs:?}");
        care.act(&needs, &|| true).await.unwrap();
        frozen.thaw();
        lab.until_whole(&mut care).await;
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        // Where it is known to be gone, nobody waits for it.
        lab.bed.servers()[1].kill().unwrap();
        lab.bed.servers()[0].restart_empty().unwrap();
        assert_eq!(care.look(&[true, false]).await.unwrap()[0], Need::Declaration);
    });
}

#[test]
fn a_server_that_missed_writes_is_compared_item_by_item() {
    let lab = Lab::start(ROTATED);
    let keys = fill(&lab, 1500);
    run(async {
        let mut care = lab.care();
        lab.until_whole(&mut care).await;
        // Server 2 has old values, old lifetimes, what was deleted, and lacks what was added.
        let mut behind = lab.bed.servers()[2].client();
        let share: Vec<&String> =
            keys.iter().filter(|key| !key.ends_with(" b") && lab.order().of(key.as_bytes()).contains(&2)).collect();
        for (number, key) in share.iter().enumerate() {
            match number % 4 {
                0 => assert!(behind.set(key, b"old", 9, 0).unwrap()),
                1 => assert!(behind.touch(key, 100).unwrap()),
                2 => assert!(behind.delete(key).unwrap()),
                _ => {}
            }
        }
        let mut stray = 0;
        for number in 0.. {
            let key = format!("deleted-{number}");
            if lab.order().of(key.as_bytes()).contains(&2) {
                assert!(behind.set(&key, b"deleted elsewhere", 0, 0).unwrap());
                stray += 1;
            }
            if stray == 50 {
                break;
            }
        }
        for member in lab.bed.servers() {
            assert_eq!(member.client().raw("ms __mcp:v 9 MA N0\r\n d1-3.all").unwrap(), "HD");
        }
        assert!(matches!(lab.needs(&mut care).await[2], Need::Refill { partly: false, .. }));
        lab.until_whole(&mut care).await;
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        lab.assert_unmarked().await;
        assert_eq!(lab.metrics.resync_removed.get(), 50);
    });
}

#[test]
fn what_a_silent_proxy_owes_is_done_for_it() {
    let lab = Lab::start(ALL);
    let keys = fill(&lab, 500);
    let [mut writer, mut other] = [0, 1].map(|proxy| Client::new(lab.bed.addresses()[proxy]));
    run(async {
        let mut care = lab.care();
        lab.until_whole(&mut care).await;
        let frozen = lab.bed.servers()[1].freeze().unwrap();
        for key in &keys[..100] {
            assert!(writer.set(key, b"new", 3, 0).unwrap());
        }
        frozen.thaw(); // and the writer is never heard again
        assert_eq!(lab.needs(&mut care).await[1], Need::Patience("proxies are repairing it"));
        lab.until_whole(&mut care).await;
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        lab.assert_unmarked().await;
        // When it is, both see the same.
        for key in &keys[..200] {
            let value: &[u8] = if other.get(key).unwrap().unwrap().value == b"new" { b"newer" } else { b"first" };
            assert!(other.set(key, value, 4, 0).unwrap());
            assert_eq!(writer.get(key).unwrap().unwrap().value, value);
        }
        // The writer looks after what it owed by itself now, finds nothing to do, and takes its mark back.
        let start = std::time::Instant::now();
        while lab.needs(&mut care).await[1] != Need::Nothing {
            assert!(start.elapsed() < crate::lab::BOUND);
            writer.get(&keys[0]).unwrap();
        }
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
    });
}

/// As after a drain: an app's last writes find its server gone, and then the app's proxy is gone too.
#[test]
fn a_server_that_came_back_empty_waits_for_no_proxy_that_is_silent() {
    let lab = Lab::start(ALL);
    let keys = fill(&lab, 500);
    run(async {
        let mut care = lab.care_with(Limits { patience: PATIENCE, ..LIMITS });
        lab.until_whole(&mut care).await;
        lab.bed.servers()[1].kill().unwrap();
        let mut writer = Client::new(lab.bed.addresses()[0]);
        for key in &keys[..100] {
            assert!(writer.set(key, b"new", 3, 0).unwrap());
        }
        lab.bed.servers()[1].restart_empty().unwrap();
        let start = std::time::Instant::now();
        lab.until_whole(&mut care).await;
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        lab.assert_unmarked().await;
    });
}

/// A busy proxy during a long outage.
#[test]
fn more_than_a_proxy_remembers_is_compared_for_it_and_then_done() {
    let lab = Lab::start(ALL);
    let keys: Vec<String> = (0..TOO_MANY).map(|number| format!("many-{number}")).collect();
    let mut proxy = Client::new(lab.bed.addresses()[0]);
    run(async {
        let mut care = lab.care();
        lab.until_whole(&mut care).await;
        let frozen = lab.bed.servers()[1].freeze().unwrap();
        for key in &keys {
            assert!(proxy.set(key, b"new", 3, 0).unwrap());
        }
        frozen.thaw();
        lab.until(&mut care, |needs| {
            // It goes on, and looks at the view all the time.
            for key in &keys[..100] {
                assert_eq!(proxy.get(key).unwrap().unwrap().value, b"new");
            }
            needs.iter().all(|need| *need == Need::Nothing) && lab.bed.marks().is_empty()
        })
        .await;
        assert_eq!(lab.assert_equal(&keys).await, keys.len());
        lab.assert_unmarked().await;
    });
}

#[test]
fn one_copy_a_key_needs_nothing() {
    let lab = Lab::start(Layout { lists: &[3], copies: 1, stand_ins: 0 });
    fill(&lab, 100);
    run(async {
        let mut care = lab.care();
        lab.bed.servers()[0].restart_empty().unwrap();
        let needs = lab.needs(&mut care).await;
        assert!(needs.iter().all(|need| *need == Need::Nothing));
        // It is called whole all the same, or it would be taken for emptied again when it holds something old.
        care.act(&needs, &|| true).await.unwrap();
        lab.assert_unmarked().await;
    });
}

/// A server is away, and before it has what it missed another one hangs for a moment: with two copies there are keys that
/// either missed a write of, and the proxy that owes them has to come to an end all the same.
#[test]
fn what_one_proxy_owes_to_both_servers_of_a_key_is_done() {
    let lab = Lab::start(Layout { lists: &[3], copies: 2, stand_ins: 0 });
    let keys: Vec<String> = (0..60).map(|number| format!("both-{number}")).collect();
    let mut proxy = Client::new(lab.bed.addresses()[0]);
    let mut write_all = |value: &str| -> usize {
        keys.iter().filter(|key| proxy.set(key, value.as_bytes(), 0, 0).is_ok_and(|stored| stored)).count()
    };
    assert_eq!(write_all("first"), keys.len());
    let one = lab.bed.servers()[0].freeze().unwrap();
    assert_eq!(write_all("second"), keys.len());
    one.thaw();
    let two = lab.bed.servers()[2].freeze().unwrap();
    // The proxy looks every second whether the first is back; until then some keys have no server.
    until_all(|| write_all("third"), keys.len());
    two.thaw();
    until_all(|| write_all("fourth"), keys.len());
    until("the marks to go", BOUND, || {
        for key in &keys {
            proxy.get(key)?; // which value meanwhile: docs/coherence.md, all servers of a key marked at once
        }
        let marks = lab.bed.marks();
        Ok(if marks.is_empty() { Look::Ready(()) } else { Look::NotYet(marks.join(" ")) })
    })
    .unwrap();
    run(async { assert_eq!(lab.assert_equal(&keys).await, keys.len()) });
    keys.iter().for_each(|key| assert_eq!(proxy.get(key).unwrap().unwrap().value, b"fourth", "{key}"));
}

fn until_all(mut written: impl FnMut() -> usize, keys: usize) {
    until("every key to be written", BOUND, || {
        let count = written();
        Ok(if count == keys { Look::Ready(()) } else { Look::NotYet(format!("{count} were")) })
    })
    .unwrap();
}
