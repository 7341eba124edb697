//! Resync: whether a server holds all that it should, and what to do about one item that differs. Pure.
//!
//! Owns the decisions: for a server in need.rs, for an item in item.rs, for rolling several StatefulSets in rollout.rs.
//! controller/resync does what they say.

mod item;
mod need;
mod rollout;

pub use item::{Item, Look, Step, step};
pub use need::{Held, Need, Seen, needs};
pub use rollout::{Standing, next};
