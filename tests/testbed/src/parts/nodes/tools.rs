//! What real nodes need of the machine: root, and programs of the distribution. Owns checking for them all at once, with
//! the one command that gets what is missing, and running them. What is built from Go modules is `fetch`'s.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Program and the Debian package that has it. `/usr/lib/cni` is where Debian's CNI plugins are.
const PROGRAMS: [(&str, &str); 13] = [
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("sysctl", "procps"),
    ("hostname", "hostname"),
    (BUSYBOX, "busybox-static"),
    (GETENT, "libc-bin"),
    ("musl-gcc", "musl-tools"),
];
/// The shell and tools of the images that the test bed makes: static, so that it runs alone.
pub(super) const BUSYBOX: &str = "/bin/busybox";
/// What a proxy asks the DNS with.
pub(super) const GETENT: &str = "/usr/bin/getent";
/// Where programs of administrators are, which not every root shell has on its `PATH`.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Checks that this process is root and that nothing is missing.
///
/// # Errors
/// Says in one line what to do.
pub(super) fn check() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "real nodes need root (namespaces, mounts, cgroups): run this as root, or by `sudo -E env PATH=\"$PATH\" ...`"
        );
    }
    let folders = path();
    let there = |program: &&str| match program.strip_prefix('/') {
        Some(_) => Path::new(program).is_file(),
        None => folders.iter().any(|folder| folder.join(program).is_file()),
    };
    let missing = PROGRAMS.iter().filter(|(program, _)| !there(program));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !packages.contains(&"busybox-static") && is_dynamic(Path::new(BUSYBOX))? {
        packages.push("busybox-static"); // the package `busybox` has the same program, linked with libc
    }
    packages.dedup();
    if !packages.is_empty() {
        bail!("real nodes need more of this machine: `apt-get install --no-install-recommends {}`", packages.join(" "));
    }
    Ok(())
}

/// The folders in which programs are looked for.
pub(super) fn path() -> Vec<PathBuf> {
    let own = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&own).chain(MORE_FOLDERS.map(PathBuf::from)).collect()
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it fails; the message has the command and what it wrote to standard error.
pub(super) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).env("PATH", env::join_paths(path()).context("a folder on PATH has a colon in its name")?);
    let shown = format!("{command:?}");
    let output = process::run(command)?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program names a loader, which a static one does not.
fn is_dynamic(program: &Path) -> Result<bool> {
    Ok(loader(&std::fs::read(program).with_context(|| format!("read {}", program.display()))?).is_some())
}

/// The loader that a program (ELF, 64 bits, little-endian) asks for.
pub(super) fn loader(program: &[u8]) -> Option<PathBuf> {
    // It stands before the code: the headers and the loader's name are in the first page.
    let page = &program[..program.len().min(4096)];
    let start = page.windows(4).position(|window| window == b"/lib")?;
    let name = page[start..].split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    name.contains("/ld-").then(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let loader = loader(&own).expect("tests are linked with libc");
        assert!(loader.is_file(), "{}", loader.display());
    }

    #[test]
    fn a_program_that_fails_is_shown_with_what_it_said() {
        let error = run("ls", ["/nowhere/at/all"]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("No such file"), "{error}");
    }
}
