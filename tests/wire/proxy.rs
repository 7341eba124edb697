//! Real memcached processes for the wire tests: cache servers, and a proxy that runs the library. A process is killed when
//! its value is dropped. Asserts no promise itself, and sends nothing (`client.rs`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memcached_injector::routing::library;

pub(crate) use crate::client::Client;

/// How long anything may take before a test calls it broken. Longer than any timeout of the proxy, so that it is the
/// promise that fails and not the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; says `what` did not happen when it takes longer than [`PATIENCE`].
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "after {PATIENCE:?} still not: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of this process's own, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wire-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|err| panic!("creating {}: {err}", path.display()));
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn program() -> PathBuf {
    testbed::fetch::memcached().unwrap_or_else(|error| panic!("{error:#}"))
}

/// One memcached process and what it printed.
struct Process {
    child: Child,
    folder: Folder,
}

impl Process {
    fn start(args: &[&str], folder: Folder) -> Process {
        Process::start_program(&program(), args, folder)
    }

    fn start_program(program: &Path, args: &[&str], folder: Folder) -> Process {
        let log = File::create(folder.file("stderr")).expect("creating the log");
        let child = Command::new(program)
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-u", "root"])
            .args(args)
            .env("MEMCACHED_PORT_FILENAME", folder.file("ports"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|err| panic!("starting {}: {err}", program.display()));
        Process { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.file("stderr")).unwrap_or_default()
    }

    /// The port that it listens on, once it does.
    fn port(&mut self) -> u16 {
        let mut port = None;
        wait_for("memcached listens", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status}:\n{}", program().display(), self.log());
            }
            let ports = fs::read_to_string(self.folder.file("ports")).unwrap_or_default();
            port = ports.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok());
            port.is_some()
        });
        port.unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {}", self.child.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cache server.
pub(crate) struct Server {
    process: Process,
    /// Where it listens on 127.0.0.1, also after a restart.
    pub(crate) port: u16,
}

impl Server {
    /// Starts an empty one on a free port, with the default item limit of 1 MB.
    pub(crate) fn start() -> Server {
        let mut process = Process::start(&["-p", "-1", "-m", "64"], Folder::new());
        let port = process.port();
        Server { process, port }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }

    /// Stops it without closing a connection, as an overloaded machine does.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Kills it and starts it again, empty, on the same port.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        let port = self.port.to_string();
        self.process = Process::start(&["-p", &port, "-m", "64"], Folder::new());
        self.process.port();
    }

    /// A client of this server itself, past the proxy.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.port)
    }
}

/// `count` empty servers.
pub(crate) fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start()).collect()
}

/// What a configuration says beside its servers.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) mode: &'static str,
    pub(crate) consistency: &'static str,
    pub(crate) copies: usize,
    /// How many lists the servers are dealt out to.
    pub(crate) lists: usize,
    /// Server and seconds.
    pub(crate) local_cache: Option<(String, u32)>,
}

impl Layout {
    pub(crate) fn sharded() -> Layout {
        Layout { mode: "sharded", consistency: "coherent", copies: 1, lists: 1, local_cache: None }
    }

    pub(crate) fn replicated(copies: usize) -> Layout {
        Layout { mode: "replicated", copies, ..Layout::sharded() }
    }

    pub(crate) fn fastest(copies: usize) -> Layout {
        Layout { consistency: "fastest", ..Layout::replicated(copies) }
    }

    /// `ttl` in seconds; `server` may be `internal`.
    pub(crate) fn failover(server: &str, ttl: u32) -> Layout {
        Layout { mode: "failover", local_cache: Some((server.to_owned(), ttl)), ..Layout::sharded() }
    }

    /// The text of `config.lua`.
    pub(crate) fn config(&self, servers: &[Server], epoch: u32) -> String {
        let lists: Vec<String> = servers
            .chunks(servers.len() / self.lists)
            .map(|list| {
                let names: Vec<String> = list.iter().map(|server| format!("\"{}\"", server.address())).collect();
                format!("{{ {} }}", names.join(", "))
            })
            .collect();
        let local = self.local_cache.as_ref().map_or(String::new(), |(server, ttl)| {
            format!("  local_cache = {{ server = \"{server}\", ttl = {ttl} }},\n")
        });
        format!(
            "-- memcached-injector: {mode} on cache/memcached, ring epoch {epoch}\n{{\n  format = 1,\n  mode = \"{mode}\",\n  \
             cluster = \"cache/memcached\",\n  epoch = {epoch},\n  consistency = \"{consistency}\",\n  copies = {copies},\n  \
             replicas = {{ {lists} }},\n{local}}}\n",
            mode = self.mode,
            consistency = self.consistency,
            copies = self.copies,
            lists = lists.join(", "),
        )
    }
}

/// A proxy that runs the library of this build.
pub(crate) struct Proxy {
    process: Process,
    pub(crate) port: u16,
}

impl Proxy {
    /// Starts one and waits until it listens.
    pub(crate) fn start(config: &str) -> Proxy {
        Proxy::start_program(&program(), config)
    }

    /// Starts one of this program.
    pub(crate) fn start_program(program: &Path, config: &str) -> Proxy {
        let mut process = Proxy::spawn_program(program, &library::library().text, config);
        let port = process.port();
        Proxy { process, port }
    }

    /// Starts one whose library has `prelude` in front.
    pub(crate) fn start_with(prelude: &str, config: &str) -> Proxy {
        let lua = format!("do\n{prelude}\nend\n{}", library::library().text);
        let mut process = Proxy::spawn_with(&lua, config);
        let port = process.port();
        Proxy { process, port }
    }

    /// Starts one that is expected to give up -> how it ended and what it said.
    pub(crate) fn start_in_vain(config: &str) -> (ExitStatus, String) {
        Proxy::wait_end(Proxy::spawn(config))
    }

    fn wait_end(mut process: Process) -> (ExitStatus, String) {
        let mut status = None;
        wait_for("the proxy gives up", || {
            status = process.child.try_wait().ok().flatten();
            status.is_some()
        });
        (status.unwrap_or_default(), process.log())
    }

    /// Runs other Lua in place of the library; it must end with an error -> what it printed.
    pub(crate) fn run_lua(text: &str) -> String {
        Proxy::wait_end(Proxy::spawn_with(text, "")).1
    }

    fn spawn(config: &str) -> Process {
        Proxy::spawn_with(&library::library().text, config)
    }

    fn spawn_with(lua: &str, config: &str) -> Process {
        Proxy::spawn_program(&program(), lua, config)
    }

    /// Starts another memcached, which is expected to give up -> how it ended and what it said.
    pub(crate) fn start_program_in_vain(program: &Path, config: &str) -> (ExitStatus, String) {
        Proxy::wait_end(Proxy::spawn_program(program, &library::library().text, config))
    }

    fn spawn_program(program: &Path, lua: &str, config: &str) -> Process {
        let folder = Folder::new();
        let file = folder.file("library.lua");
        fs::write(&file, lua).expect("writing the library");
        fs::write(folder.file("config.lua"), config).expect("writing the configuration");
        let config_file = folder.file("config.lua");
        let options = format!("proxy_config={},proxy_arg={}", file.display(), config_file.display());
        Process::start_program(program, &["-p", "-1", "-m", "64", "-o", &options], folder)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.port)
    }

    /// Replaces the configuration as a kubelet does: all at once.
    pub(crate) fn configure(&self, config: &str) {
        let new = self.process.folder.file("config.lua.new");
        fs::write(&new, config).expect("writing the new configuration");
        fs::rename(new, self.config_file()).expect("moving the new configuration in place");
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.process.folder.file("config.lua")
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log has `text` at least `count` times.
    pub(crate) fn wait_log(&self, text: &str, count: usize) {
        wait_for(&format!("{count} x {text:?} in the log"), || self.log().matches(text).count() >= count);
    }

    /// Waits until no server counts as down.
    pub(crate) fn wait_all_up(&self) {
        wait_for("the proxy sees all its servers", || !self.client().stats("proxybe").contains("bad_"));
    }
}
