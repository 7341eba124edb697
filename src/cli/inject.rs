//! `inject`: a YAML stream in, the same stream out with every workload that asks injected; no cluster needed.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::files;
use crate::offline::{Report, inject_stream};
use crate::settings::SettingsArgs;

/// A pod was refused; nothing was written.
const REFUSED: u8 = 3;

/// Prints the stream to standard output and what was done to standard error. Nothing is printed to standard output unless
/// every workload could be handled.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file with manifests; `-` is standard input (repeatable; standard input when there is none)
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<String>,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to report what was done, on standard error
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for each workload
    Text,
    /// One JSON document
    Json,
    /// Nothing
    None,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.check(None)?;
    let mut stream = files::read(&args.filename)?;
    let report = inject_stream(&mut stream, &args.namespace, &settings)?;
    print(&report, args.output)?;
    if report.has_refusals() {
        return Ok(ExitCode::from(REFUSED));
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(stream.render().as_bytes()).and_then(|()| stdout.flush()).context("can't write the stream")?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Text => eprint!("{report}"),
        Output::Json => eprintln!("{}", serde_json::to_string(report)?),
        Output::None => {}
    }
    Ok(())
}
