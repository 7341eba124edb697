//! The images that real nodes get: pause, a shell for apps, memcached, and the injector. Owns what is in each, made from
//! what this machine has; the tar is `image.rs`'s.

use std::collections::BTreeSet;
use std::env;
use std::env::consts::ARCH;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::image::{Image, read};
use super::tools::{BUSYBOX, GETENT, loader};
use crate::folder::workspace_root;
use crate::parts::memcached::Server;
use crate::process;

/// The image of the pause container, which holds a pod's network.
pub(super) const PAUSE: &str = "testbed-pause:1";
/// An image with a shell and small tools (busybox), for apps in tests.
pub const SHELL: &str = "testbed-shell:1";
/// What the manifests and the injector's defaults name; the tag is what they expect, not what was found on this machine.
const MEMCACHED: &str = "memcached:1.6.45";
/// The same under another name, for a change of the image.
pub const NEXT_MEMCACHED: &str = "memcached:1.6.45-next";
/// What the manifests name.
const INJECTOR: &str = "memcached-injector:0.1.0";
/// Tools of busybox by name: those of the official memcached image that probes use, and some for apps in tests.
const APPLETS: [&str; 12] =
    ["sh", "grep", "cat", "nc", "sleep", "printf", "echo", "date", "true", "kill", "wget", "nslookup"];
/// Where memcached's libraries are put, for its loader to find.
const LIBRARIES: &str = "/usr/lib/memcached";

/// Writes all images into `folder` and returns their paths.
///
/// # Errors
/// When something that goes into one is missing, or the injector cannot be built.
pub(super) fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let busybox = read(Path::new(BUSYBOX))?;
    // The kernel ends it when its pod ends, so it needs no signal handler.
    let mut pause = Image::new(PAUSE, json!({"Entrypoint": ["/bin/sleep", "infinity"]}));
    with_shell(&mut pause, &busybox)?;
    let mut shell = Image::new(SHELL, json!({"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin"]}));
    with_shell(&mut shell, &busybox)?;
    Ok(vec![
        pause.write(folder)?,
        shell.write(folder)?,
        memcached(&busybox)?.write(folder)?,
        injector()?.write(folder)?,
    ])
}

fn with_shell(image: &mut Image, busybox: &[u8]) -> Result<()> {
    image.add_folder(Path::new("tmp"))?;
    image.add_file(Path::new("bin/busybox"), busybox)?;
    APPLETS.iter().try_for_each(|name| image.add_link(&Path::new("bin").join(name), Path::new("busybox")))
}

/// memcached as the test bed found it, with every library that it really loads: a running one says which. getent, which the
/// official image has too, needs none but libc.
fn memcached(busybox: &[u8]) -> Result<Image> {
    let server = Server::start()?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).context("read what memcached has loaded")?;
    let files = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    // Not shared memory, which is listed as /dev/zero (deleted).
    let files: BTreeSet<&str> =
        files.filter(|file| !file.starts_with("/dev/") && !file.ends_with(" (deleted)")).collect();
    let mut image = Image::new(
        MEMCACHED,
        json!({
            "Entrypoint": ["memcached"], "User": "11211",
            "Env": ["PATH=/usr/bin:/bin", format!("LD_LIBRARY_PATH={LIBRARIES}")],
        }),
    );
    image.also_called(NEXT_MEMCACHED);
    with_shell(&mut image, busybox)?;
    image.add_file(Path::new("usr/bin/getent"), &read(Path::new(GETENT))?)?;
    let mut asked_for = None;
    let mut loaders = Vec::new();
    for file in files {
        let (path, content) = (Path::new(file), read(Path::new(file))?);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("memcached") {
            asked_for = loader(&content);
            image.add_file(Path::new("usr/bin/memcached"), &content)?;
        } else if name.starts_with("ld-") {
            loaders.push(content);
        } else {
            image.add_file(&Path::new(LIBRARIES).join(name), &content)?;
            for alias in aliases(path)? {
                image.add_link(&Path::new(LIBRARIES).join(alias), Path::new(name))?;
            }
        }
    }
    match (asked_for, loaders.pop()) {
        (Some(path), Some(content)) => image.add_file(&path, &content)?,
        (None, None) => {} // a static one
        (path, _) => bail!(
            "memcached asks for the loader {path:?}, but the one that runs has loaded another; set MEMCACHED to a binary that runs by itself"
        ),
    }
    Ok(image)
}

/// The names of the links beside a file that lead to it: programs ask for `libz.so.1`, the file is `libz.so.1.3.2`.
fn aliases(file: &Path) -> Result<Vec<OsString>> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?.flatten();
    let leads_here = |path: PathBuf| path.is_symlink() && path.canonicalize().is_ok_and(|target| target == *file);
    Ok(entries.filter(|entry| leads_here(entry.path())).map(|entry| entry.file_name()).collect())
}

/// The injector as the Dockerfile makes it: one static binary and nothing else.
fn injector() -> Result<Image> {
    let user = json!({"Entrypoint": ["/memcached-injector"], "User": "65532:65532"});
    let mut image = Image::new(INJECTOR, user);
    image.add_file(Path::new("memcached-injector"), &read(&static_binary()?)?)?;
    Ok(image)
}

/// Builds the injector for musl, which links statically (cargo shows its progress), and returns the binary's path.
fn static_binary() -> Result<PathBuf> {
    let target = format!("{ARCH}-unknown-linux-musl");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()).stdin(Stdio::null()).stdout(Stdio::piped());
    command.args(["build", "--bin", "memcached-injector", "--target", &target]);
    command.args(["--message-format", "json-render-diagnostics"]);
    // A fifth of the size, three times imported; a variable of the target leaves what is built for this machine alone.
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    command.env(flags, "-Cdebuginfo=0 -Cstrip=symbols");
    // What cargo tells the programs that it runs (this one) would make ring's build script believe that things changed.
    let told = env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("CARGO_PKG_"));
    told.chain(["CARGO_MANIFEST_DIR".into(), "CARGO_MANIFEST_PATH".into()]).for_each(|name| {
        command.env_remove(name);
    });
    let build = process::spawn_bound_to_us(command).context("start cargo")?;
    let output = build.wait_with_output().context("wait for cargo")?;
    if !output.status.success() {
        bail!(
            "building the injector's static binary failed ({}); it needs `rustup target add {target}` and \
             `apt-get install musl-tools`",
            output.status
        );
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable =
        |line: &str| Some(PathBuf::from(serde_json::from_str::<Value>(line).ok()?["executable"].as_str()?));
    messages.lines().filter_map(executable).next_back().context("cargo built no executable")
}
