//! The cache of what was built or fetched: one folder for each thing, made once, whole or not at all. Owns locking between
//! processes and the atomic publish; does not know what is made.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::progress;
use crate::folder;

/// The folder `target/testbed/<name>`; where it does not exist yet, `make` fills a temporary folder that then takes its name.
///
/// One process makes it while others that want it wait. A `make` that fails leaves nothing behind but its log.
///
/// # Errors
/// What `make` returns, or the file system's errors with the path.
pub(super) fn folder(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = folder::testbed_root();
    let wanted = root.join(name);
    if wanted.is_dir() {
        return Ok(wanted);
    }
    fs::create_dir_all(&root).with_context(|| format!("make the folder {}", root.display()))?;
    let _lock = lock(&root.join(format!("{name}.lock")), name)?;
    if wanted.is_dir() {
        return Ok(wanted); // made while we waited
    }
    let unfinished = root.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("remove {}", unfinished.display()))?;
    }
    fs::create_dir(&unfinished).with_context(|| format!("make the folder {}", unfinished.display()))?;
    make(&unfinished)?;
    fs::rename(&unfinished, &wanted)
        .with_context(|| format!("rename {} to {}", unfinished.display(), wanted.display()))?;
    Ok(wanted)
}

/// Takes the lock, which the kernel gives back when the holder ends in whatever way.
fn lock(path: &Path, name: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress::say(&format!("another process is making {name}; waiting for it")),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
