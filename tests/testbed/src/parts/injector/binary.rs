//! The binary under test as a file: where it comes from, and what it says offline. Does not start the webhook.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::NAME;
use crate::folder::workspace_root;
use crate::process;

/// Names a built memcached-injector.
pub const BINARY: &str = "MEMCACHED_INJECTOR";

/// The memcached-injector to run: `MEMCACHED_INJECTOR`, or built by cargo from this workspace (cargo shows its progress).
///
/// # Errors
/// When the variable names no file, or the build fails.
pub fn injector_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("{BINARY} is {}, which is no file; unset it to have cargo build one", path.display());
        }
        return Ok(path);
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()).stdin(Stdio::null()).stdout(Stdio::piped());
    // Not --package: both crates together share one set of features, so that `cargo demo` and `cargo test` build the
    // dependencies once and not three times.
    command.args(["build", "--bin", NAME, "--message-format", "json-render-diagnostics"]);
    let build = process::spawn_bound_to_us(command).context("start cargo")?;
    let output = build.wait_with_output().context("wait for cargo")?;
    if !output.status.success() {
        bail!("`cargo build --bin {NAME}` failed ({})", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable =
        |line: &str| Some(PathBuf::from(serde_json::from_str::<Value>(line).ok()?["executable"].as_str()?));
    messages.lines().filter_map(executable).next_back().context("cargo built no executable")
}

/// The ConfigMaps that `memcached-injector inject` adds to a manifest, by name: without a cluster nobody else makes the
/// library's ConfigMap.
///
/// # Errors
/// When the command fails or prints something that is not YAML.
pub fn library_config_maps(binary: &Path, manifest: &Path) -> Result<BTreeMap<String, Value>> {
    let mut command = Command::new(binary);
    command.arg("inject").arg("-f").arg(manifest);
    let output = process::run(command)?;
    if !output.status.success() {
        bail!("`memcached-injector inject` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text =
        String::from_utf8(output.stdout).context("`memcached-injector inject` wrote bytes that are not UTF-8")?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).context("`memcached-injector inject` printed no YAML")?;
    let config_maps = documents.into_iter().filter(|document| document["kind"] == "ConfigMap");
    Ok(config_maps.filter_map(|map| Some((map["metadata"]["name"].as_str()?.to_owned(), map))).collect())
}
