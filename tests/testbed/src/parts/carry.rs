//! What a relay carries: one connection of a proxy and its continuation to the server, in two directions. Owns the bytes
//! on their way and when they are due. Decides nothing: [`super::relay`] says which direction moves, and how late.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::set_socket_linger;

/// One read.
const CHUNK: usize = 64 * 1024;
/// What may be on its way in one direction; beyond it the sender waits, as with a full socket buffer.
const ROOM: usize = 4 * 1024 * 1024;

/// A carried connection.
pub(super) struct Link {
    client: TcpStream,
    server: TcpStream,
    requests: Pipe,
    replies: Pipe,
}

impl Link {
    pub(super) fn new(client: TcpStream, server: TcpStream) -> io::Result<Self> {
        for stream in [&client, &server] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        Ok(Self { client, server, requests: Pipe::default(), replies: Pipe::default() })
    }

    /// Moves what can be moved in the directions that move.
    pub(super) fn carry(&mut self, requests: bool, replies: bool, delay: Duration) {
        if requests {
            self.requests.carry(&mut self.client, &mut self.server, delay);
        }
        if replies {
            self.replies.carry(&mut self.server, &mut self.client, delay);
        }
    }

    /// What to wait for on its sockets.
    pub(super) fn watch(&self, requests: bool, replies: bool) -> Vec<PollFd<'_>> {
        let mut watched = Vec::with_capacity(2);
        for (socket, reads, writes) in [
            (&self.client, requests && self.requests.takes(), replies && self.replies.gives()),
            (&self.server, replies && self.replies.takes(), requests && self.requests.gives()),
        ] {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            if !flags.is_empty() {
                watched.push(PollFd::new(socket, flags));
            }
        }
        watched
    }

    /// How long until something becomes due, if anything waits for its time.
    pub(super) fn due(&self) -> Option<Duration> {
        [self.requests.due(), self.replies.due()].into_iter().flatten().min()
    }

    /// Nothing will move any more.
    pub(super) fn is_over(&self) -> bool {
        self.requests.shut && self.replies.shut
    }

    /// Ends both connections with a reset.
    pub(super) fn reset(self) {
        for stream in [&self.client, &self.server] {
            // Without it the connection ends in good order instead: a milder cut, not a wrong one.
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

/// One direction.
#[derive(Default)]
struct Pipe {
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    /// The source has ended; what is queued still goes out.
    ended: bool,
    /// The end was passed on.
    shut: bool,
}

impl Pipe {
    fn takes(&self) -> bool {
        !self.ended && self.queued < ROOM
    }

    fn gives(&self) -> bool {
        self.queue.front().is_some_and(|(due, _)| *due <= Instant::now())
    }

    fn due(&self) -> Option<Duration> {
        let (due, _) = self.queue.front()?;
        let left = due.saturating_duration_since(Instant::now());
        // What is due already waits for room in the socket, which poll sees; rounded up, or poll would spin below 1 ms.
        (!left.is_zero()).then(|| left + Duration::from_millis(1))
    }

    fn carry(&mut self, from: &mut TcpStream, to: &mut TcpStream, delay: Duration) {
        self.take(from, delay);
        self.give(to);
        if self.ended && self.queue.is_empty() && !self.shut {
            self.shut = true;
            // A receiver that is gone needs no end.
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    fn take(&mut self, from: &mut TcpStream, delay: Duration) {
        let mut buffer = [0; CHUNK];
        while self.takes() {
            match from.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.queue.push_back((Instant::now() + delay, buffer[..count].to_vec()));
                    self.queued += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }

    fn give(&mut self, to: &mut TcpStream) {
        while self.gives() {
            let Some((_, bytes)) = self.queue.front_mut() else { return };
            match to.write(bytes) {
                Ok(count) => {
                    self.queued -= count;
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    // The receiver is gone: what was meant for it is lost, and its sender is told.
                    self.queue.clear();
                    self.queued = 0;
                    self.ended = true;
                    return;
                }
            }
        }
    }
}
