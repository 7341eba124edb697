//! The files that a node's programs read: containerd's, the kubelet's, the network plugins', and CoreDNS's. Owns what is set
//! and why; every other setting is the program's default.

use std::path::Path;

use serde_json::json;

use super::images::PAUSE;
use super::network;

/// containerd: only the snapshotter that is used, and runc.
pub(super) fn containerd() -> String {
    format!(
        r#"version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE (root of a virtual machine may lack it) runc could not lower a score, and fails.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}

/// The kubelet, in the control groups below `root`.
pub(super) fn kubelet(root: &str, resolv_conf: &Path) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false, // the machine's choice, not the test's
        "cgroupDriver": "cgroupfs", // no systemd is asked
        "cgroupRoot": root,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // Reached from the nodes' own network only, which is nobody else's.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "failSwapOn": false,
        "resolvConf": resolv_conf,
        "clusterDomain": "cluster.local",
        "clusterDNS": [network::GATEWAY],
        // The machine's disk and memory are not the nodes' to guard.
        "evictionHard": {},
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
    });
    format!("{config:#}\n")
}

/// The network plugins. Not `bridge`: without br_netfilter two pods on one bridge cannot talk through a Service's address.
pub(super) fn pod_network(number: usize) -> String {
    let config = json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [
            {
                "type": "ptp", "ipMasq": false,
                "ipam": {
                    "type": "host-local", "ranges": [[{"subnet": network::pods(number)}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{config:#}\n")
}

/// CoreDNS: the cluster's names and nothing else. Five seconds are its own default for how long an answer counts.
pub(super) fn coredns(kubeconfig: &Path) -> String {
    format!(
        ".:53 {{\n bind {}\n errors\n kubernetes cluster.local in-addr.arpa {{\n  kubeconfig {}\n  ttl 5\n }}\n}}\n",
        network::GATEWAY,
        kubeconfig.display()
    )
}
