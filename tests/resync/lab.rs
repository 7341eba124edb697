//! Servers, proxies, and what a controller would do to them. Owns how a test sets them up and looks into the servers; what
//! must hold is the other modules'.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memcached_injector::controller::resync::{Care, Limits, Shape};
use memcached_injector::feasibility::Backing;
use memcached_injector::memcached::{Batch, Connection};
use memcached_injector::request::{Mode, ProxyResources, Request};
use memcached_injector::resync::Need;
use memcached_injector::routing::order::Order;
use memcached_injector::routing::{config, library};
use memcached_injector::topology::{Cluster, ClusterId, Consistency, Copies, Replica};
use memcached_injector::webhook::metrics::Metrics;
use testbed::bed::Bed;

/// A refill of a test takes a second or two; a busy machine gets this long.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Fast enough that no test waits for it.
pub(crate) const LIMITS: Limits = Limits { bytes: 100 << 20, items: 200_000, patience: Duration::from_secs(2) };

/// How servers hold keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) lists: &'static [usize],
    pub(crate) copies: u32,
    /// How many servers stand in, after the others.
    pub(crate) stand_ins: usize,
}

/// Every layout: all copies, rotated, three of five, aligned in two and three lists.
pub(crate) const LAYOUTS: [Layout; 5] = [
    Layout { lists: &[3], copies: 3, stand_ins: 0 },
    Layout { lists: &[3], copies: 2, stand_ins: 0 },
    Layout { lists: &[5], copies: 3, stand_ins: 0 },
    Layout { lists: &[2, 2], copies: 2, stand_ins: 0 },
    Layout { lists: &[2, 2, 2], copies: 3, stand_ins: 0 },
];

/// An item as it lies on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) flags: u32,
    /// Rounded to what two looks a moment apart have in common.
    pub(crate) lifetime: i64,
    pub(crate) value: Vec<u8>,
}

pub(crate) struct Lab {
    pub(crate) bed: Bed,
    layout: Layout,
    pub(crate) metrics: Metrics,
}

impl Lab {
    /// Servers and two proxies.
    pub(crate) fn start(layout: Layout) -> Lab {
        let servers = layout.lists.iter().sum::<usize>() + layout.stand_ins;
        let config = |_: usize, addresses: &[SocketAddr]| layout.config(addresses);
        let bed = Bed::start(servers, 2, &library::library().text, config).unwrap_or_else(|error| panic!("{error:#}"));
        Lab { bed, layout, metrics: Metrics::new().0 }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bed.servers().iter().map(|server| server.address().to_string()).collect()
    }

    /// Who looks after it: as a leader that has just begun to lead.
    pub(crate) fn care(&self) -> Care {
        self.care_with(LIMITS)
    }

    pub(crate) fn care_with(&self, limits: Limits) -> Care {
        Care::new(self.layout.shape(&self.addresses()), limits, self.metrics.clone())
    }

    pub(crate) fn order(&self) -> Order {
        Order::new(self.layout.lists, self.layout.copies as usize).unwrap()
    }

    /// What each server needs, as a leader would find it.
    pub(crate) async fn needs(&self, care: &mut Care) -> Vec<Need> {
        care.look(&vec![true; self.layout.lists.iter().sum()]).await.expect("no ring change")
    }

    /// Rounds of a leader until every server is whole.
    pub(crate) async fn until_whole(&self, care: &mut Care) {
        self.until(care, |needs| needs.iter().all(|need| *need == Need::Nothing)).await;
    }

    /// Rounds of a leader until it has found what is waited for.
    pub(crate) async fn until(&self, care: &mut Care, mut done: impl FnMut(&[Need]) -> bool) {
        let start = Instant::now();
        loop {
            let needs = self.needs(care).await;
            if done(&needs) {
                return;
            }
            assert!(start.elapsed() < BOUND, "{:?} {needs:?}", self.layout);
            if let Err(error) = care.act(&needs, &|| true).await {
                println!("tried again: {error:#}");
            }
        }
    }

    /// What a server holds of these keys (`KEY` or `KEY b`).
    pub(crate) async fn held(&self, server: usize, keys: &[String]) -> BTreeMap<String, Held> {
        let mut connection = Connection::open(&self.addresses()[server], BOUND).await.unwrap();
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.push(&[b"mg", key.as_bytes(), b"v f t c u"]));
        let answers = connection.round(&batch).await.unwrap();
        let found = keys.iter().zip(answers).filter(|(_, answer)| answer.is_done());
        found
            .map(|(key, answer)| {
                let held = Held {
                    id: answer.number(b'c').unwrap(),
                    flags: answer.number(b'f').unwrap(),
                    lifetime: answer.number::<i64>(b't').map(|seconds| (seconds + 30).div_euclid(60)).unwrap(),
                    value: answer.value,
                };
                (key.clone(), held)
            })
            .collect()
    }

    /// Every key is on all of its servers, the same item on each, and on no other. Returns how many keys there are.
    pub(crate) async fn assert_equal(&self, keys: &[String]) -> usize {
        let order = self.order();
        let mut servers = Vec::new();
        for server in 0..self.bed.servers().len() {
            servers.push(self.held(server, keys).await);
        }
        let mut found = 0;
        for key in keys {
            let holders = order.of(key.trim_end_matches(" b").as_bytes());
            let authority = servers[holders[0]].get(key);
            found += usize::from(authority.is_some());
            for (server, items) in servers.iter().enumerate() {
                let expected = if holders.contains(&server) { authority } else { None };
                assert_eq!(
                    items.get(key),
                    expected,
                    "{key} on server {server} of {:?}, held by {holders:?}",
                    self.layout
                );
            }
        }
        found
    }

    /// No mark stands any more, and every server is called whole.
    pub(crate) async fn assert_unmarked(&self) {
        for address in self.addresses() {
            let mut connection = Connection::open(&address, BOUND).await.unwrap();
            let view = connection.ask(&[b"mg", b"__mcp:v", b"v"]).await.unwrap();
            let view = String::from_utf8_lossy(&view.value).into_owned();
            assert!(!view.contains(".all"), "{address}: {view}");
            assert!(connection.ask(&[b"mg", b"__mcp:w"]).await.unwrap().is_done(), "{address} is not called whole");
        }
    }
}

impl Layout {
    /// What a `replicated` pod's proxy is told.
    pub(crate) fn config(&self, addresses: &[SocketAddr]) -> String {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let cluster = self.cluster(&addresses);
        let request = Request {
            mode: Mode::Replicated,
            cluster: cluster.id.clone(),
            port: 11211,
            proxy: ProxyResources::default(),
            image: String::new(),
        };
        config::render(&request, &Backing { cluster, copies: self.copies })
    }

    /// What a controller makes of it.
    pub(crate) fn shape(&self, addresses: &[String]) -> Shape {
        Shape::of(&self.cluster(addresses)).unwrap()
    }

    fn cluster(&self, addresses: &[String]) -> Cluster {
        let mut rest = addresses.iter().cloned();
        let replicas = self
            .lists
            .iter()
            .map(|servers| Replica { servers: rest.by_ref().take(*servers).collect(), joining: Vec::new() })
            .collect();
        Cluster {
            gutter: rest.collect(),
            id: ClusterId { namespace: "cache".to_owned(), name: "memcached".to_owned() },
            replicas,
            copies: Copies::Number(self.copies),
            consistency: Consistency::Coherent,
            epoch: 1,
        }
    }
}
