//! What a running process has used, from `/proc`: processor time and memory. Owns no process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time of all its threads, to the nanosecond.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
        let path = thread.context("read a folder entry")?.path().join("schedstat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let running = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += running.with_context(|| format!("{} holds no number", path.display()))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    status(pid, "VmRSS")
}

/// Resident memory in bytes without what is mapped from files, such as the program itself.
///
/// # Errors
/// When there is no such process.
pub fn anonymous(pid: u32) -> Result<u64> {
    status(pid, "RssAnon")
}

fn status(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("{path} has no {field}"))? * 1024)
}
