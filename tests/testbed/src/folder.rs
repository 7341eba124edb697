//! Where the test bed keeps its files: the cache of binaries and one folder for each running part, all below
//! `target/testbed`. Owns naming and removal; does not write into the folders.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Set (to anything) to keep the parts' folders, with their logs, after the parts are gone.
pub const KEEP: &str = "TESTBED_KEEP";

/// The root of this repository's workspace, as it was when the crate was compiled.
pub fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// `target/testbed`: below `CARGO_TARGET_DIR` where that is set, else below the workspace's `target`.
pub fn testbed_root() -> PathBuf {
    let root = workspace_root();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    target.join("testbed")
}

/// A folder for one running part, named `<pid>-<n>-<name>`, removed on drop unless [`KEEP`] is set.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder. The first call of a process also removes what processes that are gone left behind.
    ///
    /// # Errors
    /// When the folder cannot be made; the message names it.
    pub fn new(name: &str) -> Result<Self> {
        static CLEAN: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let run = testbed_root().join("run");
        CLEAN.call_once(|| remove_leftovers(&run));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = run.join(format!("{}-{number}-{name}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("make the folder {}", path.display()))?;
        Ok(Self { path })
    }

    /// Absolute path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the folder and returns its path. Missing parent folders are made. Who reads meanwhile sees what was
    /// there before, or all of it: two injectors that start at once share a kubeconfig.
    ///
    /// # Errors
    /// When the file cannot be written; the message names it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make the folder {}", parent.display()))?;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let new = path.with_file_name(format!(".{}.new", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&new, content).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if env::var_os(KEEP).is_some() {
            // Nothing can be done about a stderr that is gone.
            let _ = writeln!(io::stderr(), "kept {}", self.path.display());
        } else {
            // What cannot be removed now is a left-over, which the next process removes.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the folders of processes that no longer run. Failures are left for the next time: they hinder nobody.
fn remove_leftovers(run: &Path) {
    if env::var_os(KEEP).is_some() {
        return;
    }
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    #[test]
    fn who_reads_a_file_that_is_written_again_sees_all_of_it() {
        let folder = RunFolder::new("written-again").unwrap();
        let path = folder.write("file", vec![b'x'; 1 << 20]).unwrap();
        thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..200).for_each(|_| drop(folder.write("file", vec![b'x'; 1 << 20]).unwrap())));
            while !writer.is_finished() {
                assert_eq!(fs::read(&path).unwrap().len(), 1 << 20);
            }
        });
    }
}
