//! Messages as the application sees them, and messages that are encoded once for many connections.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Range;
use std::str;
use std::sync::{Arc, OnceLock};

use crate::config::WireKind;
use crate::proto::codec::{Codec, Encoding};
use crate::proto::received::Received;
use crate::proto::wire::MessageKind;
use crate::proto::{binary, line};

/// A borrowed message: valid UTF-8 text, or bytes.
///
/// A long message that was received is not copied when it is sent on over WebSocket: the queues of a
/// server's connections become owners of its storage.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    kind: MessageKind,
    data: &'a [u8],
    /// The storage of `data`, if it may be shared.
    #[cfg_attr(
        not(feature = "websocket"),
        expect(dead_code, reason = "only WebSocket shares what it received")
    )]
    received: Option<&'a Received>,
}

impl<'a> Message<'a> {
    /// Wraps text.
    pub const fn text(text: &'a str) -> Self {
        Self {
            kind: MessageKind::Text,
            data: text.as_bytes(),
            received: None,
        }
    }

    /// Wraps bytes.
    pub const fn binary(data: &'a [u8]) -> Self {
        Self {
            kind: MessageKind::Binary,
            data,
            received: None,
        }
    }

    /// Creates a message that a decoder has checked.
    pub(crate) const fn decoded(kind: MessageKind, data: &'a [u8]) -> Self {
        Self {
            kind,
            data,
            received: None,
        }
    }

    /// Creates a message that a decoder has checked, in storage that may be shared.
    pub(crate) fn received(kind: MessageKind, received: &'a Received) -> Self {
        Self {
            kind,
            data: received.data(),
            received: Some(received),
        }
    }

    /// Returns the storage, if it may be shared.
    #[cfg(feature = "websocket")]
    pub(crate) const fn storage(&self) -> Option<&'a Received> {
        self.received
    }

    /// Returns whether it is text or bytes.
    pub const fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Returns the payload, as bytes.
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the text. `None` if the message is binary.
    pub fn as_text(&self) -> Option<&'a str> {
        match self.kind {
            MessageKind::Text => str::from_utf8(self.data).ok(),
            MessageKind::Binary => None,
        }
    }
}

impl PartialEq for Message<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.data) == (other.kind, other.data)
    }
}

impl Eq for Message<'_> {}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("data", &self.data)
            .finish()
    }
}

/// A message for many connections. It is encoded once for each wire, then shared. On an own wire its
/// codec says whether that may be ([`Encoding`]).
///
/// Cloning is cheap, and the queues of all receivers share the same bytes. A client masks each
/// frame separately (RFC 6455, section 5.3), so there the payload is copied.
///
/// ```
/// use heartwheel::proto::message::{Message, SharedMessage};
///
/// let news = SharedMessage::new(Message::text("hello, all"));
/// assert_eq!(news.message().as_text(), Some("hello, all"));
/// ```
#[derive(Clone, Debug)]
pub struct SharedMessage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: MessageKind,
    payload: Box<[u8]>,
    #[cfg(feature = "websocket")]
    websocket: OnceLock<Encoded>,
    #[cfg(feature = "deflate")]
    compressed: OnceLock<Box<Compressed>>,
    line: OnceLock<Option<Encoded>>,
    binary: OnceLock<Option<Encoded>>,
    raw: OnceLock<Encoded>,
    own: OnceLock<Box<OwnEncoded>>,
}

/// What compression made of a message, by the bits of the window; `None` where that is not shorter.
#[cfg(feature = "deflate")]
type Compressed = [OnceLock<Option<Encoded>>; 16];

/// What the codecs of one encoding made of a message.
#[derive(Debug)]
struct OwnEncoded {
    /// The codecs' type, and the number of their encoding.
    of: (TypeId, u64),
    /// `None` if they cannot carry the message.
    frame: Option<Encoded>,
    /// That of other codecs.
    next: OnceLock<Box<Self>>,
}

/// One message as complete frames, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    bytes: Arc<[u8]>,
    /// Where each frame ends; the last one is the length of `bytes`.
    ends: Arc<[usize]>,
}

impl SharedMessage {
    /// Upper bound for the memory of a queued message beside its payload, bytes.
    pub(crate) const OVERHEAD: usize = 512;

    /// Copies a message once.
    pub fn new(message: Message<'_>) -> Self {
        Self(Arc::new(Inner {
            kind: message.kind(),
            payload: message.data().into(),
            #[cfg(feature = "websocket")]
            websocket: OnceLock::new(),
            #[cfg(feature = "deflate")]
            compressed: OnceLock::new(),
            line: OnceLock::new(),
            binary: OnceLock::new(),
            raw: OnceLock::new(),
            own: OnceLock::new(),
        }))
    }

    /// Returns what a queued message counts against limits: its payload, and what is kept beside it.
    pub(crate) fn cost(&self) -> usize {
        Self::OVERHEAD + self.0.payload.len()
    }

    /// Returns the message.
    pub fn message(&self) -> Message<'_> {
        Message::decoded(self.0.kind, &self.0.payload)
    }

    /// Returns the frames for a wire. They are encoded on first use. `None` if a wire cannot share
    /// the frames of this message.
    pub(crate) fn encoded(&self, wire: WireKind) -> Option<&Encoded> {
        let payload = &self.0.payload;
        match wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => Some(
                self.0
                    .websocket
                    .get_or_init(|| Encoded::websocket(self.0.kind, payload, false)),
            ),
            WireKind::Line => self
                .0
                .line
                .get_or_init(|| {
                    let mut frame = Vec::with_capacity(payload.len() + 1);
                    line::encode(payload, &mut frame)
                        .ok()
                        .map(|()| Encoded::one(frame))
                })
                .as_ref(),
            WireKind::Binary => self
                .0
                .binary
                .get_or_init(|| {
                    let mut frame = Vec::with_capacity(payload.len() + 5);
                    binary::encode(payload, &mut frame)
                        .ok()
                        .map(|()| Encoded::one(frame))
                })
                .as_ref(),
            WireKind::Raw => Some(self.0.raw.get_or_init(|| Encoded::one(payload.to_vec()))),
            WireKind::Own => None,
        }
    }

    /// Returns the WebSocket frames in which it is compressed for a window of so many bits, by whoever needs
    /// them first. `None` if that would not make it shorter.
    #[cfg(feature = "deflate")]
    pub(crate) fn compressed(
        &self,
        window_bits: u8,
        compress: impl FnOnce(&mut Vec<u8>) -> Option<&[u8]>,
    ) -> Option<&Encoded> {
        let make = || {
            let mut out = Vec::new();
            let payload = compress(&mut out)?;
            Some(Encoded::websocket(self.0.kind, payload, true))
        };
        let by_bits = self.0.compressed.get_or_init(Box::default);
        let place = by_bits.get(usize::from(window_bits))?;
        place.get_or_init(make).as_ref()
    }

    /// Returns the frame of an own wire, encoded by the first codec of its encoding. `None` if the codec
    /// must encode the message itself, which may tell why it cannot.
    pub(crate) fn encoded_by(&self, codec: &mut dyn Codec) -> Option<&Encoded> {
        let Encoding::Once(number) = codec.rules().encoding else {
            return None;
        };
        let any: &dyn Any = codec;
        let of = (any.type_id(), number);
        let mut place = &self.0.own;
        for _ in 0..MOST_ENCODINGS {
            let known = place.get_or_init(|| Box::new(self.encode_by(codec, of)));
            if known.of == of {
                return known.frame.as_ref();
            }
            place = &known.next;
        }
        None
    }

    fn encode_by(&self, codec: &mut dyn Codec, of: (TypeId, u64)) -> OwnEncoded {
        let mut frame = Vec::new();
        let encoded = codec.encode(self.0.kind, &self.0.payload, &mut frame);
        OwnEncoded {
            of,
            frame: encoded.is_ok().then(|| Encoded::one(frame)),
            next: OnceLock::new(),
        }
    }
}

/// Encodings of own wires that are kept of one message.
const MOST_ENCODINGS: usize = 8;

impl Encoded {
    fn one(frame: Vec<u8>) -> Self {
        let end = frame.len();
        Self {
            bytes: frame.into(),
            ends: [end].into(),
        }
    }

    #[cfg(feature = "websocket")]
    fn websocket(kind: MessageKind, payload: &[u8], is_compressed: bool) -> Self {
        use crate::proto::websocket::{append_frame, encode_header, fragments};

        let mut bytes = Vec::with_capacity(payload.len() + 16);
        let mut ends = Vec::new();
        for (fin, opcode, range) in fragments(kind, payload.len(), FRAGMENT) {
            let header = encode_header(fin, opcode, range.len() as u64, None);
            let header = header.compressed(is_compressed && range.start == 0);
            append_frame(&header, &payload[range], None, &mut bytes);
            ends.push(bytes.len());
        }
        Self {
            bytes: bytes.into(),
            ends: ends.into(),
        }
    }

    /// Returns all bytes and the range of each frame in them.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (Arc<[u8]>, Range<usize>)> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter())
            .map(|(start, &end)| (Arc::clone(&self.bytes), start..end))
    }

    /// Returns the length of all frames together, bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The limit of payload bytes in one fragment of a shared message.
#[cfg(feature = "websocket")]
const FRAGMENT: usize = 64 * 1024;
