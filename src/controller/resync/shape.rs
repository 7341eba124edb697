//! A cluster as resync sees it: its servers by number, their names in the view, and one connection to each.

use std::time::Duration;

use crate::memcached::{Answer, Batch, Connection, Error};
use crate::routing::order::Order;
use crate::routing::view::{Name, names, watched};
use crate::topology::{Cluster, Consistency};

/// Longest wait for a server: longer than a busy one needs, shorter than anybody waits for a gate.
const BOUND: Duration = Duration::from_secs(2);

/// Which servers there are, and which of them hold a key. Servers are numbered through all lists from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// `host:port` of each.
    pub(super) addresses: Vec<String>,
    /// Their names in the view.
    pub(super) names: Vec<Name>,
    /// Those that hold the view; none where there are no marks.
    pub(super) watched: Vec<usize>,
    pub(super) order: Order,
}

impl Shape {
    /// Of a cluster.
    pub fn of(cluster: &Cluster) -> Option<Shape> {
        let lists: Vec<usize> = cluster.replicas.iter().map(|replica| replica.servers.len()).collect();
        Some(Shape {
            addresses: cluster.replicas.iter().flat_map(|replica| replica.servers.clone()).collect(),
            names: names(&lists),
            watched: if cluster.consistency == Consistency::Coherent { watched(&lists) } else { Vec::new() },
            order: cluster.order()?,
        })
    }
}

/// A connection to each server, made when it is needed and again after an error.
#[derive(Debug, Default)]
pub(super) struct Connections(Vec<Option<Connection>>);

impl Connections {
    /// To so many servers.
    pub(super) fn to(servers: usize) -> Connections {
        Connections((0..servers).map(|_| None).collect())
    }

    /// What each server says to its batch; servers are asked at once.
    pub(super) async fn ask(&mut self, addresses: &[String], batches: &[Batch]) -> Vec<Result<Vec<Answer>, Error>> {
        let asked = self.0.iter_mut().zip(addresses).zip(batches);
        futures::future::join_all(asked.map(|((connection, address), batch)| one(connection, address, batch))).await
    }
}

async fn one(kept: &mut Option<Connection>, address: &str, batch: &Batch) -> Result<Vec<Answer>, Error> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    // Taken out, so that one that failed, or whose round was dropped, is not used again.
    if let Some(mut connection) = kept.take() {
        match connection.round(batch).await {
            Ok(answers) => {
                *kept = Some(connection);
                return Ok(answers);
            }
            // Another server may listen there by now. What is asked here may be asked twice.
            Err(Error::Lost { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut connection = Connection::open(address, BOUND).await?;
    let answers = connection.round(batch).await?;
    *kept = Some(connection);
    Ok(answers)
}

/// A new connection, for work of its own.
pub(super) async fn open(address: &str) -> Result<Connection, Error> {
    Connection::open(address, BOUND).await
}
