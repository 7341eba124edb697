//! What a real node runs. Owns which programs these are and which pinned module each is built from; those that come from
//! the distribution (runc, the CNI plugins, nft and so on) are checked by `parts/nodes/tools.rs`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{NEWEST, from_assets, golang, kubernetes_ldflags};

/// Paths of a node's programs, each called as its upstream calls it.
#[derive(Debug, Clone)]
pub struct NodeBinaries {
    /// Runs the pods of its node.
    pub kubelet: PathBuf,
    /// Makes Services reachable on its node.
    pub kube_proxy: PathBuf,
    /// The container runtime.
    pub containerd: PathBuf,
    /// Stands between containerd and each pod; containerd looks for it on `PATH`.
    pub shim: PathBuf,
    /// containerd's command line client, which imports images.
    pub ctr: PathBuf,
    /// The cluster's DNS server.
    pub coredns: PathBuf,
}

/// The modules: what to build of each, and the command that a fresh machine takes about that long for.
fn modules() -> [golang::Module<'static>; 2] {
    [
        golang::Module {
            name: NEWEST.module,
            cache: "kubelet",
            label: "Kubernetes 1.36 for nodes (kubelet, kube-proxy), about 3 minutes",
            ldflags: kubernetes_ldflags(&NEWEST),
            packages: &[
                ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
                ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
            ],
        },
        golang::Module {
            name: "nodes",
            cache: "nodes",
            label: "containerd 2.4 and CoreDNS 1.15, about 5 minutes",
            ldflags: "-s -w".to_owned(),
            packages: &[
                ("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
                ("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
                ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
                ("github.com/coredns/coredns", "coredns"),
            ],
        },
    ]
}

/// A node's programs: each from `KUBEBUILDER_ASSETS` where it is there, otherwise built once (about eight minutes on two
/// cores from nothing, with progress on stderr), then cached.
///
/// # Errors
/// As [`super::kubernetes`].
pub fn nodes() -> Result<NodeBinaries> {
    let mut paths = Vec::new();
    for module in modules() {
        let mut built = None;
        for (_, program) in module.packages {
            if let Some(path) = from_assets(program)? {
                paths.push(path);
                continue;
            }
            if built.is_none() {
                built = Some(golang::build(&module)?);
            }
            paths.extend(built.as_ref().map(|folder: &PathBuf| folder.join(program)));
        }
    }
    match <[PathBuf; 6]>::try_from(paths) {
        Ok([kubelet, kube_proxy, containerd, shim, ctr, coredns]) => {
            Ok(NodeBinaries { kubelet, kube_proxy, containerd, shim, ctr, coredns })
        }
        Err(paths) => bail!("expected a node's six programs, found {paths:?}"),
    }
}
