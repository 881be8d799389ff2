//! The public surface: what `tests/surface.txt` lists is what there is, so that a change of it shows in review.
//!
//! The list is renewed by
//!
//! ```sh
//! RENEW=1 cargo test --test surface -- --ignored
//! ```
//!
//! and what to write instead of what has gone belongs into the changelog, below "Migration". The compiler
//! describes the crate in a format that is not stable, so only the version that [`public_api`] reads will do:
//! the test is for CI and for whoever has it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What to do where the compiler is another one.
const OTHER: &str = "this compiler describes crates in another way: \
    run `rustup toolchain install 1.95`, then `cargo +1.95 test --test surface -- --ignored`";

/// How many lines are shown of a difference.
const SHOWN: usize = 40;

#[test]
#[ignore = "needs a minute, and the compiler of Rust 1.95: rustup toolchain install 1.95"]
fn the_surface_is_the_one_that_is_written_down() {
    let list = root().join("tests/surface.txt");
    let surface = surface();
    if env::var_os("RENEW").is_some() {
        return fs::write(list, surface).unwrap();
    }
    let written = fs::read_to_string(list).unwrap();
    let gone = lines_without(&written, &surface, '-');
    let new = lines_without(&surface, &written, '+');
    let differences: Vec<_> = gone.chain(new).collect();
    assert!(
        differences.is_empty(),
        "the surface has {} lines that differ from tests/surface.txt:\n{}\n\
         renew it: RENEW=1 cargo test --test surface -- --ignored\n\
         and say in CHANGELOG.md, below \"Migration\", what to write instead of what has gone",
        differences.len(),
        differences[..differences.len().min(SHOWN)].join("\n"),
    );
    assert!(written == surface, "the order of tests/surface.txt differs");
}

/// Returns the lines that another list does not have, marked.
fn lines_without<'a>(
    list: &'a str,
    other: &'a str,
    mark: char,
) -> impl Iterator<Item = String> + 'a {
    let others: std::collections::HashSet<_> = other.lines().collect();
    let lines = list.lines().filter(move |line| !others.contains(line));
    lines.map(move |line| format!("{mark}{line}"))
}

/// Lists what the library has with all features, a line for each item. Left out is what every type has.
fn surface() -> String {
    let api = public_api::Builder::from_rustdoc_json(describe())
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .unwrap_or_else(|error| panic!("{OTHER}: {error}"));
    api.to_string()
}

/// Has the compiler describe the library, and returns where.
fn describe() -> PathBuf {
    let target = root().join("target/surface");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features"])
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format=json"])
        .current_dir(root())
        // It would be refused by a stable compiler without.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTDOCFLAGS")
        .status()
        .unwrap();
    assert!(status.success(), "the library is not described: {status}");
    target.join("doc/heartwheel.json")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
