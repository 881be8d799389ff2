//! The embedder's own wire: a codec. Heartbeats, deadlines, causes and evidence work as on the
//! built-in wires.

use std::fmt;
use std::ops::Range;

use crate::error::ProtocolError;
use crate::proto::wire::{EncodeError, MessageKind};

/// Turns bytes into frames, and frames into bytes, for one connection.
///
/// A codec need not have pings: switch the interval off. Any byte from the peer is then still proof
/// of life within the timeout. The listener's factory makes one codec for each connection.
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
    /// Decodes the start of the input. It is called again with more bytes after
    /// [`Decoded::NeedMore`], and at once after any other result.
    ///
    /// After [`Decoded::NeedMore`] the next input starts with the same bytes. If frames are long
    /// and end with a mark, the codec should remember how far it has searched. Otherwise the time
    /// grows with the square of the frame's length.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke. The connection ends with the error's cause.
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError>;

    /// Appends one message as one complete frame.
    ///
    /// # Errors
    ///
    /// Why the wire cannot carry the message. Nothing is sent then.
    fn encode(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError>;

    /// Returns whether the wire has pings that we can send. Default: no. The interval must be off
    /// then.
    fn has_pings(&self) -> bool {
        false
    }

    /// Appends a ping with a token. The pong may contain the same token.
    fn encode_ping(&mut self, token: u32, out: &mut Vec<u8>) {
        let _ = (token, out);
    }

    /// Appends the answer to a ping. Default: appends nothing.
    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let _ = (payload, out);
    }

    /// Appends a frame that says goodbye. Default: appends nothing, and the end of output says it.
    fn encode_close(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}

/// What is at the start of a codec's input. `consumed` is its whole length. Ranges lie within that
/// length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// No complete frame yet.
    NeedMore,
    /// Bytes to ignore.
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
        /// The range of the payload in the input.
        payload: Range<usize>,
    },
    /// A ping, which must be answered.
    Ping {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// The payload for the pong.
        payload: Range<usize>,
    },
    /// A pong.
    Pong {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// The token in the pong; `None` on a wire where pongs answer the pings in order.
        token: Option<u32>,
    },
    /// A goodbye of the peer. The connection ends as `peer_closed`.
    Close {
        /// Bytes consumed; more than zero.
        consumed: usize,
    },
}
