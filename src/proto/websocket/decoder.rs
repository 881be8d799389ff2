//! Decodes received bytes into messages and control frames.
//!
//! Most messages are small and unfragmented, and arrive whole. Such a message is unmasked where it
//! lies and returned as a range of the input. All others are put together in an assembly buffer. It
//! is borrowed from the pool and grows with the bytes that have arrived, not with the length that
//! the peer announces.

use std::fmt;
use std::mem;
use std::ops::Range;

use crate::close::CloseCode;
use crate::error::ProtocolError;
use crate::proto::copy;
use crate::proto::pool::Pool;
use crate::proto::utf8::Validator;
use crate::proto::websocket::frame::{Compression, Content, Head, Opcode};
use crate::proto::websocket::mask;
use crate::proto::wire::{MessageKind, Payload, Role};

/// Decodes the frames of one peer.
///
/// ```text
///             data frame              payload arrived, last fragment: Message
///     Idle ----------------> Payload ------------------------------------------> Idle
///                             |   ^
///  payload arrived, more to   |   | continuation frame
///  come                       v   |
///                            Between                control frames stand between frames and
///                                                   change no state
/// ```
///
/// An error ends the connection. After an error, the results of `decode` are not specified, but it
/// never panics.
///
/// ```
/// use heartwheel::proto::pool::Pool;
/// use heartwheel::proto::websocket::{Decoder, Item, Opcode, encode};
/// use heartwheel::proto::wire::{MessageKind, Payload, Role};
///
/// // A message in two fragments with a ping between them, as a client sees it.
/// let mut rx = Vec::new();
/// encode(false, Opcode::Binary, b"half ", None, &mut rx);
/// encode(true, Opcode::Ping, b"token", None, &mut rx);
/// encode(true, Opcode::Continuation, b"and half", None, &mut rx);
///
/// let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
/// let (consumed, item) = decoder.decode(Role::Client, &mut rx, 1024, &mut pool)?;
/// assert_eq!(item, Item::Fragment);
///
/// rx.drain(..consumed);
/// let (consumed, item) = decoder.decode(Role::Client, &mut rx, 1024, &mut pool)?;
/// let Item::Ping(token) = item else { unreachable!("the ping comes second") };
/// assert_eq!(&rx[token], b"token");
///
/// rx.drain(..consumed);
/// let (_, item) = decoder.decode(Role::Client, &mut rx, 1024, &mut pool)?;
/// let payload = Payload::Assembled;
/// assert_eq!(item, Item::Message { kind: MessageKind::Binary, payload });
/// assert_eq!(decoder.assembled(), b"half and half");
/// decoder.release(&mut pool);
/// # Ok::<(), heartwheel::error::ProtocolError>(())
/// ```
#[derive(Default)]
pub struct Decoder {
    state: State,
    /// Checks the text message that `state` is in. Invariant: between messages it is complete,
    /// because a text that ends inside a code point is an error.
    text: Validator,
    /// Unmasked payload of the message that `state` is in, or of the last message returned.
    assembled: Vec<u8>,
}

impl Decoder {
    /// Decodes one item from the start of `input`, and returns how many bytes it consumed.
    ///
    /// `role` is our role: a server requires masked frames, a client unmasked ones. `max_message`
    /// is the largest message allowed, in bytes of payload over all its fragments. Remove the
    /// consumed bytes before the next call, and pass the other bytes again with more after them.
    /// Ranges in the item are positions in `input`. They are unmasked and lie within the consumed
    /// bytes.
    ///
    /// [`Item::NeedMore`] means that the decoder can do nothing more with the bytes that have
    /// arrived. The bytes of an unfinished data frame are still consumed: they are in the assembly
    /// buffer. At most an incomplete header or an incomplete control frame stays in the input, less
    /// than 131 bytes.
    ///
    /// An assembled message is kept until the next call.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke, as early as possible: a rule of the header at its byte, the
    /// limit at the header that exceeds it, UTF-8 at the piece of payload that contains the fault.
    pub fn decode(
        &mut self,
        role: Role,
        input: &mut [u8],
        max_message: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError> {
        self.decode_with(Compression::Off, role, input, max_message, pool)
    }

    /// Does the same where messages may be compressed: [`Item::Compressed`] is one.
    pub(crate) fn decode_with(
        &mut self,
        compression: Compression,
        role: Role,
        input: &mut [u8],
        max_message: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError> {
        if let Some(message) = self.decode_whole(compression, role, input, max_message) {
            return message;
        }
        let mut consumed = 0;
        loop {
            if let State::Payload(frame) = self.state {
                let start = consumed;
                consumed += frame.remaining.min(input.len() - start);
                let piece = &mut input[start..consumed];
                match self.receive(frame, piece, pool)? {
                    Progress::Frame => return Ok((consumed, Item::Fragment)),
                    Progress::Unfinished => return Ok((consumed, Item::NeedMore)),
                    Progress::InPlace(content) => {
                        let payload = Payload::Input(start..consumed);
                        return Ok((consumed, Item::message(content, payload)));
                    }
                    Progress::Assembled(content) => {
                        let payload = Payload::Assembled;
                        return Ok((consumed, Item::message(content, payload)));
                    }
                }
            }
            let is_continuing = !self.is_idle();
            let Some(head) = Head::parse(&input[consumed..], role, is_continuing, compression)?
            else {
                return Ok((consumed, Item::NeedMore));
            };
            match head.opcode {
                Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                    self.begin(head, max_message)?;
                    consumed += head.size;
                }
                Opcode::Close => return control(head, input, consumed, close),
                Opcode::Ping => {
                    return control(head, input, consumed, |_, body| Ok(Item::Ping(body)));
                }
                Opcode::Pong => {
                    return control(head, input, consumed, |_, body| Ok(Item::Pong(body)));
                }
            }
        }
    }

    /// Decodes a message of a client that consists of one frame and has arrived whole: the usual one.
    /// `None` for everything else, which must be decoded step by step.
    #[inline]
    fn decode_whole(
        &mut self,
        compression: Compression,
        role: Role,
        input: &mut [u8],
        max_message: u64,
    ) -> Option<Result<(usize, Item), ProtocolError>> {
        if role != Role::Server || !self.is_idle() {
            return None;
        }
        let (content, start, end, mask) = Head::whole_message(input, compression)?;
        if (end - start) as u64 > max_message {
            return None;
        }
        let piece = &mut input[start..end];
        mask::apply(piece, mask, 0);
        if let Err(error) = self.check_text(content, piece, true) {
            return Some(Err(error));
        }
        self.assembled.clear();
        let payload = Payload::Input(start..end);
        Some(Ok((end, Item::message(content, payload))))
    }

    /// Lends the assembly buffer, if many bytes of a message have arrived and its frame lacks so many more
    /// that they had better be read right to their place. Returns it with the number of bytes that may be appended. It must come back with
    /// [`put_assembly`](Self::put_assembly) before anything else is called.
    ///
    /// Its capacity follows what has arrived, not what was announced: see [`AHEAD`].
    pub(crate) fn take_assembly(&mut self, pool: &mut Pool) -> Option<(Vec<u8>, usize)> {
        let State::Payload(frame) = self.state else {
            return None;
        };
        let remaining = frame.remaining;
        let len = self.assembled.len();
        if remaining < LEAST_READ || len < LEAST_READ {
            return None;
        }
        if self.assembled.capacity() - len < LEAST_READ {
            self.grow(ahead(len, remaining, frame.fin), pool);
        }
        let room = self.assembled.capacity() - len;
        Some((mem::take(&mut self.assembled), remaining.min(room)))
    }

    /// Takes a message that is to be handed out as if it had been put together here.
    #[cfg(feature = "deflate")]
    pub(crate) fn put_message(&mut self, message: Vec<u8>, pool: &mut Pool) {
        debug_assert!(self.is_idle(), "no other message has begun");
        pool.give_vec(mem::replace(&mut self.assembled, message));
    }

    /// Takes the assembly buffer back. The appended bytes go through
    /// [`decode_assembled`](Self::decode_assembled) before anything else is decoded.
    pub(crate) fn put_assembly(&mut self, assembly: Vec<u8>) {
        self.assembled = assembly;
    }

    /// Decodes the last `fresh` bytes of the assembly buffer, which are the next ones of a frame's
    /// payload.
    ///
    /// # Errors
    ///
    /// The same as [`decode`](Self::decode).
    pub(crate) fn decode_assembled(&mut self, fresh: usize) -> Result<Item, ProtocolError> {
        let State::Payload(frame) = self.state else {
            return Ok(Item::NeedMore);
        };
        let mut assembled = mem::take(&mut self.assembled);
        let piece = assembled.len() - fresh;
        let received = self.unmask(frame, &mut assembled[piece..]);
        self.assembled = assembled;
        Ok(match self.advance(frame, received?) {
            Progress::Frame => Item::Fragment,
            Progress::Unfinished => Item::NeedMore,
            Progress::InPlace(content) | Progress::Assembled(content) => {
                Item::message(content, Payload::Assembled)
            }
        })
    }

    /// Returns the message of the last [`Payload::Assembled`], until the next `decode`.
    pub fn assembled(&self) -> &[u8] {
        &self.assembled
    }

    /// Takes the message of the last [`Payload::Assembled`], with its storage.
    ///
    /// The storage may go back to the pool with [`Pool::give_vec`]. Call this only between
    /// messages. Otherwise you take bytes of an unfinished message, and the message will lack them.
    pub fn take_assembled(&mut self) -> Vec<u8> {
        debug_assert!(self.is_idle(), "a message is taken when it is complete");
        mem::take(&mut self.assembled)
    }

    /// Gives the assembly storage back and discards an unfinished message.
    ///
    /// Call it at the end of a connection, or whenever the decoder [is idle](Self::is_idle).
    pub fn release(&mut self, pool: &mut Pool) {
        let Self { assembled, .. } = mem::take(self);
        pool.give_vec(assembled);
    }

    /// Returns whether no frame and no message is unfinished.
    pub fn is_idle(&self) -> bool {
        match self.state {
            State::Idle => true,
            State::Between(_) | State::Payload(_) => false,
        }
    }

    /// Returns how many payload bytes of the unfinished message have arrived; 0 when idle.
    pub fn assembled_len(&self) -> usize {
        if self.is_idle() {
            0
        } else {
            self.assembled.len()
        }
    }

    /// Returns how much memory the assembly storage takes, bytes: above the pool's largest class, the
    /// pages that were written.
    pub(crate) fn capacity(&self) -> usize {
        match self.assembled.capacity() {
            large if large > LARGEST_POOLED => self.assembled.len().next_multiple_of(PAGE),
            pooled => pooled,
        }
    }

    /// Returns how many payload bytes of the current frame have not arrived; 0 between frames.
    pub(crate) fn missing_len(&self) -> u64 {
        match self.state {
            State::Idle | State::Between(_) => 0,
            State::Payload(frame) => frame.remaining as u64,
        }
    }

    /// Starts a data frame.
    fn begin(&mut self, head: Head, max_message: u64) -> Result<(), ProtocolError> {
        let content = match self.state {
            State::Idle => {
                self.assembled.clear();
                Content::of(&head)
            }
            State::Between(content) | State::Payload(Frame { content, .. }) => content,
        };
        let size = head.len.saturating_add(self.assembled.len() as u64);
        let limit = if content.is_compressed {
            longest_compressed(max_message)
        } else {
            max_message
        };
        let limit = limit.min(MOST_IN_MEMORY);
        let too_big = ProtocolError::MessageTooBig { size, limit };
        if size > limit {
            return Err(too_big);
        }
        let remaining = usize::try_from(head.len).map_err(|_| too_big)?;
        self.state = State::Payload(Frame {
            content,
            fin: head.fin,
            remaining,
            mask: head.mask,
        });
        Ok(())
    }

    /// Handles the next piece of a data frame's payload.
    fn receive(
        &mut self,
        frame: Frame,
        piece: &mut [u8],
        pool: &mut Pool,
    ) -> Result<Progress, ProtocolError> {
        let len = self.unmask(frame, piece)?;
        if frame.fin && len == frame.remaining && self.assembled.is_empty() {
            self.state = State::Idle;
            return Ok(Progress::InPlace(frame.content));
        }
        let missing = frame.remaining - len;
        if self.assembled.is_empty() && len >= LEAST_READ && missing >= LEAST_READ {
            self.grow(ahead(len, missing, frame.fin), pool);
        }
        self.append(piece, pool);
        Ok(self.advance(frame, len))
    }

    /// Unmasks the next piece of a data frame's payload and checks it. Returns its length.
    fn unmask(&mut self, frame: Frame, piece: &mut [u8]) -> Result<usize, ProtocolError> {
        if let Some(mask) = frame.mask {
            mask::apply(piece, mask, 0);
        }
        let is_message_end = frame.fin && frame.remaining == piece.len();
        self.check_text(frame.content, piece, is_message_end)?;
        Ok(piece.len())
    }

    /// Moves on by `len` bytes of a data frame's payload, which are in the assembly buffer.
    fn advance(&mut self, frame: Frame, len: usize) -> Progress {
        let Frame { content, fin, .. } = frame;
        let remaining = frame.remaining - len;
        if remaining > 0 {
            self.state = State::Payload(Frame {
                remaining,
                mask: frame.mask.map(|mask| mask::rotate(mask, len)),
                ..frame
            });
            return Progress::Unfinished;
        }
        if fin {
            self.state = State::Idle;
            return Progress::Assembled(content);
        }
        self.state = State::Between(content);
        Progress::Frame
    }

    /// Checks a piece of a message if it is text. The last piece must not end inside a code point. What
    /// is compressed is checked when it is inflated.
    fn check_text(
        &mut self,
        content: Content,
        piece: &[u8],
        is_message_end: bool,
    ) -> Result<(), ProtocolError> {
        if content.is_compressed {
            return Ok(());
        }
        match content.kind {
            MessageKind::Binary => return Ok(()),
            // 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
            // stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
            // Connection_."
            MessageKind::Text => self
                .text
                .push(piece)
                .map_err(|_| ProtocolError::InvalidUtf8)?,
        }
        // 5.6: a fragment may cut a code point, "however, the whole message MUST contain valid UTF-8"
        if is_message_end && !self.text.is_complete() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(())
    }

    /// Appends to the assembly buffer. It grows through the classes of the pool first, then by
    /// doubling.
    fn append(&mut self, piece: &[u8], pool: &mut Pool) {
        let needed = self.assembled.len() + piece.len();
        if self.assembled.capacity() < needed && needed <= LARGEST_POOLED {
            self.grow(needed, pool);
        }
        copy::append(&mut self.assembled, piece);
    }

    /// Moves to storage of at least `size` bytes.
    fn grow(&mut self, size: usize, pool: &mut Pool) {
        let mut larger = if size > LARGEST_POOLED {
            pool.take_large(size)
        } else {
            Vec::from(pool.take(size))
        };
        larger.clear();
        copy::append(&mut larger, &self.assembled);
        pool.give_vec(mem::replace(&mut self.assembled, larger));
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("state", &self.state)
            .field("assembled_len", &self.assembled.len())
            .field("assembled_capacity", &self.assembled.capacity())
            .finish_non_exhaustive()
    }
}

/// What a [`Decoder`] found. Ranges are positions in its input, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// No complete item. Everything that could be consumed was consumed.
    NeedMore,
    /// A complete frame of a message that is not complete yet.
    Fragment,
    /// A complete message.
    Message {
        /// Text, which is valid UTF-8, or binary.
        kind: MessageKind,
        /// Where its bytes are.
        payload: Payload,
    },
    /// A complete message that is compressed. [`decode`](Decoder::decode) returns none: nobody has agreed
    /// to it.
    Compressed {
        /// Text or binary, when it is inflated.
        kind: MessageKind,
        /// Where its bytes are.
        payload: Payload,
    },
    /// A ping. Its payload, at most 125 bytes, must be sent back in a pong (RFC 6455, section
    /// 5.5.3).
    Ping(Range<usize>),
    /// A pong, whether we sent a ping for it or not. Its payload is at most 125 bytes.
    Pong(Range<usize>),
    /// A Close frame, the last frame that the peer sends (RFC 6455, section 5.5.1).
    Close {
        /// The code, one that may be sent; `None` if the body is empty.
        code: Option<CloseCode>,
        /// The reason: valid UTF-8, at most 123 bytes.
        reason: Range<usize>,
    },
}

impl Item {
    fn message(content: Content, payload: Payload) -> Self {
        let Content {
            kind,
            is_compressed,
        } = content;
        match is_compressed {
            false => Self::Message { kind, payload },
            true => Self::Compressed { kind, payload },
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// No message has begun.
    #[default]
    Idle,
    /// A message has begun, but its next frame has not.
    Between(Content),
    /// The payload of a data frame is arriving.
    Payload(Frame),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    content: Content,
    /// Whether the message ends with this frame.
    fin: bool,
    /// Payload bytes that have not arrived.
    remaining: usize,
    /// The mask, rotated so that it starts at the next byte.
    mask: Option<[u8; 4]>,
}

/// The state of a message after a piece of its payload.
enum Progress {
    /// The frame needs more bytes.
    Unfinished,
    /// The frame is complete, the message is not.
    Frame,
    /// The message is complete. It consists of this piece only.
    InPlace(Content),
    /// The message is complete. It is in the assembly buffer.
    Assembled(Content),
}

/// Decodes a control frame whose header is at `start`, if all of the frame has arrived.
fn control(
    head: Head,
    input: &mut [u8],
    start: usize,
    item: fn(&[u8], Range<usize>) -> Result<Item, ProtocolError>,
) -> Result<(usize, Item), ProtocolError> {
    let begin = start + head.size;
    // The header was accepted, so this length is at most 125.
    let end = begin.saturating_add(usize::try_from(head.len).unwrap_or(usize::MAX));
    let Some(body) = input.get_mut(begin..end) else {
        return Ok((start, Item::NeedMore));
    };
    if let Some(mask) = head.mask {
        mask::apply(body, mask, 0);
    }
    Ok((end, item(body, begin..end)?))
}

/// Checks the body of a Close frame, which is at `at` (RFC 6455, section 5.5.1).
fn close(body: &[u8], at: Range<usize>) -> Result<Item, ProtocolError> {
    let Some((code, reason)) = body.split_first_chunk() else {
        // "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
        return match body.is_empty() {
            true => Ok(Item::Close {
                code: None,
                reason: at,
            }),
            false => Err(ProtocolError::CloseBodyTooShort),
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code));
    // 7.4.1 and 7.4.2: some codes "MUST NOT be set as a status code in a Close control frame"
    if !code.is_sendable() {
        return Err(ProtocolError::CloseCode(code.as_u16()));
    }
    // "Following the 2-byte integer, the body MAY contain UTF-8-encoded data"
    std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok(Item::Close {
        code: Some(code),
        reason: at.end - reason.len()..at.end,
    })
}

/// Length of a page of memory, as far as it matters here.
const PAGE: usize = 4 * 1024;

/// Length of the pool's largest class, bytes. Larger storage comes from the allocator.
const LARGEST_POOLED: usize = 64 * 1024;

/// Returns the capacity for a message of which `len` bytes have arrived, and of whose frame so many are
/// missing. More frames may follow one that is not the last.
fn ahead(len: usize, missing: usize, is_last: bool) -> usize {
    let frame = len.saturating_add(missing);
    let wanted = if is_last {
        frame
    } else {
        frame.max(len.saturating_mul(2))
    };
    wanted.min(len.saturating_mul(AHEAD).max(LARGEST_POOLED))
}

/// Returns the longest payload of a compressed message, bytes. Some senders compress what does not become
/// shorter. The limit on the message itself is obeyed while it is inflated.
const fn longest_compressed(max_message: u64) -> u64 {
    max_message
        .saturating_add(max_message / 8)
        .saturating_add(64)
}

/// How many times the bytes that have arrived the capacity may be, above the pool's largest class: all of
/// it counts as memory that the connection holds.
const AHEAD: usize = 2;

/// Bytes that must have arrived of a message, and that its frame must lack, for the frame to be read
/// right to its place. If it lacks fewer, a read that brings what follows the frame too costs less.
const LEAST_READ: usize = 16 * 1024;

/// The largest message that a limit can allow: the largest possible allocation.
const MOST_IN_MEMORY: u64 = isize::MAX as u64;

#[cfg(test)]
mod tests;
