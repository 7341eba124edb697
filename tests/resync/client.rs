//! The client of memcached's meta commands, against a real one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use memcached_injector::memcached::{Batch, Connection, Error, list};
use testbed::parts::memcached::Server;

use crate::run;

const BOUND: Duration = Duration::from_secs(5);

fn address(server: &Server) -> String {
    server.address().to_string()
}

#[test]
fn a_batch_larger_than_any_buffer_is_answered_in_order() {
    let server = Server::start().unwrap();
    let value = vec![b'x'; 100_000];
    run(async {
        let mut connection = Connection::open(&address(&server), BOUND).await.unwrap();
        let (mut store, mut read) = (Batch::default(), Batch::default());
        for number in 0..200 {
            let key = format!("key-{number}");
            store.push_store(key.as_bytes(), &format!("ME F{number} E{}", number + 1000), &value);
            read.push(&[b"mg", key.as_bytes(), b"v", b"f", b"c", b"t"]);
        }
        assert!(connection.round(&store).await.unwrap().iter().all(|answer| answer.code() == b"HD"));
        let found = connection.round(&read).await.unwrap();
        assert_eq!(found.len(), 200);
        for (number, answer) in (0_u64..).zip(&found) {
            assert_eq!((answer.code(), &answer.value), (&b"VA"[..], &value));
            assert_eq!((answer.number(b'f'), answer.number(b'c')), (Some(number), Some(number + 1000)));
            assert_eq!(answer.number(b't'), Some(-1_i64));
        }
        assert_eq!(connection.ask(&[b"mg", b"nothing", b"v"]).await.unwrap().code(), b"EN");
        assert_eq!(connection.stat("curr_items").await.unwrap().as_deref(), Some("200"));
    });
}

#[test]
fn a_list_has_every_key_as_clients_send_it_also_beside_another_list() {
    let server = Server::start().unwrap();
    run(async {
        let address = address(&server);
        let mut connection = Connection::open(&address, BOUND).await.unwrap();
        let mut store = Batch::default();
        let mut expected = BTreeSet::new();
        for number in 0..30_000 {
            let key = format!("key-{number}");
            store.push_store(key.as_bytes(), "", b"1");
            expected.insert(key.into_bytes());
        }
        // "a b" in base64, which no text key could hold
        store.push_store(b"YSBi", "b", b"1");
        expected.insert(b"YSBi b".to_vec());
        connection.round(&store).await.unwrap();
        let (one, other) =
            tokio::join!(list(&address, BOUND, |_| true), list(&address, BOUND, |key| key.ends_with(b"7")));
        let one = one.unwrap();
        assert_eq!(one.iter().map(<[u8]>::to_vec).collect::<BTreeSet<_>>(), expected);
        assert_eq!((one.len(), other.unwrap().len()), (30_001, 3_000));
    });
}

#[test]
fn a_server_that_is_frozen_or_dead_is_an_error_in_time() {
    let server = Server::start().unwrap();
    run(async {
        let bound = Duration::from_millis(300);
        let mut connection = Connection::open(&address(&server), bound).await.unwrap();
        let frozen = server.freeze().unwrap();
        let start = Instant::now();
        let late = connection.ask(&[b"mn"]).await.unwrap_err();
        assert!(matches!(late, Error::Late { .. }) && start.elapsed() < 4 * bound, "{late} {:?}", start.elapsed());
        assert!(late.to_string().contains(&address(&server)), "{late}");
        frozen.thaw();
        server.kill().unwrap();
        let lost = Connection::open(&address(&server), bound).await.unwrap_err();
        assert!(matches!(lost, Error::Lost { .. }), "{lost}");
    });
}
