//! Heartwheel pings very many TCP and WebSocket peers on one thread, and closes dead connections.
//!
//! It holds 100 000 and more mostly idle connections. It closes dead connections within a stated
//! time and reports the exact reason for each end. One mio poll loop drives every socket. A hashed
//! timer wheel, keyed by slab index, schedules pings and deadlines. Frames are parsed from ring
//! buffers; an idle connection has none.
//!
//! ```text
//! socket readable -> rx ring -> frame -> session (heartbeat) -> handler -> tx queue -> socket writable
//! tick            -> wheel   -> expired key -> session (heartbeat) -> ping into tx, or verdict
//! ```
//!
//! # A server
//!
//! An echo server for text lines and WebSocket. It pings its peers and closes the silent ones:
//!
//! ```no_run
//! use heartwheel::{
//!     Closed, ConnId, Context, Handler, ListenerConfig, Message, Reactor, ReactorConfig, WireFactory,
//! };
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Data = ();
//!
//!     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
//!         if let Err(error) = cx.send(id, message) {
//!             eprintln!("{id}: {error}");
//!         }
//!     }
//!
//!     fn on_close(&mut self, _cx: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
//!         println!("{} ended: {}", closed.id, closed.evidence.cause);
//!     }
//! }
//!
//! fn main() -> Result<(), heartwheel::Error> {
//!     let mut reactor = Reactor::new(ReactorConfig::default())?;
//!     reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
//! #   #[cfg(feature = "websocket")]
//!     reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9001).into(), WireFactory::WebSocket))?;
//!     reactor.run(&mut Echo)
//! }
//! ```
//!
//! # Where to look
//!
//! The crate root re-exports what a server or a client usually needs. The modules hold the rest:
//!
//! | for | see |
//! | --- | --- |
//! | how to embed a loop, a page for each task | [`guide::embedding`] |
//! | the loop itself | [`reactor`] |
//! | heartbeats, deadlines, and the reason for each default | [`config`], [`guide`] |
//! | why a connection ended | [`close::Cause`], [`close::Evidence`] |
//! | the protocol core without sockets, for another loop or a simulator | [`proto`] |
//! | certificates, keys and roots for TLS | [`tls`] |
//! | the architecture | [`guide::architecture`] |
//!
//! # Features
//!
//! | feature | adds | packages |
//! | --- | --- | --- |
//! | none | the reactor with the line, binary, raw and own wires; mio's backlog; no resets: a dead peer gets a plain close | mio, slab, log |
//! | `websocket` (default) | RFC 6455, server and client, and plain HTTP answers | httparse, httpdate, sha1, base64, rand, simdutf8 |
//! | `deflate` (default) | compressed WebSocket messages (RFC 7692), for those who ask for it | flate2, zlib-rs |
//! | `sockets` (default) | a backlog of 4096, resets for dead peers, socket options that accepted connections inherit, the kernel's figures at a verdict, the time that the machine slept (Linux) | libc, rustix, socket2 |
//! | `tls` (default) | TLS 1.3 and 1.2, for servers and clients: [`tls`] | rustls on ring, rustls-webpki, rustls-native-certs, humantime |
//! | `cli` (default) | the program `heartwheel` | clap and others |

// On docs.rs, items that a feature adds are marked.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Shared test code calls the crate `heartwheel`, as tests outside the crate do.
#[cfg(test)]
extern crate self as heartwheel;

#[cfg(all(test, feature = "tls"))]
#[path = "../tests/support/certs.rs"]
mod certs;
pub mod close;
pub mod config;
#[cfg(test)]
#[path = "../tests/support/dice.rs"]
mod dice;
pub mod error;
pub mod event_loop;
pub mod guide;
mod network;
mod peer;
pub mod proto;
pub mod reactor;
#[cfg(test)]
mod sizes;
pub mod stats;
pub mod sys;
#[cfg(feature = "tls")]
pub mod tls;

pub use close::{Cause, CloseCode, Evidence, Liveness, Phase};
#[cfg(feature = "deflate")]
pub use config::DeflateConfig;
#[cfg(feature = "websocket")]
pub use config::WebConfig;
pub use config::{
    AdmissionConfig, HeartbeatConfig, LimitsConfig, Overflow, PingWhen, Proof, ReactorConfig,
    WireKind,
};
pub use error::{AnswerError, Error, SendError, SubscribeError};
/// The version of mio that this crate uses. Sources of the embedder implement its `Source`: see
/// [`Reactor::register`](reactor::Reactor::register).
pub use mio;
pub use peer::PeerAddr;
pub use proto::message::{Message, SharedMessage};
pub use proto::wire::MessageKind;
pub use reactor::{
    Adoption, ClientConfig, ClientEvent, ClientId, Closed, CommandError, ConnId, ConnInfo, Context,
    Decision, DialError, DialRequest, Endpoint, Group, HandleError, Handler, LastEnd, ListenAddr,
    ListenerConfig, ListenerId, LoopHandle, Offer, QueueConfig, QueueOverflow, Reactor,
    ReconnectConfig, Rejected, Rejection, StopReason, TimerId, Welcome, WireFactory,
};
#[cfg(feature = "websocket")]
pub use reactor::{HttpAnswer, RequestId};
/// The version of rustls that this crate uses. Listeners and clients take its configurations: see [`tls`].
#[cfg(feature = "tls")]
pub use rustls;
pub use stats::Stats;

/// Compiles the example that the README shows.
#[cfg(all(doctest, feature = "websocket"))]
#[doc = include_str!("../README.md")]
struct Readme;
