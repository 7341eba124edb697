//! Reads Rust files as far as the rules need it: which module a file is of, what is comment, what is test.
//!
//! Works on text that rustfmt has laid out; no parser. Does not know any rule.

use std::collections::BTreeSet;

use crate::files::{self, SourceFile};

/// The core's modules and those that do I/O, as the table in src/lib.rs says: its last row does I/O.
pub(crate) fn modules() -> (Vec<String>, Vec<String>) {
    let text = files::read("src/lib.rs").unwrap_or_else(|error| panic!("{error}"));
    let rows: Vec<Vec<String>> = text.lines().filter(|line| line.starts_with("//! | [`")).map(first_cell).collect();
    let (io, core) = rows.split_last().expect("src/lib.rs has a table of its modules: `//! | [`names`] | ... |`");
    assert!(
        io.contains(&"webhook".to_owned()),
        "the last row of the table in src/lib.rs lists the modules that do I/O"
    );
    (core.concat(), io.clone())
}

/// The modules of a row such as "//! | [`a`], [`b`] | what they own |".
fn first_cell(row: &str) -> Vec<String> {
    let cell = row.split('|').nth(1).unwrap_or_default();
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The modules that src/lib.rs declares.
pub(crate) fn declared_modules() -> BTreeSet<String> {
    let text = files::read("src/lib.rs").unwrap_or_else(|error| panic!("{error}"));
    let names =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// Whether a Rust file belongs to one of these modules of the crate.
pub(crate) fn is_of(file: &SourceFile, modules: &[String]) -> bool {
    let Some(path) = file.path.strip_prefix("src/").filter(|_| file.is("rs")) else { return false };
    let module = path.split('/').next().unwrap_or_default();
    let module = module.strip_suffix(".rs").unwrap_or(module);
    // Tests of a module stand beside it: decide_tests.rs is decide's.
    modules.iter().any(|name| module == name || module.strip_suffix("_tests") == Some(name))
}

/// Whether the whole file is tests.
pub(crate) fn is_test(file: &SourceFile) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    name == "tests.rs" || name.ends_with("_tests.rs")
}

/// A line without its comment.
pub(crate) fn code(line: &str) -> &str {
    let start = line.trim_start();
    if start.starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
}

/// Whether a line's code names a crate; `axum` does, `relaxum` and `memcached_kube` don't.
pub(crate) fn names(line: &str, name: &str) -> bool {
    let code = code(line);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_word))
}

/// The text with every item that only tests have made blank, so that line numbers stay.
pub(crate) fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    // The line that ends the item being left out: a brace as far in as its attribute, as rustfmt has it.
    let mut end: Option<String> = None;
    let mut before_item = false;
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if end.is_none() && line.trim_start().starts_with("#[cfg(test)]") {
            (end, before_item) = (Some(format!("{indent}}}")), true);
        } else if end.is_none() {
            kept.push_str(line);
        } else if before_item && line.trim_start().starts_with("#[") {
            // Another attribute of the same item.
        } else if before_item && line.ends_with([';', '}']) {
            end = None;
        } else {
            before_item = false;
            if end.as_deref() == Some(line) {
                end = None;
            }
        }
        kept.push('\n');
    }
    kept
}

#[test]
fn test_items_are_left_out_and_what_follows_is_not() {
    let text = "a();\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nb();\n#[cfg(test)]\nmod more {\n    fn c() {\n    }\n}\nd();\n";
    assert_eq!(without_tests(text), "a();\n\n\n\nb();\n\n\n\n\n\nd();\n");
}

#[test]
fn comments_and_longer_words_name_no_crate() {
    assert!(names("use axum::Router;", "axum") && names("    k8s_openapi::api()", "k8s_openapi"));
    assert!(!names("// axum is elsewhere", "axum") && !names("let relaxum = 1; // axum", "axum"));
}
