//! What it costs a server that many proxies read the view from it: processor time of a reading, alone on its way to a server that does
//! nothing else, beside other requests, in one packet with one of them, and as three servers get them; and memory of a connection. Owns
//! connections that behave as 1,000 active proxies'.

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
/// Readings of one member of Q in a second by an active proxy: it reads two of three when a lease of 65 ms has run out
/// (`tests/contract/simulated/scale.rs` counts it).
pub(crate) const READINGS: f64 = 2.0 / 3.0 * 1000.0 / 65.0;
/// Each form of requests is measured so long, in turns so often.
const LENGTH: Duration = Duration::from_secs(2);
const ROUNDS: u32 = 3;

const VIEW: &str = "mg __mcp:v v c\r\n";
const OTHER: &str = "get other\r\n";

/// Of one server with one thread.
pub(crate) struct Cost {
    /// Processor time of a reading that travels alone and is all that the server has to do, of one that travels alone while each
    /// proxy asks this server as often for something else, and of one that travels with such a request.
    alone: Duration,
    beside: Duration,
    together: Duration,
    /// Of one of a cluster of three, where each proxy asks this server as often for something else: every second reading travels with that.
    mixed: Duration,
    connection: f64,
}

/// Measures a server of its own.
pub(crate) fn measure() -> Result<Cost> {
    let server = Server::start_with(&["-t", "1", "-c", "4096"])?;
    server.client().set("__mcp:v", b"1 3 0 0 0", 0, 0)?;
    server.client().set("other", &[b'v'; 100], 0, 0)?;
    let before = usage::resident(server.pid())?;
    let mut proxies = (0..PROXIES).map(|_| open(&server)).collect::<Result<Vec<_>>>()?;
    let both = format!("{OTHER}{VIEW}");
    let forms: [(&[&str], f64); 5] = [
        (&[VIEW], READINGS),
        (&[OTHER], READINGS),
        (&[OTHER, VIEW], READINGS),
        (&[&both], READINGS),
        (&[&both, VIEW, OTHER], READINGS / 2.0),
    ];
    let mut used = [Duration::ZERO; 5];
    for _ in 0..ROUNDS {
        for (used, (texts, rate)) in used.iter_mut().zip(forms) {
            *used += request(&server, &mut proxies, texts, rate)? / ROUNDS;
        }
    }
    let [alone, other, beside, together, mixed] = used;
    let grown = usage::resident(server.pid())?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let connection = grown as f64 / 1024.0 / f64::from(PROXIES);
    let without = |used: Duration| used.saturating_sub(other);
    Ok(Cost { alone, beside: without(beside), together: without(together), mixed: without(mixed / 2), connection })
}

impl Cost {
    /// The part of a core that the proxies' readings take of one of three servers.
    pub(crate) fn core(&self) -> f64 {
        cores(self.mixed)
    }

    /// Resident memory of a connection at a server, in kB.
    pub(crate) fn connection(&self) -> f64 {
        self.connection
    }

    pub(crate) fn table(&self) -> Table {
        let head = format!("{PROXIES} proxies, {READINGS:.1} readings of the view a second each");
        let mut table = Table::new(&[&head, "us/reading", "% of a core"]);
        for (what, cost) in [
            ("each alone on its way, and nothing else asked", self.alone),
            ("each alone on its way, beside as many other requests", self.beside),
            ("each in one packet with another request", self.together),
            ("three servers: every second one so, beside as many other requests", self.mixed),
        ] {
            let (time, core) = (cost.as_secs_f64() * 1e6, cores(cost) * 100.0);
            table.row(vec![what.into(), format!("{time:.1}").into(), format!("{core:.1}").into()]);
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

/// Sends `texts`, each over one connection after the other, as if each proxy sent it so often a second, evenly in time -> processor time
/// of the server for each round of them.
fn request(server: &Server, proxies: &mut [TcpStream], texts: &[&str], rate: f64) -> Result<Duration> {
    let kinds = u32::try_from(texts.len())?;
    let step = Duration::from_secs_f64(1.0 / (rate * f64::from(PROXIES * kinds)));
    let (before, start, mut sent) = (usage::cpu(server.pid())?, Instant::now(), 0_u32);
    let mut buffer = [0; 4096];
    while start.elapsed() < LENGTH {
        for (proxy, text) in proxies.iter_mut().zip(texts.iter().cycle()) {
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
    Ok((usage::cpu(server.pid())? - before) * kinds / sent)
}
