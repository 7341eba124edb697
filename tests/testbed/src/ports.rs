//! Free TCP ports for parts that cannot pick their own. Owns the choice and keeps it exclusive between the threads of a
//! process and between processes; does not keep the port bound, so a foreign program may still take it.
//!
//! A leased port is held by an abstract Unix socket named after it: such a name lives in the network namespace, as ports
//! do, needs no file, and goes away with the process that holds it, however it ends.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// First port considered: above what installed services listen on by habit.
const FIRST: u16 = 15_000;
/// End of the range where the kernel's own setting cannot be read: Linux hands out ephemeral ports from 32768 up.
const DEFAULT_END: u16 = 32_768;

/// A port nobody listens on, exclusive among users of this module until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UnixListener,
}

impl Port {
    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Leases one free port.
///
/// # Errors
/// When the whole range is taken.
pub fn free() -> Result<Port> {
    let mut ports = free_run(1)?;
    match ports.pop() {
        Some(port) => Ok(port),
        None => bail!("no free TCP port: the search returned an empty run"),
    }
}

/// Leases `count` consecutive free ports (1..=16), lowest first: a pod's proxy and its local cache are neighbours.
///
/// # Errors
/// When no such run is left below the ephemeral range.
pub fn free_run(count: u16) -> Result<Vec<Port>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let end = ephemeral_start().min(DEFAULT_END);
    let span = u32::from(end.saturating_sub(FIRST + count)).max(1);
    // Processes start at different places, so that they rarely try the same port.
    let start = process::id().wrapping_mul(97);
    for _ in 0..span {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let offset = start.wrapping_add(step) % span;
        let first = FIRST + u16::try_from(offset).unwrap_or(0);
        let run: Option<Vec<Port>> = (first..first + count).map(lease).collect();
        if let Some(run) = run {
            return Ok(run);
        }
    }
    bail!("no {count} consecutive free TCP ports between {FIRST} and {end}; `ss -ltn` lists who listens")
}

/// Takes one port if neither a user of this module nor any listener has it.
fn lease(number: u16) -> Option<Port> {
    let name = SocketAddr::from_abstract_name(format!("memcached-testbed-port-{number}")).ok()?;
    let held = UnixListener::bind_addr(&name).ok()?;
    // Binding the wildcard fails when any address of this machine has a listener there.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
    Some(Port { number, _held: held })
}

/// The first port that the kernel may give to an outgoing connection.
fn ephemeral_start() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|start| *start > FIRST + 1_000)
        .unwrap_or(DEFAULT_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_port_is_given_to_nobody_else() {
        let ports: Vec<Port> = (0..50).map(|_| free().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        assert!(lease(numbers[0]).is_none());
    }

    #[test]
    fn a_run_is_consecutive() {
        let run = free_run(3).unwrap();
        assert_eq!(run[0].number() + 2, run[2].number());
    }
}
