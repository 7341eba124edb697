//! The marks on the servers that hold the view, as far as a controller writes them: those of owner `all`.
//!
//! Marks are appended, which needs no cas; they are changed and taken away by cas, so that nobody's other mark is lost.
//! A member that can't be reached keeps what it has, and the next look finds it.

use std::time::Duration;

use super::shape::{Connections, Shape};
use crate::memcached::{Answer, Batch};
use crate::routing::view::{ALL, Mark, Name, State, VIEW, View};

/// When it is over all proxies have read a view again: several times LEASE + GRACE of the library (90 ms).
const IN_FORCE: Duration = Duration::from_millis(500);
/// Tries of a change that others come in between of.
const TRIES: usize = 20;

/// What a member holds.
pub(super) struct Member {
    id: Option<u64>,
    /// Its view.
    pub(super) view: View,
}

/// What a member's answer to [`ask`] says.
pub(super) fn read(answer: &Answer) -> Member {
    Member { id: answer.number(b'c'), view: View::parse(&String::from_utf8_lossy(&answer.value)) }
}

/// The question for a member's view.
pub(super) fn ask(batch: &mut Batch) {
    batch.push(&[b"mg", VIEW, b"v", b"c"]);
}

/// Marks servers, and returns when nobody reads them any more.
pub(super) async fn mark(connections: &mut Connections, shape: &Shape, servers: &[Name]) {
    let mut text = String::new();
    for server in servers {
        let mark = Mark { server: *server, owner: ALL.to_owned(), state: State::Dirty };
        text.push_str(&format!(" {mark}"));
    }
    let mut batch = Batch::default();
    batch.push_store(VIEW, "MA N0", text.as_bytes());
    connections.ask(&shape.addresses, &at_members(shape, |_| batch.clone())).await;
    tokio::time::sleep(IN_FORCE).await;
}

/// Takes a server's mark away, in two steps as its owner would: `r`, and when everybody has seen that, nothing.
pub(super) async fn clear(connections: &mut Connections, shape: &Shape, server: Name) -> anyhow::Result<()> {
    trust(connections, shape, server).await?;
    tokio::time::sleep(IN_FORCE).await;
    change(connections, shape, |view| view.marks.retain(|mark| !is_ours(mark, server))).await
}

/// Lets the server be read again.
pub(super) async fn trust(connections: &mut Connections, shape: &Shape, server: Name) -> anyhow::Result<()> {
    change(connections, shape, |view| {
        view.marks.iter_mut().filter(|mark| is_ours(mark, server)).for_each(|mark| mark.state = State::Ready);
    })
    .await
}

fn is_ours(mark: &Mark, server: Name) -> bool {
    mark.server == server && mark.owner == ALL
}

/// Takes the proxies' marks of a server away, which is marked by us, and returns when those that still are there have put
/// theirs back: what is left away is owed by nobody who could say so.
pub(super) async fn disown(connections: &mut Connections, shape: &Shape, server: Name) -> anyhow::Result<()> {
    change(connections, shape, |view| view.marks.retain(|mark| mark.server != server || mark.owner == ALL)).await?;
    tokio::time::sleep(IN_FORCE).await;
    Ok(())
}

/// Changes every member's view by cas, until each that answers has it.
async fn change(connections: &mut Connections, shape: &Shape, edit: impl Fn(&mut View)) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let mut question = Batch::default();
        ask(&mut question);
        let answers = connections.ask(&shape.addresses, &at_members(shape, |_| question.clone())).await;
        let mut writes = vec![Batch::default(); shape.addresses.len()];
        for (server, answer) in answers.iter().enumerate() {
            let Some(member) = answer.as_ref().ok().and_then(|answers| answers.first()).map(read) else { continue };
            let mut wanted = member.view.clone();
            edit(&mut wanted);
            if let Some(id) = member.id.filter(|_| wanted != member.view) {
                writes[server].push_store(VIEW, &format!("C{id}"), wanted.to_string().as_bytes());
            }
        }
        if writes.iter().all(Batch::is_empty) {
            return Ok(());
        }
        connections.ask(&shape.addresses, &writes).await;
    }
    anyhow::bail!("the view on the first servers changes faster than it can be written")
}

/// A batch for each server: `batch` for the members, nothing for the others.
fn at_members(shape: &Shape, batch: impl Fn(usize) -> Batch) -> Vec<Batch> {
    let servers = 0..shape.addresses.len();
    servers.map(|server| if shape.watched.contains(&server) { batch(server) } else { Batch::default() }).collect()
}
