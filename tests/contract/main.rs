//! The routing contract, cell by cell, on real memcached processes: what clients on different nodes see when servers die,
//! freeze, come back, or cannot be reached. One module a row of docs/contract.md. Does not compare a single command's bytes
//! (tests/wire does) and knows no pod.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // how a test stops

mod cell;
mod layout;
mod rerun;

mod back_empty;
mod back_stale;
mod blackholed;
mod coherent_under_faults;
mod concurrent;
mod cut;
mod dead;
mod differential;
mod document;
mod frozen;
mod gone;
mod gutter;
mod gutter_under_clients;
mod healthy;
mod local_dead;
mod lost_answer;
mod memory;
mod mutants;
mod no_copies;
mod overloaded;
mod ring_change;
mod simulated;
mod soak;
mod split;
mod thawed;
