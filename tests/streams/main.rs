//! Standard streams that are slow, full, stuck or gone: what the program has to say waits or is dropped
//! and counted, by whole lines, and nothing else waits with it.
//!
//! Tests carry the number of their row in the list of failure scenarios, where they have one.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod child;
mod events;
mod input;
mod log;
mod messages;
#[cfg(target_os = "linux")]
mod terminal;

#[path = "../support/mod.rs"]
mod support;
