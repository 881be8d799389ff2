//! The embedder's own wire: a codec. Heartbeats, deadlines, causes and evidence work as on the
//! built-in wires.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use crate::error::ProtocolError;
use crate::proto::wire::{EncodeError, MessageKind};

/// Turns bytes into frames, and frames into bytes, for one connection.
///
/// A codec need not have pings: switch the interval off. Any byte from the peer is then still proof
/// of life within the timeout. The listener's factory makes one codec for each connection. What the
/// session may do with its frames, the codec says in its [rules](Self::rules).
///
/// A handler reaches the codec of a connection with
/// [`Context::codec_mut`](crate::reactor::Context::codec_mut).
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
///     fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
///         if input.len() < 4 {
///             return Ok(Decoded::NeedMore);
///         }
///         Ok(Decoded::binary(4, 0..4))
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
/// assert_eq!(Quads.decode(b"abc", &mut Vec::new()), Ok(Decoded::NeedMore));
/// ```
pub trait Codec: Any + fmt::Debug + Send {
    /// Decodes the start of the input. It is called again with more bytes after
    /// [`Decoded::NeedMore`], and at once after any other result.
    ///
    /// After [`Decoded::NeedMore`] the next input starts with the same bytes. If frames are long
    /// and end with a mark, the codec should remember how far it has searched. Otherwise the time
    /// grows with the square of the frame's length.
    ///
    /// What the protocol itself answers (an acknowledgement, a receipt) the codec appends to `out`,
    /// which is empty at the call. It is sent as one frame, behind what was queued before, and ahead
    /// of what the application sends when it gets the message. It leaves on an error too. An answer
    /// that must come after the application has acted is for the application to send. A peer that
    /// does not take its answers is not read: once 64 KiB of them wait, decoding stops until half of
    /// that has left. Nothing limits a single answer, so the codec should.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke. The connection ends with the error's cause.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError>;

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

    /// Returns whether the wire has a handshake of its own. Default: no; the connection is open as
    /// soon as its byte stream is. The answer must not change.
    ///
    /// With a handshake, the connection opens when [`decode`](Self::decode) returns
    /// [`Decoded::Open`] and the application has accepted it. Until then `decode` may return
    /// [`NeedMore`](Decoded::NeedMore), [`Skip`](Decoded::Skip) for a step of the handshake,
    /// [`Refuse`](Decoded::Refuse) and [`Close`](Decoded::Close), and append its answers to `out`. No
    /// ping is sent and no message accepted. The handshake must be over within the
    /// [`handshake_timeout`](crate::config::HeartbeatConfig::handshake_timeout), and a frame of it may
    /// have up to [`max_head`](crate::config::LimitsConfig::max_head) bytes. Silence counts from the
    /// opening. A listener counts the connection as half-open until then.
    fn has_handshake(&self) -> bool {
        false
    }

    /// Appends what this side says first, as soon as the byte stream is established: the greeting of
    /// a server, the request of a client. Default: appends nothing.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Takes the place of [`begin`](Self::begin) on a connection that somebody else has accepted and
    /// opened ([`Adoption::opened`](crate::reactor::Adoption::opened)): what comes first was said, and the
    /// handshake is complete. A codec with a handshake expects the frames of an open connection from here
    /// on; it must not return [`Decoded::Open`] any more. Appends what this side says nevertheless.
    /// Default: appends nothing.
    fn resume(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends what tells the peer that its handshake is accepted. It leaves before anything that the
    /// application sends. Default: appends nothing.
    fn encode_open(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends what tells the peer that its handshake is not accepted. Then the connection ends.
    /// Default: appends nothing.
    ///
    /// `status` is an HTTP status, from 400 to 599, and `reason` is text: those of the application's
    /// [`Rejection`](crate::reactor::Rejection), 408 if the handshake took too long, or 503 if this
    /// side goes away.
    fn encode_refusal(&mut self, status: u16, reason: &str, out: &mut Vec<u8>) {
        let _ = (status, reason, out);
    }

    /// Returns what the session may do with the frames of this wire. The answer must not change.
    /// Default: [`Rules::default`], which is right for every wire.
    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// Returns whether the wire has pings that we can send. Default: no. The interval must be off
    /// then. The answer must not change.
    fn has_pings(&self) -> bool {
        false
    }

    /// Appends a ping with a token. The pong may contain the same token. A ping is written between
    /// any two frames, ahead of messages that were encoded before it.
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

/// What the session may do with the frames of a [`Codec`]. Each default is right for every wire; what
/// differs from it makes something faster, or leaves a check to the codec.
///
/// ```
/// use heartwheel::proto::codec::{Encoding, Pongs, Rules};
///
/// let rules = Rules { pongs: Pongs::Ahead, ..Rules::default() };
/// assert_eq!(rules.encoding, Encoding::Each);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How answers to pings leave. Default: [`Pongs::InOrder`].
    pub pongs: Pongs,
    /// Whether a pong brings back the token of its ping. A pong without the token of a ping that is
    /// open is then unasked for. Default: no. Pongs then answer the pings in their order, and the
    /// token of a [`Decoded::Pong`] is ignored.
    pub has_tokens: bool,
    /// Whether the codec has checked that the text it finds is UTF-8. Default: no. The session checks
    /// it then, and ends the connection with cause `invalid_utf8`.
    pub checks_text: bool,
    /// Whether a message for many connections is encoded once. Default: [`Encoding::Each`].
    pub encoding: Encoding,
}

/// How answers to pings leave on an own wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pongs {
    /// Each ping is answered, behind everything that was queued before. Waiting answers count as the
    /// answers of [`Codec::decode`]: 64 KiB of them stop decoding.
    #[default]
    InOrder,
    /// Each ping is answered, between any two frames, ahead of messages that were encoded before. Above
    /// 4096 bytes of waiting answers, decoding stops until half of them have left.
    Ahead,
    /// The same as [`Ahead`](Self::Ahead), but while the socket takes no output, or above 4096 bytes of
    /// waiting answers, the newest answer stands for all that wait. For wires where one pong may
    /// answer several pings, such as WebSocket (RFC 6455, section 5.5.3).
    Newest,
}

/// Whether the frame of a message depends on the connection, on an own wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Each connection encodes the message itself.
    #[default]
    Each,
    /// [`Codec::encode`] depends only on the message, and changes nothing in the codec. So a
    /// [`SharedMessage`](crate::proto::message::SharedMessage), a broadcast or a published message is
    /// encoded once for all connections whose codecs have the same type and the same number here. Use
    /// different numbers where codecs of one type encode differently. More than eight encodings of one
    /// message are not kept.
    Once(u64),
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
    /// The end of a [handshake](Codec::has_handshake). The application is asked next
    /// ([`on_accept`](crate::reactor::Handler::on_accept)), and may look at what the codec has learned.
    /// Nothing more is decoded until it has answered.
    Open {
        /// Bytes consumed; more than zero.
        consumed: usize,
    },
    /// The peer is not let in, within a [handshake](Codec::has_handshake). What was appended to `out`
    /// leaves, and the connection ends with cause `refused`.
    Refuse {
        /// Why, for [`Rejected::reason`](crate::reactor::Rejected::reason).
        reason: &'static str,
    },
    /// A message.
    Message {
        /// Bytes consumed; more than zero.
        consumed: usize,
        /// Text or bytes. Text must be UTF-8; see [`Rules::checks_text`].
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
        /// The token in the pong, if it has a readable one; see [`Rules::has_tokens`].
        token: Option<u32>,
    },
    /// A goodbye of the peer. The connection ends as `peer_closed`.
    Close {
        /// Bytes consumed; more than zero.
        consumed: usize,
    },
}

impl Decoded {
    /// Makes a [`Message`](Self::Message) of text.
    pub const fn text(consumed: usize, payload: Range<usize>) -> Self {
        Self::Message {
            consumed,
            kind: MessageKind::Text,
            payload,
        }
    }

    /// Makes a [`Message`](Self::Message) of bytes.
    pub const fn binary(consumed: usize, payload: Range<usize>) -> Self {
        Self::Message {
            consumed,
            kind: MessageKind::Binary,
            payload,
        }
    }
}
