//! One memcached cache server as a process, and the faults it can have: dead, frozen, back empty, back with old data. Owns
//! the server's port for the server's whole life, dead or alive. Proxies are [`super::proxy`]'s, pods [`super::kubelet`]'s.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};

use crate::client::Client;
use crate::fetch;
use crate::folder::RunFolder;
use crate::ports::{self, Port};
use crate::process::{Process, Spec};
use crate::wait::{self, Look};

/// A memcached listens within milliseconds; a busy machine gets this long.
const START_BOUND: Duration = Duration::from_secs(10);

/// Its items' memory and its account of them, in its folder: with them a restart can keep the data.
const MEMORY: &str = "items";
const ACCOUNT: &str = "items.meta";
/// memcached takes its old memory only when its clock, which counts whole seconds, has moved on since it stopped.
const CLOCK_BOUND: Duration = Duration::from_secs(3);

/// A memcached on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    // Fields are dropped in this order: the process before its folder and its port.
    process: Arc<Mutex<Process>>,
    binary: PathBuf,
    args: Vec<String>,
    folder: RunFolder,
    port: Port,
}

impl Server {
    /// Starts a cache server of 64 MB (memcached's default) on a free port; ready means it answers `version`.
    ///
    /// # Errors
    /// When there is no memcached ([`fetch::memcached`]) or it does not answer; the message shows its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`Server::start`], with more arguments for memcached (such as `-m 256`).
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(more: &[&str]) -> Result<Self> {
        let binary = fetch::memcached()?;
        let port = ports::free()?;
        let folder = RunFolder::new(&format!("memcached-{}", port.number()))?;
        let memory = folder.path().join(MEMORY);
        let mut args: Vec<String> = ["-l", "127.0.0.1", "-U", "0", "-p"].map(str::to_owned).to_vec();
        args.extend([port.number().to_string(), "-e".to_owned(), memory.display().to_string()]);
        args.extend(as_root_user().map(str::to_owned));
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let process = Self::spawn(&binary, &args, &folder, port.number())?;
        Ok(Self { process: Arc::new(Mutex::new(process)), binary, args, folder, port })
    }

    /// Where it listens; the same after [`Server::restart_empty`].
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number()))
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// Waits until it holds this value.
    ///
    /// # Errors
    /// If it does not within `bound`, or does not answer.
    pub fn wait_holds(&self, key: &str, value: &str, bound: Duration) -> Result<()> {
        let mut client = self.client();
        wait::until(&format!("{key} to be {value}"), bound, || {
            let held = client.get(key)?.map(|item| String::from_utf8_lossy(&item.value).into_owned());
            Ok(if held.as_deref() == Some(value) { Look::Ready(()) } else { Look::NotYet(format!("{held:?}")) })
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Everything it has logged, of the current process.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// SIGKILL: connections are reset, new ones refused, the data is gone. [`Server::restart_empty`] undoes the first two.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(&self) -> Result<()> {
        self.process().kill()
    }

    /// SIGSTOP: connections stay and new ones are accepted by the kernel, but nothing is answered. Undone when the guard is dropped.
    ///
    /// # Errors
    /// When the signal cannot be sent, or a thread runs on.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        self.process().signal(Signal::STOP)?;
        let frozen = Frozen { server: self };
        // A thread that runs on another core when the signal comes may answer one more request.
        wait::until("the server's threads to stand still", Duration::from_secs(5), || {
            let running = running_threads(self.pid());
            Ok(if running == 0 { Look::Ready(()) } else { Look::NotYet(format!("{running} run")) })
        })?;
        Ok(frozen)
    }

    /// Kills it if it still runs and starts it again on the same port, empty.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_empty(&self) -> Result<()> {
        let mut process = self.process();
        process.kill()?;
        let account = self.folder.path().join(ACCOUNT);
        if account.exists() {
            fs::remove_file(&account).with_context(|| format!("remove {}", account.display()))?;
        }
        *process = Self::spawn(&self.binary, &self.args, &self.folder, self.port.number())?;
        Ok(())
    }

    /// Stops it as [`Server::kill`] does for its clients, but its memory stays for [`Server::restart_with_old_data`].
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop_keeping_data(&self) -> Result<()> {
        let process = self.process();
        process.signal(Signal::USR1)?;
        process.wait_exit(START_BOUND).map(drop)
    }

    /// Starts it again on the same port with the items it had at [`Server::stop_keeping_data`], lifetimes and cas ids kept.
    /// Waits until a second has passed since then: memcached's own condition.
    ///
    /// # Errors
    /// When it was not stopped that way, or does not come back.
    pub fn restart_with_old_data(&self) -> Result<()> {
        let account = self.folder.path().join(ACCOUNT);
        let stopped = fs::metadata(&account).and_then(|data| data.modified());
        let stopped = stopped.with_context(|| format!("no {}: it was not stopped with its data", account.display()))?;
        wait::until("memcached's clock to tick", CLOCK_BOUND, || {
            let whole = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
            let moved = whole(SystemTime::now()) > whole(stopped);
            Ok(if moved { Look::Ready(()) } else { Look::NotYet("the same second".to_owned()) })
        })?;
        let mut process = self.process();
        *process = Self::spawn(&self.binary, &self.args, &self.folder, self.port.number())?;
        if account.exists() || process.log().contains("starting with a clean cache") {
            bail!("memcached came back without its old data\n{}", process.tail());
        }
        Ok(())
    }

    /// Sends signals to its current process, from another thread too; [`Server::freeze`] is the guarded form of SIGSTOP.
    pub fn signaller(&self) -> impl Fn(Signal) -> Result<()> + Send + 'static {
        let process = Arc::clone(&self.process);
        move |signal| process.lock().unwrap_or_else(PoisonError::into_inner).signal(signal)
    }

    /// `stats`, names and values.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn stats(&self) -> Result<Vec<(String, String)>> {
        self.client().stats("").with_context(|| format!("stats of the memcached at {}", self.address()))
    }

    /// One number out of `stats`, such as `curr_items`.
    ///
    /// # Errors
    /// When the server does not answer or has no such number.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.stats()?;
        let value = stats.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.and_then(|value| value.parse().ok()).with_context(|| format!("stats has no number called {name}"))
    }

    fn spawn(binary: &PathBuf, args: &[String], folder: &RunFolder, port: u16) -> Result<Process> {
        let process = Spec::new("memcached", binary).args(args).grace(Duration::ZERO).spawn(folder.path())?;
        let mut client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        process.wait_ready(&format!("memcached to answer on port {port}"), START_BOUND, || {
            Ok(match client.raw("version") {
                Ok(line) if line.starts_with("VERSION") => Look::Ready(()),
                Ok(line) => Look::NotYet(line),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })?;
        Ok(process)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A panic of another thread leaves the process as it is: still ours to use and to stop.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that answers nothing until this guard is dropped.
#[derive(Debug)]
#[must_use = "the server goes on when this guard is dropped"]
pub struct Frozen<'a> {
    server: &'a Server,
}

impl Frozen<'_> {
    /// Lets the server go on, as dropping the guard does.
    pub fn thaw(self) {}
}

/// Threads of a process that are not stopped; none when it has ended.
fn running_threads(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    // "pid (name) state ...", where the name may hold anything.
    stats.filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['T', 't', 'Z', 'X']))).count()
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // A server that was killed meanwhile cannot be thawed, and need not be.
        let _ = self.server.process().signal(Signal::CONT);
    }
}

/// memcached does not start as root without being told a user; as another user it must not be told one.
pub(crate) fn as_root_user() -> impl Iterator<Item = &'static str> {
    let args: &[&str] = if geteuid().is_root() { &["-u", "root"] } else { &[] };
    args.iter().copied()
}
