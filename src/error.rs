//! Errors: which operation of ours failed, and which rule a peer broke.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::close::{Cause, CloseCode};
use crate::peer::PeerAddr;
use crate::proto::wire::EncodeError;

/// The rule of its wire that the peer broke. Each rule maps to one close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set that no negotiated extension gives a meaning here (RFC 6455, 5.2).
    ReservedBits,
    /// A reserved opcode (RFC 6455, 5.2).
    ReservedOpcode(u8),
    /// A frame from a client is not masked (RFC 6455, 5.1).
    UnmaskedFrame,
    /// A frame from a server is masked (RFC 6455, 5.1).
    MaskedFrame,
    /// A control frame has a length above 125 bytes (RFC 6455, 5.5).
    ControlTooLong,
    /// A control frame is fragmented (RFC 6455, 5.5).
    ControlFragmented,
    /// A length is not encoded in the fewest bytes (RFC 6455, 5.2).
    LengthNotMinimal,
    /// The top bit of a 64-bit length is set (RFC 6455, 5.2).
    LengthTopBit,
    /// A continuation frame, but there is no message to continue (RFC 6455, 5.4).
    UnexpectedContinuation,
    /// A new message begins inside an unfinished one (RFC 6455, 5.4).
    ExpectedContinuation,
    /// A Close frame with a body of one byte (RFC 6455, 5.5.1).
    CloseBodyTooShort,
    /// A close code that must not be sent (RFC 6455, 7.4).
    CloseCode(u16),
    /// A text message or close reason is not UTF-8 (RFC 6455, 8.1).
    InvalidUtf8,
    /// A compressed message that cannot be inflated: it is no DEFLATE data, or ends too early (RFC 7692,
    /// 7.2.2).
    Deflate,
    /// A message larger than the limit.
    MessageTooBig {
        /// Bytes the peer announced or sent so far.
        size: u64,
        /// The limit in force, bytes.
        limit: u64,
    },
    /// A frame type that does not exist on the binary wire.
    UnknownType(u8),
    /// The first line is an HTTP request (RFC 9112, section 3). The wire of lines does not speak
    /// HTTP; the sender is most likely a browser that a web page made connect.
    HttpRequest,
    /// The first bytes belong to another protocol.
    Foreign(Foreign),
    /// The header of the PROXY protocol, which a trusted proxy must send first, is missing or broken.
    Proxy(ProxyFault),
    /// A rule of the embedder's own wire.
    Custom(&'static str),
}

impl ProtocolError {
    /// Returns the cause with which the connection ends.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::InvalidUtf8 => Cause::InvalidUtf8,
            Self::MessageTooBig { .. } => Cause::MessageTooBig,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseBodyTooShort
            | Self::CloseCode(_)
            | Self::Deflate
            | Self::UnknownType(_)
            | Self::HttpRequest
            | Self::Foreign(_)
            | Self::Proxy(_)
            | Self::Custom(_) => Cause::ProtocolError,
        }
    }

    /// Returns the close code sent to the peer (RFC 6455, 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self.cause().close_code() {
            Some(code) => code,
            None => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => f.write_str("reserved bit set without an extension"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x}"),
            Self::UnmaskedFrame => f.write_str("client frame without a mask"),
            Self::MaskedFrame => f.write_str("server frame with a mask"),
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::ControlFragmented => f.write_str("fragmented control frame"),
            Self::LengthNotMinimal => f.write_str("length not in its shortest form"),
            Self::LengthTopBit => f.write_str("64-bit length with its top bit set"),
            Self::UnexpectedContinuation => f.write_str("continuation without a message"),
            Self::ExpectedContinuation => f.write_str("new message inside an unfinished one"),
            Self::CloseBodyTooShort => f.write_str("close frame with a body of one byte"),
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent"),
            Self::InvalidUtf8 => f.write_str("text is not utf-8"),
            Self::Deflate => f.write_str("compressed message cannot be inflated"),
            Self::MessageTooBig { size, limit } => {
                write!(f, "message of {size} bytes exceeds {limit}")
            }
            Self::UnknownType(tag) => write!(f, "unknown frame type {tag:#04x}"),
            Self::HttpRequest => f.write_str("this looks like an http request"),
            Self::Foreign(protocol) => protocol.fmt(f),
            Self::Proxy(fault) => fault.fmt(f),
            Self::Custom(rule) => f.write_str(rule),
        }
    }
}

impl StdError for ProtocolError {}

/// Another protocol that a peer seems to speak, judged by its first bytes. It only makes the reason
/// of an end easier to understand; nothing else depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A TLS record, a handshake or an alert (RFC 8446, 5.1): `https://` or `wss://` was dialed, or
    /// the server answers with TLS.
    Tls,
    /// An HTTP/1 response from a web server.
    HttpResponse,
    /// HTTP/2 without negotiation (RFC 9113, 3.4).
    Http2,
    /// SSH (RFC 4253, 4.2).
    Ssh,
    /// The header of the PROXY protocol, version 1 or 2, which load balancers send.
    Proxy,
}

impl Foreign {
    /// Judges the first bytes of a peer. `None`: too few bytes, or no protocol of this list.
    pub fn of(first: &[u8]) -> Option<Self> {
        // The major version of a record is 3 in every version of TLS, the minor one 0 to 4.
        if let [0x15 | 0x16, 3, 0..=4, ..] = first {
            return Some(Self::Tls);
        }
        let mut starts = Self::STARTS.iter();
        starts.find_map(|&(start, protocol)| first.starts_with(start).then_some(protocol))
    }

    /// Says whether more bytes are needed to decide, so that the result does not depend on how they
    /// are cut.
    #[cfg(any(feature = "websocket", test))]
    pub(crate) fn is_undecided(first: &[u8]) -> bool {
        let is_prefix = |start: &[u8]| start.len() > first.len() && start.starts_with(first);
        matches!(first, [0x15 | 0x16] | [0x15 | 0x16, 3])
            || Self::STARTS.iter().any(|&(start, _)| is_prefix(start))
    }

    /// No start is longer than what an HTTP parser needs to see that the bytes are not HTTP.
    const STARTS: [(&'static [u8], Self); 5] = [
        (b"HTTP/1.", Self::HttpResponse),
        (b"PRI * HTTP/2", Self::Http2),
        (b"SSH-", Self::Ssh),
        (b"PROXY ", Self::Proxy),
        // The rest of the signature is no more telling.
        (b"\r\n\r\n\0", Self::Proxy),
    ];
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "this looks like tls",
            Self::HttpResponse => "this looks like an http response",
            Self::Http2 => "this looks like http/2",
            Self::Ssh => "this looks like ssh",
            Self::Proxy => "this looks like the header of the proxy protocol",
        })
    }
}

/// The rule that a header of the PROXY protocol breaks. The sections are those of its
/// [specification](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The connection does not begin with a header (2).
    Missing,
    /// A line of version 1 does not end with CR LF (2.1).
    LineEnd,
    /// A line of version 1 has no end within 107 bytes (2.1).
    LineTooLong,
    /// A line of version 1 is for none of `TCP4`, `TCP6` and `UNKNOWN` (2.1).
    Protocol,
    /// A line of version 1 has an address or port that is missing or malformed, or too many of them
    /// (2.1).
    Address,
    /// A block has this version, which is not 2 (2.2).
    Version(u8),
    /// A block has this command, which is neither `LOCAL` nor `PROXY` (2.2).
    Command(u8),
    /// A block has this byte for address family and transport, which is reserved (2.2).
    Family(u8),
    /// A block has no room for the addresses of its family (2.2).
    BlockTooShort {
        /// Its length without the first 16 bytes.
        len: usize,
    },
    /// A block is longer than
    /// [`MOST_IN_BLOCK`](crate::proto::proxy_header::ProxyHeader::MOST_IN_BLOCK).
    BlockTooLong {
        /// Its whole length, bytes.
        size: usize,
    },
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no header of the proxy protocol"),
            Self::LineEnd => f.write_str("proxy line not ended by cr lf"),
            Self::LineTooLong => f.write_str("proxy line longer than 107 bytes"),
            Self::Protocol => f.write_str("proxy line for an unknown protocol"),
            Self::Address => f.write_str("proxy line with a malformed address or port"),
            Self::Version(version) => write!(f, "proxy header of version {version}, not 2"),
            Self::Command(command) => write!(f, "proxy header with unknown command {command}"),
            Self::Family(family) => write!(f, "proxy header with unknown family {family:#04x}"),
            Self::BlockTooShort { len } => {
                write!(
                    f,
                    "proxy header of length {len}, too short for its addresses"
                )
            }
            Self::BlockTooLong { size } => write!(f, "proxy header of {size} bytes exceeds 4096"),
        }
    }
}

impl StdError for ProxyFault {}

/// A configuration value that makes no sense: the field and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    reason: String,
}

impl ConfigError {
    /// Makes an error for a field, with the reason.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }

    /// Returns the field's name, as in the struct.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns what is wrong with the value.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.reason)
    }
}

impl StdError for ConfigError {}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such connection, or it is not open.
    Closed,
    /// The send queue has no room. With [`Overflow::Close`](crate::config::Overflow::Close) the
    /// connection is closing now.
    Full {
        /// Bytes that the queued messages take, including bookkeeping.
        queued: usize,
        /// The limit in force, bytes.
        limit: usize,
    },
    /// The wire cannot carry this message.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection is not open"),
            Self::Full { queued, limit } => {
                write!(f, "send queue is full: {queued} of {limit} bytes")
            }
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl StdError for SendError {}

/// Why a connection does not subscribe to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// There is no such connection, or it is not open.
    Closed,
    /// The name of the topic is too long.
    TooLong {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// The connection subscribes to as many topics as it may.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The topics of the connection would take too much memory together.
    NamesTooLong {
        /// The limit, bytes: each name, and some 150 bytes for each topic.
        limit: usize,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection is not open"),
            Self::TooLong { len, limit } => {
                write!(f, "topic name of {len} bytes exceeds {limit}")
            }
            Self::TooMany { limit } => {
                write!(f, "connection subscribes to {limit} topics, the most")
            }
            Self::NamesTooLong { limit } => {
                write!(
                    f,
                    "names of the topics of a connection exceed {limit} bytes"
                )
            }
        }
    }
}

impl StdError for SubscribeError {}

/// Why a connection cannot be accepted, rejected or answered any more: see
/// [`Context::accept`](crate::reactor::Context::accept).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no connection with this id, or none any more: its peer left, its time was over, or we
    /// ended it. [`on_rejected`](crate::reactor::Handler::on_rejected) has said, or will say, why.
    Gone,
    /// The connection does not wait for such an answer: it was never deferred, or it has its answer.
    NotWaiting,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "connection has ended",
            Self::NotWaiting => "connection does not wait for this answer",
        })
    }
}

impl StdError for AnswerError {}

/// The operation of ours that failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value makes no sense.
    Config(ConfigError),
    /// The kernel refused to listen on an address.
    Listen {
        /// The address.
        addr: PeerAddr,
        /// The kernel's error.
        source: io::Error,
    },
    /// A socket that was handed in is not a connected stream socket.
    Adopt(io::Error),
    /// The selector failed: the loop cannot go on.
    Poll(io::Error),
    /// A source could not be registered with the selector, or removed from it.
    Register(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            Self::Adopt(source) => write!(f, "cannot adopt the socket: {source}"),
            Self::Poll(source) => write!(f, "polling failed: {source}"),
            Self::Register(source) => write!(f, "registering failed: {source}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Listen { source, .. }
            | Self::Adopt(source)
            | Self::Poll(source)
            | Self::Register(source) => Some(source),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (first, protocol) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Foreign::Tls)),
            (b"\x15\x03\x03\x00\x02\x02\x46", Some(Foreign::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Foreign::HttpResponse)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Foreign::Http2)),
            (b"SSH-2.0-OpenSSH_10.0\r\n", Some(Foreign::Ssh)),
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
                Some(Foreign::Proxy),
            ),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(Foreign::Proxy)),
            (b"\x16\x03", None),
            (b"\x16\x03\x05", None),
            (b"GET / HTTP/1.1\r\n", None),
            (b"hello\n", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(first), protocol, "{first:?}");
        }
        for (first, is_undecided) in [
            (&b"\x16"[..], true),
            (b"\x16\x03", true),
            (b"\x16\x02", false),
            (b"\x16\x03\x01", false),
            (b"SSH", true),
            (b"SSX", false),
            (b"hello", false),
        ] {
            assert_eq!(Foreign::is_undecided(first), is_undecided, "{first:?}");
        }
    }
}
