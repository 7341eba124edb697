//! Finds the repository's files: those that git tracks or would track, so that build output and rejected goldens don't count.
//!
//! Does not know any rule about them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether that is its extension.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file that has to be there.
pub(crate) fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(path)).map_err(|error| format!("can't read {path}: {error}"))
}

/// Every text file of the repository; what is not UTF-8 is none.
pub(crate) fn tracked() -> Vec<SourceFile> {
    // New files count before they are added, so that the rule is met before the commit and not after it.
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output();
    let output = output.expect("git runs: the rules hold for the files of a git checkout, so install git");
    assert!(
        output.status.success(),
        "git ls-files failed: {}; run this in a git checkout",
        String::from_utf8_lossy(&output.stderr)
    );
    let paths = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let read = |path: &str| {
        let bytes = std::fs::read(root().join(path)).ok()?;
        Some(SourceFile { path: path.to_owned(), text: String::from_utf8(bytes).ok()? })
    };
    paths.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect()
}

/// What people write and read as code: everything in src and tests that is a program.
pub(crate) fn sources() -> Vec<SourceFile> {
    let mut files = tracked();
    files.retain(|file| file.path.starts_with("src/") || file.path.starts_with("tests/"));
    files.retain(|file| ["rs", "lua", "go", "sh", "py"].iter().any(|extension| file.is(extension)));
    files
}

/// The files right in a folder, by extension.
pub(crate) fn in_folder(folder: &str, extension: &str) -> Vec<SourceFile> {
    let mut files = tracked();
    files.retain(|file| PathBuf::from(&file.path).parent() == Some(Path::new(folder)) && file.is(extension));
    files
}
