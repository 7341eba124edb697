//! Everything that can go wrong with a cluster under test, in one list, and how it is undone. Owns what a fault does to
//! a [`Bed`]; when and for how long is the caller's: a fault lasts as long as its guard.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::bed::Bed;
use crate::parts::memcached::Server;
use crate::parts::relay::Condition;
use crate::process::Signal;

/// A starved server stands still for this long, again and again: more than the 250 ms that a request may take would be
/// a frozen one, less than the proxy's timeout (0.14 s) is slow and not dead.
const STANDSTILL: Duration = Duration::from_millis(110);
/// And runs for this long in between: together 4 % of a core.
const RUNNING: Duration = Duration::from_millis(5);

/// Which proxies a broken path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// This one only: a one-sided cut.
    Proxy(usize),
    /// All of them.
    Everyone,
}

/// One fault; servers and proxies by their number in the bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL: connections reset, new ones refused, data gone; undone: started again, empty.
    Kill(usize),
    /// SIGSTOP: connections stay and are accepted, nothing is answered; undone: it goes on with the data it had.
    Freeze(usize),
    /// Killed and started again at once, empty; nothing to undo.
    BackEmpty(usize),
    /// Stopped; undone: back with the data that it had when it stopped.
    BackStale(usize),
    /// It gets 4 % of a core, in short turns; simulated by SIGSTOP and SIGCONT, so that nothing else of the machine suffers.
    Slow(usize),
    /// All servers get 4 % of a core: what an overloaded machine does to them.
    Starve,
    /// The path is closed: connections reset, new ones refused.
    Cut(From, usize),
    /// The path swallows everything, connects hang.
    Blackhole(From, usize),
    /// Requests do not arrive while this lasts, and arrive late when it ends.
    RequestsLost(From, usize),
    /// Requests arrive and are done, replies do not come back in time.
    RepliesLost(From, usize),
    /// The path takes that much longer, in each direction.
    Delay(From, usize, Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Fault {
    /// Makes it happen; it lasts until the guard is undone or dropped.
    ///
    /// # Errors
    /// When a process or a path refuses, or the bed has no relays and the fault is a path's.
    pub fn apply(self, bed: &Bed) -> Result<Guard<'_>> {
        let server = |number: usize| bed.servers().get(number).with_context(|| format!("{self}: no server {number}"));
        match self {
            Self::Kill(number) => {
                let server = server(number)?;
                server.kill()?;
                Ok(Guard::new(self, || server.restart_empty()))
            }
            Self::Freeze(number) => {
                let server = server(number)?;
                let frozen = server.freeze()?;
                Ok(Guard::new(self, || {
                    frozen.thaw();
                    Ok(())
                }))
            }
            Self::BackEmpty(number) => {
                server(number)?.restart_empty()?;
                Ok(Guard::new(self, || Ok(())))
            }
            Self::BackStale(number) => {
                let server = server(number)?;
                server.stop_keeping_data()?;
                Ok(Guard::new(self, || server.restart_with_old_data()))
            }
            Self::Slow(number) => starve(self, vec![server(number)?]),
            Self::Starve => starve(self, bed.servers().iter().collect()),
            Self::Cut(from, server) => on_path(self, bed, from, server, Condition::Cut),
            Self::Blackhole(from, server) => on_path(self, bed, from, server, Condition::Blackhole),
            Self::RequestsLost(from, server) => on_path(self, bed, from, server, Condition::RequestsLost),
            Self::RepliesLost(from, server) => on_path(self, bed, from, server, Condition::RepliesLost),
            Self::Delay(from, server, by) => on_path(self, bed, from, server, Condition::Delayed(by)),
        }
    }
}

/// A fault that lasts until this is undone or dropped.
#[must_use = "the fault ends when its guard is dropped"]
pub struct Guard<'a> {
    fault: Fault,
    undo: Option<Box<dyn FnOnce() -> Result<()> + 'a>>,
}

impl<'a> Guard<'a> {
    fn new(fault: Fault, undo: impl FnOnce() -> Result<()> + 'a) -> Self {
        Self { fault, undo: Some(Box::new(undo)) }
    }

    /// Ends the fault.
    ///
    /// # Errors
    /// When a process does not come back.
    pub fn undo(mut self) -> Result<()> {
        let fault = self.fault;
        self.undo.take().map_or(Ok(()), |undo| undo().with_context(|| format!("end {fault}")))
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({})", self.fault)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            // Drop has nobody to tell; whoever needs to know calls `undo`.
            let _ = undo();
        }
    }
}

fn on_path<'a>(fault: Fault, bed: &'a Bed, from: From, server: usize, condition: Condition) -> Result<Guard<'a>> {
    let proxies = match from {
        From::Proxy(number) => number..number + 1,
        From::Everyone => 0..bed.proxies().len(),
    };
    let path = |proxy| bed.relay(proxy, server).with_context(|| format!("{fault}: this bed has no such path"));
    let paths = proxies.map(path).collect::<Result<Vec<_>>>()?;
    // The guard exists before the first path changes: a failure half way undoes what was done.
    let undo = paths.clone();
    let guard = Guard::new(fault, move || undo.iter().try_for_each(|path| path.set(Condition::Clear)));
    paths.iter().try_for_each(|path| path.set(condition))?;
    Ok(guard)
}

/// Stops and continues the servers in turns, on a thread of its own.
fn starve<'a>(fault: Fault, servers: Vec<&'a Server>) -> Result<Guard<'a>> {
    let over = Arc::new(AtomicBool::new(false));
    let signallers: Vec<_> = servers.iter().map(|server| server.signaller()).collect();
    let signal = move |signal| signallers.iter().try_for_each(|send| send(signal));
    signal(Signal::STOP)?;
    let stop = Arc::clone(&over);
    let thread = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(STANDSTILL); // the fault itself, not a wait
            signal(Signal::CONT)?;
            thread::sleep(RUNNING);
            signal(Signal::STOP)?;
        }
        signal(Signal::CONT)
    });
    Ok(Guard::new(fault, move || {
        over.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| anyhow!("the thread that starves the servers panicked"))?
    }))
}
