//! The golden files themselves: finding, comparing, rejecting and blessing them.
//!
//! | file | holds |
//! |---|---|
//! | NAME.input.yaml | the stream; an optional first line `# flags: ...` has the command's flags |
//! | NAME.expected.yaml | what goes to standard output; absent when nothing does |
//! | NAME.report.txt | what goes to standard error, then a line `exit code N` |
//!
//! The library's text, its hash and the version change with every release: placeholders stand for them
//! (command_line.rs). Does not know what the files mean.

use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::Parser;
use memcached_injector::settings::{Settings, SettingsArgs};

/// Writes the expected files anew; a person reads the difference before it is committed.
const BLESS: &str = "BLESS=1 cargo test -p memcached-injector --test golden the_command_line_prints_what_is_expected";

/// One of them.
pub(crate) struct Golden {
    /// What it shows.
    pub(crate) name: String,
    /// The stream.
    pub(crate) input: String,
    /// The command's flags.
    pub(crate) flags: Vec<String>,
}

/// The flags of `inject` that a webhook has as well, and the namespace of objects that name none.
#[derive(Parser)]
struct Flags {
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Where they are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The names of all files there, but for the tests' own and what was rejected.
pub(crate) fn files() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("tests/golden can be read");
    let mut files: Vec<String> =
        entries.map(|entry| entry.expect("an entry can be read").file_name().to_string_lossy().into_owned()).collect();
    files.retain(|file| !file.starts_with('.') && !file.ends_with(".rs") && !file.ends_with(".reject"));
    files.sort();
    files
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Golden> {
    let read = |name: &str| {
        let path = folder().join(format!("{name}.input.yaml"));
        let input = fs::read_to_string(&path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()));
        let flags = input.lines().next().and_then(|line| line.strip_prefix("# flags: ")).unwrap_or_default();
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        Golden { name: name.to_owned(), input, flags }
    };
    files().iter().filter_map(|file| file.strip_suffix(".input.yaml")).map(read).collect()
}

/// Tries `check` on every golden and fails with all that it found.
pub(crate) fn each(check: impl Fn(&Golden) -> Result<(), String>) {
    let goldens = all();
    let failures: Vec<String> = goldens
        .iter()
        .filter_map(|golden| Some((golden, check(golden).err()?)))
        .map(|(golden, failure)| {
            let mut command = vec!["memcached-injector".to_owned()];
            command.extend(golden.arguments());
            format!("==== {}\n(cd tests/golden && {})\n{failure}", golden.name, command.join(" "))
        })
        .collect();
    assert!(failures.is_empty(), "\n{} of {} goldens fail:\n{}\n", failures.len(), goldens.len(), failures.join("\n"));
}

/// What is different, as a person reads it.
pub(crate) fn diff(expected: &str, actual: &str) -> String {
    similar_asserts::SimpleDiff::from_str(expected, actual, "expected", "actual").to_string()
}

impl Golden {
    /// The command's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let fixed = ["inject", "-f", &format!("{}.input.yaml", self.name)].map(str::to_owned);
        fixed.into_iter().chain(self.flags.iter().cloned()).collect()
    }

    /// The files that may belong to it.
    pub(crate) fn files(&self) -> [String; 3] {
        ["input.yaml", "expected.yaml", "report.txt"].map(|suffix| format!("{}.{suffix}", self.name))
    }

    /// The namespace of objects that name none, and the settings, as the flags have them.
    pub(crate) fn settings(&self) -> Result<(String, Settings), String> {
        let flags = Flags::try_parse_from(std::iter::once(&"golden".to_owned()).chain(&self.flags));
        let flags = flags.map_err(|error| error.to_string())?;
        Ok((flags.namespace, flags.settings.check(None).map_err(|error| error.to_string())?))
    }

    /// Compares `actual` with the file NAME.`suffix`, which is absent when nothing is expected; or writes it, when told to.
    pub(crate) fn expect(&self, suffix: &str, actual: &str) -> Result<(), String> {
        let path = folder().join(format!("{}.{suffix}", self.name));
        let rejected = folder().join(format!("{}.{suffix}.reject", self.name));
        if env::var_os("BLESS").is_some() {
            put(&path, actual);
            put(&rejected, "");
            return Ok(());
        }
        let expected =
            if path.exists() { fs::read_to_string(&path).map_err(|error| error.to_string())? } else { String::new() };
        if expected == actual {
            put(&rejected, "");
            return Ok(());
        }
        put(&rejected, actual);
        Err(format!(
            "{} differs; what came is in {}\n{}\nif it is right: {BLESS}",
            path.display(),
            rejected.display(),
            diff(&expected, actual)
        ))
    }
}

/// Writes `text`, or removes the file when there is none.
fn put(path: &Path, text: &str) {
    let result = match text {
        "" if !path.exists() => Ok(()),
        "" => fs::remove_file(path),
        text => fs::write(path, text),
    };
    result.unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
}
