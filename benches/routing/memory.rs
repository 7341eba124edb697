//! What a proxy's memory is: idle, and with 1,024 requests in flight. Of the mode that needs most, coherent with three copies.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use memcached_injector::routing::library;
use testbed::load::{self, Shape};
use testbed::parts::memcached::Server;
use testbed::parts::proxy::Proxy;
use testbed::report::Table;
use testbed::usage;

use crate::USUAL;
use crate::layout::Layout;
use crate::scale::Cost;

/// Megabytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// After the first request.
    pub(crate) idle: f64,
    /// At the end of a second of load; memcached keeps what a request has used for the next one.
    pub(crate) busy: f64,
    /// The same before 30 servers: every request in flight takes some at every server.
    before_thirty: f64,
}

/// Measures proxies of its own.
pub(crate) fn measure() -> Result<Memory> {
    let (idle, busy) = before(3)?;
    let (_, before_thirty) = before(30)?;
    Ok(Memory { idle, busy, before_thirty })
}

impl Memory {
    pub(crate) fn table(&self, scale: &Cost) -> Table {
        let mut table = Table::new(&["resident memory", "MB"]);
        let rows = [
            ("a proxy, idle", self.idle),
            ("a proxy with 1,024 requests in flight", self.busy),
            ("the same before 30 servers", self.before_thirty),
            ("a server, for 1,000 connections", scale.connection() * 1000.0 / 1024.0),
        ];
        for (what, megabytes) in rows {
            table.row(vec![what.into(), format!("{megabytes:.1}").into()]);
        }
        table
    }
}

/// A proxy before so many servers: idle, and busy.
fn before(count: usize) -> Result<(f64, f64)> {
    let servers = (0..count).map(|_| Server::start_with(&["-t", "1", "-m", "64"])).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let layout = Layout { servers: count, counting: count, ..Layout::coherent() };
    let proxy = Proxy::start(&library::library().text, &layout.config(&addresses, None))?;
    proxy.client().get("first")?;
    let idle = megabytes(&proxy)?;
    let shape = Shape { connections: 128, depth: 8, writes: 50, ..USUAL };
    load::fill(proxy.address(), "memory", &shape)?;
    load::run(proxy.address(), "memory", &shape, Duration::from_secs(1))?;
    Ok((idle, megabytes(&proxy)?))
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn megabytes(proxy: &Proxy) -> Result<f64> {
    Ok(usage::resident(proxy.pid())? as f64 / f64::from(1 << 20))
}
