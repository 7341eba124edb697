//! What stands on the servers that hold the view (Q): the ring in force, marks, and what each proxy knows. Writes the ring.

use std::collections::BTreeSet;

use super::servers::Servers;
use super::{Held, Proxy};
use crate::routing::view::{self, ALL, Mark, State, VIEW, View};
use crate::topology::change::InForce;

/// Proxies say under this key and their name what they know: `<servers known> <epoch of the ring in force there>`.
const REGISTER: &str = "__mcp:p:";
/// Tries of a write that others come in between of.
const TRIES: usize = 20;

/// One member of Q.
struct Member {
    server: usize,
    /// `None` where it has no view.
    id: Option<u64>,
    view: View,
}

/// The members that answered.
pub(super) struct Board {
    members: Vec<Member>,
    watched: Vec<usize>,
}

/// What a proxy said last.
pub(super) struct Registered {
    pub(super) name: String,
    pub(super) knows: usize,
    pub(super) epoch: u64,
}

impl Board {
    /// Reads it.
    ///
    /// # Errors
    /// When half of the members, or more, do not answer.
    pub(super) async fn read(servers: &mut Servers, watched: &[usize]) -> Result<Board, Held> {
        let mut requests = servers.requests();
        let tickets: Vec<usize> =
            watched.iter().map(|server| requests.push(*server, &[b"mg", VIEW, b"v", b"c"])).collect();
        let answers = servers.ask(requests).await;
        let members = watched.iter().zip(tickets).filter_map(|(server, ticket)| {
            let answer = answers.get(ticket)?;
            let view = View::parse(&String::from_utf8_lossy(&answer.value));
            Some(Member { server: *server, id: answer.number(b'c'), view })
        });
        let board = Board { members: members.collect(), watched: watched.to_vec() };
        if board.members.len() * 2 <= watched.len() {
            let silent = watched.iter().filter(|server| board.members.iter().all(|member| member.server != **server));
            return Err(Held::Silent(silent.map(|server| servers.address(*server).to_owned()).collect()));
        }
        Ok(board)
    }

    pub(super) fn in_force(&self) -> Option<InForce> {
        let rings = self.members.iter().filter_map(|member| InForce::of(member.view.ring?));
        rings.max_by_key(|ring| ring.epoch)
    }

    /// Servers that proxies do not read, by their names in the view.
    pub(super) fn dirty(&self) -> BTreeSet<view::Name> {
        self.marks().filter(|mark| mark.state == State::Dirty).map(|mark| mark.server).collect()
    }

    /// Those of them that missed writes. One that was merely emptied need not be waited for: it holds nothing old.
    pub(super) fn stale(&self) -> BTreeSet<view::Name> {
        let emptied: BTreeSet<_> =
            self.marks().filter(|mark| mark.tells_when_emptied()).map(|mark| mark.server).collect();
        let missed =
            |mark: &&Mark| mark.state == State::Dirty && (mark.owner != ALL || !emptied.contains(&mark.server));
        self.marks().filter(missed).map(|mark| mark.server).collect()
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.members.iter().flat_map(|member| &member.view.marks)
    }

    /// Writes the ring to every member that answers and has an older one, its marks kept.
    ///
    /// # Errors
    /// When a majority does not have it then.
    pub(super) async fn publish(mut self, servers: &mut Servers, ring: InForce) -> Result<(), Held> {
        for _ in 0..TRIES {
            let older = |member: &&Member| member.view.ring.is_none_or(|[epoch, ..]| epoch < ring.epoch);
            let mut requests = servers.requests();
            for member in self.members.iter().filter(older) {
                let view = View { ring: Some(ring.numbers()), marks: member.view.marks.clone() };
                let condition = member.id.map_or("ME".to_owned(), |id| format!("C{id}"));
                requests.store(member.server, VIEW, &condition, view.to_string().as_bytes());
            }
            servers.ask(requests).await;
            self = Board::read(servers, &self.watched).await?;
            let has = |member: &&Member| member.view.ring.is_some_and(|[epoch, ..]| epoch >= ring.epoch);
            if self.members.iter().filter(has).count() * 2 > self.watched.len() {
                return Ok(());
            }
        }
        Err(Held::Contended)
    }

    /// The proxies that were active within the last 10 s.
    pub(super) async fn registered(&self, servers: &mut Servers, proxies: &[Proxy]) -> Vec<Registered> {
        let mut requests = servers.requests();
        let mut asked = Vec::new();
        for proxy in proxies {
            let key = format!("{REGISTER}{}", proxy.id);
            for member in &self.members {
                asked.push((proxy, requests.push(member.server, &[b"mg", key.as_bytes(), b"v"])));
            }
        }
        let answers = servers.ask(requests).await;
        let mut registered: Vec<Registered> = Vec::new();
        for (proxy, ticket) in asked {
            let text = answers.get(ticket).map(|answer| String::from_utf8_lossy(&answer.value).into_owned());
            let Some((knows, epoch)) = text.as_deref().and_then(numbers) else { continue };
            match registered.iter_mut().find(|other| other.name == proxy.name) {
                // A member that was away has an older one.
                Some(other) => (other.knows, other.epoch) = (other.knows.max(knows), other.epoch.max(epoch)),
                None => registered.push(Registered { name: proxy.name.clone(), knows, epoch }),
            }
        }
        registered
    }
}

fn numbers(text: &str) -> Option<(usize, u64)> {
    let (knows, epoch) = text.split_once(' ')?;
    Some((knows.parse().ok()?, epoch.parse().ok()?))
}
