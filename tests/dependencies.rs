//! What the crate stands on: licences that fit its own, and no package twice in what users build.
//!
//! `cargo deny` checks the same and more, but is built from some 300 packages, and its list of advisories
//! needs a network. This reads what `cargo metadata` says of packages that are there already.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::process::Command;

use serde_json::Value;

/// The licences whose terms a user of `MIT OR Apache-2.0` meets anyhow: ISC asks for no more than MIT, and so
/// does BSD-3-Clause, but that nobody's name is used for praise. Zlib asks for less. And that of tables of Unicode.
const ALLOWED: [&str; 6] = [
    "MIT",
    "Apache-2.0",
    "ISC",
    "BSD-3-Clause",
    "Unicode-3.0",
    "Zlib",
];

/// What is built twice because somebody else asks for an older version: ring, and its latest still does.
const TWICE: [&str; 1] = ["getrandom"];

/// Every package that is built on this machine, of the library, the program, tests and benches.
struct Tree {
    metadata: Value,
}

impl Tree {
    fn read() -> Self {
        let told = cargo(&["-vV"]);
        let host = told.lines().find_map(|line| line.strip_prefix("host: "));
        // Packages of other systems need not be there.
        let host = ["--filter-platform", host.unwrap()];
        let what = ["metadata", "--locked", "--offline", "--format-version", "1"];
        let metadata = cargo(&[&what[..], &host].concat());
        Self {
            metadata: serde_json::from_str(&metadata).unwrap(),
        }
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.metadata["packages"].as_array().unwrap().iter()
    }

    /// Returns the ids of what a user of the library and the program builds.
    fn shipped(&self) -> BTreeSet<&str> {
        let resolve = &self.metadata["resolve"];
        let nodes = resolve["nodes"].as_array().unwrap().iter();
        let nodes: BTreeMap<_, _> = nodes.map(|node| (text(&node["id"]), node)).collect();
        let mut found = BTreeSet::new();
        let mut next = vec![text(&resolve["root"])];
        while let Some(id) = next.pop() {
            if found.insert(id) {
                let needed = nodes[id]["deps"].as_array().unwrap().iter();
                let needed = needed.filter(|needed| is_shipped(needed));
                next.extend(needed.map(|needed| text(&needed["pkg"])));
            }
        }
        found
    }
}

/// Runs the cargo that runs this test.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Says whether a dependency is more than one of tests and benches.
fn is_shipped(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array().unwrap();
    kinds.iter().any(|kind| kind["kind"] != "dev")
}

/// Says whether allowed licences are enough for an SPDX expression. Older packages write `/` for `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let is_allowed = any(&mut words);
    assert_eq!(words.next(), None, "{expression}");
    is_allowed
}

fn any<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> bool {
    let mut is_allowed = all(words);
    while words.next_if_eq(&"OR").is_some() {
        is_allowed |= all(words);
    }
    is_allowed
}

fn all<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> bool {
    let mut is_allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        is_allowed &= one(words);
    }
    is_allowed
}

fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_allowed = any(words);
        assert_eq!(words.next(), Some(")"));
        return is_allowed;
    }
    let licence = words.next().expect("a licence");
    // With an exception it is another licence.
    let is_another = words.next_if_eq(&"WITH").and_then(|_| words.next());
    is_another.is_none() && ALLOWED.contains(&licence)
}

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let tree = Tree::read();
    let is_fine = |package: &&Value| {
        let licence = package["license"].as_str();
        licence.is_some_and(is_allowed)
    };
    let others: Vec<_> = tree
        .packages()
        .filter(|package| !is_fine(package))
        .map(|package| (text(&package["name"]), &package["license"]))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(tree.packages().count() > 60, "the tree is not whole");
}

/// Tests and benches take the servers of others as they are, with what these need.
#[test]
fn users_build_no_package_in_two_versions() {
    let tree = Tree::read();
    let shipped = tree.shipped();
    let mut versions = BTreeMap::<_, Vec<_>>::new();
    for package in tree.packages() {
        if shipped.contains(text(&package["id"])) {
            let version = text(&package["version"]);
            versions
                .entry(text(&package["name"]))
                .or_default()
                .push(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let twice: Vec<_> = versions.keys().copied().collect();
    assert_eq!(twice, TWICE, "{versions:?}");
    assert!((20..tree.packages().count()).contains(&shipped.len()));
}

#[test]
fn one_allowed_licence_of_several_is_enough_and_all_are_where_all_hold() {
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("Unlicense/MIT", true),
        ("GPL-2.0 OR Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only OR Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}
