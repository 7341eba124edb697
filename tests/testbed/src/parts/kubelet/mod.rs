//! What a kubelet would do with the containers that the injector adds, done with processes. Owns order, files, probes and
//! commands; runs only the injector's own sidecars (init containers called `memcached-*` with `restartPolicy: Always`).
//!
//! Exactly as in the pod: the volume's files (through the `..data` symlink, swapped at once on a change), every word of
//! the commands, the order of the containers, each startup probe before the next container starts.
//!
//! What differs, because a process is not a container:
//! - a volume's mount path is a folder here, so that prefix is replaced in commands, arguments and probes;
//! - `memcached` is the binary that [`crate::fetch::memcached`] found; as root it is told `-u root`, where the container
//!   would run as uid 11211;
//! - there is no cluster DNS: names of servers (`name.:11211`) are replaced in the files by addresses of [`Host::dns`];
//! - resources, security context and isolation are not applied.

mod volume;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::memcached::as_root_user;
use crate::fetch;
use crate::folder::RunFolder;
use crate::process::{self, Process, Spec};
use crate::wait::Look;
use volume::Volume;

/// Prefix of the names of the injector's containers.
const OURS: &str = "memcached-";
/// Annotation that says where the app finds its memcached.
const PORT: &str = "memcached.io/port";
/// memcached's own port, used where the annotation is absent.
const DEFAULT_PORT: u16 = 11_211;
/// Kubernetes' defaults for a probe: seconds between two tries, and how many may fail.
const PROBE_PERIOD: u64 = 10;
const PROBE_FAILURES: u64 = 3;

/// What surrounds a pod: the names it can resolve and the ConfigMaps of its namespace.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Server as the proxy's configuration names it (`memcached-0....svc.cluster.local.:11211`), and where it really is.
    pub dns: BTreeMap<String, SocketAddr>,
    /// ConfigMaps by name: the whole object.
    pub config_maps: BTreeMap<String, Value>,
}

/// The running sidecars of one pod. Dropping it stops them, last one first.
#[derive(Debug)]
pub struct Pod {
    // Fields are dropped in this order: processes before the files they read.
    containers: Vec<Process>,
    commands: Vec<(String, Vec<String>)>,
    volumes: Vec<Volume>,
    port: u16,
    host: Host,
    folder: RunFolder,
}

impl Pod {
    /// Starts the sidecars that admission has put into `pod`; ready means that every startup probe succeeded.
    ///
    /// # Errors
    /// When the pod has no such sidecar, needs something that only a real kubelet has, refers to a ConfigMap that
    /// `host` lacks, or a probe does not succeed within its own bound; the message shows the container's log.
    pub fn start(pod: &Value, host: &Host) -> Result<Self> {
        let binary = fetch::memcached()?;
        let folder = RunFolder::new("pod")?;
        if folder.path().to_string_lossy().contains([':', ',']) {
            bail!(
                "the path {} holds a ':' or ',', which memcached's options cannot; move the target folder",
                folder.path().display()
            );
        }
        let sidecars = sidecars(pod)?;
        let mut started = Self {
            containers: Vec::new(),
            commands: Vec::new(),
            volumes: Vec::new(),
            port: port(pod)?,
            host: host.clone(),
            folder,
        };
        for container in sidecars {
            started
                .start_container(pod, container, &binary)
                .with_context(|| format!("container {}", container["name"]))?;
        }
        Ok(started)
    }

    /// Where the app finds its memcached.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Each container's name and command line as it was started, in start order.
    pub fn commands(&self) -> &[(String, Vec<String>)] {
        &self.commands
    }

    /// The process of a container.
    ///
    /// # Errors
    /// When the pod has no sidecar of that name.
    pub fn container(&self, name: &str) -> Result<&Process> {
        let found = self.containers.iter().find(|process| process.name() == name);
        found.ok_or_else(|| anyhow!("this pod runs no container called {name}"))
    }

    /// Rewrites the volumes as a kubelet does after a change of the pod's annotations: all files at once, commands untouched.
    ///
    /// # Errors
    /// When a file's source is missing or a file cannot be written; the old files then stay.
    pub fn update(&self, pod: &Value) -> Result<()> {
        self.volumes.iter().try_for_each(|volume| volume.write(pod, &self.host))
    }

    fn start_container(&mut self, pod: &Value, container: &Value, binary: &std::path::Path) -> Result<()> {
        let name = container["name"].as_str().context("it has no name")?;
        let mounts = self.mount(pod, container)?;
        let mut command = mounts.rewrite(&command_line(container)?)?;
        command.extend(as_root_user().map(str::to_owned));
        let mut spec = Spec::new(name, binary).args(&command[1..]);
        for (variable, value) in environment(pod, container)? {
            spec = spec.env(variable, value);
        }
        let process = spec.spawn(self.folder.path())?;
        self.commands.push((name.to_owned(), command));
        wait_for_startup(&process, &container["startupProbe"], &mounts)?;
        self.containers.push(process);
        Ok(())
    }

    /// Writes the volumes that a container mounts and says where each now is.
    fn mount(&mut self, pod: &Value, container: &Value) -> Result<Mounts> {
        let mut mounts = Mounts::default();
        for mount in array(&container["volumeMounts"]) {
            let (Some(name), Some(path)) = (mount["name"].as_str(), mount["mountPath"].as_str()) else {
                bail!("a volumeMount without name or mountPath: {mount}");
            };
            if !mount["subPath"].is_null() {
                bail!("the mount of {name} uses subPath, which never updates: mount the directory");
            }
            if !self.volumes.iter().any(|volume| volume.name() == name) {
                let spec = array(&pod["spec"]["volumes"]).find(|volume| volume["name"] == name);
                let spec = spec.ok_or_else(|| anyhow!("the pod has no volume called {name}"))?;
                let volume = Volume::new(name, spec.clone(), self.folder.path().join("volumes").join(name));
                volume.write(pod, &self.host)?;
                self.volumes.push(volume);
            }
            let folder = self.folder.path().join("volumes").join(name);
            mounts.0.push((path.to_owned(), folder));
        }
        Ok(mounts)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Native sidecars end in reverse order.
        while let Some(last) = self.containers.pop() {
            drop(last);
        }
    }
}

/// Mount paths and the folders that stand for them.
#[derive(Debug, Default)]
struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    fn rewrite(&self, words: &[String]) -> Result<Vec<String>> {
        let rewrite = |word: &String| {
            if word.contains("$(") {
                bail!("{word:?} refers to a variable by $(...), which this stand-in does not expand");
            }
            Ok(self.0.iter().fold(word.clone(), |word, (path, folder)| word.replace(path, &folder.to_string_lossy())))
        };
        words.iter().map(rewrite).collect()
    }
}

/// The injector's sidecars in start order.
fn sidecars(pod: &Value) -> Result<Vec<&Value>> {
    let ours = |container: &&Value| {
        container["restartPolicy"] == "Always" && container["name"].as_str().is_some_and(|name| name.starts_with(OURS))
    };
    let found: Vec<&Value> = array(&pod["spec"]["initContainers"]).filter(ours).collect();
    if found.is_empty() {
        bail!("the pod has no init container called {OURS}* with restartPolicy Always: it was not injected");
    }
    Ok(found)
}

fn port(pod: &Value) -> Result<u16> {
    match pod["metadata"]["annotations"][PORT].as_str() {
        Some(text) => text.parse().with_context(|| format!("the annotation {PORT} is {text:?}")),
        None => Ok(DEFAULT_PORT),
    }
}

/// Command and arguments. Without a command the image's entrypoint runs, which puts `memcached` before options.
fn command_line(container: &Value) -> Result<Vec<String>> {
    let words = array(&container["command"]).chain(array(&container["args"]));
    let mut words: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
    if container["command"].is_null() && words.first().is_some_and(|word| word.starts_with('-')) {
        words.insert(0, "memcached".to_owned());
    }
    match words.first().map(String::as_str) {
        Some("memcached") => Ok(words),
        other => bail!("its command starts with {other:?}, not with memcached"),
    }
}

fn environment(pod: &Value, container: &Value) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for variable in array(&container["env"]) {
        let name = variable["name"].as_str().context("an env entry has no name")?;
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some(path) => volume::field(pod, path)?,
            None => variable["value"]
                .as_str()
                .with_context(|| format!("env {name} has neither value nor fieldRef"))?
                .to_owned(),
        };
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

/// Tries the startup probe, more often than a kubelet would, for as long as a kubelet would.
fn wait_for_startup(process: &Process, probe: &Value, mounts: &Mounts) -> Result<()> {
    if probe.is_null() {
        return Ok(());
    }
    let words: Vec<String> = array(&probe["exec"]["command"]).filter_map(Value::as_str).map(str::to_owned).collect();
    let words = mounts.rewrite(&words)?;
    let Some((program, args)) = words.split_first() else {
        bail!(
            "its startupProbe is no exec probe, and no other kind reaches a container that listens on loopback: {probe}"
        );
    };
    let number = |name: &str, default| probe[name].as_u64().unwrap_or(default);
    let bound = Duration::from_secs(number("periodSeconds", PROBE_PERIOD) * number("failureThreshold", PROBE_FAILURES));
    process.wait_ready(&format!("the startup probe of {}", process.name()), bound, || {
        let mut command = Command::new(program);
        command.args(args);
        let output = process::run(command)?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{} {}", output.status, said()))
        })
    })
}

/// The elements of an array; none where there is no array.
fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
