//! Looking into a pod that runs on a real node: its network, its containers' processes. Owns finding them from outside, by
//! control group; what is done there is the caller's.

use std::fs::{self, File};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::cgroup;

/// A pod's network namespace. It stays usable as long as this value lives, also when the pod ends.
#[derive(Debug)]
pub struct PodNetwork {
    namespace: File,
}

impl PodNetwork {
    /// The network of a running pod, as the API server gives the pod.
    ///
    /// # Errors
    /// When none of its processes runs here.
    pub fn of(pod: &Value) -> Result<Self> {
        let uid = pod["metadata"]["uid"].as_str().context("the pod has no uid")?;
        let pid = process_below(&format!("/pod{uid}"))?;
        let path = format!("/proc/{pid}/ns/net");
        Ok(Self { namespace: File::open(&path).with_context(|| format!("open {path}"))? })
    }

    /// Runs `work` on a thread whose sockets are the pod's: what connects to localhost there reaches the pod's containers.
    ///
    /// # Errors
    /// When the network cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // Of this thread alone; it ends with the work.
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("enter the pod's network")?;
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("the work in the pod's network panicked"))?
        })
    }
}

/// A way into a pod's network from this machine's own: what connects to its address talks to a server inside. For clients
/// that are in one process and ask in several pods. Dropping it ends it for new connections.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Door {
    /// Opens one to `inside`, as the pod sees that address.
    ///
    /// # Errors
    /// When this machine has no port left.
    pub fn open(network: PodNetwork, inside: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for the pod")?;
        let address = listener.local_addr().context("ask for the port")?;
        let closed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closed);
        thread::spawn(move || {
            for outer in listener.incoming().flatten() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // One that can't be passed on is closed, which its client notices.
                if let Ok(Ok(inner)) = network.run(|| TcpStream::connect(inside)) {
                    let _ = join(outer, inner);
                }
            }
        });
        Ok(Self { address, closed })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // so that it looks
    }
}

/// Passes on what either side sends, until one of them has closed.
fn join(outer: TcpStream, inner: TcpStream) -> io::Result<()> {
    for (from, to) in [(outer.try_clone()?, inner.try_clone()?), (inner, outer)] {
        from.set_nodelay(true)?;
        thread::spawn(move || {
            let (mut from, mut to) = (from, to);
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Stops a container's first process where it is, until the guard is dropped.
///
/// # Errors
/// When the pod has no such container that runs.
pub fn freeze_container(pod: &Value, container: &str) -> Result<FrozenContainer> {
    let process = first_process(pod, container)?;
    kill_process(process, Signal::STOP).with_context(|| format!("stop {container}"))?;
    Ok(FrozenContainer(process))
}

/// A container that stands still until this is dropped.
#[derive(Debug)]
#[must_use = "the container goes on when this is dropped"]
pub struct FrozenContainer(Pid);

impl Drop for FrozenContainer {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT); // it may have been ended meanwhile
    }
}

/// Kills a container's processes as the kernel does when memory runs out (SIGKILL).
///
/// # Errors
/// When the pod has no such container that runs.
pub fn kill_container(pod: &Value, container: &str) -> Result<()> {
    kill_process(first_process(pod, container)?, Signal::KILL).with_context(|| format!("kill {container}"))
}

fn first_process(pod: &Value, container: &str) -> Result<Pid> {
    let pid = container_process(pod, container)?;
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process has a number above 0")
}

/// The process id, seen from this machine, of a running container's first process.
///
/// # Errors
/// As [`kill_container`].
pub fn container_process(pod: &Value, container: &str) -> Result<u32> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut statuses = lists.iter().filter_map(|list| pod["status"][*list].as_array()).flatten();
    let status = statuses.find(|status| status["name"] == container);
    let id = status.and_then(|status| status["containerID"].as_str()).and_then(|id| id.split("//").nth(1));
    process_below(id.with_context(|| format!("the pod has no container {container} that was started"))?)
}

/// The oldest process in a control group of a node whose path contains `part`.
fn process_below(part: &str) -> Result<u32> {
    let processes = fs::read_dir("/proc").context("list /proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let inside = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(part) && cgroup::is_ours(&groups)
    };
    pids.filter(inside).min().with_context(|| format!("no process of {part} runs on this machine's nodes"))
}
