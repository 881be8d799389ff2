//! The whole core in a deterministic simulator: wheel, sessions of both sides, every wire, clients with
//! their backoff, on virtual time and over a network that a seed decides.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[cfg(feature = "tls")]
#[path = "../support/certs.rs"]
mod certs;
mod crowd;
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/end.rs"]
mod end;
#[path = "../support/memory/mod.rs"]
mod memory;
mod model;
mod pair;
mod process;
mod proxied;
mod rows;
mod script;
mod seeds;
mod shards;
#[cfg(feature = "tls")]
mod tls;
mod world;
