//! The cluster layouts under test, configured by the injector's own generator. Owns which there are; starts nothing.

use std::net::SocketAddr;

use memcached_injector::feasibility::Backing;
use memcached_injector::request::{LocalCache, LocalPlace, Mode, ProxyResources, Request};
use memcached_injector::routing::{config, library};
use memcached_injector::topology::{Cluster, ClusterId, Consistency, Copies, Replica};
use testbed::bed::Bed;

/// A mode on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) servers: usize,
    /// How many StatefulSets the servers are dealt out to.
    pub(crate) sets: usize,
    pub(crate) copies: u32,
    /// How many servers of each set the ring counts at first.
    pub(crate) counting: usize,
    /// How many stand-ins there are, after the servers.
    pub(crate) stand_ins: usize,
    pub(crate) consistency: Consistency,
    pub(crate) mode: Mode,
}

impl Layout {
    /// Every key on all of three servers, as one memcached.
    pub(crate) fn coherent() -> Layout {
        Layout {
            servers: 3,
            sets: 1,
            copies: 3,
            counting: 3,
            stand_ins: 0,
            consistency: Consistency::Coherent,
            mode: Mode::Replicated,
        }
    }

    /// Every key on all of three servers, the fastest answer.
    pub(crate) fn fastest() -> Layout {
        Layout { consistency: Consistency::Fastest, ..Layout::coherent() }
    }

    /// One copy of each key on three servers.
    pub(crate) fn sharded() -> Layout {
        Layout { copies: 1, mode: Mode::Sharded, ..Layout::coherent() }
    }

    /// A local cache that keeps a copy for `ttl_seconds`, before three servers with one copy of each key. A local cache in
    /// a container listens on `port` + 1.
    pub(crate) fn failover(place: LocalPlace, ttl_seconds: u32) -> Layout {
        let mode = Mode::Failover(LocalCache { place, memory_mb: 64, ttl_seconds });
        Layout { mode, ..Layout::sharded() }
    }

    /// As it is, with two copies of each key on neighbouring servers.
    pub(crate) fn with_two_copies(self) -> Layout {
        Layout { copies: 2, ..self }
    }

    /// As it is, with a gutter of one server.
    pub(crate) fn with_a_gutter(self) -> Layout {
        Layout { stand_ins: 1, ..self }
    }

    /// One copy of each key in each of two StatefulSets of two servers.
    pub(crate) fn two_sets() -> Layout {
        Layout { servers: 4, sets: 2, copies: 2, counting: 2, ..Layout::coherent() }
    }

    /// As it is, on five servers of which the ring counts three.
    pub(crate) fn growing(self) -> Layout {
        Layout { servers: 5, ..self }
    }

    /// The configuration of a proxy that finds the servers at `addresses`; in failover its local cache at `local`.
    pub(crate) fn config(&self, addresses: &[SocketAddr], local: Option<SocketAddr>) -> String {
        let replica = |set: &[SocketAddr]| {
            let mut servers: Vec<String> = set.iter().map(SocketAddr::to_string).collect();
            let joining = servers.split_off(self.counting.min(servers.len()));
            Replica { servers, joining }
        };
        let (addresses, gutter) = addresses.split_at(self.servers);
        let id = ClusterId { namespace: "cache".to_owned(), name: "memcached".to_owned() };
        let cluster = Cluster {
            id: id.clone(),
            replicas: addresses.chunks(addresses.len() / self.sets).map(replica).collect(),
            copies: Copies::Number(self.copies),
            consistency: self.consistency,
            epoch: 1,
            gutter: gutter.iter().map(SocketAddr::to_string).collect(),
        };
        let request = Request {
            mode: self.mode.clone(),
            cluster: id,
            // the local cache is the proxy's next port
            port: local.map_or(11211, |local| local.port() - 1),
            proxy: ProxyResources::default(),
            image: String::new(),
        };
        config::render(&request, &Backing { cluster, copies: self.copies })
    }

    /// Servers, `proxies` proxies with the library of this build, and a network between them that can have faults.
    pub(crate) fn start(&self, proxies: usize) -> Bed {
        self.start_with(&library::library().text, proxies)
    }

    /// The same with another library.
    pub(crate) fn start_with(&self, library: &str, proxies: usize) -> Bed {
        self.start_beside(library, proxies, &[])
    }

    /// The same where proxy `i` has its local cache at `locals[i]`, if anywhere.
    pub(crate) fn start_beside(&self, library: &str, proxies: usize, locals: &[SocketAddr]) -> Bed {
        let config = |proxy: usize, addresses: &[SocketAddr]| self.config(addresses, locals.get(proxy).copied());
        Bed::start(self.servers + self.stand_ins, proxies, library, config).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The same without the network: faster, but only servers can have faults. more: arguments for the servers.
    pub(crate) fn start_direct(&self, proxies: usize, more: &[&str]) -> Bed {
        let text = &library::library().text;
        let config = |_: usize, addresses: &[SocketAddr]| self.config(addresses, None);
        let bed = Bed::start_direct(self.servers + self.stand_ins, more, proxies, text, config);
        bed.unwrap_or_else(|error| panic!("{error:#}"))
    }
}
