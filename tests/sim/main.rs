//! The whole core in a deterministic simulator: wheel, sessions of both sides, every wire, clients with
//! their backoff, on virtual time and over a network that a seed decides.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(
    dead_code,
    reason = "the reactor's own, of which a simulated process uses a part"
)]
#[path = "../../src/event_loop/clock.rs"]
mod clock;
mod crowd;
mod dice;
#[path = "../support/end.rs"]
mod end;
mod model;
mod pair;
mod process;
mod rows;
mod script;
mod seeds;
mod world;

/// For the clock, which finds core time here as it does in the library.
use heartwheel::proto;
