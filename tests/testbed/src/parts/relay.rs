//! A TCP relay between one proxy and one server: the network between them, which can be cut, blackholed, slow or deaf in
//! one direction. Owns the port that the proxy knows the server by. Does not look into what it carries.
//!
//! What stands for what, all on loopback and without root:
//! - a link that is [`Condition::Cut`] resets its connections and refuses new ones, as a firewall that rejects does;
//! - in a [`Condition::Blackhole`] nothing moves and a connect hangs: the listener's queue of one is full, so that the kernel
//!   drops every further SYN, as a dead node's network does. When it ends, old connections are reset and what they held
//!   is lost, as when the other side no longer knows them;
//! - with one direction lost, the bytes of that direction are held, new connections hang (a handshake needs both), and
//!   when it ends the bytes arrive late, even from connections that were closed meanwhile, as TCP's retransmissions do;
//! - a delay holds every piece of data for that long in each direction; the handshake is not delayed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::carry::Link;
use crate::ports::{self, Port};
use crate::wait::{self, Look};

/// How long a connect to the server itself may take: it is on loopback, and even a frozen one's kernel accepts.
const DIAL_BOUND: Duration = Duration::from_millis(100);
/// Connects that fill a listener's queue; one is enough for a queue of length 0, Linux keeps one more than it says.
const FILLERS: usize = 4;
/// How long a filler may take before it counts as hanging: on loopback a handshake takes microseconds.
const FILLER_BOUND: Duration = Duration::from_millis(20);

/// What the network between a proxy and a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Clear,
    /// Connections are reset, new ones refused.
    Cut,
    /// Nothing moves, connects hang.
    Blackhole,
    /// What the proxy sends does not arrive until this ends.
    RequestsLost,
    /// What the server answers does not arrive until this ends.
    RepliesLost,
    /// Everything takes that much longer, in each direction.
    Delayed(Duration),
}

/// A relay on loopback. Dropping it resets what it carries.
#[derive(Debug)]
pub struct Relay {
    commands: mpsc::Sender<Command>,
    bell: UnixStream,
    carrier: Option<JoinHandle<()>>,
    address: SocketAddr,
    _port: Port,
}

impl Relay {
    /// Starts a relay to `server` in clear condition.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(server: SocketAddr) -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), server)
    }

    /// As [`Relay::start`], on another address of this machine than loopback.
    ///
    /// # Errors
    /// As [`Relay::start`].
    pub fn start_at(ip: IpAddr, server: SocketAddr) -> Result<Self> {
        let port = ports::free()?;
        let address = SocketAddr::from((ip, port.number()));
        let listener = bind(address)?;
        let (bell, rung) = UnixStream::pair().context("a pair of sockets")?;
        rung.set_nonblocking(true).context("a socket that does not block")?;
        let (commands, received) = mpsc::channel();
        let mut carrier = Carrier {
            server,
            address,
            condition: Condition::Clear,
            listener: Some(listener),
            fillers: Vec::new(),
            links: Vec::new(),
        };
        let thread = thread::spawn(move || carrier.run(&received, &rung));
        Ok(Self { commands, bell, carrier: Some(thread), address, _port: port })
    }

    /// Where the proxy finds the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the condition; in force when this returns.
    ///
    /// # Errors
    /// When the port was taken by somebody else while it was not listened on.
    pub fn set(&self, condition: Condition) -> Result<()> {
        let (done, answer) = mpsc::channel();
        self.send(Command::Set(condition, done))?;
        answer.recv().context("the relay's thread is gone")?
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| anyhow!("the relay's thread is gone"))?;
        (&self.bell).write_all(b"!").context("wake the relay")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A thread that is gone already needs no stop.
        let _ = self.send(Command::Stop);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

enum Command {
    Set(Condition, mpsc::Sender<Result<()>>),
    Stop,
}

/// The thread's own state: everything happens on one thread, so nothing is shared.
struct Carrier {
    server: SocketAddr,
    address: SocketAddr,
    condition: Condition,
    listener: Option<TcpListener>,
    /// Connections of our own that keep the listener's queue full.
    fillers: Vec<TcpStream>,
    links: Vec<Link>,
}

impl Carrier {
    fn run(&mut self, commands: &mpsc::Receiver<Command>, bell: &UnixStream) {
        loop {
            self.wait(bell);
            let mut rings = [0; 64];
            while matches!((&*bell).read(&mut rings), Ok(count) if count > 0) {}
            while let Ok(command) = commands.try_recv() {
                match command {
                    Command::Set(condition, done) => {
                        // A caller that gave up waiting needs no answer.
                        let _ = done.send(self.change(condition));
                    }
                    Command::Stop => return,
                }
            }
            if self.accepts() {
                self.accept();
            }
            if self.condition != Condition::Blackhole {
                let (requests, replies) = self.directions();
                let delay = if let Condition::Delayed(delay) = self.condition { delay } else { Duration::ZERO };
                for link in &mut self.links {
                    link.carry(requests, replies, delay);
                }
                self.links.retain(|link| !link.is_over());
            }
        }
    }

    /// Sleeps until something can be done.
    fn wait(&self, bell: &UnixStream) {
        let mut watched = vec![PollFd::new(bell, PollFlags::IN)];
        let mut due = None;
        if let Some(listener) = self.listener.as_ref().filter(|_| self.accepts()) {
            watched.push(PollFd::new(listener, PollFlags::IN));
        }
        if self.condition != Condition::Blackhole {
            let (requests, replies) = self.directions();
            for link in &self.links {
                watched.extend(link.watch(requests, replies));
                due = [due, link.due()].into_iter().flatten().min();
            }
        }
        let timeout = due.and_then(|due: Duration| Timespec::try_from(due).ok());
        // An interrupted or failed poll is one look too many.
        let _ = poll(&mut watched, timeout.as_ref());
    }

    fn accepts(&self) -> bool {
        matches!(self.condition, Condition::Clear | Condition::Delayed(_))
    }

    /// Which directions move: requests, replies.
    fn directions(&self) -> (bool, bool) {
        (self.condition != Condition::RequestsLost, self.condition != Condition::RepliesLost)
    }

    fn accept(&mut self) {
        while let Some(Ok((client, _))) = self.listener.as_ref().map(TcpListener::accept) {
            // Without a server the client's connection is dropped at once: the nearest to "refused" that is left.
            if let Ok(server) = TcpStream::connect_timeout(&self.server, DIAL_BOUND)
                && let Ok(link) = Link::new(client, server)
            {
                self.links.push(link);
            }
        }
    }

    fn change(&mut self, condition: Condition) -> Result<()> {
        if matches!(condition, Condition::Cut) || self.condition == Condition::Blackhole && condition != self.condition
        {
            self.links.drain(..).for_each(Link::reset);
        }
        let accepted = self.accepts();
        self.condition = condition;
        if self.accepts() && accepted {
            return Ok(());
        }
        self.listener = None;
        self.fillers.clear();
        if condition == Condition::Cut {
            return Ok(());
        }
        let listener = self.listener.insert(bind(self.address)?);
        if !matches!(condition, Condition::Clear | Condition::Delayed(_)) {
            rustix::net::listen(&*listener, 0).context("shorten the listener's queue")?;
            // Until one hangs: then the queue is full, and everybody else's connect hangs too.
            self.fillers =
                (0..FILLERS).map_while(|_| TcpStream::connect_timeout(&self.address, FILLER_BOUND).ok()).collect();
        }
        Ok(())
    }
}

/// A listener that does not block. The port is ours, but the kernel may need a moment to give up what was there before.
fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = wait::until(&format!("{address} to be free again"), Duration::from_secs(2), || {
        match TcpListener::bind(address) {
            Ok(listener) => Ok(Look::Ready(listener)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(Look::NotYet(error.to_string())),
            Err(error) => Err(error).with_context(|| format!("listen on {address}")),
        }
    })?;
    listener.set_nonblocking(true).context("a listener that does not block")?;
    Ok(listener)
}
