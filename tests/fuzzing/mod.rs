//! What the fuzz targets check: functions from arbitrary bytes to a panic.
//!
//! Each reads from the bytes what to do, does it, and panics when a promise of the crate is broken. A
//! fuzzer finds the bytes (the package in `fuzz`); `tests/fuzz_corpus.rs` runs the same functions over
//! what fuzzers have found and over seeded mutations of it.

mod binary;
#[cfg(feature = "tls")]
#[path = "../support/certs.rs"]
mod certs;
#[cfg(feature = "deflate")]
mod deflate;
#[path = "../support/dice.rs"]
pub(crate) mod dice;
mod exchange;
mod feed;
mod handshake;
mod line;
mod line_codec;
#[path = "../support/memory/mod.rs"]
pub(crate) mod memory;
mod pairs;
mod proxy_header;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod tunnel;
mod websocket;
mod websocket_peer;

pub use binary::binary;
#[cfg(feature = "deflate")]
pub use deflate::{deflate_handshake, deflate_messages};
pub use handshake::{handshake_client, handshake_server};
pub use line::line;
pub use line_codec::line_codec;
pub use proxy_header::proxy_header;
pub use session::session;
#[cfg(feature = "tls")]
pub use tls::tls;
pub use tunnel::tunnel;
pub use websocket::{websocket_decode, websocket_frames};
