//! What is compared: one memcached without a proxy, memcached's own routes, and ours in every mode, all before the same
//! three servers. Owns which there are and how the plain ones are configured; asks none of them anything.

use std::net::SocketAddr;

use anyhow::Result;
use memcached_injector::request::{LocalCache, LocalPlace, Mode};
use memcached_injector::routing::library;
use testbed::parts::memcached::Server;
use testbed::parts::proxy::Proxy;

use crate::layout::Layout;

/// One that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// One memcached, no proxy.
    Direct,
    /// routelib: reads from the fastest of three, writes to all three.
    Allfastest,
    /// routelib: one pool of three servers, its own hash.
    Hash,
    /// Three copies on three servers.
    Coherent,
    /// Two copies on three servers.
    TwoCopies,
    Fastest,
    Sharded,
    /// Failover, its local cache a memcached of its own.
    Container,
    /// Failover, its local cache in the proxy.
    Internal,
    /// A route that asks the local cache in its own container and nothing else: what no route in a proxy can better.
    LeastContainer,
    /// The same for a cache in the proxy.
    LeastInternal,
}

/// In the order of the tables' columns.
pub(crate) const ALL: [(Name, &str); 11] = [
    (Name::Direct, "direct"),
    (Name::Allfastest, "allfastest"),
    (Name::Hash, "hash"),
    (Name::Coherent, "coherent 3"),
    (Name::TwoCopies, "coherent 2/3"),
    (Name::Fastest, "fastest 3"),
    (Name::Sharded, "sharded"),
    (Name::Container, "failover cont."),
    (Name::Internal, "failover int."),
    (Name::LeastContainer, "least cont."),
    (Name::LeastInternal, "least int."),
];

/// Seconds that a local copy lives: none ends while it is measured.
const LOCAL_TTL: u32 = 600;

/// The running parts.
pub(crate) struct Subjects {
    // Fields are dropped in this order: a proxy before what it talks to.
    proxies: Vec<Option<Proxy>>,
    _local: Server,
    servers: Vec<Server>,
}

impl Subjects {
    /// Starts all of them.
    pub(crate) fn start() -> Result<Self> {
        let server = || Server::start_with(&["-t", "1", "-m", "256"]);
        let servers = (0..3).map(|_| server()).collect::<Result<Vec<_>>>()?;
        let local = server()?;
        let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        let start = |name| proxy(name, &addresses, local.address());
        let proxies = ALL.iter().map(|(name, _)| start(*name)).collect::<Result<_>>()?;
        Ok(Self { proxies, _local: local, servers })
    }

    /// Where one listens.
    pub(crate) fn address(&self, name: Name) -> SocketAddr {
        self.proxies[place(name)].as_ref().map_or_else(|| self.servers[0].address(), Proxy::address)
    }

    /// The process that a client of one talks to.
    pub(crate) fn pid(&self, name: Name) -> u32 {
        self.proxies[place(name)].as_ref().map_or_else(|| self.servers[0].pid(), Proxy::pid)
    }
}

/// One's place in [`ALL`].
pub(crate) fn place(name: Name) -> usize {
    ALL.iter().position(|(known, _)| *known == name).unwrap_or(0)
}

fn proxy(name: Name, servers: &[SocketAddr], local: SocketAddr) -> Result<Option<Proxy>> {
    let failover = |place| Layout {
        mode: Mode::Failover(LocalCache { place, memory_mb: 64, ttl_seconds: LOCAL_TTL }),
        ..Layout::sharded()
    };
    let layout = match name {
        Name::Direct => return Ok(None),
        Name::Allfastest => return Proxy::start_plain(&allfastest(servers)).map(Some),
        Name::Hash => return Proxy::start_plain(&hash(servers)).map(Some),
        Name::Coherent => Layout::coherent(),
        Name::TwoCopies => Layout::coherent().with_two_copies(),
        Name::Fastest => Layout::fastest(),
        Name::Sharded => Layout::sharded(),
        Name::Container => failover(LocalPlace::Container),
        Name::Internal => failover(LocalPlace::Internal),
        Name::LeastContainer => return Proxy::start(&least(&pool_of(local), "made"), "").map(Some),
        Name::LeastInternal => return Proxy::start(&least("true", "mcp.internal_handler"), "").map(Some),
    };
    Proxy::start(&library::library().text, &layout.config(servers, Some(local))).map(Some)
}

/// The timeouts are those of our library, in seconds.
const SETTINGS: &str = "settings{ backend_connect_timeout = 0.15, backend_read_timeout = 0.15, backend_retry_waittime = 1,\n  \
                        backend_failure_limit = 1, tcp_keepalive = true }\n";

fn allfastest(servers: &[SocketAddr]) -> String {
    let pool = |(number, server)| format!("s{number} = {{ backends = {{ \"{server}\" }} }}");
    let pools: Vec<String> = servers.iter().enumerate().map(pool).collect();
    let children: Vec<String> = (0..servers.len()).map(|number| format!("\"s{number}\"")).collect();
    let children = children.join(", ");
    format!(
        "{SETTINGS}pools{{ {} }}\n\
         local function any() return route_allfastest{{ children = {{ {children} }}, miss = true }} end\n\
         local function all() return route_allsync{{ children = {{ {children} }} }} end\n\
         routes{{ cmap = {{ get = any(), mg = any(), set = all(), ms = all(), delete = all(), md = all(), touch = all() }},\n  \
         default = route_failover{{ children = {{ {children} }} }} }}\n",
        pools.join(", "),
    )
}

fn hash(servers: &[SocketAddr]) -> String {
    let backends: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!(
        "{SETTINGS}pools{{ main = {{ backends = {{ {} }} }} }}\nroutes{{ default = route_direct{{ child = \"main\" }} }}\n",
        backends.join(", "),
    )
}

fn pool_of(server: SocketAddr) -> String {
    let (host, port) = (server.ip(), server.port());
    format!("mcp.pool({{ mcp.backend({{ label = \"local\", host = \"{host}\", port = \"{port}\" }}) }})")
}

/// A library of one route of one line. made: what its configuration makes, in Lua; cache: what the route asks, which may be `made`.
fn least(made: &str, cache: &str) -> String {
    format!(
        "function mcp_config_pools() return {made} end\n\
         function mcp_config_routes(made)\n  \
         local route = mcp.funcgen_new()\n  \
         local cache = route:new_handle({cache})\n  \
         local function answer(rctx) return function(r) return rctx:enqueue_and_wait(r, cache) end end\n  \
         route:ready({{ n = \"least\", f = answer }})\n  \
         mcp.attach(mcp.CMD_ANY_STORAGE, route)\nend\n"
    )
}
