//! The failure scenarios: `README.md` beside this file lists them, and this holds the list to the tests
//! that there are. Here lie the tests that need a whole program and many sockets.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod arrivals;
mod churn;
mod clients;
mod departures;
mod large;
mod saturation;
mod times;

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A row of the table.
struct Row {
    number: u32,
    tests: Vec<String>,
    waits_for: String,
}

fn rows() -> Vec<Row> {
    let rows = include_str!("README.md").lines().filter_map(|line| {
        let number = line.strip_prefix("| F")?.split_once(' ')?.0;
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, _, tests, waits_for] = cells[..] else {
            panic!("five columns: {line}");
        };
        Some(Row {
            number: number.parse().expect("a number"),
            tests: tests
                .split_whitespace()
                .map(|name| name.trim_matches('`').to_owned())
                .collect(),
            waits_for: waits_for.to_owned(),
        })
    });
    rows.collect()
}

/// Returns the names of all tests, each with the files that it is in.
fn tests() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    support::table::sources(&root.join("src"), &mut files);
    support::table::sources(&root.join("tests"), &mut files);
    let mut tests: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("fn ") {
                let name = name.split(['(', '<']).next().unwrap();
                if is_test {
                    tests.entry(name.into()).or_default().insert(file.clone());
                }
                is_test = false;
            } else {
                // Other attributes and comments may stand between it and its function.
                is_test |= line == "#[test]";
                is_test &= line.starts_with(['#', '/']);
            }
        }
    }
    tests
}

/// Returns the rows that the name of a test begins with: `f19_f20_pings` is of two.
fn numbers(name: &str) -> Vec<u32> {
    let parts = name.split('_');
    parts
        .map_while(|part| part.strip_prefix('f')?.parse().ok())
        .collect()
}

#[test]
fn every_row_has_a_test_of_its_number_or_says_what_it_waits_for() {
    let tests = tests();
    for Row {
        number,
        tests: named,
        waits_for,
    } in rows()
    {
        let is_waiting = !waits_for.is_empty();
        assert!(!named.is_empty() || is_waiting, "F{number} has no test");
        for name in named {
            assert!(tests.contains_key(&name), "F{number}: no test {name}");
            assert!(numbers(&name).contains(&number), "F{number}: {name}");
        }
    }
}

#[test]
fn every_row_stands_in_the_table_once_and_every_test_has_a_row() {
    let mut numbered: Vec<_> = rows().iter().map(|row| row.number).collect();
    numbered.sort_unstable();
    // 33 and 35 name nothing.
    let rows: Vec<_> = (1..=55)
        .filter(|number| ![33, 35].contains(number))
        .collect();
    assert_eq!(numbered, rows);
    for (name, files) in tests() {
        for number in numbers(&name) {
            assert!(rows.contains(&number), "{name} in {files:?}");
        }
    }
}

#[test]
fn numbers_stand_at_the_beginning_of_a_name() {
    assert_eq!(numbers("f19_f20_pings_after_our_close"), [19, 20]);
    assert_eq!(numbers("f7_a_machine_that_slept"), [7]);
    assert!(numbers("four_of_f5").is_empty());
    assert!(numbers("failures_without_end").is_empty());
}
