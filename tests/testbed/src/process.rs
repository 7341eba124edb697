//! Child processes: the only place of this crate that spawns one. A child has a process group and a log of its own, and
//! cannot outlive this process. Does not know what the children are, nor when they are ready.
//!
//! The kernel kills a child (`PR_SET_PDEATHSIG`) when the *thread* that spawned it ends, so one thread that lives as long
//! as the process does all the spawning. That covers what `Drop` cannot: SIGKILL, abort, statics.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, getppid, kill_process_group, set_parent_process_death_signal};

use crate::wait::{self, Look};

/// How long a child may take to end after SIGTERM before it gets SIGKILL, unless [`Spec::grace`] says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a child after SIGKILL; longer means uninterruptible sleep.
const KILL_BOUND: Duration = Duration::from_secs(10);
/// How many of the last log lines an error message shows.
const TAIL_LINES: usize = 15;

/// Parts talk to this machine only; a proxy from the environment would take their traffic elsewhere.
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// What to start: program, arguments, environment.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    grace: Duration,
}

impl Spec {
    /// A child called `name` (in messages, and `<name>.log`) that runs `program`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            grace: DEFAULT_GRACE,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable to those that this process has.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder that the child runs in; this process's own otherwise.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs the child in a named network namespace (`/run/netns/<name>`) instead of this process's own. Needs root.
    #[must_use]
    pub fn in_network(mut self, network: &str) -> Self {
        // nsenter becomes the program, so the process id stays the child's. Not `ip netns exec`: that mounts another /sys.
        let mut args = vec![format!("--net=/run/netns/{network}").into(), "--".into(), self.program.into_os_string()];
        args.append(&mut self.args);
        self.program = "nsenter".into();
        self.args = args;
        self
    }

    /// How long the child may take to end after SIGTERM; zero means SIGKILL at once, for parts with nothing to save.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the child; stdout and stderr go to `<log_folder>/<name>.log`, appended.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started; the message names it.
    pub fn spawn(&self, log_folder: &Path) -> Result<Process> {
        let log = log_folder.join(format!("{}.log", self.name));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open the log {}", log.display()))?;
        let skip = file.metadata().map_or(0, |data| data.len());
        let mut command = Command::new(&self.program);
        for name in PROXY_VARIABLES {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.env.iter().cloned()).process_group(0).stdin(Stdio::null());
        command.stdout(file.try_clone().with_context(|| format!("share the log {}", log.display()))?).stderr(file);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child =
            spawn_bound_to_us(command).with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        let pid = child.id();
        Ok(Process { name: self.name.clone(), pid, log, skip, grace: self.grace, child: Mutex::new(child) })
    }
}

/// A running child. Dropping it stops the child: SIGTERM, a bounded wait, SIGKILL, each to its whole process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Bytes of the log that an earlier child of the same name wrote.
    skip: u64,
    grace: Duration,
    child: Mutex<Child>,
}

impl Process {
    /// The name given in [`Spec::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child's process id, which is its process group's too.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where stdout and stderr go.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything this child has written so far; invalid UTF-8 is replaced.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let own = usize::try_from(self.skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
        String::from_utf8_lossy(own).into_owned()
    }

    /// The exit status once the child has ended, `None` while it runs.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().with_context(|| format!("ask for the state of {}", self.name))
    }

    /// Sends a signal to the child's process group; one that has ended is no error.
    ///
    /// # Errors
    /// When the signal is not permitted.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The lock keeps the pid from being reaped, and so reused, between the look and the signal.
        let mut child = self.child();
        if child.try_wait().with_context(|| format!("ask for the state of {}", self.name))?.is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| anyhow!("{} has no valid pid", self.name))?;
        match kill_process_group(group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {signal:?} to {}", self.name)),
        }
    }

    /// SIGKILL, and waits until the child is gone.
    ///
    /// # Errors
    /// When it is not gone within 10 s.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_exit(KILL_BOUND).map(drop)
    }

    /// SIGTERM, then SIGKILL when the child has not ended within its grace.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn stop(&self) -> Result<()> {
        if !self.grace.is_zero() {
            self.signal(Signal::TERM)?;
            self.signal(Signal::CONT)?; // a frozen child would not see SIGTERM
            if self.wait_exit(self.grace).is_ok() {
                return Ok(());
            }
        }
        self.kill()
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `bound`.
    pub fn wait_exit(&self, bound: Duration) -> Result<ExitStatus> {
        wait::until(&format!("{} to end", self.name), bound, || {
            Ok(self.exited()?.map_or_else(|| Look::NotYet(format!("pid {} still runs", self.pid)), Look::Ready))
        })
    }

    /// Waits until `look` is ready, for at most `bound`; a child that ends meanwhile fails the wait at once.
    ///
    /// # Errors
    /// As [`wait::until`], with the child's last log lines added.
    pub fn wait_ready<T>(&self, what: &str, bound: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
        wait::until(what, bound, || match look()? {
            Look::Ready(value) => Ok(Look::Ready(value)),
            Look::NotYet(reason) => match self.exited()? {
                Some(status) => bail!("{} ended ({status}) before {what}", self.name),
                None => Ok(Look::NotYet(reason)),
            },
        })
        .map_err(|error| self.explain(&error))
    }

    /// Waits for the first log line for which `find` returns something.
    ///
    /// # Errors
    /// When there is none within `bound`, or the child ends without one.
    pub fn wait_for<T>(&self, what: &str, bound: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.wait_ready(what, bound, || {
            // Only whole lines count: the last one may be half written.
            let log = self.log();
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            Ok(whole.lines().find_map(&mut find).map_or_else(|| Look::NotYet("no such log line".into()), Look::Ready))
        })
    }

    /// Waits for the first log line that contains `pattern`, and returns it.
    ///
    /// # Errors
    /// As [`Process::wait_for`].
    pub fn wait_for_line(&self, pattern: &str, bound: Duration) -> Result<String> {
        let what = format!("a log line of {} with {pattern:?}", self.name);
        self.wait_for(&what, bound, |line| line.contains(pattern).then(|| line.to_owned()))
    }

    /// An error of this child's with its last log lines below.
    pub fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}\n{}", self.tail())
    }

    /// The last log lines with a heading, for an error message.
    pub fn tail(&self) -> String {
        let log = self.log();
        let mut last = VecDeque::new();
        for line in log.lines() {
            if last.len() == TAIL_LINES {
                last.pop_front();
            }
            last.push_back(line.chars().take(300).collect::<String>());
        }
        if last.is_empty() {
            return format!("{} has logged nothing ({})", self.name, self.log.display());
        }
        let lines = last.into_iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n");
        format!("the last lines of {}:\n{lines}", self.log.display())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic while the lock was held cannot leave the handle half changed.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Drop has nobody to tell; what survives this is killed when our process ends.
        let _ = self.stop();
    }
}

/// Runs a short-lived command to its end and returns its output; it dies with us as every child does.
///
/// # Errors
/// When it cannot be started. A failing exit status is the caller's to judge.
pub fn run(mut command: Command) -> Result<process::Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    for name in PROXY_VARIABLES {
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    if command.get_envs().all(|(name, _)| name != "LC_ALL") {
        command.env("LC_ALL", "C"); // messages are read by code and by people of every language
    }
    let child = spawn_bound_to_us(command).with_context(|| format!("start {program}"))?;
    child.wait_with_output().with_context(|| format!("wait for {program}"))
}

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns on the thread that lives as long as the process, so that the parent-death signal means *process* death.
pub(crate) fn spawn_bound_to_us(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            // The static above keeps the sender, so this loop never ends.
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    die_with_parent(&mut command);
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the spawning thread is gone");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Has the kernel send SIGKILL to the child when this process ends.
#[allow(unsafe_code)] // std has no safe way to run code between fork and exec
fn die_with_parent(command: &mut Command) {
    let parent = i32::try_from(process::id()).ok().and_then(Pid::from_raw);
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have ended between fork and the line above; then nobody would send the signal.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::SRCH)) }
    };
    // SAFETY: the hook only makes two system calls and compares integers: it is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(hook);
    }
}
