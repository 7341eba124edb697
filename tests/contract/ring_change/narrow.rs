//! A driver whose way to the servers carries little at a time, as on a machine at its limit: how many keys it moves at once
//! has to follow what can be done while their locks count.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use memcached_injector::routing::library;

use super::{assert_every_key_is_on, change, drive, filled, missing, shape, two_copies};

/// Bytes that a way carries at a time, and how long that takes: 100 kB/s. The locks of 128 keys take twice what one counts.
const PIECE: usize = 200;
const TAKES: Duration = Duration::from_millis(2);

/// A narrow way to a server -> where it begins. Its threads end with the test's process.
fn narrow(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(server) else { continue };
            for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || carry(from, to));
            }
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        thread::sleep(TAKES); // what the way takes
        if to.write_all(&piece[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn a_driver_with_a_narrow_way_comes_to_an_end() {
    let layout = two_copies();
    let bed = filled(&layout, &library::library().text);
    let mut change = change(&bed, &layout, shape(5, 2));
    for server in change.known.iter_mut().flatten() {
        *server = narrow(server.parse().unwrap()).to_string();
    }
    let told = drive(&change);
    assert_every_key_is_on(&bed, 5, 2);
    assert_eq!(missing(&bed, 0), 0, "{}", told.join("\n"));
}
