//! `certs`: makes a CA and a serving certificate by hand, for a webhook that runs outside of a cluster.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use time::OffsetDateTime;

use crate::certificate::Bundle;

/// Writes ca.crt, tls.crt and tls.key. The CA's key is not kept: who needs another certificate makes another CA.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// A DNS name or IP address that the certificate is for (repeatable)
    #[arg(long, required = true)]
    dns: Vec<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::make(&args.dns, OffsetDateTime::now_utc())?;
    fs::create_dir_all(&args.out).with_context(|| format!("can't make {}", args.out.display()))?;
    for (name, mode, text) in
        [("ca.crt", 0o644, &bundle.ca_cert), ("tls.crt", 0o644, &bundle.cert), ("tls.key", 0o600, &bundle.key)]
    {
        let path = args.out.join(name);
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
