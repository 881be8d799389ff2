//! A wire of the embedder's own: a codec, with heartbeats, deadlines, causes and evidence for free.

use std::fmt;
use std::ops::Range;

use crate::error::ProtocolError;
use crate::proto::wire::{EncodeError, MessageKind};

/// Turns bytes into frames and back for one connection.
///
/// A codec without pings is fine: switch the interval off, and any byte the peer sends still counts as
/// proof of life within the timeout. One codec is made for each connection, by the listener's factory.
///
/// ```
/// use heartwheel::error::ProtocolError;
/// use heartwheel::proto::codec::{Codec, Decoded};
/// use heartwheel::proto::wire::{EncodeError, MessageKind};
///
/// /// Messages of exactly four bytes.
/// #[derive(Debug)]
/// struct Quads;
///
/// impl Codec for Quads {
///     fn decode(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
///         if input.len() < 4 {
///             return Ok(Decoded::NeedMore);
///         }
///         Ok(Decoded::Message { consumed: 4, kind: MessageKind::Binary, payload: 0..4 })
///     }
///
///     fn encode(
///         &mut self,
///         _kind: MessageKind,
///         payload: &[u8],
///         out: &mut Vec<u8>,
///     ) -> Result<(), EncodeError> {
///         if payload.len() != 4 {
///             return Err(EncodeError::Custom("a quad has four bytes"));
///         }
///         out.extend_from_slice(payload);
///         Ok(())
///     }
/// }
///
/// assert_eq!(Quads.decode(b"abc"), Ok(Decoded::NeedMore));
/// ```
pub trait Codec: fmt::Debug + Send {
    /// Looks at the front of what has arrived. Called again with more bytes after
    /// [`Decoded::NeedMore`], and again at once after anything else.
    ///
    /// After [`Decoded::NeedMore`] the input begins with the same bytes as before. A codec of long frames
    /// that end with a mark remembers how far it has looked for it: the frame's bytes come in many
    /// pieces, and to look through all of them for each takes time in proportion to their square.
    ///
    /// # Errors
    ///
    /// The rule the peer broke; the connection ends with the error's cause.
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError>;

    /// Appends one message as a whole frame.
    ///
    /// # Errors
    ///
    /// Why the wire cannot carry it; nothing is sent then.
    fn encode(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError>;

    /// Says whether the wire has pings of our own to send. Default: no; the interval must be off then.
    fn has_pings(&self) -> bool {
        false
    }

    /// Appends a ping, with a token that its pong may bring back.
    fn encode_ping(&mut self, token: u32, out: &mut Vec<u8>) {
        let _ = (token, out);
    }

    /// Appends the answer to a ping. Default: none.
    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let _ = (payload, out);
    }

    /// Appends a goodbye. Default: none, the end of output says it.
    fn encode_close(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}

/// What stands at the front of a codec's input. `consumed` is its whole length, ranges lie within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// No whole frame yet.
    NeedMore,
    /// Bytes to pass over.
    Skip {
        /// Bytes consumed; more than zero.
        consumed: usize,
    },
    /// A message.
    Message {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// Text or bytes. Text must be UTF-8.
        kind: MessageKind,
        /// Where the payload lies.
        payload: Range<usize>,
    },
    /// A ping to be answered.
    Ping {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// What the pong brings back.
        payload: Range<usize>,
    },
    /// A pong.
    Pong {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// The token it brings back, or `None` on a wire where pongs answer pings in order.
        token: Option<u32>,
    },
    /// A goodbye; the connection ends as `peer_closed`.
    Close {
        /// Bytes consumed; more than zero.
        consumed: usize,
    },
}
