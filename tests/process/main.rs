//! The real binary as a process, without Kubernetes: bad input over real TLS, the command line, the end at SIGTERM, and
//! the injected containers' own commands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod certificates;
mod command_line;
mod injected;
mod shutdown;

use std::path::Path;

/// The binary under test.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_memcached-injector"))
}
