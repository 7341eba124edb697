//! As much memcached traffic as one thread can make, for measurements: many connections, each with some requests in
//! flight. Owns the requests and the clock; every answer's length is known beforehand, so a wrong answer is an error and
//! not a figure. What an answer must hold is for tests ([`crate::workload`]).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::random::Random;

/// An answer that takes longer is no answer: far above what a loaded machine makes of the proxy's 250 ms.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Requests are made beforehand, each connection's share of this many bytes of them and sent in turn.
const PREPARED_BYTES: usize = 16 << 20;
/// More different requests in flight than this show nothing new.
const PREPARED_BATCHES: usize = 64;
/// Numbers to count stay this long, so that the answer's length is known.
const COUNTER: &str = "1000000000";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `get`, of a key that is there.
    Get,
    /// `set`, for ever.
    Set,
    /// `incr` by one.
    Incr,
}

/// The form of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Connections, at least 1.
    pub connections: usize,
    /// Requests that each connection has in flight, at least 1; all are sent together and answered before the next.
    pub depth: usize,
    /// Bytes of a value.
    pub size: usize,
    /// How many of 100 requests are writes.
    pub writes: usize,
    /// What a write is.
    pub write: Command,
    /// Keys, at least 1, chosen evenly.
    pub keys: usize,
}

/// What a load came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Requests that were answered.
    pub requests: u64,
    /// For how long.
    pub length: Duration,
    /// From sending `depth` requests to their last answer, sorted.
    pub times: Vec<Duration>,
}

impl Outcome {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let requests = self.requests as f64;
        requests / self.length.as_secs_f64()
    }

    /// Half of the times are shorter.
    pub fn median(&self) -> Duration {
        self.times.get(self.times.len() / 2).copied().unwrap_or_default()
    }
}

/// Requests that are sent together.
struct Batch {
    bytes: Vec<u8>,
    /// Bytes of all answers.
    answer: usize,
    /// What the last answer ends with.
    end: &'static [u8],
}

/// Stores every key of a load through `address`, so that each `get` is a hit and each `incr` has a number.
///
/// # Errors
/// When a key can't be stored.
pub fn fill(address: SocketAddr, prefix: &str, shape: &Shape) -> Result<()> {
    let value = value(shape);
    let mut connection = Connection::open(address)?;
    for key in 0..shape.keys {
        let mut batch = Batch { bytes: Vec::new(), answer: 0, end: b"" };
        batch.add(Command::Set, &name(prefix, key), &value);
        connection.exchange(&batch).with_context(|| format!("fill {address}"))?;
    }
    Ok(())
}

/// Loads the memcached at `address` for `length` with keys called after `prefix`, which [`fill`] has stored.
///
/// # Errors
/// When a connection breaks, an answer has another length or end than it must have, or none comes for 10 s.
pub fn run(address: SocketAddr, prefix: &str, shape: &Shape, length: Duration) -> Result<Outcome> {
    let batches = prepared(prefix, shape);
    let mut connections = (0..shape.connections).map(|_| Connection::open(address)).collect::<Result<Vec<_>>>()?;
    let (start, mut times) = (Instant::now(), Vec::new());
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.next = number * batches.len() / shape.connections;
        connection.begin(&batches)?;
    }
    let mut buffer = vec![0; 256 << 10];
    let mut busy = connections.len();
    while busy > 0 {
        wait(&connections).with_context(|| format!("load on {address}"))?;
        for connection in &mut connections {
            let Some(began) = connection.began else { continue };
            if !connection.step(&batches, &mut buffer).with_context(|| format!("load on {address}"))? {
                continue;
            }
            times.push(began.elapsed());
            if start.elapsed() < length {
                connection.begin(&batches)?;
            } else {
                connection.began = None;
                busy -= 1;
            }
        }
    }
    let length = start.elapsed();
    times.sort_unstable();
    Ok(Outcome { requests: (times.len() * shape.depth) as u64, length, times })
}

fn name(prefix: &str, key: usize) -> String {
    format!("{prefix}:{key:06}")
}

fn value(shape: &Shape) -> String {
    if shape.write == Command::Incr { COUNTER.to_owned() } else { "v".repeat(shape.size) }
}

fn prepared(prefix: &str, shape: &Shape) -> Vec<Batch> {
    let mut random = Random::new(shape.keys as u64);
    let value = value(shape);
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while batches.len() < PREPARED_BATCHES && (bytes < PREPARED_BYTES || batches.len() < 4) {
        let mut batch = Batch { bytes: Vec::new(), answer: 0, end: b"" };
        for _ in 0..shape.depth {
            let command = if random.chance(shape.writes) { shape.write } else { Command::Get };
            batch.add(command, &name(prefix, random.below(shape.keys)), &value);
        }
        bytes += batch.bytes.len();
        batches.push(batch);
    }
    batches
}

impl Batch {
    fn add(&mut self, command: Command, key: &str, value: &str) {
        let size = value.len();
        let (request, answer, end): (String, usize, &[u8]) = match command {
            Command::Get => {
                let head = format!("VALUE {key} 0 {size}\r\n").len();
                (format!("get {key}\r\n"), head + size + 2 + 5, b"\r\nEND\r\n")
            }
            Command::Set => (format!("set {key} 0 0 {size}\r\n{value}\r\n"), 8, b"STORED\r\n"),
            Command::Incr => (format!("incr {key} 1\r\n"), size + 2, b"\r\n"),
        };
        self.bytes.extend_from_slice(request.as_bytes());
        self.answer += answer;
        self.end = end;
    }
}

struct Connection {
    stream: TcpStream,
    next: usize,
    /// The batch on its way, what of it was sent and what of its answers came.
    current: usize,
    sent: usize,
    read: usize,
    began: Option<Instant>,
    /// The other side takes no more requests for now.
    blocked: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("send at once")?;
        stream.set_nonblocking(true).context("read without waiting")?;
        Ok(Self { stream, next: 0, current: 0, sent: 0, read: 0, began: None, blocked: false })
    }

    /// Starts with the next batch.
    fn begin(&mut self, batches: &[Batch]) -> Result<()> {
        self.current = self.next;
        self.next = (self.next + 1) % batches.len();
        (self.sent, self.read, self.began) = (0, 0, Some(Instant::now()));
        self.send(&batches[self.current])
    }

    fn send(&mut self, batch: &Batch) -> Result<()> {
        self.blocked = false;
        while self.sent < batch.bytes.len() {
            match self.stream.write(&batch.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => return Err(error).context("send requests"),
            }
        }
        Ok(())
    }

    /// Goes on as far as it can -> whether every answer is there.
    fn step(&mut self, batches: &[Batch], buffer: &mut [u8]) -> Result<bool> {
        let batch = &batches[self.current];
        self.send(batch)?;
        while self.read < batch.answer {
            let count = match self.stream.read(buffer) {
                Ok(0) => bail!("the connection was closed"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("read answers"),
            };
            self.read += count;
            let last = &buffer[count.saturating_sub(batch.end.len())..count];
            let in_step = self.read < batch.answer || self.read == batch.answer && batch.end.ends_with(last);
            ensure!(in_step, "a wrong answer, ending with {:?}", String::from_utf8_lossy(&buffer[..count.min(200)]));
        }
        Ok(true)
    }

    /// One batch from its beginning to its end.
    fn exchange(&mut self, batch: &Batch) -> Result<()> {
        let batches = std::slice::from_ref(batch);
        (self.next, self.current) = (0, 0);
        self.begin(batches)?;
        let mut buffer = [0; 4096];
        while !self.step(batches, &mut buffer)? {
            wait(std::slice::from_ref(self))?;
        }
        Ok(())
    }
}

/// Waits until one of them can go on.
fn wait(connections: &[Connection]) -> Result<()> {
    let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(connections.len());
    for connection in connections.iter().filter(|connection| connection.began.is_some()) {
        let flags = if connection.blocked { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        waiting.push(PollFd::new(&connection.stream, flags));
    }
    let ready = poll(&mut waiting, Some(&PATIENCE)).context("wait for answers")?;
    ensure!(ready > 0, "no answer for 10 s");
    Ok(())
}
