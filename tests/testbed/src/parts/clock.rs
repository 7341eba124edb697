//! A machine's clock that can be set wrong: programs that are run by it see another time of day, and it may jump while they
//! run. Owns compiling and preloading clock.c; reaches only programs that read the time by the C library, so not Go's.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::preload;
use crate::folder::RunFolder;

/// A clock, right until it is [`set`](Clock::set). Its files go when it is dropped; programs have ended by then.
#[derive(Debug)]
pub struct Clock {
    folder: RunFolder,
    offset: fs::File,
}

impl Clock {
    /// A new one.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn new() -> Result<Self> {
        let folder = RunFolder::new("clock")?;
        preload::compile(&folder, include_str!("clock.c"))?;
        let offset = folder.write("offset", 0_i64.to_ne_bytes())?;
        let offset = fs::File::options().write(true).open(offset).context("open the clock's offset")?;
        Ok(Self { folder, offset })
    }

    /// A program that runs `binary` by this clock, with the arguments that it is given.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn wrap(&self, binary: &Path) -> Result<PathBuf> {
        preload::wrap(&self.folder, "TESTBED_CLOCK", &self.folder.path().join("offset"), binary)
    }

    /// Sets it so many days ahead of the right time; negative is behind, 0 is right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, days: i64) -> Result<()> {
        self.offset.write_all_at(&(days * 86_400).to_ne_bytes(), 0).context("set the clock")
    }
}
