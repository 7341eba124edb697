//! Building programs from the Go modules that this crate pins (go.mod and go.sum below `go/`). Owns the build's flags and the
//! check that Go is there; the versions are the modules'.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use super::{ASSETS, cache, progress};

/// Oldest Go that can read the modules: since 1.21 Go fetches the newer toolchain that a go.mod asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A module below `go/` and what to build from it.
pub(super) struct Module<'a> {
    /// Its folder's name.
    pub name: &'a str,
    /// The cache folder's name, to which a hash is added: programs of one module may be built apart.
    pub cache: &'a str,
    /// For the person who waits.
    pub label: &'a str,
    /// For the linker.
    pub ldflags: String,
    /// Go package, and the program's name.
    pub packages: &'a [(&'a str, &'a str)],
}

/// Builds the module's programs once and returns the folder that holds them.
///
/// # Errors
/// When Go is missing, too old, or the build fails.
pub(super) fn build(module: &Module) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(module.name);
    let sums = source.join("go.sum");
    let pinned = fs::read(&sums).with_context(|| format!("read {}", sums.display()))?;
    let hash: String = Sha256::digest(&pinned).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    cache::folder(&format!("{}-{hash}", module.cache), |folder| {
        check_go(module)?;
        let mut command = Command::new("go");
        command.current_dir(&source).env("CGO_ENABLED", "0");
        command.args(["build", "-mod=readonly", "-trimpath", "-ldflags", &module.ldflags, "-o"]).arg(folder);
        command.args(module.packages.iter().map(|(package, _)| package));
        let log = folder.with_extension("log");
        progress::run(&format!("building {}, once", module.label), command, &log)?;
        for (package, program) in module.packages {
            let built = folder.join(go_name(package));
            let named = folder.join(program);
            if built != named {
                fs::rename(&built, &named).with_context(|| format!("rename {} to {program}", built.display()))?;
            }
        }
        Ok(())
    })
}

/// The file name that Go gives to a package's program: its last path element that is not a major version.
fn go_name(package: &str) -> &str {
    let version = |word: &str| word.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
    package.rsplit('/').find(|word| !version(word)).unwrap_or(package)
}

fn check_go(module: &Module) -> Result<()> {
    let advice = format!(
        "{} is built by Go {}.{} or newer: install it (https://go.dev/doc/install; on Debian 13, Ubuntu 24.04 and newer \
         `apt-get install golang-go`), or set {ASSETS} to a folder that holds {}",
        module.name,
        OLDEST_GO.0,
        OLDEST_GO.1,
        module.packages.iter().map(|(_, program)| *program).collect::<Vec<_>>().join(", ")
    );
    let mut command = Command::new("go");
    command.arg("version");
    let output = crate::process::run(command).map_err(|error| anyhow!("{advice} ({error:#})"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match version(&text) {
        Some(found) if found >= OLDEST_GO => Ok(()),
        _ => bail!("{advice} (`go version` says {:?})", text.trim()),
    }
}

/// Major and minor of `go version go1.26.8 linux/amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    let digits = |word: &str| word.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(numbers.next()?)?, digits(numbers.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_program_is_named_by_its_package_without_the_major_version() {
        assert_eq!(go_name("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(go_name("sigs.k8s.io/kwok/cmd/kwok"), "kwok");
    }

    #[test]
    fn release_candidates_have_a_version_too() {
        assert_eq!(version("go version go1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(version("zsh: command not found"), None);
    }
}
