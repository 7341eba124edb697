//! A split: one proxy reaches the first server only, the other one the other two. Each side goes on with the copies that it
//! reaches: no error, and what the other side writes is not seen.

use std::time::{Duration, Instant};

use testbed::client::Client;
use testbed::fault::{Fault, From};

use crate::cell::Sees::{Kept, Stale};
use crate::cell::{cells, during};
use crate::layout::Layout;

const SPLIT: [Fault; 3] = [Fault::Cut(From::Proxy(0), 1), Fault::Cut(From::Proxy(0), 2), Fault::Cut(From::Proxy(1), 0)];

cells! {
    (mode, class, expect) during(mode, class, 0, &SPLIT, &[0], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Kept], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Kept], [Kept, Stale];
    replicated_coherent_remove: Coherent, Remove => [Kept], [Kept, Stale];
    replicated_coherent_update: Coherent, Update => [Kept], [Kept, Stale];
    replicated_fastest_read: Fastest, Read => [Kept], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Kept], [Kept, Stale];
    replicated_fastest_remove: Fastest, Remove => [Kept], [Kept, Stale];
    replicated_fastest_update: Fastest, Update => [Kept], [Kept, Stale];
}

/// How long the two sides write different things.
const LENGTH: Duration = Duration::from_secs(1);
/// A server that was out of reach is asked every second whether it is back, then left alone for as long as it was away, and
/// then compared: one key a request, so no time to speak of here.
const BOUND: Duration = LENGTH.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// What a split leaves behind: for as long as it lasted once more the sides may differ, and then they never do again.
#[test]
fn when_a_split_has_ended_both_sides_soon_read_the_same_for_good() {
    let bed = Layout::coherent().start(2);
    let keys: Vec<String> = (0..60).map(|number| format!("split-{number}")).collect();
    let mut sides: Vec<Client> = bed.addresses().into_iter().map(Client::new).collect();
    let mut write = |side: usize, value: &str| {
        for (number, key) in keys.iter().enumerate() {
            if value == "before" || number % 3 != side {
                // a third of them each side removes
                assert!(sides[side].set(key, value.as_bytes(), 0, 0).unwrap(), "{key}");
            } else {
                sides[side].delete(key).unwrap();
            }
        }
    };
    write(0, "before");
    let split: Vec<_> = SPLIT.iter().map(|fault| fault.apply(&bed).unwrap()).collect();
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        write(0, "left");
        write(1, "right");
    }
    split.into_iter().for_each(|fault| fault.undo().unwrap());
    let end = Instant::now();
    let mut differed = Duration::ZERO;
    let mut read =
        |key: &String| sides.iter_mut().map(|side| side.get(key).unwrap().map(|item| item.value)).collect::<Vec<_>>();
    while !bed.marks().is_empty() {
        assert!(end.elapsed() < 20 * BOUND, "the servers are still marked");
        if keys.iter().any(|key| {
            let now = read(key);
            now[0] != now[1]
        }) {
            differed = end.elapsed();
        }
    }
    println!("the sides differed for {differed:?} after a split of {:?}", end - start);
    assert!(differed < 4 * BOUND, "the sides differed for {differed:?}");
    for key in &keys {
        let now = read(key);
        assert_eq!(now[0], now[1], "{key}");
        let held: Vec<_> =
            bed.servers().iter().map(|server| server.client().get(key).unwrap().map(|item| item.value)).collect();
        assert!(held.iter().all(|value| *value == now[0]), "{key}: clients read {:?}, servers hold {held:?}", now[0]);
    }
}
