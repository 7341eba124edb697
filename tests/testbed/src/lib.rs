//! The test bed: starts the real parts that memcached-injector works with, and stops them again.
//!
//! What a test (or `cargo demo`) uses, in the order in which data flows:
//!
//! | module | owns |
//! |---|---|
//! | [`fetch`] | getting the binaries: Kubernetes, kwok, memcached; built or fetched once, cached under `target/testbed` |
//! | [`folder`], [`process`], [`ports`], [`wait`] | what every part needs: a folder of its own, a child that cannot outlive us, a free port, a bounded wait |
//! | [`parts`] | one running part a file: cache server, control plane, fake nodes, the injector, a kubelet's stand-in |
//! | [`client`], [`https`], [`admission`] | how a test talks to them: memcached's text protocol, HTTPS with a named authority, AdmissionReviews |
//! | [`workload`], [`report`] | bounded traffic, and the table of what happened |
//! | [`load`], [`usage`] | as much traffic as one thread can make; what processor time and memory it cost a process |
//! | [`starved`] | how long processes waited for a processor: what a busy machine adds to times |
//! | [`bed`], [`fault`], [`storm`] | a whole cluster with a network of its own, everything that can go wrong with it, and much of that in a row |
//! | [`history`], [`checker`], [`random`] | what concurrent clients saw, whether one memcached could have answered so, and the choices behind it |
//!
//! Rules that hold everywhere:
//! - Nothing is skipped. A part that is missing is an error that names the command which gets it.
//! - Ready means ready: every `start` returns once the part answers, or fails within a bound and shows the part's last log lines.
//! - Every part stops when its value is dropped, and when the test process ends in any other way (panic, abort, SIGKILL).
//! - All traffic stays on loopback or this machine's own address.
//!
//! The crate never links `memcached-injector`: it starts that binary and looks at it from outside. It runs on Linux only
//! (parent-death signals, `/proc`).

pub mod admission;
pub mod bed;
pub mod checker;
pub mod client;
pub mod fault;
pub mod fetch;
pub mod folder;
pub mod history;
pub mod https;
pub mod load;
pub mod parts;
pub mod ports;
pub mod process;
pub mod random;
pub mod report;
pub mod starved;
pub mod storm;
pub mod usage;
pub mod wait;
pub mod workload;
