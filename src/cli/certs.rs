//! `certs`: makes a CA and a serving certificate by hand, and shows what certificates say.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::certificate::facts::{self, Facts};
use crate::certificate::{Bundle, Lifetimes};

/// Writes ca.crt, tls.crt and tls.key. The CA's key is not kept: who needs another certificate makes another CA.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "FOLDER", required = true)]
    out: Option<PathBuf>,
    /// A DNS name or IP address that the certificate is for (repeatable)
    #[arg(long, required = true)]
    dns: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what certificates say: whose, for which names, until when
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// PEM files, folders with *.crt and *.pem in them, or - for stdin
    #[arg(required = true)]
    files: Vec<String>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Show(show)) => run_show(&show),
        None => make(&args.out.unwrap_or_default(), &args.dns),
    }
}

fn make(out: &Path, names: &[String]) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::make(names, Lifetimes::default(), OffsetDateTime::now_utc())?;
    fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
    for (name, mode, text) in
        [("ca.crt", 0o644, &bundle.ca.cert), ("tls.crt", 0o644, &bundle.cert), ("tls.key", 0o600, &bundle.key)]
    {
        let path = out.join(name);
        write(&path, mode, text).with_context(|| format!("can't write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// All of it or nothing: into a new file first, which then takes the old one's place.
fn write(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    // A left-over of a run that was killed may have another mode, which opening would keep.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

fn run_show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let mut shown = Vec::new();
    for name in args.files.iter().map(|file| expand(file)).collect::<anyhow::Result<Vec<_>>>()?.concat() {
        let text = if name == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("can't read stdin")?;
            text
        } else {
            fs::read_to_string(&name).with_context(|| format!("can't read {name}"))?
        };
        for facts in facts::read(&text).with_context(|| name.clone())? {
            shown.push((name.clone(), facts));
        }
    }
    match args.output {
        Format::Json => {
            println!("{:#}", json!(shown.iter().map(|(file, facts)| to_json(file, facts, now)).collect::<Vec<_>>()))
        }
        Format::Table => shown.iter().for_each(|(file, facts)| print!("{}", to_text(file, facts, now))),
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder stands for the certificates in it, by name.
fn expand(file: &str) -> anyhow::Result<Vec<String>> {
    if file == "-" || !Path::new(file).is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let entries = fs::read_dir(file).with_context(|| format!("can't read {file}"))?;
    let mut files: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "crt" || end == "pem"))
        .map(|path| path.display().to_string())
        .collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "there is no *.crt and no *.pem in {file}");
    Ok(files)
}

/// Whole days until the end; negative when it is past.
fn days_left(facts: &Facts, now: OffsetDateTime) -> i64 {
    (facts.not_after - now).whole_days()
}

fn state(facts: &Facts, now: OffsetDateTime) -> &'static str {
    if now < facts.not_before {
        "not yet valid"
    } else if now >= facts.not_after {
        "ended"
    } else {
        "valid"
    }
}

fn date(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

fn to_json(file: &str, facts: &Facts, now: OffsetDateTime) -> serde_json::Value {
    json!({
        "file": file,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": facts.names,
        "ca": facts.is_ca,
        "notBefore": date(facts.not_before),
        "notAfter": date(facts.not_after),
        "daysLeft": days_left(facts, now),
        "state": state(facts, now),
        "fingerprint": facts.fingerprint,
    })
}

fn to_text(file: &str, facts: &Facts, now: OffsetDateTime) -> String {
    let kind = if facts.is_ca { "CA" } else { "certificate" };
    let names = if facts.names.is_empty() { "none".to_owned() } else { facts.names.join(", ") };
    format!(
        "{file}: {kind} {}\n  names    {names}\n  issuer   {}\n  valid    {} to {}\n  state    {}, {} days left\n  sha256   {}\n",
        facts.subject,
        facts.issuer,
        date(facts.not_before),
        date(facts.not_after),
        state(facts, now),
        days_left(facts, now),
        facts.fingerprint,
    )
}
