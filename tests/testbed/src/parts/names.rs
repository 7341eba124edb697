//! Names that only some programs know, where there is no DNS: a server's name leads them to a port of this machine. Owns
//! compiling and preloading names.c; the servers are the caller's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::preload;
use crate::folder::RunFolder;

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
        let mut lines = String::new();
        for (number, (name, server)) in servers.iter().enumerate() {
            // Writing to a String can't fail. Nobody listens there: it only stands for the server.
            let _ = writeln!(lines, "{name} 127.77.0.{} {}", number + 1, server.port());
        }
        folder.write("names", lines)?;
        Ok(Self(folder))
    }

    /// A program that runs `binary`, which knows these names, with the arguments that it is given.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn wrap(&self, binary: &Path) -> Result<PathBuf> {
        preload::wrap(&self.0, "TESTBED_NAMES", &self.0.path().join("names"), binary)
    }
}
