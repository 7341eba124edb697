//! A write that was done though its answer was lost: whoever sent it is told what it did, whatever others have written upon it since.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use memcached_injector::routing::order::Order;
use testbed::client::Client;
use testbed::fault::{Fault, From};

use crate::layout::Layout;

const KEY: &str = "lost-answer";

/// Two increments that travel together -> what they answer.
fn two_increments(address: SocketAddr) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("incr {KEY} 1\r\nincr {KEY} 1\r\n").as_bytes()).unwrap();
    BufReader::new(stream).lines().take(2).map(|line| line.unwrap()).collect()
}

/// The first of the two sees at the authority what the second has made of its number; what it notes of the lost one's is its own
/// number less what it added.
#[test]
fn an_increment_is_told_its_number_though_two_that_travel_together_have_counted_on() {
    let bed = Layout::coherent().start(2);
    let mut client = Client::new(bed.addresses()[0]);
    assert!(client.set(KEY, b"1000", 0, 0).unwrap());
    let authority = Order::new(&[3], 3).unwrap().of(KEY.as_bytes())[0];
    let lost = Fault::RepliesLost(From::Proxy(0), authority).apply(&bed).unwrap();
    let told = thread::scope(|scope| {
        let loser = scope.spawn(move || client.incr(KEY, 1).unwrap());
        bed.servers()[authority].wait_holds(KEY, "1001", Duration::from_secs(10)).unwrap();
        assert_eq!(two_increments(bed.addresses()[1]), ["1002", "1003"]);
        loser.join().unwrap()
    });
    lost.undo().unwrap();
    assert_eq!(told, Some(1001));
}
