//! One connection to a server. Every wait is bounded; after an error the connection is not used again.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::command::{Answer, Batch};

/// The longest value that is taken: memcached's own limit of `-I`. More is no memcached.
const LONGEST_ANSWER: usize = 1 << 30;
/// The longest line: a key and its flags. More is no memcached either.
const LONGEST_LINE: u64 = 4096;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refuses, has closed, or can't be resolved.
    #[error("memcached at {address}: {error}")]
    Lost {
        /// Its address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// It does not answer in time.
    #[error("memcached at {address} did not answer in {} ms", .bound.as_millis())]
    Late {
        /// Its address.
        address: String,
        /// How long it was waited for.
        bound: Duration,
    },
    /// It answers something else than what was asked.
    #[error("memcached at {address} answers {answer:?}")]
    Unexpected {
        /// Its address.
        address: String,
        /// Its answer, or the beginning of it.
        answer: String,
    },
}

impl Error {
    pub(super) fn unexpected(address: &str, answer: &[u8]) -> Error {
        let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        Error::Unexpected { address: address.to_owned(), answer }
    }
}

/// A connection. One user at a time: what is asked is answered before the next is asked.
#[derive(Debug)]
pub struct Connection {
    address: String,
    bound: Duration,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    /// Connects to `host:port`. `bound` is the longest wait for the connection, for a batch to be sent, and for each
    /// answer to begin and to end.
    ///
    /// # Errors
    /// When nobody listens there, the name can't be resolved, or it takes too long.
    pub async fn open(address: &str, bound: Duration) -> Result<Connection, Error> {
        let stream = within(address, bound, TcpStream::connect(address)).await?;
        within(address, bound, async { stream.set_nodelay(true) }).await?;
        let (reader, writer) = stream.into_split();
        Ok(Connection { address: address.to_owned(), bound, reader: BufReader::with_capacity(CHUNK, reader), writer })
    }

    /// Sends the batch and returns its answers, in order. Answers are taken while the batch is still being sent, so
    /// neither side can wait for the other.
    ///
    /// # Errors
    /// When the server goes away or is late. Some of the commands may have run. Not cancel safe: a connection whose
    /// round was dropped has answers coming that nobody waits for, so drop it too.
    pub async fn round(&mut self, batch: &Batch) -> Result<Vec<Answer>, Error> {
        let Connection { address, bound, reader, writer } = self;
        let send = within(address, *bound, writer.write_all(batch.bytes()));
        let receive = async {
            let mut answers = Vec::with_capacity(batch.len());
            for _ in 0..batch.len() {
                answers.push(answer(reader, address, *bound).await?);
            }
            Ok(answers)
        };
        tokio::try_join!(send, receive).map(|((), answers)| answers)
    }

    /// One command without a value.
    ///
    /// # Errors
    /// As [`Connection::round`].
    pub async fn ask(&mut self, command: &[&[u8]]) -> Result<Answer, Error> {
        let mut batch = Batch::default();
        batch.push(command);
        Ok(self.round(&batch).await?.pop().unwrap_or_default())
    }

    /// A value of `stats`, such as `curr_items`; `None` where there is none of that name.
    ///
    /// # Errors
    /// As [`Connection::round`].
    pub async fn stat(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.send(b"stats\r\n").await?;
        let mut value = None;
        loop {
            let line = self.line().await?;
            if line == b"END" {
                return Ok(value);
            }
            let text = String::from_utf8_lossy(&line);
            let Some((known, found)) = text.strip_prefix("STAT ").and_then(|rest| rest.split_once(' ')) else {
                return Err(Error::unexpected(&self.address, &line));
            };
            if known == name {
                value = Some(found.to_owned());
            }
        }
    }

    /// The server's `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        within(&self.address, self.bound, self.writer.write_all(bytes)).await
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Error> {
        line(&mut self.reader, &self.address, self.bound).await
    }
}

async fn within<T>(address: &str, bound: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, Error> {
    match timeout(bound, work).await {
        Ok(result) => result.map_err(|error| Error::Lost { address: address.to_owned(), error }),
        Err(_) => Err(Error::Late { address: address.to_owned(), bound }),
    }
}

async fn line(reader: &mut BufReader<OwnedReadHalf>, address: &str, bound: Duration) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    let mut limited = reader.take(LONGEST_LINE);
    within(address, bound, limited.read_until(b'\n', &mut line)).await?;
    if !line.ends_with(b"\n") {
        // Closed, or no line of memcached's.
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        let lost = Error::Lost { address: address.to_owned(), error: closed };
        return Err(if line.is_empty() { lost } else { Error::unexpected(address, &line) });
    }
    line.pop();
    line.pop_if(|byte| *byte == b'\r');
    Ok(line)
}

async fn answer(reader: &mut BufReader<OwnedReadHalf>, address: &str, bound: Duration) -> Result<Answer, Error> {
    let line = line(reader, address, bound).await?;
    let Some(length) = line.strip_prefix(b"VA ") else { return Ok(Answer { line, value: Vec::new() }) };
    let length = length.split(|byte| *byte == b' ').next().unwrap_or_default();
    let length =
        str::from_utf8(length).ok().and_then(|text| text.parse().ok()).filter(|length| *length < LONGEST_ANSWER);
    let Some(length) = length else { return Err(Error::unexpected(address, &line)) };
    let mut value = vec![0; length + 2];
    within(address, bound, reader.read_exact(&mut value)).await?;
    value.truncate(length);
    Ok(Answer { line, value })
}
