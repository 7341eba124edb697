//! One real node: its namespaces, its control groups, its disk (a folder), and the process that all of it hangs on. Owns
//! starting, killing and reviving it; the network between nodes is `network.rs`'s.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cgroup::Groups;
use super::network::{self, Direction, Network};
use super::{config, tools};
use crate::fetch::NodeBinaries;
use crate::folder::RunFolder;
use crate::process::{Process, Spec};

/// Process 1 of a node.
const INIT: &str = include_str!("node-init.sh");
/// containerd starts in a second and imports the images in a few more; a machine that builds meanwhile gets this long.
const START_BOUND: Duration = Duration::from_secs(120);

/// How a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Its packets vanish, as in a cloud's network: nobody gets an error.
    Silent,
    /// Its link goes down, as when a cable is pulled: its neighbours get an error after 3 s.
    LinkDown,
}

/// What every node of a cluster is started with.
#[derive(Debug)]
pub(super) struct Parts {
    pub binaries: NodeBinaries,
    pub images: Vec<PathBuf>,
    pub kubeconfig: PathBuf,
}

/// A node, running or dead.
#[derive(Debug)]
pub(super) struct Node {
    number: usize,
    // Fields are dropped in this order: the process, which everything of the node dies with, before its groups.
    process: Mutex<Option<Process>>,
    groups: Groups,
    folder: PathBuf,
}

impl Node {
    /// Starts node `number` with an empty disk; ready means that its programs are started.
    pub(super) fn start(number: usize, folder: &RunFolder, network: &Network, parts: &Parts) -> Result<Self> {
        network.add_node(number)?;
        let groups = Groups::make(number)?;
        let name = format!("node-{number}");
        let write = |file: &str, text: &str| folder.write(&format!("{name}/{file}"), text);
        let resolv_conf = write("resolv.conf", "nameserver 127.0.0.1\n")?;
        write("containerd.toml", &config::containerd())?;
        write("kubelet.json", &config::kubelet(&groups.root(), &resolv_conf))?;
        write("pods.conflist", &config::pod_network(number))?;
        write("init.sh", INIT)?;
        let node = Self { number, process: Mutex::new(None), groups, folder: folder.path().join(name) };
        node.boot(parts)?;
        Ok(node)
    }

    /// Its name in the API.
    pub(super) fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// Ends everything on the node at once, as a power cut does. A node that is dead already is no error.
    pub(super) fn kill(&self, death: Death, network: &Network) -> Result<()> {
        let Some(process) = self.lock().take() else { return Ok(()) };
        match death {
            Death::Silent => network.cut(self.number, Direction::Both)?,
            Death::LinkDown => network.unplug(self.number)?,
        }
        process.kill()?;
        self.groups.wait_empty()
    }

    /// Starts a dead node again, with the disk it had. Does nothing when it runs.
    pub(super) fn revive(&self, network: &Network, parts: &Parts) -> Result<()> {
        if self.lock().is_some() {
            return Ok(());
        }
        network.remove_node(self.number)?;
        network.add_node(self.number)?;
        // The dead containers' groups go first, or the kubelet takes 44 s to be ready.
        self.groups.make_anew()?;
        self.boot(parts)
    }

    /// Stops all of the node's processes where they are, or lets them go on.
    pub(super) fn freeze(&self, frozen: bool) -> Result<()> {
        self.groups.freeze(frozen)
    }

    /// An error with the last lines that the node's programs wrote.
    pub(super) fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let logs =
            ["import.log", "containerd.log", "kubelet.log", "kube-proxy.log"].map(|name| tail(&self.folder.join(name)));
        anyhow::anyhow!("{error:#}\n{}", logs.join("\n"))
    }

    fn boot(&self, parts: &Parts) -> Result<()> {
        let groups = self.groups.own_processes();
        let images: Vec<String> = parts.images.iter().map(|path| path.display().to_string()).collect();
        let process = Spec::new("init", "unshare")
            .args(["--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc"])
            .args(["--propagation", "private", "sh", "init.sh"])
            .env("NODE", self.name())
            .env("ADDRESS", network::address(self.number).to_string())
            .env("RANGE", network::RANGE)
            .env("GROUPS_OF_NODE", groups)
            .env("KUBECONFIG", &parts.kubeconfig)
            .env("IMAGES", images.join(" "))
            .env("PATH", search_path(&parts.binaries)?)
            .in_network(&network::of_node(self.number))
            .current_dir(&self.folder)
            .grace(Duration::ZERO)
            .spawn(&self.folder)?;
        process.wait_for_line("programs started", START_BOUND).map_err(|error| self.explain(&error))?;
        *self.lock() = Some(process);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        // A panic of another thread leaves the handle whole.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.freeze(false); // a frozen process would not end
        if let Some(process) = self.lock().take() {
            let _ = process.kill();
            let _ = self.groups.wait_empty();
        }
    }
}

/// The node's programs before those of this machine.
fn search_path(binaries: &NodeBinaries) -> Result<std::ffi::OsString> {
    let all = [&binaries.kubelet, &binaries.kube_proxy, &binaries.containerd, &binaries.shim, &binaries.ctr];
    let folders = all.iter().filter_map(|program| program.parent().map(Path::to_path_buf));
    env::join_paths(folders.chain(tools::path())).context("a folder on PATH has a colon in its name")
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(300).collect()).collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n  | ");
    format!("the last lines of {}:\n  | {last}", log.display())
}

/// Fails for a number that no node has.
pub(super) fn find(nodes: &[Node], name: &str) -> Result<usize> {
    match nodes.iter().position(|node| node.name() == name) {
        Some(index) => Ok(index),
        None => bail!("there is no node {name:?}; the nodes are node-1 to node-{}", nodes.len()),
    }
}
