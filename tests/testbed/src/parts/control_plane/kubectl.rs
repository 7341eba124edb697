//! Driving a control plane by its own kubectl, as administrator. Owns the command line's common part and turning a failure
//! into an error; what is applied is the caller's.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ControlPlane;
use crate::process;
use crate::wait::{self, Look};

impl ControlPlane {
    /// Runs kubectl; a failure of the command is in the output's status.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = Command::new(&self.binaries.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        // kubectl caches discovery by host and port, which here belong to another control plane tomorrow.
        command.arg("--cache-dir").arg(self.folder.path().join("kubectl-cache"));
        command.args(args);
        process::run(command)
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    /// When the command fails; the message has its arguments and standard error.
    pub fn kubectl_text<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let args: Vec<S> = args.into_iter().collect();
        let output = self.kubectl(&args)?;
        if !output.status.success() {
            let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
            bail!("`kubectl {}` failed: {}", shown.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("kubectl wrote bytes that are not UTF-8")
    }

    /// Runs kubectl with `--output json` added and returns what it printed.
    ///
    /// # Errors
    /// As [`ControlPlane::kubectl_text`], or when the output is not JSON.
    pub fn kubectl_json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        let mut args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        args.extend(["--output".into(), "json".into()]);
        let text = self.kubectl_text(args)?;
        serde_json::from_str(&text).with_context(|| format!("kubectl printed no JSON: {text}"))
    }

    /// Server-side apply of a YAML or JSON stream; returns what kubectl printed.
    ///
    /// # Errors
    /// When the API server refuses an object; the message is the server's.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        let file = self.scratch(yaml)?;
        self.kubectl_text(["apply".as_ref(), "--server-side".as_ref(), "--filename".as_ref(), file.as_os_str()])
    }

    /// `kubectl create` of a YAML or JSON stream, for objects with `generateName` and for what must not exist yet.
    ///
    /// # Errors
    /// As [`ControlPlane::apply`].
    pub fn create(&self, yaml: &str) -> Result<String> {
        let file = self.scratch(yaml)?;
        self.kubectl_text(["create".as_ref(), "--filename".as_ref(), file.as_os_str()])
    }

    /// Waits until `holds` says so of the object at an API path such as `/apis/apps/v1/namespaces/shop/deployments/web`.
    /// The object is `Null` while the API server answers 404.
    ///
    /// # Errors
    /// When it does not hold within `bound`; the message has the object as it was last.
    pub fn wait_for(&self, what: &str, path: &str, bound: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, bound, || {
            let (status, object) = self.get(path)?;
            let object = if status == 404 { Value::Null } else { object };
            Ok(if holds(&object) {
                Look::Ready(object)
            } else {
                Look::NotYet(format!("GET {path} answers {status}: {object}"))
            })
        })
    }

    /// A file with this content, for kubectl to read.
    fn scratch(&self, content: &str) -> Result<std::path::PathBuf> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.folder.write(&format!("applied/{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed)), content)
    }
}
