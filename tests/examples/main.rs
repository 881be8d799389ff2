//! The examples, each started and talked to over real sockets by peers that know nothing of the library.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod beside_axum;
mod chat;
mod echo;
mod in_tokio;
mod mqtt;
mod pool;
mod redis;
mod running;
