//! The release before this one: its binary and its manifests, made once from the commit that is pinned here. For tests of
//! upgrade and rollback, with two releases side by side.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{cache, progress};
use crate::folder::workspace_root;
use crate::process;

/// What users may run when they upgrade to this source: configurations of format 1 and no change of rings. Once there are releases,
/// the last one.
const COMMIT: &str = "bfce236dc61bada8f7873be03589ab9e9ec33a92";
const BINARY: &str = "memcached-injector";

/// Paths of the release before.
#[derive(Debug, Clone)]
pub struct PreviousRelease {
    /// Its program, a debug build.
    pub binary: PathBuf,
    /// The folder of its manifests.
    pub manifests: PathBuf,
}

/// The release before this one, built once (about four minutes on two cores).
///
/// # Errors
/// When this is no clone with history, or the build fails.
pub fn previous_release() -> Result<PreviousRelease> {
    let folder = cache::folder(&format!("previous-{}", &COMMIT[..12]), |folder| {
        let source = folder.join("source");
        unpack(folder, &source)?;
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.current_dir(&source).env("CARGO_TARGET_DIR", folder.join("target"));
        // Not this workspace's own folder: cargo tells packages apart by their place in a workspace, so both would be one.
        build.args(["build", "--locked", "--bin", BINARY]);
        progress::run("building the release before, once, about 4 minutes", build, &folder.with_extension("log"))?;
        let built = folder.join("target/debug").join(BINARY);
        std::fs::rename(&built, folder.join(BINARY)).with_context(|| format!("keep {}", built.display()))?;
        std::fs::remove_dir_all(folder.join("target")).context("remove what the build left")
    })?;
    Ok(PreviousRelease { binary: folder.join(BINARY), manifests: folder.join("source/manifests") })
}

fn unpack(folder: &Path, source: &Path) -> Result<()> {
    let archive = folder.join("source.tar");
    let mut git = Command::new("git");
    git.arg("-C").arg(workspace_root()).args(["archive", "--format=tar", "--output"]).arg(&archive).arg(COMMIT);
    let output = process::run(git)?;
    if !output.status.success() {
        bail!(
            "the release before is made from commit {COMMIT}, which `git archive` does not give: {}. A shallow clone gets it by \
             `git fetch --unshallow`",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let file = std::fs::File::open(&archive).with_context(|| format!("open {}", archive.display()))?;
    tar::Archive::new(file).unpack(source).with_context(|| format!("unpack {}", archive.display()))
}
