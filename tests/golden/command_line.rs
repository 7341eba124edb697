//! Goldens through the real binary: its standard output, standard error and exit code.
//!
//! Owns the placeholders for what changes with every release. Does not compare anything.

use std::io::Write as _;
use std::process::{Command, Stdio};

use memcached_injector::manifest::to_yaml;
use memcached_injector::routing::library;
use serde_json::{Value, json};

use crate::corpus::{Golden, folder};

/// What a run left.
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// Injects a golden's input, with more flags than its own.
pub(crate) fn inject(golden: &Golden, more: &[&str]) -> Run {
    let arguments: Vec<String> =
        golden.arguments().into_iter().chain(more.iter().map(|flag| (*flag).to_owned())).collect();
    run(&arguments, "")
}

/// Injects `text` with a golden's flags.
pub(crate) fn inject_text(golden: &Golden, text: &str) -> Run {
    let fixed = ["inject", "-f", "-"].map(str::to_owned);
    run(&fixed.into_iter().chain(golden.flags.iter().cloned()).collect::<Vec<_>>(), text)
}

/// The workloads of the report in JSON; none when the stream can't be worked with.
pub(crate) fn report(golden: &Golden) -> Result<Vec<Value>, String> {
    let run = inject(golden, &["--output", "json"]);
    if run.code == 1 {
        return Ok(Vec::new());
    }
    let report: Value =
        serde_json::from_str(&run.stderr).map_err(|error| format!("the report is no JSON: {error}\n{}", run.stderr))?;
    report["workloads"].as_array().cloned().ok_or_else(|| format!("the report has no workloads: {report}"))
}

fn run(arguments: &[String], input: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memcached-injector"));
    command.args(arguments).current_dir(folder());
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MEMCACHED_INJECTOR_") {
            command.env_remove(variable);
        }
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the injector's binary starts");
    // All of it before anything is read: the command reads its input to the end before it writes. One that reads none may
    // have ended already, and its output says why.
    let _ = child.stdin.take().expect("standard input is a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the injector ends");
    Run {
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        code: output.status.code().unwrap_or(-1),
    }
}

/// `text` without what changes with every release.
pub(crate) fn with_placeholders(text: &str) -> String {
    let block = to_yaml(&json!({"library.lua": library::library().text}));
    let block: String =
        block.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
    let version = |quote: &str, version: &str| format!("{quote}version{quote}:{quote}{version}{quote}");
    let mut text =
        text.replace(&block, "  library.lua: LIBRARYTEXT\n").replace(&library::library().hash, "LIBRARYHASH");
    for quote in ["\"", "\\\""] {
        text = text.replace(&version(quote, env!("CARGO_PKG_VERSION")), &version(quote, "VERSION"));
    }
    text
}
