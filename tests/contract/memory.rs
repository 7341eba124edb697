//! The memory that the webhook lets a proxy take is enough for what it may have in flight, however many servers it knows.

use std::net::SocketAddr;
use std::time::Duration;

use memcached_injector::inject::resources;
use memcached_injector::quantity::Quantity;
use memcached_injector::routing::library;
use testbed::load::{self, Command, Shape};
use testbed::parts::memcached::Server;
use testbed::parts::proxy::Proxy;
use testbed::usage;

use crate::layout::Layout;

/// 1,024 requests in flight, half of them writes, which take more.
const BUSY: Shape = Shape { connections: 128, depth: 8, size: 100, writes: 50, write: Command::Set, keys: 1000 };
/// What is to be left for values that are large: MiB.
const ROOM: u32 = 64;

#[test]
fn a_proxy_with_1024_requests_in_flight_has_room_left_below_its_limit_before_3_and_before_30_servers() {
    for count in [3, 30] {
        let servers: Vec<Server> = (0..count).map(|_| Server::start_with(&["-t", "1", "-m", "64"]).unwrap()).collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        let layout = Layout { servers: count, counting: count, ..Layout::coherent() };
        let proxy = Proxy::start(&library::library().text, &layout.config(&addresses, None)).unwrap();
        load::fill(proxy.address(), "memory", &BUSY).unwrap();
        load::run(proxy.address(), "memory", &BUSY, Duration::from_secs(1)).unwrap();
        let resident = u32::try_from(usage::resident(proxy.pid()).unwrap() >> 20).unwrap();
        let (limit, wanted) = (resources::proxy_memory_limit(count), Quantity::mebi(resident + ROOM));
        assert!(wanted <= limit, "before {count} servers it takes {resident} MiB, and may take {limit}");
    }
}
