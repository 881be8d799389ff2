//! Publishing to topics over loopback, beside uWebSockets.
//!
//! `cargo bench --bench topics`, or with options and a part of a point's name:
//! `cargo bench --bench topics -- --rounds 9 --servers heartwheel,uwebsockets "10 topics"`
//!
//! One connection publishes, others subscribe; all belong to one peer that uses none of the libraries and
//! counts what arrives. It publishes as many messages at a time as the point says, and the next ones once all
//! of them have arrived. Each server is a process of its own with one thread, and sends no pings meanwhile. The servers take turns, round by round,
//! each round with a fresh server that is warmed up for half its time. What is printed is the median of the
//! rounds with the least and the most: messages that arrived in a second, over all subscribers, and processor
//! time of the server for each; then how far heartwheel is ahead in both. Above 1 it is.
//!
//! Where this process may use two cores or more, the first is the server's and the second the peer's.
//!
//! Options, with their defaults: `--rounds 5`, `--seconds 1` for each, `--servers heartwheel`. `--servers
//! heartwheel,uwebsockets` compiles the other one first, from the source in the crate `libuwebsockets-sys`,
//! and needs a compiler for C++. `--test` runs all of it small. Both sides of all connections need
//! descriptors: some 10 100 in each of two processes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[cfg(target_os = "linux")]
#[path = "topics/mod.rs"]
mod topics;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    topics::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("cores and their time are asked of Linux: this bench is for it");
}
