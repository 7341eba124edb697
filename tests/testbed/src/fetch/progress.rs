//! Running one long command while a person watches: elapsed time on stderr, output in a log, the log's end in the error.
//! Writes to stderr itself, because a test's captured output would show nothing until the test is over.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::wait::{self, Look};

/// How often a line appears where stderr is not a terminal; on a terminal one line is redrawn.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often the one line of a terminal is redrawn.
const REDRAW_EVERY: Duration = Duration::from_secs(1);
/// A build that takes longer hangs: the slowest takes seven minutes on two cores.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How many of the log's last lines an error shows.
const TAIL_LINES: usize = 20;

/// One line for the person who waits.
pub(super) fn say(line: &str) {
    // A stderr that is gone must not stop the work.
    let _ = writeln!(io::stderr(), "testbed: {line}");
}

/// Runs `command` to its end, with its output in `log` and `label` with the elapsed time on stderr.
///
/// # Errors
/// When it cannot be started or fails; the message shows the command and the end of its log.
pub(super) fn run(label: &str, mut command: Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("open the log {}", log.display()))?;
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(file.try_clone().context("share the log")?).stderr(file);
    let mut child = process::spawn_bound_to_us(command).with_context(|| format!("start {shown}"))?;
    let mut clock = Clock::start(label);
    let outcome = wait::until(label, LONGEST, || {
        clock.tick();
        Ok(child.try_wait()?.map_or_else(|| Look::NotYet(format!("{shown} still runs")), Look::Ready))
    });
    clock.end(outcome.as_ref().is_ok_and(|status| status.success()));
    let status = match outcome {
        Ok(status) => status,
        Err(error) => {
            let _ = child.kill(); // the wait's error is the one to report
            let _ = child.wait();
            return Err(error);
        }
    };
    if !status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  | ");
        bail!("{shown} failed ({status}); the end of {}:\n  | {tail}", log.display());
    }
    Ok(())
}

/// Shows that something is going on, and for how long.
struct Clock<'a> {
    label: &'a str,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl<'a> Clock<'a> {
    fn start(label: &'a str) -> Self {
        let now = Instant::now();
        let clock = Self { label, started: now, shown: now, terminal: io::stderr().is_terminal() };
        clock.show("...");
        clock
    }

    fn tick(&mut self) {
        let every = if self.terminal { REDRAW_EVERY } else { LINE_EVERY };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            self.show("...");
        }
    }

    fn show(&self, state: &str) {
        let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{before}testbed: {} {state} {} s{after}", self.label, self.started.elapsed().as_secs());
        let _ = stderr.flush();
    }

    fn end(&self, good: bool) {
        self.show(if good { "done in" } else { "failed after" });
        if self.terminal {
            let _ = writeln!(io::stderr());
        }
    }
}
