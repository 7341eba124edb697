//! Parses the command line, runs one command, and turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use memcached_injector::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
