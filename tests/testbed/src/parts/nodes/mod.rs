//! Real Kubernetes nodes on one machine: kubelet, containerd and runc in namespaces of their own, with real images, a real
//! pod network, DNS and Services. Owns starting and ending the whole, and what can happen to a node; needs root and some
//! Debian packages, which an error names. No virtual machine and no registry.
//!
//! | file | owns |
//! |---|---|
//! | `tools` | what this machine must have |
//! | `network` | namespaces, links, addresses, cutting a link |
//! | `cgroup` | control groups: freezing a node, knowing that it is dead |
//! | `images`, `image` | what pods run, as tars |
//! | `config`, `places`, `node-init.sh`, `node` | one node |
//! | `pod` | a pod's network and processes, from outside |
//!
//! Everything is removed on drop. A process that was killed leaves no process behind, but names of namespaces and empty
//! groups, which the next start removes, and empty folders at the places that nodes mount over.

mod cgroup;
mod config;
mod image;
mod images;
mod network;
mod node;
mod places;
mod pod;
mod tools;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;
use serde_json::Value;

pub use images::{NEXT_MEMCACHED, SHELL};
pub use network::Direction;
pub use node::Death;
pub use pod::{Door, FrozenContainer, PodNetwork, container_process, freeze_container, kill_container};

use super::control_plane::ControlPlane;
use super::kwok::is_ready;
use crate::fetch;
use crate::folder::RunFolder;
use crate::process::{Process, Spec};
use network::Network;
use node::{Node, Parts};
use places::Places;

/// Nodes were Ready 4 s after their start; a machine that builds meanwhile gets this long.
const READY_BOUND: Duration = Duration::from_secs(120);
/// Held while nodes run: their addresses and names are the same in every run. Goes away with the process that holds it.
const LOCK: &str = "memcached-testbed-nodes";

/// A cluster of real nodes, called `node-1`, `node-2` and so on. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Nodes {
    // Fields are dropped in this order: nodes before what they talk to, everything before its network and files.
    nodes: Mutex<Vec<Node>>,
    coredns: Process,
    control_plane: ControlPlane,
    parts: Parts,
    network: Network,
    _places: Places,
    _folder: RunFolder,
    _lock: UnixListener,
}

impl Nodes {
    /// Starts `count` nodes (1 to 9) and a control plane of their own; ready means that all nodes are Ready.
    ///
    /// # Errors
    /// When this is not root, something is missing (the message names the command that gets it), another process has nodes
    /// on this machine, or a part does not become ready; the message shows its log.
    pub fn start(count: usize) -> Result<Self> {
        tools::check()?;
        let lock = take_lock()?;
        let binaries = fetch::nodes()?;
        let folder = RunFolder::new("nodes")?;
        let images = images::write(folder.path())?;
        let places = Places::make()?;
        let network = Network::make(count)?;
        let control_plane = ControlPlane::start_in(network::CONTROL_PLANE, network::GATEWAY)?;
        let kubeconfig = control_plane.kubeconfig().to_path_buf();
        let corefile = folder.write("Corefile", config::coredns(&kubeconfig))?;
        let coredns = Spec::new("coredns", &binaries.coredns)
            .arg("-conf")
            .arg(&corefile)
            .in_network(network::CONTROL_PLANE)
            .grace(Duration::ZERO)
            .spawn(folder.path())?;
        let parts = Parts { binaries, images, kubeconfig };
        let nodes = start_all(count, &folder, &network, &parts)?;
        let ready = control_plane.wait_for("the nodes to be Ready", "/api/v1/nodes", READY_BOUND, |list| {
            list["items"].as_array().is_some_and(|items| items.iter().filter(|node| is_ready(node)).count() >= count)
        });
        if let (Err(error), Some(node)) = (&ready, nodes.first()) {
            return Err(node.explain(error));
        }
        coredns.wait_for_line("CoreDNS-", READY_BOUND)?;
        Ok(Self {
            nodes: Mutex::new(nodes),
            coredns,
            control_plane,
            parts,
            network,
            _places: places,
            _folder: folder,
            _lock: lock,
        })
    }

    /// The control plane, to talk to.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Ends everything on a node at once, as a power cut does: no process is told.
    ///
    /// # Errors
    /// When there is no such node, or it does not die.
    pub fn kill(&self, name: &str, death: Death) -> Result<()> {
        let nodes = self.lock();
        nodes[node::find(&nodes, name)?].kill(death, &self.network)
    }

    /// Starts a dead node again, with the disk it had, and waits until it is Ready. Does nothing when it runs.
    ///
    /// # Errors
    /// When it does not become Ready; the message shows its logs.
    pub fn revive(&self, name: &str) -> Result<()> {
        let nodes = self.lock();
        let index = node::find(&nodes, name)?;
        // Dead for less than 40 s it still counts as Ready: it is back when its kubelet has renewed its lease.
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        let renewed = |lease: &Value| lease["spec"]["renewTime"].clone();
        let before = renewed(&self.control_plane.get(&lease)?.1);
        nodes[index].revive(&self.network, &self.parts)?;
        let back = self.control_plane.wait_for("the node's lease to be renewed", &lease, READY_BOUND, |lease| {
            !renewed(lease).is_null() && renewed(lease) != before
        });
        let ready = back.and_then(|_| {
            let path = format!("/api/v1/nodes/{name}");
            self.control_plane.wait_for("the node to be Ready again", &path, READY_BOUND, |node| {
                is_ready(node) && node["spec"]["taints"].is_null()
            })
        });
        ready.map(drop).map_err(|error| nodes[index].explain(&error))
    }

    /// Stops every process of a node where it is, until the guard is dropped.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn freeze(&self, name: &str) -> Result<Fault<'_>> {
        let nodes = self.lock();
        let index = node::find(&nodes, name)?;
        nodes[index].freeze(true)?;
        Ok(Fault { nodes: self, index, kind: Kind::Frozen })
    }

    /// Loses a node's packets in one direction or both, until the guard is dropped.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn cut(&self, name: &str, direction: Direction) -> Result<Fault<'_>> {
        let nodes = self.lock();
        let index = node::find(&nodes, name)?;
        self.network.cut(index + 1, direction)?;
        Ok(Fault { nodes: self, index, kind: Kind::Cut })
    }

    /// `kubectl drain`: evicts the node's pods as budgets allow and takes no new ones, until the guard is dropped.
    ///
    /// # Errors
    /// When it does not end within `bound`; the message is kubectl's.
    pub fn drain(&self, name: &str, bound: Duration) -> Result<Fault<'_>> {
        let index = node::find(&self.lock(), name)?;
        let fault = Fault { nodes: self, index, kind: Kind::Cordoned };
        let timeout = format!("--timeout={}s", bound.as_secs());
        self.control_plane.kubectl_text(["drain", name, "--ignore-daemonsets", "--delete-emptydir-data", &timeout])?;
        Ok(fault)
    }

    /// The cluster's DNS answers nobody, until the guard is dropped.
    ///
    /// # Errors
    /// When its process cannot be stopped.
    pub fn silence_dns(&self) -> Result<SilentDns<'_>> {
        self.coredns.signal(Signal::STOP)?;
        Ok(SilentDns(self))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        // A panic of another thread leaves the nodes whole.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with a node until this is dropped.
#[derive(Debug)]
#[must_use = "the fault ends when this is dropped"]
pub struct Fault<'a> {
    nodes: &'a Nodes,
    index: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Frozen,
    Cut,
    Cordoned,
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        // Nobody can be told here; whoever goes on with a node that stayed broken finds out.
        let _ = match self.kind {
            Kind::Frozen => self.nodes.lock()[self.index].freeze(false),
            Kind::Cut => self.nodes.network.mend(self.index + 1),
            Kind::Cordoned => {
                let name = self.nodes.lock()[self.index].name();
                self.nodes.control_plane.kubectl_text(["uncordon", &name]).map(drop)
            }
        };
    }
}

/// No answer from the DNS until this is dropped.
#[derive(Debug)]
#[must_use = "the DNS answers again when this is dropped"]
pub struct SilentDns<'a>(&'a Nodes);

impl Drop for SilentDns<'_> {
    fn drop(&mut self) {
        let _ = self.0.coredns.signal(Signal::CONT); // nobody can be told here, as with any Fault
    }
}

/// Starts the nodes side by side: each mostly waits for its own containerd.
fn start_all(count: usize, folder: &RunFolder, network: &Network, parts: &Parts) -> Result<Vec<Node>> {
    thread::scope(|scope| {
        let starting: Vec<_> =
            (1..=count).map(|number| scope.spawn(move || Node::start(number, folder, network, parts))).collect();
        starting.into_iter().map(|node| node.join().map_err(|_| anyhow!("starting a node panicked"))?).collect()
    })
}

fn take_lock() -> Result<UnixListener> {
    let name = SocketAddr::from_abstract_name(LOCK).context("name the lock")?;
    UnixListener::bind_addr(&name).with_context(|| {
        format!("another process has real nodes on this machine, and there is room for one cluster (`ss -xlp | grep {LOCK}` names it)")
    })
}
