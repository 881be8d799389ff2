//! The functions that the targets call, the same that `tests/fuzz_corpus.rs` runs.

#[path = "../../tests/fuzzing/mod.rs"]
pub mod fuzzing;
