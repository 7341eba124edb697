//! The servers of a cluster under change: one connection to each, and requests to several of them at once.

use std::time::Duration;

use crate::memcached::{Answer, Batch, Connection, Error};

/// Longest wait for a server.
const BOUND: Duration = Duration::from_secs(2);

/// A connection to each server, made when it is needed and again after an error.
pub(super) struct Servers {
    addresses: Vec<String>,
    connections: Vec<Option<Connection>>,
}

/// Requests for several servers, sent in one go.
pub(super) struct Requests {
    batches: Vec<Batch>,
    /// Of each request: its server, and its number there.
    tickets: Vec<(usize, usize)>,
}

/// By the tickets of their requests.
pub(super) struct Answers {
    servers: Vec<Vec<Answer>>,
    tickets: Vec<(usize, usize)>,
}

impl Requests {
    /// A command without a value -> its ticket.
    pub(super) fn push(&mut self, server: usize, parts: &[&[u8]]) -> usize {
        let number = self.batches[server].len();
        self.batches[server].push(parts);
        self.tickets.push((server, number));
        self.tickets.len() - 1
    }

    /// `ms` -> its ticket.
    pub(super) fn store(&mut self, server: usize, key: &[u8], flags: &str, value: &[u8]) -> usize {
        let number = self.batches[server].len();
        self.batches[server].push_store(key, flags, value);
        self.tickets.push((server, number));
        self.tickets.len() - 1
    }
}

impl Answers {
    /// `None` where the server did not answer.
    pub(super) fn get(&self, ticket: usize) -> Option<&Answer> {
        let (server, number) = *self.tickets.get(ticket)?;
        self.servers.get(server)?.get(number)
    }
}

impl Servers {
    pub(super) fn new(addresses: Vec<String>) -> Servers {
        let connections = addresses.iter().map(|_| None).collect();
        Servers { addresses, connections }
    }

    pub(super) fn address(&self, server: usize) -> &str {
        &self.addresses[server]
    }

    pub(super) fn requests(&self) -> Requests {
        Requests { batches: vec![Batch::default(); self.addresses.len()], tickets: Vec::new() }
    }

    /// Asks all servers at once.
    pub(super) async fn ask(&mut self, requests: Requests) -> Answers {
        let Requests { batches, tickets } = requests;
        let asked = self.connections.iter_mut().zip(&self.addresses).zip(&batches);
        let rounds = asked.map(|((connection, address), batch)| one(connection, address, batch));
        // A server that fails has no answers; who needs them says so.
        let servers = futures::future::join_all(rounds).await;
        Answers { servers: servers.into_iter().map(Result::unwrap_or_default).collect(), tickets }
    }
}

/// Not repeated on an error: some of it may have run.
async fn one(kept: &mut Option<Connection>, address: &str, batch: &Batch) -> Result<Vec<Answer>, Error> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    // Taken out, so that one that failed, or whose round was dropped, is not used again.
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address, BOUND).await?,
    };
    let answers = connection.round(batch).await?;
    *kept = Some(connection);
    Ok(answers)
}
