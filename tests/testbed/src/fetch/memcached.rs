//! Finding a memcached whose proxy has what the routing library needs, or fetching one from Debian without root. Owns the
//! check of a found binary and the private apt state; does not start servers.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{MEMCACHED, cache, progress};
use crate::process;

/// Oldest usable release: `req:raw_value` and `res:raw_string` came with 1.6.40.
pub const OLDEST_MEMCACHED: (u32, u32, u32) = (1, 6, 40);

/// A Debian suite: its memcached and the libraries that this is linked with, libc's own loader included.
struct Suite {
    name: &'static str,
    packages: &'static [&'static str],
}

/// Has a new enough memcached (1.6.45 in November 2026).
const SID: Suite = Suite {
    name: "sid",
    packages: &[
        "memcached",
        "libc6",
        "libevent-2.1-7t64",
        "libsasl2-2",
        "libssl3t64",
        "libzstd1",
        "zlib1g",
        "liblua5.4-0",
    ],
};
/// 1.6.38.
const TRIXIE: Suite = Suite { name: "trixie", packages: SID.packages };
/// 1.6.18.
const BOOKWORM: Suite =
    Suite { name: "bookworm", packages: &["memcached", "libc6", "libevent-2.1-7", "libsasl2-2", "libssl3"] };

/// A memcached that the routing library can't run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It has the proxy, but is older than [`OLDEST_MEMCACHED`].
    TooOld,
    /// It was built without the proxy.
    NoProxy,
}
/// Starts the fetched memcached through the loader it came with, since this machine's libc may be older. It uses `exec`,
/// so the process id is memcached's own.
const LAUNCHER: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")/root
exec \"$here/LOADER\" --library-path \"$here/LIBRARIES\" \"$here/usr/bin/memcached\" \"$@\"
";

/// A memcached >= 1.6.40 with the proxy: from `MEMCACHED`, from `PATH`, or fetched from Debian (about 10 s), then cached.
///
/// # Errors
/// When there is none and none can be fetched; the message says how to get one.
pub fn memcached() -> Result<PathBuf> {
    if let Some(path) = env::var_os(MEMCACHED).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        usable(&path).with_context(|| format!("{MEMCACHED} is {}", path.display()))?;
        return Ok(path);
    }
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    if let Some(found) = on_path.map(|folder| folder.join("memcached")).find(|path| usable(path).is_ok()) {
        return Ok(found);
    }
    let folder = cache::folder(&format!("memcached-{}", SID.name), |folder| {
        fetch(&SID, folder)?;
        usable(&folder.join("memcached"))
    })
    .with_context(advice)?;
    Ok(folder.join("memcached"))
}

/// A real memcached that is of no use, for tests of what is said then: fetched from Debian, then cached.
///
/// # Errors
/// When it can't be fetched.
pub fn unusable_memcached(which: Unusable) -> Result<PathBuf> {
    let suite = match which {
        Unusable::TooOld => TRIXIE,
        Unusable::NoProxy => BOOKWORM,
    };
    let folder = cache::folder(&format!("memcached-{}", suite.name), |folder| fetch(&suite, folder))?;
    Ok(folder.join("memcached"))
}

fn advice() -> String {
    let (major, minor, patch) = OLDEST_MEMCACHED;
    format!(
        "a memcached >= {major}.{minor}.{patch} with the proxy is needed, none is on PATH, and fetching one from Debian failed. \
         To get one: unpack a source release from https://memcached.org/downloads, `./configure --enable-proxy && make` \
         (needs libevent's headers), and set {MEMCACHED} to the binary"
    )
}

/// Checks version and proxy; the error says what is wrong with this one.
fn usable(path: &Path) -> Result<()> {
    let output = |flag: &str| -> Result<String> {
        let mut command = Command::new(path);
        command.arg(flag);
        let output = process::run(command)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let text = output("-V")?;
    let found = version(&text).ok_or_else(|| anyhow!("`memcached -V` says {:?}, not a version", text.trim()))?;
    if found < OLDEST_MEMCACHED {
        bail!("it is {}, older than {OLDEST_MEMCACHED:?}", text.trim());
    }
    if !output("-h")?.contains("proxy_config") {
        bail!(
            "it was built without the proxy (`memcached -h` lists no proxy_config; build with `./configure --enable-proxy`)"
        );
    }
    Ok(())
}

/// The numbers of `memcached 1.6.45`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text
        .strip_prefix("memcached ")?
        .trim()
        .split('.')
        .map(|word| word.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// Downloads and unpacks Debian's memcached into `folder`, with an apt state of its own: nothing of this machine changes.
fn fetch(suite: &Suite, folder: &Path) -> Result<()> {
    let label = format!("fetching memcached from Debian {}, once", suite.name);
    let log = folder.with_extension("log");
    let state = folder.join("apt");
    let archives = state.join("cache/archives");
    for path in [state.join("lists/partial"), archives.join("partial"), folder.join("root")] {
        fs::create_dir_all(&path).with_context(|| format!("make the folder {}", path.display()))?;
    }
    fs::write(state.join("status"), "").context("write an empty dpkg status")?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let sources = state.join("sources.list");
    fs::write(&sources, format!("deb [signed-by={keyring}] {} {} main\n", mirror()?, suite.name))
        .context("write sources.list")?;

    let mut update = apt(&state);
    update.arg("update");
    progress::run(&label, update, &log)?;
    let mut download = apt(&state);
    download.current_dir(&archives).arg("download").args(suite.packages);
    progress::run(&label, download, &log)?;
    for entry in fs::read_dir(&archives).with_context(|| format!("list {}", archives.display()))? {
        let path = entry.context("read a folder entry")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(folder.join("root"));
            let output = process::run(unpack)?;
            if !output.status.success() {
                bail!("unpacking {} failed: {}", path.display(), String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    fs::remove_dir_all(&state).with_context(|| format!("remove {}", state.display()))?;
    write_launcher(folder)
}

/// apt-get with every path it writes to below `state`.
fn apt(state: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let mut option = |name: &str, value: &Path| {
        command.arg("-o").arg(format!("{name}={}", value.display()));
    };
    option("Dir::State", state);
    option("Dir::State::lists", &state.join("lists"));
    option("Dir::State::status", &state.join("status"));
    option("Dir::Cache", &state.join("cache"));
    option("Dir::Etc::sourcelist", &state.join("sources.list"));
    option("Dir::Etc::sourceparts", Path::new("/dev/null"));
    // Downloads as the user who runs the tests: apt's own user may not be allowed to write here.
    command.args(["-o", "APT::Sandbox::User=", "-q"]);
    command
}

/// The archive that this machine's own apt sources name first, the one with security updates only aside.
fn mirror() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let output = process::run(command).context("fetching needs apt-get (Debian)")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let archive = listed.lines().find(|uri| !uri.contains("security"));
    archive.map(str::to_owned).ok_or_else(|| anyhow!("this machine's apt sources name no archive"))
}

fn write_launcher(folder: &Path) -> Result<()> {
    let root = folder.join("root");
    let loader = find(&root, &|name| name.starts_with("ld-linux") && name.contains(".so"))?;
    let libraries = find(&root, &|name| name.starts_with("libevent-2.1.so"))?;
    let relative = |path: &Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
    let libraries = libraries.parent().map(relative).unwrap_or_default();
    let launcher = folder.join("memcached");
    let script = LAUNCHER.replace("LOADER", &relative(&loader)).replace("LIBRARIES", &libraries);
    fs::write(&launcher, script).with_context(|| format!("write {}", launcher.display()))?;
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", launcher.display()))
}

/// The first file below `folder` whose name satisfies `wanted`.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("list {}", next.display()))? {
            let entry = entry.context("read a folder entry")?;
            let kind = entry.file_type().context("read a file's type")?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if wanted(&entry.file_name().to_string_lossy()) {
                return Ok(entry.path());
            }
        }
    }
    bail!("the fetched packages hold no loader or no libevent below {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("memcached 1.6.45\n"), Some((1, 6, 45)));
        assert!(version("memcached 1.6.9").unwrap() < OLDEST_MEMCACHED);
    }

    #[test]
    fn a_program_that_is_no_memcached_is_refused_with_the_reason() {
        let error = usable(Path::new("/bin/true")).unwrap_err();
        assert!(error.to_string().contains("not a version"), "{error:#}");
    }
}
