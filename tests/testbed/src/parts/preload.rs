//! A small library in C that is loaded before a program's own, to change what the machine tells it. Owns compiling it and the
//! script that runs a program with it; reaches only programs that use the C library, so not Go's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::folder::RunFolder;
use crate::process;

/// Compiles `source`.
///
/// # Errors
/// When there is no C compiler.
pub(super) fn compile(folder: &RunFolder, source: &str) -> Result<()> {
    let source = folder.write("preload.c", source)?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("preload.so")).arg(source);
    let output = process::run(compile).context("a C compiler is needed: `apt-get install build-essential`")?;
    if !output.status.success() {
        bail!("cc failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A program that runs `binary`, with the arguments that it is given, what was compiled, and `variable` naming `file`.
///
/// # Errors
/// When the script cannot be written.
pub(super) fn wrap(folder: &RunFolder, variable: &str, file: &Path, binary: &Path) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\n{variable}='{}' LD_PRELOAD=\"$LD_PRELOAD {}\" exec '{}' \"$@\"\n",
        file.display(),
        folder.path().join("preload.so").display(),
        binary.display()
    );
    let path = folder.write("preloaded", script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("make the script executable")?;
    Ok(path)
}
