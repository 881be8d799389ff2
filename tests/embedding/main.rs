//! The embedding surface: what a handler sees, what a context does, and how a reactor nests inside
//! another loop. Real loopback sockets; the peer is plain std code in the same thread.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod callbacks;
mod clients;
mod codecs;
mod deferred;
mod dialing;
mod ends;
mod guests;
mod handle;
mod kept;
mod listeners;
mod nesting;
mod proxied;
mod proxies;
mod rooms;
mod sending;
mod sockets;
mod stomp;
mod topics;
mod turns;
mod upgrade;
mod web;
mod wires;
