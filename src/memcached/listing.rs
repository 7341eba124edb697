//! All keys of a server. `mgdump hash`, because `all` misses some under writes; on a connection of its own, and read as
//! fast as it comes: while its reader stalls the crawler holds a lock, and the next command about the crawler then hangs
//! one of the server's threads with all its clients.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::{Connection, Error};

/// How long another crawl, or a hash table that grows, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two tries meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Keys of a server, as they stand behind `mg `: `KEY`, or `KEY b` where it is in base64. In one piece of memory: there are
/// millions.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    lines: Vec<u8>,
    count: usize,
}

impl Keys {
    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1])
    }

    /// Adds one.
    pub fn push(&mut self, key: &[u8]) {
        self.lines.extend_from_slice(key);
        self.lines.push(b'\n');
        self.count += 1;
    }
}

/// The keys of the server at `address` that `keep` wants, those that stay as they are meanwhile all among them. `keep` only
/// computes; it gets the key as clients send it. `bound` as for [`Connection::open`].
///
/// # Errors
/// When the server goes away, is late, or is busy with another crawl for a minute.
pub async fn list(address: &str, bound: Duration, mut keep: impl FnMut(&[u8]) -> bool) -> Result<Keys, Error> {
    let patience = Instant::now() + PATIENCE;
    loop {
        match once(address, bound, &mut keep).await? {
            Ok(keys) => return Ok(keys),
            Err(busy) if Instant::now() >= patience => return Err(Error::unexpected(address, &busy)),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The inner error is what a server says that is busy; then nothing was listed.
async fn once(
    address: &str,
    bound: Duration,
    keep: &mut impl FnMut(&[u8]) -> bool,
) -> Result<Result<Keys, Vec<u8>>, Error> {
    let mut connection = Connection::open(address, bound).await?;
    connection.send(b"lru_crawler mgdump hash\r\n").await?;
    let mut keys = Keys::default();
    loop {
        let line = connection.line().await?;
        if let Some(key) = line.strip_prefix(b"mg ") {
            let token = key.strip_suffix(b" b").unwrap_or(key);
            if keep(token) {
                keys.push(key);
            }
        } else if line == b"EN" {
            return Ok(Ok(keys));
        } else if line.starts_with(b"BUSY") || line.starts_with(b"ERROR locked") {
            return Ok(Err(line));
        } else if line != b"OK" {
            return Err(Error::unexpected(address, &line));
        }
    }
}
