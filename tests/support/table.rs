//! The table at the top of a folder of tests, which names the tests of each section.

use std::fs;
use std::path::{Path, PathBuf};

/// Holds the table in the `main.rs` of a folder to the tests whose names begin with the number of a section,
/// `s` and so many `digits`, in that folder and beside the parsers in `src/proto`: each stands in it
/// once, it names no others, and there are more than `least` of them.
#[track_caller]
pub(crate) fn assert_complete(folder: &str, digits: std::ops::RangeInclusive<usize>, least: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(folder);
    let is_one = |name: &str| {
        let section = name.strip_prefix('s').and_then(|rest| rest.split_once('_'));
        section.is_some_and(|(number, _)| {
            digits.contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let mut files = Vec::new();
    sources(&folder, &mut files);
    sources(&root.join("src/proto"), &mut files);
    let mut tests: Vec<_> = files
        .iter()
        .flat_map(|file| tests_of(&fs::read_to_string(file).unwrap()))
        .filter(|name| is_one(name))
        .collect();
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    let cells = main.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = cells.flat_map(|line| line.split('|').map(str::trim));
    let mut named: Vec<_> = cells.filter(|cell| is_one(cell)).collect();
    tests.sort_unstable();
    named.sort_unstable();
    assert!(tests.len() > least, "{} tests", tests.len());
    assert_eq!(named, tests);
}

/// Returns the Rust files below a folder.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Returns the names of the tests in a source.
fn tests_of(source: &str) -> Vec<String> {
    let mut lines = source.lines().map(str::trim);
    let mut tests = Vec::new();
    while lines.any(|line| line == "#[test]") {
        let name = lines.next().and_then(|line| line.strip_prefix("fn "));
        let name = name.and_then(|line| line.split_once('('));
        tests.extend(name.map(|(name, _)| name.to_owned()));
    }
    tests
}
