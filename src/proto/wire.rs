//! Types that all wires use: what a decoder found, and why an encoder refuses a message.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

/// Whether a message is text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Valid UTF-8 text.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We dialed it.
    Client,
}

/// Where the payload of a complete message lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the decoder's input, at this range, ready to be read (already unmasked).
    Input(Range<usize>),
    /// In the decoder's assembly buffer, complete, until it is taken.
    Assembled,
}

/// What a decoder of the [line](super::line) or [binary](super::binary) wire found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// No complete frame yet. The decoder may have consumed bytes all the same.
    NeedMore,
    /// A complete message.
    Message {
        /// Whether it is text or bytes.
        kind: MessageKind,
        /// Where its payload lies.
        payload: Payload,
    },
    /// The peer asks for a pong.
    Ping,
    /// The peer answers a ping.
    Pong,
}

/// Why a wire cannot carry a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A line cannot contain the line feed that would end it.
    LineFeed {
        /// Where the first one stands, bytes from the beginning.
        at: usize,
    },
    /// The line is the same as a ping or pong of the wire.
    ReadsAsControl,
    /// A line must be text, but this is not UTF-8.
    NotUtf8,
    /// More bytes than the length field of the wire can say.
    TooLong {
        /// Bytes in the message.
        size: usize,
    },
    /// A rule of the embedder's own wire.
    Custom(&'static str),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFeed { at } => write!(f, "line feed at byte {at} of a line"),
            Self::ReadsAsControl => f.write_str("the line is the same as a ping or pong"),
            Self::NotUtf8 => f.write_str("line is not utf-8"),
            Self::TooLong { size } => {
                write!(f, "message of {size} bytes exceeds the length field")
            }
            Self::Custom(rule) => f.write_str(rule),
        }
    }
}

impl StdError for EncodeError {}
