//! Names that only some programs know, where there is no DNS: a server's name leads them to a port of this machine. Owns
//! compiling and preloading names.c; the servers are the caller's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::preload;
use crate::folder::RunFolder;

/// The file that names.c reads at every lookup.
const FILE: &str = "names";

/// Some names. Its files go when it is dropped; programs have ended by then.
#[derive(Debug)]
pub struct Names(RunFolder);

impl Names {
    /// Host names as they are looked up (`memcached-0....svc.cluster.local.`), and what listens on loopback in their place.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn new(servers: &BTreeMap<String, SocketAddr>) -> Result<Self> {
        let folder = RunFolder::new("names")?;
        preload::compile(&folder, include_str!("names.c"))?;
        let names = Self(folder);
        names.lead_to(servers)?;
        Ok(names)
    }

    /// From now on these are the names.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn lead_to(&self, servers: &BTreeMap<String, SocketAddr>) -> Result<()> {
        self.write(servers.iter().map(|(name, server)| format!("{name} {} {}\n", stand_in(*server), server.port())))
    }

    /// From now on whoever asks for one of these names waits for 5 s and gets no answer. Who knows its address is led there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn fall_silent(&self, servers: &BTreeMap<String, SocketAddr>) -> Result<()> {
        self.write(
            servers
                .iter()
                .map(|(name, server)| format!("{name} silence 0\n# {} {}\n", stand_in(*server), server.port())),
        )
    }

    fn write(&self, lines: impl Iterator<Item = String>) -> Result<()> {
        self.0.write(FILE, lines.collect::<String>()).map(drop)
    }

    /// A program that runs `binary`, which knows these names, with the arguments that it is given.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn wrap(&self, binary: &Path) -> Result<PathBuf> {
        preload::wrap(&self.0, "TESTBED_NAMES", &self.0.path().join(FILE), binary)
    }
}

/// The address that stands for a server: another port is another address. Nobody listens there.
fn stand_in(server: SocketAddr) -> Ipv4Addr {
    let [high, low] = server.port().to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}
