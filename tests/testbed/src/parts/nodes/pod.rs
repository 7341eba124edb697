//! Looking into a pod that runs on a real node: its network, its containers' processes. Owns finding them from outside, by
//! control group; what is done there is the caller's.

use std::fs::{self, File};
use std::os::fd::AsFd;
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

/// Kills a container's processes as the kernel does when memory runs out (SIGKILL).
///
/// # Errors
/// When the pod has no such container that runs.
pub fn kill_container(pod: &Value, container: &str) -> Result<()> {
    let pid = container_process(pod, container)?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process has a number above 0")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("kill {container}"))
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
