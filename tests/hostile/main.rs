//! Peers that mean harm, against a live server. Each attack runs twice, while a healthy peer beside it
//! must be answered all along; the server's memory stays within a budget, and is free again after it.
//!
//! Tests carry the number of their row in the list of failure scenarios, where they have one.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod attacker;
mod compression;
mod control;
mod ends;
mod floods;

mod handshakes;
mod hoarders;
mod messages;
mod noise;
mod output;
mod over_tls;

mod probe;
mod rates;
mod readers;
mod relay;

mod requests;
mod server;
mod victim;

#[path = "../support/mod.rs"]
mod support;

use support::Wire;

/// All wires with a heartbeat.
const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Line, Wire::Binary];

/// A mebibyte.
const MIB: usize = 1 << 20;
