//! A small blocking memcached client (text protocol) that tells apart what a test must tell apart: hit, miss, stored,
//! refused, a protocol error, a timeout. Every operation has a deadline of its own, so nothing here can hang.
//! Not a client library: no pooling, no hashing over servers, no retries.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bound for one operation, unless [`Client::with_timeout`] says otherwise: far above the proxy's own 250 ms.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest reply line that is read; memcached's own lines stay below 2 KiB.
const LONGEST_LINE: usize = 64 * 1024;

/// Why an operation has no result.
#[derive(Debug)]
pub enum Error {
    /// No whole reply within the client's timeout. The connection is given up.
    Timeout,
    /// The connection could not be made, or ended. The next operation connects again.
    Connection(io::Error),
    /// The server answered `ERROR`, `CLIENT_ERROR ...` or `SERVER_ERROR ...`; the line as it came.
    Reply(String),
    /// The server answered something that is not the protocol; the line as it came. The connection is given up.
    Protocol(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(f, "no reply in time"),
            Self::Connection(error) => write!(f, "connection: {error}"),
            Self::Reply(line) => write!(f, "{line}"),
            Self::Protocol(line) => write!(f, "not the memcached protocol: {line:?}"),
        }
    }
}

impl std::error::Error for Error {}

/// Result of a client operation.
pub type Result<T> = std::result::Result<T, Error>;

/// An item as `get` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key it was found under.
    pub key: String,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// The flags it was stored with.
    pub flags: u32,
    /// Its cas id, where the command asked for it (`gets`).
    pub cas: Option<u64>,
}

/// What a storage command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// `STORED`
    Stored,
    /// `NOT_STORED`: the condition of add, replace, append or prepend did not hold.
    NotStored,
    /// `EXISTS`: a cas with an id that is not the item's.
    Exists,
    /// `NOT_FOUND`: a cas without an item.
    NotFound,
}

/// A connection to one memcached, made at first use and made again after it broke.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<Connection>,
}

impl Client {
    /// A client for `address` with a timeout of 2 s an operation. Connects at the first operation.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, timeout: DEFAULT_TIMEOUT, connection: None }
    }

    /// Bounds each operation (connection included) by `timeout`, which must not be zero.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The bound for one operation.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// `get`: the item, or `None` for a miss.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn get(&mut self, key: &str) -> Result<Option<Item>> {
        Ok(self.multiget(&[key])?.pop())
    }

    /// One `get` with several keys: the items that were found, in the server's order.
    ///
    /// # Errors
    /// As [`Error`] says; an error line inside the reply fails the whole operation and gives the connection up.
    pub fn multiget(&mut self, keys: &[&str]) -> Result<Vec<Item>> {
        self.items(&format!("get {}\r\n", keys.join(" ")))
    }

    /// `set`: `true` when `STORED`. `lifetime` is memcached's exptime in seconds, 0 for ever.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn set(&mut self, key: &str, value: &[u8], flags: u32, lifetime: u32) -> Result<bool> {
        let mut request = format!("set {key} {flags} {lifetime} {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        self.outcome(&request, "STORED", "NOT_STORED")
    }

    /// `gets`: the item with its cas id, or `None` for a miss.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn gets(&mut self, key: &str) -> Result<Option<Item>> {
        Ok(self.items(&format!("gets {key}\r\n"))?.pop())
    }

    /// `add`, `replace`, `append` or `prepend`, without flags and for ever.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn store(&mut self, verb: &str, key: &str, value: &[u8]) -> Result<Stored> {
        self.storage(&format!("{verb} {key} 0 0 {}\r\n", value.len()), value)
    }

    /// `cas` with an id from [`Client::gets`], without flags and for ever.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn cas(&mut self, key: &str, value: &[u8], id: u64) -> Result<Stored> {
        self.storage(&format!("cas {key} 0 0 {} {id}\r\n", value.len()), value)
    }

    /// `touch`: `true` when there is such a key. `lifetime` is memcached's exptime in seconds, 0 for ever.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn touch(&mut self, key: &str, lifetime: u32) -> Result<bool> {
        self.outcome(format!("touch {key} {lifetime}\r\n").as_bytes(), "TOUCHED", "NOT_FOUND")
    }

    /// `delete`: `true` when there was such a key.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        self.outcome(format!("delete {key}\r\n").as_bytes(), "DELETED", "NOT_FOUND")
    }

    /// `incr`: the new number, or `None` when there is no such key.
    ///
    /// # Errors
    /// As [`Error`] says; a value that is no number is a [`Error::Reply`].
    pub fn incr(&mut self, key: &str, by: u64) -> Result<Option<u64>> {
        let line = self.raw(&format!("incr {key} {by}"))?;
        if line == "NOT_FOUND" {
            return Ok(None);
        }
        line.trim_end().parse().map(Some).map_err(|_| Error::Protocol(line))
    }

    /// Sends one line (without its line end) and returns the first line of the reply.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn raw(&mut self, line: &str) -> Result<String> {
        self.operation(format!("{line}\r\n").as_bytes(), Connection::line)
    }

    /// `stats`, or `stats <what>`: names and values in the server's order.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn stats(&mut self, what: &str) -> Result<Vec<(String, String)>> {
        let request = format!("{}\r\n", format!("stats {what}").trim_end());
        self.operation(request.as_bytes(), |connection| {
            let mut stats = Vec::new();
            loop {
                let line = connection.line()?;
                if line == "END" {
                    return Ok(stats);
                }
                let mut words = line.splitn(3, ' ');
                match (words.next(), words.next()) {
                    (Some("STAT"), Some(name)) => stats.push((name.to_owned(), words.next().unwrap_or("").to_owned())),
                    _ => return Err(Error::Protocol(line)),
                }
            }
        })
    }

    /// The items that a retrieval command returns.
    fn items(&mut self, request: &str) -> Result<Vec<Item>> {
        self.operation(request.as_bytes(), |connection| {
            let mut items = Vec::new();
            loop {
                let line = connection.line()?;
                if line == "END" {
                    return Ok(items);
                }
                items.push(connection.item(&line)?);
            }
        })
    }

    fn storage(&mut self, line: &str, value: &[u8]) -> Result<Stored> {
        let request = [line.as_bytes(), value, b"\r\n"].concat();
        self.operation(&request, |connection| {
            let line = connection.line()?;
            match line.as_str() {
                "STORED" => Ok(Stored::Stored),
                "NOT_STORED" => Ok(Stored::NotStored),
                "EXISTS" => Ok(Stored::Exists),
                "NOT_FOUND" => Ok(Stored::NotFound),
                _ => Err(Error::Protocol(line)),
            }
        })
    }

    /// An operation with two good outcomes of one line each.
    fn outcome(&mut self, request: &[u8], yes: &str, no: &str) -> Result<bool> {
        self.operation(request, |connection| {
            let line = connection.line()?;
            if line == yes {
                Ok(true)
            } else if line == no {
                Ok(false)
            } else {
                Err(Error::Protocol(line))
            }
        })
    }

    /// Sends a request and reads its reply within the timeout; a connection in an unknown state is given up.
    fn operation<T>(&mut self, request: &[u8], read: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address, self.timeout)?,
        };
        connection.deadline = deadline;
        let outcome = connection.send(request).and_then(|()| read(&mut connection));
        // After an error line alone the reply is complete; with anything left over it is not known where the next begins.
        let in_step = matches!(outcome, Ok(_) | Err(Error::Reply(_))) && connection.unread.is_empty();
        if in_step {
            self.connection = Some(connection);
        }
        outcome
    }
}

/// One TCP connection and what was read from it but not yet used.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    deadline: Instant,
}

impl Connection {
    fn open(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(from_io)?;
        stream.set_nodelay(true).map_err(Error::Connection)?;
        Ok(Self { stream, unread: Vec::new(), deadline })
    }

    fn left(&self) -> Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::Timeout) } else { Ok(left) }
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.set_write_timeout(Some(self.left()?)).map_err(Error::Connection)?;
        self.stream.write_all(request).map_err(from_io)
    }

    fn fill(&mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(self.left()?)).map_err(Error::Connection)?;
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).map_err(from_io)?;
        if count == 0 {
            return Err(Error::Connection(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server")));
        }
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    /// The next line without its end; the protocol's three kinds of error line become [`Error::Reply`].
    fn line(&mut self) -> Result<String> {
        let end = loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                break end;
            }
            if self.unread.len() > LONGEST_LINE {
                return Err(Error::Protocol(format!("a line longer than {LONGEST_LINE} bytes")));
            }
            self.fill()?;
        };
        let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 2);
        let error = line == "ERROR" || line.starts_with("CLIENT_ERROR") || line.starts_with("SERVER_ERROR");
        if error { Err(Error::Reply(line)) } else { Ok(line) }
    }

    /// The item that a `VALUE key flags bytes` line announces.
    fn item(&mut self, line: &str) -> Result<Item> {
        let words: Vec<&str> = line.split(' ').collect();
        let parsed = match words.as_slice() {
            ["VALUE", key, flags, bytes, cas @ ..] => {
                let cas = cas.first().and_then(|id| id.parse().ok());
                flags.parse().ok().zip(bytes.parse::<usize>().ok()).map(|(f, b)| (*key, f, b, cas))
            }
            _ => None,
        };
        let Some((key, flags, length, cas)) = parsed else {
            return Err(Error::Protocol(line.to_owned()));
        };
        while self.unread.len() < length + 2 {
            self.fill()?;
        }
        let value = self.unread[..length].to_vec();
        if &self.unread[length..length + 2] != b"\r\n" {
            return Err(Error::Protocol(format!("the value of {key} does not end after {length} bytes")));
        }
        self.unread.drain(..length + 2);
        Ok(Item { key: key.to_owned(), value, flags, cas })
    }
}

fn from_io(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout,
        _ => Error::Connection(error),
    }
}
