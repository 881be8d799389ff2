//! What falls into one turn when much is to be done: a piece of it, and the rest into the next ones.
//!
//! The loop runs in memory, so that work is counted and no machine is too slow.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used)]

#[path = "../support/memory/mod.rs"]
mod memory;

mod broadcasts;
mod peers;
mod slices;
mod topics;
mod world;
