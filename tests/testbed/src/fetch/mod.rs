//! Getting the binaries that the parts run. Owns where they come from and that each is made once; does not start them.
//!
//! | binary | from, in this order |
//! |---|---|
//! | etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl | `KUBEBUILDER_ASSETS`; built by Go from the module that `go/kubernetes` or `go/kubernetes-oldest` pins |
//! | kwok | `KUBEBUILDER_ASSETS`; built by Go from the module that `go/kwok` pins |
//! | kubelet, kube-proxy, containerd, coredns | `KUBEBUILDER_ASSETS`; built by Go from the modules that `go/kubernetes` and `go/nodes` pin |
//! | the release before this one | built by cargo from the commit that `previous.rs` pins |
//! | memcached >= 1.6.40 with the proxy | `MEMCACHED`; `PATH`; fetched from Debian by apt, without root |
//!
//! `TESTBED_KUBERNETES=oldest` takes the oldest release that is supported instead of the newest (`go/kubernetes-oldest`),
//! for all but real nodes.
//!
//! What was built or fetched is kept in `target/testbed/<name>-<hash of what pins it>`; test processes that need it at the
//! same time wait for the one that makes it.

mod cache;
mod golang;
mod memcached;
mod nodes;
mod previous;
mod progress;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

pub use memcached::{OLDEST_MEMCACHED, Unusable, memcached, unusable_memcached};
pub use nodes::{NodeBinaries, nodes};
pub use previous::{PreviousRelease, previous_release};

/// Names a folder with Kubernetes binaries, as kubebuilder's envtest does.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Names a memcached binary.
pub const MEMCACHED: &str = "MEMCACHED";

/// Names the Kubernetes release that control planes are of: `newest`, which is the default, or `oldest`.
pub const RELEASE: &str = "TESTBED_KUBERNETES";

/// A Kubernetes release that is pinned below `go/`.
struct Release {
    /// Its module.
    module: &'static str,
    /// The server calls itself this.
    version: &'static str,
    /// For the person who waits.
    label: &'static str,
}

const NEWEST: Release = Release {
    module: "kubernetes",
    version: "1.36.3",
    label: "Kubernetes 1.36 (API server, etcd, controllers, scheduler, kubectl), about 7 minutes",
};
const OLDEST: Release = Release {
    module: "kubernetes-oldest",
    version: "1.34.4",
    label: "Kubernetes 1.34 (API server, etcd, controllers, scheduler, kubectl), about 7 minutes",
};

/// Paths of the control plane's programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The control plane's database.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers: Deployments, StatefulSets, Jobs, service accounts and so on.
    pub kube_controller_manager: PathBuf,
    /// The scheduler.
    pub kube_scheduler: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
    /// What the API server calls itself, such as 1.36.3; `None` when it is not known, because somebody else built it.
    pub version: Option<&'static str>,
}

/// The control plane's programs: each from `KUBEBUILDER_ASSETS` where it is there, otherwise all built once (about seven
/// minutes on two cores, with progress on stderr), then cached.
///
/// # Errors
/// When Go is missing or the build fails; the message says what to install or set.
pub fn kubernetes() -> Result<Binaries> {
    let names = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
    let mut built = None;
    let mut paths = Vec::new();
    for name in names {
        if let Some(path) = from_assets(name)? {
            paths.push(path);
            continue;
        }
        if built.is_none() {
            built = Some(build_kubernetes()?);
        }
        paths.extend(built.as_ref().map(|folder: &PathBuf| folder.join(name)));
    }
    match <[PathBuf; 5]>::try_from(paths) {
        Ok([etcd, kube_apiserver, kube_controller_manager, kube_scheduler, kubectl]) => {
            let version = if env::var_os(ASSETS).is_some() { None } else { Some(release()?.version) };
            Ok(Binaries { etcd, kube_apiserver, kube_controller_manager, kube_scheduler, kubectl, version })
        }
        Err(paths) => bail!("expected {} programs, found {paths:?}", names.len()),
    }
}

/// kwok, the fake kubelet: from `KUBEBUILDER_ASSETS` where it is there, otherwise built once (about two minutes), then cached.
///
/// # Errors
/// As [`kubernetes`].
pub fn kwok() -> Result<PathBuf> {
    if let Some(path) = from_assets("kwok")? {
        return Ok(path);
    }
    let folder = golang::build(&golang::Module {
        name: "kwok",
        cache: "kwok",
        label: "kwok 0.8 (fake nodes), about 2 minutes",
        ldflags: "-s -w".to_owned(),
        packages: &[("sigs.k8s.io/kwok/cmd/kwok", "kwok")],
    })?;
    Ok(folder.join("kwok"))
}

/// A program in the folder that `KUBEBUILDER_ASSETS` names. envtest's own folders hold no controller manager, scheduler
/// or kwok, so a missing one of these is no error; a folder that lacks etcd is not what the variable is for.
fn from_assets(name: &str) -> Result<Option<PathBuf>> {
    let Some(folder) = env::var_os(ASSETS).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = Path::new(&folder).join(name);
    if path.is_file() {
        return Ok(Some(path));
    }
    if ["etcd", "kube-apiserver", "kubectl"].contains(&name) {
        bail!(
            "{ASSETS} is {}, which holds no {name}; point it at a folder with etcd, kube-apiserver and kubectl \
             (`setup-envtest use -p path` prints one), or unset it to have them built",
            Path::new(&folder).display()
        );
    }
    Ok(None)
}

/// The release that [`RELEASE`] names.
fn release() -> Result<&'static Release> {
    match env::var(RELEASE).as_deref().unwrap_or_default() {
        "" | "newest" => Ok(&NEWEST),
        "oldest" => Ok(&OLDEST),
        other => {
            bail!("{RELEASE} is {other:?}; use \"newest\" ({}) or \"oldest\" ({})", NEWEST.version, OLDEST.version)
        }
    }
}

/// Without these Kubernetes calls itself v0.0.0-master.
fn kubernetes_ldflags(release: &Release) -> String {
    let (package, version) = ("k8s.io/component-base/version", release.version);
    let minor = version.split('.').nth(1).unwrap_or_default();
    format!("-s -w -X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}")
}

fn build_kubernetes() -> Result<PathBuf> {
    let release = release()?;
    golang::build(&golang::Module {
        name: release.module,
        cache: release.module,
        label: release.label,
        ldflags: kubernetes_ldflags(release),
        packages: &[
            ("go.etcd.io/etcd/server/v3", "etcd"),
            ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
            ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
            ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ],
    })
}
