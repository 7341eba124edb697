//! One memcached proxy as a process, given a library and a configuration as text. Owns its two files and its port. Writes
//! no configuration itself, and knows no pod: [`super::kubelet`] runs a proxy as the injector wrote it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::memcached::as_root_user;
use crate::client::Client;
use crate::fetch;
use crate::folder::RunFolder;
use crate::ports::{self, Port};
use crate::process::{Process, Spec};
use crate::wait::{self, Look};

/// A proxy listens within milliseconds; a busy machine gets this long.
const START_BOUND: Duration = Duration::from_secs(10);
/// A proxy looks at its configuration once a second, and asks a server that is down once a second.
const FOLLOW_BOUND: Duration = Duration::from_secs(10);
const CONFIG: &str = "config.lua";

/// A proxy on loopback with one worker, as a pod's has. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    // Fields are dropped in this order: the process before its folder and its port.
    process: Process,
    folder: RunFolder,
    port: Port,
}

impl Proxy {
    /// Starts one with the text of its library and of its configuration; ready means it answers `version`, whatever its
    /// servers do.
    ///
    /// # Errors
    /// When there is no memcached ([`fetch::memcached`]), or it refuses the library or the configuration; the message
    /// shows its log.
    pub fn start(library: &str, config: &str) -> Result<Self> {
        Self::launch(Some(library), config)
    }

    /// Starts one with memcached's own library of routes (`routelib`) and a configuration for that: what ours is compared with.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_plain(config: &str) -> Result<Self> {
        Self::launch(None, config)
    }

    fn launch(library: Option<&str>, config: &str) -> Result<Self> {
        let binary = fetch::memcached()?;
        let port = ports::free()?;
        let folder = RunFolder::new(&format!("proxy-{}", port.number()))?;
        if folder.path().to_string_lossy().contains([':', ',']) {
            bail!("the path {} holds a ':' or ',', which memcached's options cannot", folder.path().display());
        }
        let library = match library {
            Some(text) => folder.write("library.lua", text)?.display().to_string(),
            None => "routelib".to_owned(),
        };
        let config = folder.write(CONFIG, config)?;
        let number = port.number().to_string();
        let options = format!("proxy_config={library},proxy_arg={}", config.display());
        let process = Spec::new("proxy", binary)
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-m", "64", "-p", &number, "-o", &options])
            .args(as_root_user())
            .env("MEMCACHED_PROXY_ID", &number)
            .grace(Duration::ZERO)
            .spawn(folder.path())?;
        let proxy = Self { process, folder, port };
        proxy.process.wait_ready(&format!("the proxy to answer on port {number}"), START_BOUND, || {
            Ok(match proxy.client().raw("version") {
                Ok(line) if line.starts_with("VERSION") => Look::Ready(()),
                Ok(line) => Look::NotYet(line),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })?;
        Ok(proxy)
    }

    /// The name that it has among proxies, as a pod's uid is for a pod's.
    pub fn id(&self) -> String {
        self.port.number().to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number()))
    }

    /// A client of this proxy.
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends its process a signal.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Replaces the configuration as a kubelet does: all at once. The proxy follows within about a second;
    /// [`Proxy::wait_log`] sees it say so.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        self.folder.write(CONFIG, config).map(drop)
    }

    /// Waits until its log holds `text`, and returns that line.
    ///
    /// # Errors
    /// When it does not within 10 s, or the proxy ends.
    pub fn wait_log(&self, text: &str) -> Result<String> {
        self.process.wait_for_line(text, FOLLOW_BOUND)
    }

    /// Waits until the proxy counts no server as down.
    ///
    /// # Errors
    /// When it still does after 10 s.
    pub fn wait_all_up(&self) -> Result<()> {
        wait::until("the proxy to see all its servers", FOLLOW_BOUND, || {
            let stats = self.client().stats("proxybe").context("stats proxybe")?;
            let down = stats.into_iter().map(|(name, value)| format!("{name} {value}"));
            let down: Vec<String> = down.filter(|line| line.contains("bad_")).collect();
            Ok(if down.is_empty() { Look::Ready(()) } else { Look::NotYet(down.join(", ")) })
        })
        .map_err(|error| self.process.explain(&error))
    }
}
