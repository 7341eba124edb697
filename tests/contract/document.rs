//! docs/contract.md and the tests say the same: every link names a test that exists, every cell of a table has its link,
//! and the word in the document is what the test expects. Reads files only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A test: its file, seen from the repository's root, and its name.
type Test = (String, String);

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `[word](../file.rs#test)` of the document.
fn links() -> Vec<(String, Test)> {
    let document = read("docs/contract.md");
    let link = |piece: &str| {
        let (file, name) = piece.split(')').next()?.strip_prefix("../")?.split_once('#')?;
        Some((file.to_owned(), name.to_owned()))
    };
    let pieces: Vec<&str> = document.split("](").collect();
    let word = |before: &str| before.rsplit('[').next().unwrap_or_default().to_owned();
    pieces.windows(2).filter_map(|pair| Some((word(pair[0]), link(pair[1])?))).collect()
}

/// What the line of a cell's table expects, as the document words it.
fn word(file: &str, name: &str, line: &str) -> Option<&'static str> {
    let (_, expected) = line.split_once(" => ")?;
    let end = expected.find("], ")?;
    let (touched, others) = (&expected[..=end], &expected[end + 3..]);
    let all_copies = file.ends_with("/no_copies.rs") || file.ends_with("/gone.rs");
    let counts = if (name.starts_with("replicated") || name.starts_with("failover_two")) && !all_copies {
        others.trim_end_matches(';')
    } else {
        touched
    };
    Some(match counts {
        "[Kept]" => "kept",
        "[Lost]" => "lost",
        "[Down]" => "down",
        "[Kept, Stale]" => "kept or stale",
        "[Kept, Lost]" => "kept or lost",
        "[Lost, HalfSeen]" => "lost for one",
        other => panic!("{file}: {name}: the document has no word for {other}"),
    })
}

/// The cells of this folder's tables: test, and the word for what it expects.
fn cells() -> BTreeMap<Test, &'static str> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut cells = BTreeMap::new();
    for name in files.filter(|name| name.ends_with(".rs")) {
        let file = format!("tests/contract/{name}");
        let text = read(&file);
        let Some((_, table)) = text.split_once("\ncells! {\n") else { continue };
        for line in table.lines() {
            if let Some((name, _)) = line.trim().split_once(": ").filter(|_| line.contains(" => "))
                && let Some(word) = word(&file, name, line)
            {
                cells.insert((file.clone(), name.to_owned()), word);
            }
        }
    }
    cells
}

#[test]
fn every_link_names_a_test() {
    let cells = cells();
    for (_, (file, name)) in links() {
        let written = || read(&file).contains(&format!("#[test]\nfn {name}("));
        assert!(cells.contains_key(&(file.clone(), name.clone())) || written(), "{file} has no test {name}");
    }
}

#[test]
fn every_cell_is_in_the_document_with_the_word_that_its_test_expects() {
    let (links, cells) = (links(), cells());
    assert!(cells.len() >= 200, "only {} cells were found", cells.len());
    for (test, expected) in &cells {
        let words: BTreeSet<&str> =
            links.iter().filter(|(_, linked)| linked == test).map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, BTreeSet::from([*expected]), "docs/contract.md on {} {}", test.0, test.1);
    }
}

#[test]
fn every_other_promise_is_in_the_document() {
    let links = links();
    let ring_changes = ["ring_change/mod", "ring_change/held", "ring_change/in_turn", "ring_change/controls"];
    for file in ["local_dead", "lost_answer", "gutter", "gutter_under_clients", "concurrent", "coherent_under_faults"]
        .into_iter()
        .chain(ring_changes)
    {
        let file = format!("tests/contract/{file}.rs");
        for piece in read(&file).split("#[test]\nfn ").skip(1) {
            let name = piece.split('(').next().unwrap_or_default();
            assert!(links.iter().any(|(_, test)| *test == (file.clone(), name.to_owned())), "{file}: {name}");
        }
    }
}
