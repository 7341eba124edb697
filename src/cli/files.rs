//! Reading manifests from files and standard input, as several commands do.

use std::io::Read as _;

use anyhow::Context as _;

use crate::manifest::Stream;

/// Files larger than that are no manifests.
const LARGEST_FILE: u64 = 64 << 20;

/// Reads `files` in their order; `-`, or none at all, is standard input.
pub(super) fn read(files: &[String]) -> anyhow::Result<Stream> {
    let standard_input = ["-".to_owned()];
    let files = if files.is_empty() { &standard_input } else { files };
    let texts = files.iter().map(|file| Ok((file.as_str(), read_one(file)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let texts: Vec<(&str, &str)> = texts.iter().map(|(file, text)| (*file, text.as_str())).collect();
    Ok(Stream::parse(&texts)?)
}

fn read_one(file: &str) -> anyhow::Result<String> {
    let reader: Box<dyn std::io::Read> = if file == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("can't read {file}"))?)
    };
    let mut bytes = Vec::new();
    reader.take(LARGEST_FILE + 1).read_to_end(&mut bytes).with_context(|| format!("can't read {file}"))?;
    anyhow::ensure!(
        bytes.len() as u64 <= LARGEST_FILE,
        "{file} is larger than {} MiB, so it is no manifest",
        LARGEST_FILE >> 20
    );
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{file}:{line}: not UTF-8")
    })
}
