//! The table at the top of a folder of tests, which names the tests of each section.

use std::fs;
use std::path::Path;

/// Holds the table in the `main.rs` of a folder to the tests of that folder whose names begin with
/// `prefix`: each stands in it once, it names no others, and there are more than `least` of them.
#[track_caller]
pub(crate) fn assert_complete(folder: &str, prefix: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let is_one = |name: &str| name.starts_with(prefix) && name.contains('_');
    let mut tests: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .flat_map(|entry| tests_of(&fs::read_to_string(entry.unwrap().path()).unwrap()))
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

/// Returns the names of the tests in a source.
fn tests_of(source: &str) -> Vec<String> {
    let mut lines = source.lines();
    let mut tests = Vec::new();
    while lines.any(|line| line == "#[test]") {
        let name = lines.next().and_then(|line| line.strip_prefix("fn "));
        let name = name.and_then(|line| line.split_once('('));
        tests.extend(name.map(|(name, _)| name.to_owned()));
    }
    tests
}
