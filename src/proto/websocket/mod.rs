//! The WebSocket wire: RFC 6455 for servers and clients. Its only extension is permessage-deflate (RFC
//! 7692).
//!
//! The law of this layer: it knows bytes, but no time and no sockets, and it writes no log. A
//! [`Decoder`] turns received bytes into [`Item`]s. The `encode` functions turn messages into
//! bytes. [`handshake`] reads and writes the HTTP heads that come first. A frame with a reserved bit is
//! an error, unless both sides have agreed to compress messages: then the first bit says that one is.
//! Who compresses and inflates them is the [session](crate::proto::session).
//!
//! ```
//! use heartwheel::proto::pool::Pool;
//! use heartwheel::proto::websocket::{Decoder, Item, Opcode, encode};
//! use heartwheel::proto::wire::{MessageKind, Payload, Role};
//!
//! let mut wire = Vec::new();
//! encode(true, Opcode::Text, b"hello", Some([1, 2, 3, 4]), &mut wire);
//!
//! let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
//! let (consumed, item) = decoder.decode(Role::Server, &mut wire, 1024, &mut pool)?;
//! let Item::Message { kind: MessageKind::Text, payload: Payload::Input(range) } = item else {
//!     unreachable!("a whole message is handed out in place");
//! };
//! assert_eq!(&wire[range], b"hello");
//! assert_eq!(consumed, wire.len());
//! # Ok::<(), heartwheel::error::ProtocolError>(())
//! ```

#![warn(clippy::cast_possible_truncation)]

pub mod handshake;

mod decoder;
mod fragments;
mod frame;
mod mask;

pub use decoder::{Decoder, Item};
pub use fragments::fragments;
pub use frame::{CloseBody, Opcode, close_body, encode};
pub(crate) use frame::{Compression, append_frame, encode_header, encode_ping};
