//! A gutter: while none of a key's servers is trusted its stand-in answers, with a short lifetime; nothing old is read then, when
//! the server is back, nor when it dies again soon.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memcached_injector::routing::library;
use testbed::client::Client;
use testbed::fault::{Fault, From};
use testbed::wait::{Look, until};

use crate::cell::Sees::{Kept, Lost};
use crate::cell::{BEFORE, Class, DURING, Expect, KEYS, Mode, Stage, after, during, name, once_back};
use crate::layout::Layout;
use crate::mutants::mutant;

/// Server numbers: the one with a fault, and the stand-in.
const FAULTY: usize = 0;
const STAND_IN: usize = 3;
/// Seconds that a stand-in keeps a key at most (M.STAND_IN of shared.lua).
const SHORT: i64 = 10;
const CLASSES: [Class; 4] = [Class::Read, Class::Overwrite, Class::Remove, Class::Update];

/// Every class, as on one memcached that lost the keys on the faulty servers: no error, nor after the first requests.
fn stands_in(mode: Mode, faults: &[Fault], at: &[usize]) {
    for class in CLASSES {
        during(mode, class, 0, faults, at, &Expect { touched: vec![Lost], others: vec![Kept] });
    }
}

#[test]
fn sharded_with_a_server_dead() {
    stands_in(Mode::ShardedGutter, &[Fault::Kill(FAULTY)], &[FAULTY]);
}

#[test]
fn sharded_with_a_server_frozen() {
    stands_in(Mode::ShardedGutter, &[Fault::Freeze(FAULTY)], &[FAULTY]);
}

#[test]
fn sharded_with_a_server_blackholed() {
    stands_in(Mode::ShardedGutter, &[Fault::Blackhole(From::Everyone, FAULTY)], &[FAULTY]);
}

#[test]
fn sharded_with_one_proxy_cut_off() {
    stands_in(Mode::ShardedGutter, &[Fault::Cut(From::Proxy(0), FAULTY)], &[FAULTY]);
}

#[test]
fn failover_with_a_server_dead() {
    stands_in(Mode::ContainerGutter, &[Fault::Kill(FAULTY)], &[FAULTY]);
}

#[test]
fn failover_with_a_server_frozen() {
    stands_in(Mode::ContainerGutter, &[Fault::Freeze(FAULTY)], &[FAULTY]);
}

#[test]
fn failover_with_a_server_blackholed() {
    stands_in(Mode::ContainerGutter, &[Fault::Blackhole(From::Everyone, FAULTY)], &[FAULTY]);
}

#[test]
fn replicated_with_all_copies_dead() {
    stands_in(Mode::CoherentGutter, &[Fault::Kill(0), Fault::Kill(1), Fault::Kill(2)], &[0, 1, 2]);
}

/// It has begun at servers that hang, and ends at the stand-in, which has nothing.
#[test]
fn an_increment_while_all_copies_freeze_is_a_miss_and_no_error() {
    let bed = Layout::coherent().with_a_gutter().start(1);
    let mut client = bed.proxies()[0].client();
    for key in ["frozen-1", "frozen-2", "frozen-3"] {
        assert!(client.set(key, b"1", 0, 0).unwrap());
    }
    let frozen: Vec<_> = (0..3).map(|server| Fault::Freeze(server).apply(&bed).unwrap()).collect();
    for key in ["frozen-1", "frozen-2", "frozen-3"] {
        assert_eq!(client.incr(key, 1).unwrap(), None, "{key}");
    }
    frozen.into_iter().for_each(|server| server.undo().unwrap());
}

#[test]
fn the_stand_in_dead_changes_nothing() {
    for mode in [Mode::ShardedGutter, Mode::ContainerGutter, Mode::CoherentGutter] {
        for class in CLASSES {
            let expect = Expect { touched: vec![Kept], others: vec![Kept] };
            during(mode, class, 0, &[Fault::Kill(STAND_IN)], &[], &expect);
        }
    }
}

#[test]
fn sharded_with_a_server_back_empty() {
    for class in CLASSES {
        let expect = Expect { touched: vec![Lost], others: vec![Kept] };
        once_back(Mode::ShardedGutter, class, &[Fault::BackEmpty(FAULTY)], &[FAULTY], &expect);
    }
}

#[test]
fn sharded_with_a_server_back_with_old_data() {
    for class in CLASSES {
        let expect = Expect { touched: vec![Kept], others: vec![Kept] };
        after(Mode::ShardedGutter, class, Fault::BackStale(FAULTY), &[FAULTY], &expect);
    }
}

#[test]
fn sharded_with_a_server_thawed() {
    for class in CLASSES {
        let expect = Expect { touched: vec![Kept], others: vec![Kept] };
        after(Mode::ShardedGutter, class, Fault::Freeze(FAULTY), &[FAULTY], &expect);
    }
}

/// Even keys are written, odd ones are deleted.
fn change(client: &mut Client, value: &str) {
    for key in 0..KEYS {
        if key % 2 == 0 {
            assert!(client.set(&name(key), value.as_bytes(), 0, 0).unwrap(), "{}", name(key));
        } else {
            client.delete(&name(key)).unwrap();
        }
    }
}

/// What was written is there or missing, what was deleted is missing, whoever asks.
fn nothing_but(stage: &Stage, value: &str, when: &str) -> Result<(), String> {
    for key in 0..KEYS {
        for proxy in 0..2 {
            let item = stage.client(proxy).get(&name(key)).unwrap();
            let item = item.map(|item| String::from_utf8_lossy(&item.value).into_owned());
            let allowed = item.is_none() || key % 2 == 0 && item.as_deref() == Some(value);
            if !allowed {
                let key = name(key);
                return Err(format!("{when}: {key} is {item:?} for proxy {proxy}, it was set to {value} or deleted"));
            }
        }
    }
    Ok(())
}

/// From when nobody marks a server as not to be read until all proxies read it: two changes of the view, and more.
const READ_AGAIN: Duration = Duration::from_millis(600);

/// Reads until no proxy marks the faulty server as not to be read, and then until all read it.
fn until_trusted(stage: &Stage, value: &str) -> Result<(), String> {
    until("the server to be trusted again", Duration::from_secs(30), || {
        nothing_but(stage, value, "while it comes back").map_err(anyhow::Error::msg)?;
        let marks = stage.bed.marks();
        let marked = marks.iter().any(|mark| mark.starts_with("d1-1."));
        Ok(if marked { Look::NotYet(marks.join(" ")) } else { Look::Ready(()) })
    })
    .map_err(|error| format!("{error:#}"))?;
    let start = Instant::now();
    while start.elapsed() < READ_AGAIN {
        nothing_but(stage, value, "when it is back")?;
    }
    Ok(())
}

/// What the stand-in keeps from the first time is younger than its lifetime when the server dies again.
fn twice(library: &str, fault: Fault) -> Result<(), String> {
    let stage = Stage::with_library(Mode::ShardedGutter, library);
    stage.fill(BEFORE);
    let guard = fault.apply(&stage.bed).unwrap();
    change(&mut stage.client(0), DURING);
    nothing_but(&stage, DURING, "while it is away")?;
    guard.undo().unwrap();
    until_trusted(&stage, DURING)?;
    nothing_but(&stage, DURING, "when it is back")?;
    change(&mut stage.client(1), "300");
    let guard = fault.apply(&stage.bed).unwrap();
    nothing_but(&stage, "300", "when it is away again")?;
    change(&mut stage.client(0), "400");
    guard.undo().unwrap();
    until_trusted(&stage, "400")?;
    nothing_but(&stage, "400", "when it is back again")
}

#[test]
fn nothing_old_is_read_when_a_server_comes_back_and_dies_again() {
    twice(&library::library().text, Fault::BackStale(FAULTY)).unwrap();
}

#[test]
fn nothing_old_is_read_when_a_server_freezes_twice() {
    twice(&library::library().text, Fault::Freeze(FAULTY)).unwrap();
}

/// Whatever the client asked for, and in whatever form.
fn lifetimes(library: &str) -> Result<(), String> {
    let stage = Stage::with_library(Mode::ShardedGutter, library);
    stage.fill(BEFORE);
    let _dead = Fault::Kill(FAULTY).apply(&stage.bed).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let date = format!("set KEY 0 {} 1\r\nx", now + 1000);
    let forms = [
        ("set KEY 0 0 1\r\nx", "", SHORT),
        ("set KEY 0 1000 1\r\nx", "", SHORT),
        (&date, "", SHORT),
        ("set KEY 0 5 1\r\nx", "", 5),
        ("add KEY 0 0 1\r\nx", "", SHORT),
        ("ms KEY 1\r\nx", "", SHORT),
        ("ms KEY 1 T1000\r\nx", "", SHORT),
        ("ms KEY 1 MA N1000\r\nx", "", SHORT),
        ("ma KEY N1000 J5", "", SHORT),
        ("mg KEY N1000 v", "", SHORT),
        ("set KEY 0 5 1\r\nx", "touch KEY 1000", SHORT),
        ("set KEY 0 5 1\r\nx", "gat 0 KEY", SHORT),
        ("set KEY 0 5 1\r\nx", "mg KEY T1000", SHORT),
    ];
    let mut stand_in = stage.bed.servers()[STAND_IN].client();
    let mut stood_in = 0;
    for (number, (first, second, most)) in forms.iter().enumerate() {
        // Some of these are on the dead server.
        for key in 0..8 {
            let key = format!("form{number}.{key}");
            for command in [first, second].into_iter().filter(|command| !command.is_empty()) {
                stage.client(0).raw(&command.replace("KEY", &key)).unwrap(); // a client each: some answer several lines
            }
            let meta = stand_in.raw(&format!("mg {key} t")).unwrap();
            let Some(left) = meta.strip_prefix("HD t") else { continue };
            let left: i64 = left.split_whitespace().next().unwrap().parse().unwrap(); // what `mg N` made is followed by W
            if !(1..=*most).contains(&left) {
                return Err(format!("{first:?} {second:?}: {left} s are left of {key}"));
            }
            stood_in += 1;
        }
    }
    assert!(stood_in >= forms.len(), "only {stood_in} keys were on the stand-in");
    let mut client = stage.client(0);
    client.raw("set gone 0 -1 1\r\nx").unwrap();
    assert!(client.get("gone").unwrap().is_none());
    Ok(())
}

#[test]
fn what_a_stand_in_keeps_lives_for_ten_seconds_at_most() {
    lifetimes(&library::library().text).unwrap();
}

#[test]
fn keeping_what_a_stand_in_was_told_for_longer_is_caught() {
    let found = lifetimes(&mutant("if x<=t.regulars then return q end", "if x then return q end"));
    assert!(found.is_err_and(|found| found.contains("are left of")), "nobody noticed");
}

#[test]
fn trusting_a_server_that_is_back_without_comparing_is_caught() {
    let compares = "local list=t.stand_ins and t:with_stand_in(regular,key)or regular";
    let found = twice(&mutant(compares, "local list=regular"), Fault::BackStale(FAULTY));
    assert!(found.as_ref().is_err_and(|found| found.contains("back")), "nobody noticed: {found:?}");
}

#[test]
fn leaving_the_stand_in_what_is_written_anew_is_caught() {
    let found = twice(&mutant("elseif class~=M.READ and V.kept then", "elseif false then"), Fault::BackStale(FAULTY));
    assert!(found.as_ref().is_err_and(|found| found.contains("when it is away again")), "nobody noticed: {found:?}");
}
