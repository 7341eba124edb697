//! A whole cluster under test: cache servers, proxies, and a relay between each proxy and each server. Owns which is
//! connected to which; what a proxy is told comes from the caller, and what can go wrong from [`crate::fault`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::parts::memcached::Server;
use crate::parts::proxy::Proxy;
use crate::parts::relay::Relay;
use crate::wait::{self, Look};

/// How long proxies may take to trust a server again.
const MENDED_BOUND: Duration = Duration::from_secs(60);

/// Servers, proxies and the network between them. Dropping it stops all of it.
#[derive(Debug)]
pub struct Bed {
    // Fields are dropped in this order: a proxy before what it talks to.
    proxies: Vec<Proxy>,
    /// For each proxy one for each server; empty in a bed without relays.
    relays: Vec<Vec<Relay>>,
    servers: Vec<Server>,
}

impl Bed {
    /// Starts `servers` empty cache servers and `proxies` proxies with a relay on every path. `config` writes proxy
    /// number `i`'s configuration from the addresses at which it finds the servers, in server order.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn start(
        servers: usize,
        proxies: usize,
        library: &str,
        mut config: impl FnMut(usize, &[SocketAddr]) -> String,
    ) -> Result<Self> {
        let servers = start_servers(servers, &[])?;
        let mut bed = Self { proxies: Vec::new(), relays: Vec::new(), servers };
        for number in 0..proxies {
            let relays: Vec<Relay> =
                bed.servers.iter().map(|server| Relay::start(server.address())).collect::<Result<_>>()?;
            let addresses: Vec<SocketAddr> = relays.iter().map(Relay::address).collect();
            let proxy = Proxy::start(library, &config(number, &addresses));
            bed.proxies.push(proxy.with_context(|| format!("proxy {number}"))?);
            bed.relays.push(relays);
        }
        Ok(bed)
    }

    /// As [`Bed::start`] without relays: faster, but only servers can have faults. more: arguments for the servers.
    ///
    /// # Errors
    /// As [`Bed::start`].
    pub fn start_direct(
        servers: usize,
        more: &[&str],
        proxies: usize,
        library: &str,
        mut config: impl FnMut(usize, &[SocketAddr]) -> String,
    ) -> Result<Self> {
        let servers = start_servers(servers, more)?;
        let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        let start =
            |number| Proxy::start(library, &config(number, &addresses)).with_context(|| format!("proxy {number}"));
        let proxies = (0..proxies).map(start).collect::<Result<_>>()?;
        Ok(Self { proxies, relays: Vec::new(), servers })
    }

    /// The cache servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The proxies.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The path from a proxy to a server; `None` in a bed without relays.
    pub fn relay(&self, proxy: usize, server: usize) -> Option<&Relay> {
        self.relays.get(proxy)?.get(server)
    }

    /// Where clients find the proxies.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.proxies.iter().map(Proxy::address).collect()
    }

    /// Waits until no proxy counts a server as down.
    ///
    /// # Errors
    /// When one still does after 10 s.
    pub fn wait_all_up(&self) -> Result<()> {
        self.proxies.iter().try_for_each(Proxy::wait_all_up)
    }

    /// The marks of servers in the view (docs/coherence.md), of each member what it holds; a dead one holds none.
    pub fn marks(&self) -> Vec<String> {
        let views = self.servers.iter().filter_map(|server| server.client().get("__mcp:v").ok().flatten());
        let texts: Vec<String> = views.map(|view| String::from_utf8_lossy(&view.value).into_owned()).collect();
        texts
            .iter()
            .flat_map(|text| text.split(' '))
            .filter(|word| word.starts_with(['d', 'r']))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until no more than `most` servers have a proxy's mark in the view. Marks go only while clients ask.
    ///
    /// # Errors
    /// When more still have after 60 s: a server is left alone for as long as it was away.
    pub fn wait_marked(&self, most: usize) -> Result<()> {
        wait::until("the proxies to trust the servers again", MENDED_BOUND, || {
            let marks = self.marks();
            let dirty = marks.iter().filter_map(|mark| mark.strip_prefix('d')?.split_once('.'));
            let servers: BTreeSet<&str> = dirty.filter(|(_, owner)| *owner != "all").map(|(name, _)| name).collect();
            Ok(if servers.len() <= most { Look::Ready(()) } else { Look::NotYet(format!("{servers:?} are marked")) })
        })
    }

    /// What each server itself says about a key, for a failure's report: one line a server.
    pub fn state_of(&self, key: &str) -> String {
        let ask = |server: &Server| Client::new(server.address()).gets(key);
        let lines = self.servers.iter().enumerate().map(|(number, server)| {
            let state = match ask(server) {
                Ok(Some(item)) => {
                    format!("{:?} cas {}", String::from_utf8_lossy(&item.value), item.cas.unwrap_or_default())
                }
                Ok(None) => "no such key".to_owned(),
                Err(error) => error.to_string(),
            };
            format!("  server {number}: {state}\n")
        });
        lines.collect()
    }
}

fn start_servers(count: usize, more: &[&str]) -> Result<Vec<Server>> {
    (0..count).map(|_| Server::start_with(&[&["-t", "1"], more].concat())).collect()
}
