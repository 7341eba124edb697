//! The command line: one command a file, all in the same order: arguments, run, helpers.
//!
//! Exit codes: 0 done; 1 an error, named on stderr; 2 wrong usage; 3 refused: a pod
//! (`inject`), or what would lose keys (`scale`); 4 (`scale`) the time was up.

mod certs;
mod duration;
mod files;
mod inject;
mod render;
mod scale;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A memcached on localhost for every pod that asks, backed by a cache that survives its servers.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 refused (inject: a pod; scale: keys would be lost), 4 the time was up (scale)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve admission to a Kubernetes API server
    Webhook(Box<webhook::Args>),
    /// Inject the workloads of a YAML stream, without a cluster
    Inject(inject::Args),
    /// Print the proxy configuration of a mode, or the library that reads it
    Render(render::Args),
    /// Give a cluster more or fewer cache servers, and lose no key
    Scale(scale::Args),
    /// Make certificates by hand
    Certs(certs::Args),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Webhook(args) => webhook::run(*args),
            Command::Inject(args) => inject::run(args),
            Command::Render(args) => render::run(args),
            Command::Scale(args) => scale::run(args),
            Command::Certs(args) => certs::run(args),
        };
        result.unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        })
    }
}
