//! Frame headers, read and written (RFC 6455, section 5.2).
//!
//! ```text
//!  0               1               2 .. 9                  then
//! +-+-+-+-+-------+-+-------------+-----------------------+------------+---------+
//! |F|R|R|R| opcode|M| length      | length, 16 or 64 bits | mask, if M | payload |
//! |I|S|S|S|  (4)  |A|     (7)     | if the 7 bits are 126 | 32 bits    |         |
//! |N|V|V|V|       |S|             | or 127                |            |         |
//! +-+-+-+-+-------+-+-------------+-----------------------+------------+---------+
//! ```

use std::fmt;
use std::ops::Deref;

use crate::close::CloseCode;
use crate::error::ProtocolError;
use crate::proto::copy;
use crate::proto::websocket::mask;
use crate::proto::wire::{MessageKind, Role};

/// The kind of a frame (RFC 6455, section 5.2). Reserved values are not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0x0: continues the message that an earlier frame began.
    Continuation,
    /// 0x1: begins a text message.
    Text,
    /// 0x2: begins a binary message.
    Binary,
    /// 0x8: starts or answers the closing handshake.
    Close,
    /// 0x9: asks for a pong.
    Ping,
    /// 0xA: answers a ping.
    Pong,
}

impl Opcode {
    /// Returns the kind of the first frame of a message.
    pub(crate) const fn of(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }

    /// Returns the opcode with these four bits; `None` for a reserved value.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    /// Returns the four bits for the frame header.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Returns whether this is a control frame. A control frame is not fragmented, has at most 125
    /// bytes of payload, and may stand between the fragments of a message (RFC 6455, section 5.5).
    pub const fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }
}

/// Appends a whole frame to `out`. If there is a mask, the payload is masked with it.
///
/// A client masks every frame with a new, unpredictable mask (RFC 6455, section 5.3). A server
/// passes `None`.
///
/// # Panics
///
/// If the frame would break the protocol: a control frame that is not `fin` or has more than 125
/// bytes (RFC 6455, section 5.5), or a length of 2^63 or more (section 5.2).
///
/// ```
/// use heartwheel::proto::websocket::{Opcode, encode};
///
/// // The single-frame unmasked text of RFC 6455, section 5.7.
/// let mut out = Vec::new();
/// encode(true, Opcode::Text, b"Hello", None, &mut out);
/// assert_eq!(out, b"\x81\x05Hello");
/// ```
pub fn encode(fin: bool, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let header = encode_header(fin, opcode, payload.len() as u64, mask);
    append_frame(&header, payload, mask, out);
}

/// Appends a frame whose header is encoded. If there is a mask, the payload is masked with it.
pub(crate) fn append_frame(
    header: &Header,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    out: &mut Vec<u8>,
) {
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(header);
    let start = out.len();
    copy::append(out, payload);
    if let Some(mask) = mask {
        mask::apply(&mut out[start..], mask, 0);
    }
}

/// Encodes a whole ping of four bytes without a mask.
pub(crate) fn encode_ping([a, b, c, d]: [u8; 4]) -> [u8; 6] {
    [FIN | Opcode::Ping.bits(), 4, a, b, c, d]
}

/// Encodes the header of a frame with `len` bytes of payload. If there is a mask, the caller masks
/// the payload with [`mask::apply`]. Panics in the same cases as [`encode`].
#[inline]
pub(crate) fn encode_header(fin: bool, opcode: Opcode, len: u64, mask: Option<[u8; 4]>) -> Header {
    assert!(
        fin || !opcode.is_control(),
        "control frame is not fragmented"
    );
    assert!(
        len <= MAX_CONTROL || !opcode.is_control(),
        "control frame holds at most 125 bytes"
    );
    assert!(len >> 63 == 0, "frame length fits 63 bits");

    let mut header = Header {
        bytes: [0; Header::MAX],
        len: 0,
    };
    header.bytes[0] = u8::from(fin) << 7 | opcode.bits();
    let masked = u8::from(mask.is_some()) << 7;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..126), _) => {
            header.bytes[1] = masked | short;
            header.len = 2;
        }
        (_, Ok(medium)) => {
            header.bytes[1] = masked | LEN_16;
            header.bytes[2..4].copy_from_slice(&medium.to_be_bytes());
            header.len = 4;
        }
        (_, Err(_)) => {
            header.bytes[1] = masked | LEN_64;
            header.bytes[2..10].copy_from_slice(&len.to_be_bytes());
            header.len = 10;
        }
    }
    if let Some(mask) = mask {
        let at = usize::from(header.len);
        header.bytes[at..at + mask.len()].copy_from_slice(&mask);
        header.len += 4;
    }
    header
}

/// Builds the body of a Close frame: the code and the reason. The reason is cut to at most 123
/// bytes, never inside a code point (RFC 6455, section 5.5.1).
///
/// The code is not checked: [`CloseCode::is_sendable`] says whether it may be sent. A Close frame
/// without a code has an empty body and does not need this function.
pub fn close_body(code: CloseCode, reason: &str) -> CloseBody {
    debug_assert!(code.is_sendable(), "{code:?} may stand in a close frame");
    let longest = reason.len().min(MAX_REASON);
    let border = (0..=longest)
        .rev()
        .find(|&at| reason.is_char_boundary(at))
        .unwrap_or(0);
    let reason = &reason.as_bytes()[..border];
    let mut body = CloseBody {
        bytes: [0; 2 + MAX_REASON],
        reason_len: 0,
    };
    body.bytes[..2].copy_from_slice(&code.as_u16().to_be_bytes());
    for (to, from) in body.bytes[2..].iter_mut().zip(reason) {
        *to = *from;
        body.reason_len += 1;
    }
    body
}

/// An encoded frame header, 2 to 14 bytes. Use it as a byte slice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    bytes: [u8; Self::MAX],
    /// Invariant: at most `MAX`.
    len: u8,
}

impl Header {
    /// Length of the longest header, bytes.
    const MAX: usize = 14;

    /// Marks the first frame of a message as compressed (RFC 7692, section 6), if it is.
    pub(crate) fn compressed(mut self, is_compressed: bool) -> Self {
        self.bytes[0] |= u8::from(is_compressed) * COMPRESSED;
        self
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({:02x?})", &**self)
    }
}

/// The body of a Close frame, 2 to 125 bytes. Use it as a byte slice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CloseBody {
    bytes: [u8; 2 + MAX_REASON],
    /// Invariant: at most `MAX_REASON`.
    reason_len: u8,
}

impl Deref for CloseBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..2 + usize::from(self.reason_len)]
    }
}

impl fmt::Debug for CloseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseBody({})", self.escape_ascii())
    }
}

/// A received frame header that obeys all rules for headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    /// The first bit for extensions: with it begins a compressed message.
    pub(super) is_compressed: bool,
    pub(super) opcode: Opcode,
    /// Payload bytes that the peer announces.
    pub(super) len: u64,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

impl Head {
    /// Recognises a whole message at the start of `input`: one masked data frame with a length of 7 or
    /// 16 bits, all of which is there. Returns its kind, where its payload begins and ends, and its mask.
    ///
    /// `None` says nothing about the input: [`parse`](Self::parse) judges it.
    #[inline]
    pub(super) fn whole_message(
        input: &[u8],
        compression: Compression,
    ) -> Option<(Content, usize, usize, [u8; 4])> {
        let [first, second, rest @ ..] = input else {
            return None;
        };
        let content = match (first ^ FIN, compression) {
            (0x1, _) => Content::plain(MessageKind::Text),
            (0x2, _) => Content::plain(MessageKind::Binary),
            (0x41, Compression::Agreed) => Content::compressed(MessageKind::Text),
            (0x42, Compression::Agreed) => Content::compressed(MessageKind::Binary),
            _ => return None,
        };
        let (len, rest) = match second ^ MASKED {
            short @ ..LEN_16 => (usize::from(short), rest),
            LEN_16 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                match u16::from_be_bytes(*bytes) {
                    ..=125 => return None,
                    len => (usize::from(len), rest),
                }
            }
            _ => return None,
        };
        let (mask, rest) = rest.split_first_chunk()?;
        let start = input.len() - rest.len();
        (len <= rest.len()).then_some((content, start, start + len, *mask))
    }

    /// Reads the header at the start of `input`; `None` if it is incomplete.
    ///
    /// Each rule is checked as soon as its byte is there, in the order of the bytes. So the same
    /// stream gives the same error, however it is split.
    #[inline]
    pub(super) fn parse(
        input: &[u8],
        role: Role,
        is_continuing: bool,
        compression: Compression,
    ) -> Result<Option<Self>, ProtocolError> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let opcode = parse_first(first, is_continuing, compression)?;
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let is_masked = second & MASKED != 0;
        match role {
            // 5.1: "a client MUST mask all frames that it sends to the server"
            Role::Server if !is_masked => return Err(ProtocolError::UnmaskedFrame),
            // 5.1: "A server MUST NOT mask any frames that it sends to the client."
            Role::Client if is_masked => return Err(ProtocolError::MaskedFrame),
            Role::Server | Role::Client => {}
        }
        let short = second & !MASKED;
        // 5.5: "All control frames MUST have a payload length of 125 bytes or less"
        if opcode.is_control() && u64::from(short) > MAX_CONTROL {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((len, rest)) = parse_len(short, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = match rest.split_first_chunk() {
            _ if !is_masked => (None, rest),
            Some((mask, rest)) => (Some(*mask), rest),
            None => return Ok(None),
        };
        let size = input.len() - rest.len();
        Ok(Some(Self {
            fin: first & FIN != 0,
            is_compressed: first & COMPRESSED != 0,
            opcode,
            len,
            mask,
            size,
        }))
    }
}

/// What the payload of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: MessageKind,
    pub(super) is_compressed: bool,
}

impl Content {
    const fn plain(kind: MessageKind) -> Self {
        Self {
            kind,
            is_compressed: false,
        }
    }

    const fn compressed(kind: MessageKind) -> Self {
        Self {
            kind,
            is_compressed: true,
        }
    }

    /// Returns what the first frame of a message says.
    pub(super) const fn of(head: &Head) -> Self {
        let kind = match head.opcode {
            Opcode::Text => MessageKind::Text,
            Opcode::Binary | Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {
                MessageKind::Binary
            }
        };
        Self {
            kind,
            is_compressed: head.is_compressed,
        }
    }
}

/// Whether messages of the peer may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Nothing was agreed on.
    Off,
    /// permessage-deflate (RFC 7692) was.
    #[cfg_attr(
        not(feature = "deflate"),
        expect(dead_code, reason = "nobody agrees to what is not there")
    )]
    Agreed,
}

impl Compression {
    /// Returns which of the bits for extensions a frame with this opcode may have. RFC 7692, section 6:
    /// "the per-message compressed bit" is of the first frame of a message, and of no control frame.
    const fn allowed_bits(self, opcode: Opcode) -> u8 {
        match (self, opcode) {
            (Self::Agreed, Opcode::Text | Opcode::Binary) => COMPRESSED,
            (Self::Agreed, Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong)
            | (Self::Off, _) => 0,
        }
    }
}

/// Checks the first byte of a header.
fn parse_first(
    first: u8,
    is_continuing: bool,
    compression: Compression,
) -> Result<Opcode, ProtocolError> {
    let known = Opcode::from_bits(first & OPCODE);
    // 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values"
    let allowed = known.map_or(0, |opcode| compression.allowed_bits(opcode));
    if first & RESERVED & !allowed != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    // 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
    // Connection_."
    let bits = first & OPCODE;
    let opcode = known.ok_or(ProtocolError::ReservedOpcode(bits))?;
    // 5.5: control frames "MUST NOT be fragmented"
    if opcode.is_control() && first & FIN == 0 {
        return Err(ProtocolError::ControlFragmented);
    }
    match opcode {
        // 5.4: a continuation belongs to a message that began, and "the fragments of one message MUST
        // NOT be interleaved between the fragments of another message"
        Opcode::Continuation if !is_continuing => Err(ProtocolError::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if is_continuing => Err(ProtocolError::ExpectedContinuation),
        Opcode::Continuation
        | Opcode::Text
        | Opcode::Binary
        | Opcode::Close
        | Opcode::Ping
        | Opcode::Pong => Ok(opcode),
    }
}

/// Reads the rest of a length that starts with seven bits. Returns it with the bytes after it.
fn parse_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (len, rest, shortest) = match short {
        LEN_16 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, MAX_CONTROL + 1),
            None => return Ok(None),
        },
        LEN_64 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    // 5.2: "the most significant bit MUST be 0"
    if len >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    // 5.2: "the minimal number of bytes MUST be used to encode the length"
    if len < shortest {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some((len, rest)))
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// RSV1.
const COMPRESSED: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// The value of the seven bits if a 16-bit length follows.
const LEN_16: u8 = 126;
/// The value of the seven bits if a 64-bit length follows.
const LEN_64: u8 = 127;
/// The largest payload of a control frame in bytes (RFC 6455, section 5.5).
const MAX_CONTROL: u64 = 125;
/// The largest reason of a Close frame in bytes. The code takes two more.
const MAX_REASON: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        // RFC 6455, 5.2
        let header = |len| encode_header(true, Opcode::Binary, len, None).to_vec();
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(255), [0x82, 126, 0, 255]);
        assert_eq!(header(256), [0x82, 126, 1, 0]);
        assert_eq!(header(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        let most = [0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(header(u64::MAX >> 1), most);
    }

    #[test]
    fn every_header_reads_back_as_it_was_written() {
        let lengths = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, u64::MAX >> 1];
        for bits in 0..16 {
            let Some(opcode) = Opcode::from_bits(bits) else {
                continue;
            };
            assert_eq!(opcode.bits(), bits);
            for (fin, len) in [true, false]
                .into_iter()
                .flat_map(|fin| lengths.map(|len| (fin, len)))
            {
                if opcode.is_control() && (!fin || len > 125) {
                    continue;
                }
                for (role, mask) in [(Role::Server, Some(MASK)), (Role::Client, None)] {
                    let header = encode_header(fin, opcode, len, mask);
                    let is_continuing = opcode == Opcode::Continuation;
                    let size = header.len();
                    let head = Head {
                        fin,
                        is_compressed: false,
                        opcode,
                        len,
                        mask,
                        size,
                    };
                    assert_eq!(
                        Head::parse(&header, role, is_continuing, Compression::Off),
                        Ok(Some(head))
                    );
                    for cut in 0..size {
                        let parsed =
                            Head::parse(&header[..cut], role, is_continuing, Compression::Off);
                        assert_eq!(parsed, Ok(None), "{header:?} cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_masked_frame_is_the_one_of_rfc_6455_section_5_7() {
        let mut out = Vec::from(b"before");
        encode(
            true,
            Opcode::Text,
            b"Hello",
            Some([0x37, 0xfa, 0x21, 0x3d]),
            &mut out,
        );
        assert_eq!(out, b"before\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn the_longest_header_has_14_bytes() {
        let header = encode_header(false, Opcode::Continuation, 65_536, Some(MASK));
        assert_eq!(header.len(), Header::MAX);
        assert_eq!(header[..2], [0x00, 0xff]);
        assert_eq!(header[10..], MASK);
    }

    #[test]
    #[should_panic(expected = "control frame holds at most 125 bytes")]
    fn a_long_control_frame_is_not_encoded() {
        encode_header(true, Opcode::Ping, 126, None);
    }

    #[test]
    #[should_panic(expected = "control frame is not fragmented")]
    fn a_fragmented_control_frame_is_not_encoded() {
        encode_header(false, Opcode::Close, 0, None);
    }

    #[test]
    #[should_panic(expected = "frame length fits 63 bits")]
    fn a_length_of_64_bits_is_not_encoded() {
        encode_header(true, Opcode::Binary, 1 << 63, None);
    }

    #[test]
    fn a_close_reason_is_cut_at_the_border_of_a_code_point() {
        // RFC 6455, 5.5 and 5.5.1
        assert_eq!(*close_body(CloseCode::NORMAL, ""), [0x03, 0xe8]);
        assert_eq!(*close_body(CloseCode::GOING_AWAY, "bye"), *b"\x03\xe9bye");
        let whole = "x".repeat(123);
        assert_eq!(
            close_body(CloseCode::NORMAL, &whole)[2..],
            *whole.as_bytes()
        );
        assert_eq!(close_body(CloseCode::NORMAL, &"x".repeat(124)).len(), 125);
        for (len, kept) in [(119, 123), (120, 120), (121, 121), (122, 122), (123, 123)] {
            let reason = format!("{}😀", "x".repeat(len));
            let body = close_body(CloseCode::NORMAL, &reason);
            assert_eq!(body[2..], reason.as_bytes()[..kept], "emoji after {len}");
        }
        assert_eq!(
            format!("{:?}", close_body(CloseCode::NORMAL, "é")),
            r"CloseBody(\x03\xe8\xc3\xa9)"
        );
    }
}
