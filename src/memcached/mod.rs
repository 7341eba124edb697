//! What controllers say to cache servers, and hear of them: a client of memcached's meta commands.
//!
//! Owns connections (connection.rs), batches of commands and their answers (command.rs), and the list of a server's keys
//! (listing.rs). For controllers only: apps talk through the proxy, and what a key's servers are says routing/order.rs.

mod command;
mod connection;
mod listing;

pub use command::{Answer, Batch};
pub use connection::{Connection, Error};
pub use listing::{Keys, list};
