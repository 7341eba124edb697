//! What it costs a server that many proxies read the view from it: processor time of a reading, alone on its way and in one
//! packet with another request, and memory of a connection. Owns connections that behave as 1,000 active proxies'.

use std::hint;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::parts::memcached::Server;
use testbed::report::Table;
use testbed::usage;

/// Proxies that ask, each over a connection of its own.
pub(crate) const PROXIES: u32 = 1000;
/// Readings of an active proxy in a second: one in 0.65 of a lease of 65 ms (src/routing/lua/lease.lua).
pub(crate) const READINGS: f64 = 1000.0 / (0.65 * 65.0);
/// How long each form of request is measured.
const LENGTH: Duration = Duration::from_secs(3);

const VIEW: &str = "mg __mcp:v v c\r\n";
const OTHER: &str = "get other\r\n";

/// Of one server with one thread.
pub(crate) struct Cost {
    /// Processor time of a reading that travels alone, and of one that travels with another request.
    alone: Duration,
    together: Duration,
    connection: f64,
}

/// Measures a server of its own.
pub(crate) fn measure() -> Result<Cost> {
    let server = Server::start_with(&["-t", "1", "-c", "4096"])?;
    server.client().set("__mcp:v", b"1 3 0 0 0", 0, 0)?;
    server.client().set("other", &[b'v'; 100], 0, 0)?;
    let before = usage::resident(server.pid())?;
    let mut proxies = (0..PROXIES).map(|_| open(&server)).collect::<Result<Vec<_>>>()?;
    let alone = request(&server, &mut proxies, VIEW)?;
    let other = request(&server, &mut proxies, OTHER)?;
    let both = request(&server, &mut proxies, &format!("{OTHER}{VIEW}"))?;
    let grown = usage::resident(server.pid())?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let connection = grown as f64 / 1024.0 / f64::from(PROXIES);
    Ok(Cost { alone, together: both.saturating_sub(other), connection })
}

impl Cost {
    /// The part of a core that the proxies' readings take, alone on their way.
    pub(crate) fn core(&self) -> f64 {
        cores(self.alone)
    }

    /// Resident memory of a connection at a server, in kB.
    pub(crate) fn connection(&self) -> f64 {
        self.connection
    }

    pub(crate) fn table(&self) -> Table {
        let head = format!("{PROXIES} proxies, {READINGS:.1} readings of the view a second each");
        let mut table = Table::new(&[&head, "us/reading", "% of a core"]);
        for (what, cost) in [("alone on its way", self.alone), ("in one packet with another request", self.together)] {
            let core = cores(cost) * 100.0;
            let time = format!("{:.1}", cost.as_secs_f64() * 1e6);
            table.row(vec![what.into(), time.into(), format!("{core:.1}").into()]);
        }
        table
    }
}

/// What the proxies' readings take of a server's cores when each costs so much.
fn cores(cost: Duration) -> f64 {
    cost.as_secs_f64() * READINGS * f64::from(PROXIES)
}

fn open(server: &Server) -> Result<TcpStream> {
    let stream = TcpStream::connect(server.address()).context("connect")?;
    stream.set_nodelay(true).context("send at once")?;
    stream.set_nonblocking(true).context("read without waiting")?;
    Ok(stream)
}

/// Sends `text` over one connection after the other, evenly in time -> processor time of the server for each.
fn request(server: &Server, proxies: &mut [TcpStream], text: &str) -> Result<Duration> {
    let step = Duration::from_secs_f64(1.0 / (READINGS * f64::from(PROXIES)));
    let (before, start, mut sent) = (usage::cpu(server.pid())?, Instant::now(), 0_u32);
    let mut buffer = [0; 4096];
    while start.elapsed() < LENGTH {
        for proxy in &mut *proxies {
            while start.elapsed() < step * sent {
                hint::spin_loop();
            }
            match proxy.read(&mut buffer) {
                Ok(count) => ensure!(count > 0, "the server closed a connection"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {} // the first time round
                Err(error) => return Err(error).context("read an answer"),
            }
            proxy.write_all(text.as_bytes()).context("send a request")?;
            sent += 1;
        }
    }
    Ok((usage::cpu(server.pid())? - before) / sent)
}
