//! The control groups of one node: everything that runs there is below them. Owns making them in every hierarchy, freezing
//! all of it, knowing when nothing runs any more, and removing them. Both cgroup versions: 1 has one hierarchy for each
//! controller, 2 has one for all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::{self, Look};

const ROOT: &str = "/sys/fs/cgroup";
/// Every group of ours is called this and the node's number.
const NAME: &str = "testbed-node-";
/// The kernel ends processes and frees groups in milliseconds; containers of a loaded machine take longer.
const BOUND: Duration = Duration::from_secs(20);

/// The groups of one node, one in each hierarchy.
#[derive(Debug)]
pub(super) struct Groups {
    name: String,
}

impl Groups {
    /// Makes the groups of node `number`, empty.
    pub(super) fn make(number: usize) -> Result<Self> {
        let groups = Self { name: format!("{NAME}{number}") };
        groups.make_anew()?;
        Ok(groups)
    }

    /// Removes what is there, which must be dead, and makes the groups again.
    pub(super) fn make_anew(&self) -> Result<()> {
        self.remove()?;
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&self.name);
            fs::create_dir(&group).with_context(|| format!("make the control group {}", group.display()))?;
            // Version 1 starts with none, and no process may enter then.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if !unified() && group.join(file).exists() {
                    let inherited = fs::read_to_string(hierarchy.join(file)).context("read the root's cpuset")?;
                    fs::write(group.join(file), inherited).with_context(|| format!("write {file}"))?;
                }
            }
        }
        if unified() {
            fs::create_dir(self.own_processes()).context("make the control group of the node's own processes")?;
        }
        Ok(())
    }

    /// As kubelet's `cgroupRoot` has it.
    pub(super) fn root(&self) -> String {
        format!("/{}", self.name)
    }

    /// The group that the node's own processes (kubelet, containerd) enter, so that freezing reaches them too.
    pub(super) fn own_processes(&self) -> PathBuf {
        // In version 2 a group with groups below it holds no processes itself.
        if unified() { self.freezer().join("host") } else { self.freezer() }
    }

    /// Stops every process of the node where it is, or lets all go on.
    pub(super) fn freeze(&self, frozen: bool) -> Result<()> {
        let (file, word) = match (unified(), frozen) {
            (true, frozen) => ("cgroup.freeze", if frozen { "1" } else { "0" }),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let path = self.freezer().join(file);
        fs::write(&path, word).with_context(|| format!("write {word} to {}", path.display()))
    }

    /// Waits until no process is left.
    pub(super) fn wait_empty(&self) -> Result<()> {
        let top = self.freezer();
        wait::until(&format!("the processes of {} to end", self.name), BOUND, || {
            let procs =
                below(&top).iter().map(|group| fs::read_to_string(group.join("cgroup.procs"))).collect::<Vec<_>>();
            let left: Vec<String> = procs.into_iter().flatten().filter(|text| !text.is_empty()).collect();
            Ok(if left.is_empty() { Look::Ready(()) } else { Look::NotYet(format!("{left:?} still run")) })
        })
    }

    /// Removes the groups and all below; none is no error.
    fn remove(&self) -> Result<()> {
        let _ = self.freeze(false); // what is frozen cannot end; where there is no group there is nothing to thaw
        remove(&self.name)
    }

    fn freezer(&self) -> PathBuf {
        let hierarchy = if unified() { PathBuf::from(ROOT) } else { Path::new(ROOT).join("freezer") };
        hierarchy.join(&self.name)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _ = self.remove(); // left for the next start otherwise
    }
}

/// Whether a process line of `/proc/<pid>/cgroup` content belongs to any node of the test bed.
pub(super) fn is_ours(content: &str) -> bool {
    content.contains(&format!("/{NAME}"))
}

/// Removes a group by name from every hierarchy, the deepest first.
fn remove(name: &str) -> Result<()> {
    wait::until(&format!("the control groups {name} to be removed"), BOUND, || {
        let mut left = None;
        for hierarchy in everywhere() {
            for group in below(&hierarchy.join(name)).into_iter().rev() {
                if let Err(error) = fs::remove_dir(&group) {
                    left = Some(format!("{}: {error}", group.display()));
                }
            }
        }
        Ok(left.map_or(Look::Ready(()), Look::NotYet))
    })
}

/// A group and all below it, parents first; nothing when it does not exist.
fn below(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![group.to_path_buf()];
    while let Some(group) = next.pop() {
        let Ok(entries) = fs::read_dir(&group) else { continue };
        next.extend(
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
        found.push(group);
    }
    found
}

/// Whether this machine has version 2 alone.
fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The hierarchies that a node needs a group in.
fn hierarchies() -> Vec<PathBuf> {
    // Beside version 1 an empty version 2 (`unified`), where the runtime makes groups by itself.
    everywhere().into_iter().filter(|hierarchy| !hierarchy.ends_with("unified")).collect()
}

/// All hierarchies of this machine.
fn everywhere() -> Vec<PathBuf> {
    if unified() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    // Some controllers of version 1 are links to a shared hierarchy.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
