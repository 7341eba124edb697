//! What a proxy's memory is: idle, and with 1,024 requests in flight. Of the mode that needs most, coherent with three copies.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use memcached_injector::routing::library;
use testbed::load::{self, Shape};
use testbed::parts::memcached::Server;
use testbed::parts::proxy::Proxy;
use testbed::usage;

use crate::USUAL;
use crate::layout::Layout;

/// Megabytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// After the first request.
    pub(crate) idle: f64,
    /// At the end of a second of load; memcached keeps what a request has used for the next one.
    pub(crate) busy: f64,
}

/// Measures a proxy of its own.
pub(crate) fn measure() -> Result<Memory> {
    let servers = (0..3).map(|_| Server::start_with(&["-t", "1"])).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let proxy = Proxy::start(&library::library().text, &Layout::coherent().config(&addresses, None))?;
    proxy.client().get("first")?;
    let idle = megabytes(&proxy)?;
    let shape = Shape { connections: 128, depth: 8, writes: 50, ..USUAL };
    load::fill(proxy.address(), "memory", &shape)?;
    load::run(proxy.address(), "memory", &shape, Duration::from_secs(1))?;
    Ok(Memory { idle, busy: megabytes(&proxy)? })
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn megabytes(proxy: &Proxy) -> Result<f64> {
    Ok(usage::resident(proxy.pid())? as f64 / f64::from(1 << 20))
}
