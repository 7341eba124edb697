//! The network of real nodes: one namespace with a bridge for the control plane, one for each node, and a leg into this
//! machine's own network. Owns names and addresses, making and removing all of it, and cutting a node's link.
//!
//! ```text
//! this machine 10.245.0.254 --- bridge 10.245.0.1 (API server, DNS) --- node-N 10.245.0.(10+N) --- its pods 10.245.N.0/24
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};

use super::tools;

/// The control plane's network namespace.
pub(super) const CONTROL_PLANE: &str = "testbed-cp";
/// This machine's leg; names of links have at most 15 characters.
const LEG: &str = "testbed-h";
/// Every network namespace of a node is called this and its number.
const NODE: &str = "testbed-node-";
/// All addresses of nodes and pods.
pub(super) const RANGE: &str = "10.245.0.0/16";
/// Of the bridge: the API server's, the DNS server's, and the nodes' way to everything else.
pub(super) const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 245, 0, 1));
/// Drops what a node's link brings in or takes out. Address resolution still answers, as in a cloud's network, where a
/// machine that is gone gives no error.
const CUT: [(Direction, &str); 2] = [
    (
        Direction::In,
        "add chain inet cut in { type filter hook prerouting priority -400; }; add rule inet cut in iifname eth0 drop",
    ),
    (
        Direction::Out,
        "add chain inet cut out { type filter hook postrouting priority 400; }; add rule inet cut out oifname eth0 drop",
    ),
];

/// Which packets of a node are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the node.
    In,
    /// From the node.
    Out,
    /// All.
    Both,
}

/// The network namespace of node `number`.
pub(super) fn of_node(number: usize) -> String {
    format!("{NODE}{number}")
}

/// The address of node `number` (1 to 200).
pub(super) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 245, 0, u8::try_from(10 + number).unwrap_or(u8::MAX))
}

/// The addresses of the pods of node `number`.
pub(super) fn pods(number: usize) -> String {
    format!("10.245.{number}.0/24")
}

/// The control plane's namespace, with room for nodes. Dropping it removes it and every node's.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
}

impl Network {
    /// Removes what an earlier process left, and makes everything but the nodes.
    pub(super) fn make(nodes: usize) -> Result<Self> {
        remove_all();
        let network = Self { nodes };
        ip(None, "netns add testbed-cp")?;
        let inside = Some(CONTROL_PLANE);
        ip(inside, "link set lo up")?;
        ip(inside, "link add br0 type bridge")?;
        ip(inside, &format!("addr add {GATEWAY}/24 dev br0"))?;
        ip(inside, "link set br0 up")?;
        ip(None, &format!("link add {LEG} type veth peer name host netns {CONTROL_PLANE}"))?;
        ip(None, &format!("addr add 10.245.0.254/24 dev {LEG}"))?;
        ip(None, &format!("link set {LEG} up"))?;
        ip(inside, "link set host master br0 up")?;
        ip(None, &format!("route add {RANGE} via {GATEWAY}"))
            .with_context(|| format!("real nodes take the addresses {RANGE}; does something else have them?"))?;
        forward(CONTROL_PLANE)?;
        for number in 1..=nodes {
            ip(inside, &format!("route add {} via {}", pods(number), address(number)))?;
        }
        Ok(network)
    }

    /// Makes the namespace of a node, with its link up and its way to the other nodes' pods.
    pub(super) fn add_node(&self, number: usize) -> Result<()> {
        let name = of_node(number);
        ip(None, &format!("netns add {name}"))?;
        let inside = Some(name.as_str());
        ip(inside, "link set lo up")?;
        ip(None, &format!("link add n{number} netns {CONTROL_PLANE} type veth peer name eth0 netns {name}"))?;
        ip(Some(CONTROL_PLANE), &format!("link set n{number} master br0 up"))?;
        ip(inside, &format!("addr add {}/24 dev eth0", address(number)))?;
        ip(inside, "link set eth0 up")?;
        ip(inside, &format!("route add default via {GATEWAY}"))?;
        for other in (1..=self.nodes).filter(|other| *other != number) {
            ip(inside, &format!("route add {} via {}", pods(other), address(other)))?;
        }
        forward(&name)
    }

    /// Removes a dead node's namespace. The network namespaces of its pods can live on for minutes (sockets with data that
    /// nobody acknowledged hold them); their links go, or they would answer for the next pod that gets their address.
    pub(super) fn remove_node(&self, number: usize) -> Result<()> {
        let name = of_node(number);
        for link in ip(Some(&name), "-oneline link")?.lines() {
            // `7: veth1a2b3c@if3: <BROADCAST,...`
            let link = link.split([':', '@']).nth(1).unwrap_or_default().trim();
            if link.starts_with("veth") {
                ip(Some(&name), &format!("link del {link}"))?;
            }
        }
        ip(Some(CONTROL_PLANE), &format!("link del n{number}"))?;
        ip(None, &format!("netns del {name}")).map(drop)
    }

    /// Loses a node's packets from now on.
    pub(super) fn cut(&self, number: usize, direction: Direction) -> Result<()> {
        let lost = CUT.iter().filter(|(which, _)| direction == Direction::Both || direction == *which);
        let rules: Vec<&str> = lost.map(|(_, rule)| *rule).collect();
        nft(number, &format!("add table inet cut; {}", rules.join("; ")))
    }

    /// Loses no more of them.
    pub(super) fn mend(&self, number: usize) -> Result<()> {
        nft(number, "delete table inet cut")
    }

    /// Takes a node's link away: neighbours get no answer to address resolution either, and so an error after 3 s.
    pub(super) fn unplug(&self, number: usize) -> Result<()> {
        ip(Some(CONTROL_PLANE), &format!("link set n{number} down")).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove_all();
    }
}

/// Removes every namespace and link of ours that is there. What cannot be removed now is removed at the next start.
fn remove_all() {
    let _ = ip(None, &format!("link del {LEG}"));
    let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for namespace in namespaces {
        let name = namespace.file_name().to_string_lossy().into_owned();
        if name == CONTROL_PLANE || name.starts_with(NODE) {
            let _ = ip(None, &format!("netns del {name}"));
        }
    }
}

/// Runs `ip` with words of `command`, in a namespace or in this machine's own network.
fn ip(namespace: Option<&str>, command: &str) -> Result<String> {
    let place = namespace.map(|name| ["-n", name]).into_iter().flatten();
    tools::run("ip", place.chain(command.split(' ')))
}

fn nft(number: usize, rules: &str) -> Result<()> {
    let network = format!("--net=/run/netns/{}", of_node(number));
    tools::run("nsenter", [network.as_str(), "nft", rules]).map(drop)
}

/// Lets a namespace route between its links.
fn forward(name: &str) -> Result<()> {
    let network = format!("--net=/run/netns/{name}");
    tools::run("nsenter", [network.as_str(), "sysctl", "-qw", "net.ipv4.ip_forward=1"]).map(drop)
}
