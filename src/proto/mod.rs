//! The protocol core: no sockets, no clock, no log, no threads.
//!
//! A driver calls it: bytes and times go in; bytes, deadlines and verdicts come out. The reactor is
//! one driver. A simulator, a fuzzer or another event loop can be a driver too.

mod assembly;
pub mod authority;
pub mod backoff;
pub mod binary;
mod bucket;
pub mod codec;
mod copy;
#[cfg(feature = "deflate")]
pub(crate) mod deflate;
pub(crate) mod flags;
pub mod heartbeat;
#[cfg(feature = "websocket")]
pub mod http;
pub mod lateness;
pub mod line;
pub mod line_codec;
pub mod message;
pub mod outbox;
pub mod policy;
pub mod pool;
pub(crate) mod prefetch;
pub mod proxy_header;
pub(crate) mod received;
pub mod ring;
pub mod session;
mod shares;
pub(crate) mod tally;
pub mod time;
pub mod tunnel;
mod utf8;
#[cfg(feature = "websocket")]
pub mod websocket;
pub mod wheel;
pub mod wire;
