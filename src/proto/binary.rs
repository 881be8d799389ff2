//! The binary wire: the first byte of a frame says what follows.
//!
//! | first byte | then | meaning |
//! | --- | --- | --- |
//! | `0x00` | length as a big-endian u32, that many bytes | message |
//! | `0x01` | nothing | ping |
//! | `0x02` | nothing | pong |

use std::fmt;
use std::mem;
use std::num::NonZeroU64;

use super::assembly::Assembly;
use super::copy;
use super::pool::Pool;
use super::wire::{EncodeError, Item, MessageKind, Payload};
use crate::error::ProtocolError;

/// The ping, as it is sent.
pub const PING: &[u8] = &[TAG_PING];

/// The pong, as it is sent.
pub const PONG: &[u8] = &[TAG_PONG];

/// Finds frames in a stream of bytes.
///
/// A message that is complete in the input is returned as a range of the input. The bytes of an
/// incomplete message are kept in storage that grows with the bytes received, not with the length
/// in the header.
///
/// ```
/// use heartwheel::proto::binary::BinaryDecoder;
/// use heartwheel::proto::pool::Pool;
/// use heartwheel::proto::wire::{Item, MessageKind, Payload};
///
/// let mut pool = Pool::default();
/// let mut decoder = BinaryDecoder::default();
/// let mut input = *b"\x00\x00\x00\x00\x05hello\x01";
///
/// let (consumed, item) = decoder.decode(&mut input, 1024, &mut pool)?;
/// let payload = Payload::Input(5..10);
/// assert_eq!(item, Item::Message { kind: MessageKind::Binary, payload });
/// assert_eq!(consumed, 10);
/// assert_eq!(decoder.decode(&mut input[10..], 1024, &mut pool)?, (1, Item::Ping));
/// # Ok::<(), heartwheel::error::ProtocolError>(())
/// ```
#[derive(Default)]
pub struct BinaryDecoder {
    /// The bytes received of an incomplete message, without its header.
    assembly: Assembly,
    /// Payload bytes of an incomplete message that have not arrived; `None` between messages.
    missing: Option<NonZeroU64>,
}

impl BinaryDecoder {
    /// Reads the first frame in `input`, or the part of it that has arrived.
    ///
    /// Returns how many bytes were consumed and what they are. A range in [`Payload::Input`] counts
    /// from the start of `input`. With [`Item::NeedMore`] all bytes are consumed and kept, except
    /// an incomplete header: its bytes, at most four, stay in the input.
    ///
    /// `max_message` is in bytes, without the header.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] at the header, before any payload is kept, and
    /// [`ProtocolError::UnknownType`]. After an error the decoder cannot go on.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        max_message: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError> {
        self.assembly.forget_complete();
        if let Some(missing) = self.missing {
            return Ok(self.assemble(missing, input, pool));
        }
        match input {
            [] => Ok((0, Item::NeedMore)),
            [TAG_PING, ..] => Ok((1, Item::Ping)),
            [TAG_PONG, ..] => Ok((1, Item::Pong)),
            [TAG_MESSAGE, a, b, c, d, payload @ ..] => {
                let size = u64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                if size > max_message {
                    return Err(ProtocolError::MessageTooBig {
                        size,
                        limit: max_message,
                    });
                }
                Ok(self.begin(size, payload, pool))
            }
            [TAG_MESSAGE, ..] => Ok((0, Item::NeedMore)),
            [tag, ..] => Err(ProtocolError::UnknownType(*tag)),
        }
    }

    /// Takes the message that was returned as [`Payload::Assembled`]; empty if there is none.
    ///
    /// You get its storage too, so the storage does not go back to the pool. If you only need to
    /// read the message, call [`assembled`](Self::assembled) and then [`release`](Self::release):
    /// that saves an allocation. If nobody takes a message, the next call of
    /// [`decode`](Self::decode) discards it.
    pub fn take_assembled(&mut self) -> Vec<u8> {
        self.assembly.take()
    }

    /// Gives the storage back to the pool, unless an unfinished message is in it.
    pub fn release(&mut self, pool: &mut Pool) {
        self.assembly.release(pool);
    }

    /// Gives all storage back and discards an unfinished message. For the end of a connection.
    pub fn discard(&mut self, pool: &mut Pool) {
        mem::take(self).assembly.discard(pool);
    }

    /// Returns the message that was returned as [`Payload::Assembled`], or the start of an
    /// unfinished message.
    pub fn assembled(&self) -> &[u8] {
        self.assembly.bytes()
    }

    /// Returns the number of bytes kept here: of an unfinished message, or of a message not yet
    /// taken.
    pub fn assembled_len(&self) -> usize {
        self.assembly.len()
    }

    /// Returns the size of the storage, bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.assembly.capacity()
    }

    /// Returns how many bytes of the unfinished message have not arrived; 0 if no message is
    /// unfinished.
    pub(crate) fn missing_len(&self) -> u64 {
        self.missing.map_or(0, NonZeroU64::get)
    }

    /// Returns whether no message is unfinished. An incomplete header does not count: its bytes are
    /// still in the input.
    pub fn is_idle(&self) -> bool {
        self.missing.is_none()
    }

    fn begin(&mut self, size: u64, payload: &[u8], pool: &mut Pool) -> (usize, Item) {
        match usize::try_from(size) {
            Ok(len) if len <= payload.len() => {
                let payload = Payload::Input(HEADER_LEN..HEADER_LEN + len);
                let item = Item::Message {
                    kind: MessageKind::Binary,
                    payload,
                };
                (HEADER_LEN + len, item)
            }
            _ => {
                self.assembly.extend(payload, pool);
                self.missing = NonZeroU64::new(size - payload.len() as u64);
                (HEADER_LEN + payload.len(), Item::NeedMore)
            }
        }
    }

    fn assemble(&mut self, missing: NonZeroU64, input: &[u8], pool: &mut Pool) -> (usize, Item) {
        let arrived = usize::try_from(missing.get()).map_or(input.len(), |n| n.min(input.len()));
        self.assembly.extend(&input[..arrived], pool);
        self.missing = NonZeroU64::new(missing.get() - arrived as u64);
        if self.missing.is_some() {
            return (arrived, Item::NeedMore);
        }
        self.assembly.complete(self.assembly.len());
        (
            arrived,
            Item::Message {
                kind: MessageKind::Binary,
                payload: Payload::Assembled,
            },
        )
    }
}

/// Shows the sizes but not the bytes. They are the peer's data and do not belong in a log.
impl fmt::Debug for BinaryDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BinaryDecoder")
            .field("assembled_len", &self.assembled_len())
            .field("missing", &self.missing)
            .finish()
    }
}

/// Appends a message as one frame.
///
/// # Errors
///
/// Those of [`header`]. On an error `out` is unchanged.
///
/// ```
/// use heartwheel::proto::binary;
///
/// let mut out = Vec::new();
/// binary::encode(b"hello", &mut out)?;
/// assert_eq!(out, b"\x00\x00\x00\x00\x05hello");
/// # Ok::<(), heartwheel::proto::wire::EncodeError>(())
/// ```
pub fn encode(payload: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&header(payload.len())?);
    copy::append(out, payload);
    Ok(())
}

/// Returns what to write before a message of `size` bytes, for callers that copy the message
/// themselves.
///
/// # Errors
///
/// [`EncodeError::TooLong`] if the size does not fit into 32 bits.
pub fn header(size: usize) -> Result<[u8; HEADER_LEN], EncodeError> {
    let Ok(len) = u32::try_from(size) else {
        return Err(EncodeError::TooLong { size });
    };
    let [a, b, c, d] = len.to_be_bytes();
    Ok([TAG_MESSAGE, a, b, c, d])
}

/// Bytes before the payload of a message.
pub const HEADER_LEN: usize = 5;

const TAG_MESSAGE: u8 = 0x00;
const TAG_PING: u8 = 0x01;
const TAG_PONG: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes as a connection does: what is not consumed stays in front of what comes next.
    fn feed(
        decoder: &mut BinaryDecoder,
        rest: &mut Vec<u8>,
        input: &[u8],
        pool: &mut Pool,
    ) -> Result<Vec<Vec<u8>>, ProtocolError> {
        rest.extend_from_slice(input);
        let mut found = Vec::new();
        loop {
            let (consumed, item) = decoder.decode(rest, 100, pool)?;
            let payload = match item {
                Item::NeedMore => {
                    rest.drain(..consumed);
                    return Ok(found);
                }
                Item::Ping => b"(ping)".to_vec(),
                Item::Pong => b"(pong)".to_vec(),
                Item::Message {
                    payload: Payload::Input(range),
                    ..
                } => rest[range].to_vec(),
                Item::Message {
                    payload: Payload::Assembled,
                    ..
                } => decoder.take_assembled(),
            };
            rest.drain(..consumed);
            found.push(payload);
        }
    }

    const STREAM: &[u8] = b"\x01\0\0\0\0\x05hello\x02\0\0\0\0\0\0\0\0\0\x02\x01\x02\x01";
    const FOUND: [&[u8]; 6] = [b"(ping)", b"hello", b"(pong)", b"", b"\x01\x02", b"(ping)"];

    #[test]
    fn frames_are_found_wherever_the_input_is_cut() {
        for cut in 0..=STREAM.len() {
            let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
            let mut rest = Vec::new();
            let mut found = feed(&mut decoder, &mut rest, &STREAM[..cut], &mut pool).unwrap();
            found.extend(feed(&mut decoder, &mut rest, &STREAM[cut..], &mut pool).unwrap());
            assert_eq!(found, FOUND, "cut at {cut}");
            assert!(decoder.is_idle() && rest.is_empty());
        }
    }

    #[test]
    fn bytes_may_come_one_at_a_time() {
        let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
        let (mut rest, mut found) = (Vec::new(), Vec::new());
        for byte in STREAM {
            found.extend(feed(&mut decoder, &mut rest, &[*byte], &mut pool).unwrap());
        }
        assert_eq!(found, FOUND);
    }

    #[test]
    fn an_incomplete_header_stays_and_an_incomplete_payload_is_swallowed() {
        let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
        let mut input = *b"\0\0\0\0\x05he";
        for len in 0..5 {
            let result = decoder.decode(&mut input[..len], 9, &mut pool);
            assert_eq!(result, Ok((0, Item::NeedMore)));
            assert!(decoder.is_idle());
        }
        assert_eq!(
            decoder.decode(&mut input, 9, &mut pool),
            Ok((7, Item::NeedMore))
        );
        assert_eq!(
            (decoder.assembled(), decoder.is_idle()),
            (&b"he"[..], false)
        );
        decoder.release(&mut pool);
        assert_eq!(decoder.take_assembled(), b"", "not complete yet");
        let payload = Payload::Assembled;
        let message = Item::Message {
            kind: MessageKind::Binary,
            payload,
        };
        assert_eq!(
            decoder.decode(&mut b"llo\x01".to_vec(), 9, &mut pool),
            Ok((3, message))
        );
        assert_eq!(
            (decoder.assembled(), decoder.is_idle()),
            (&b"hello"[..], true)
        );
        decoder.release(&mut pool);
        assert_eq!((decoder.assembled_len(), pool.free_bytes()), (0, 4096));
    }

    #[test]
    fn a_message_nobody_took_is_forgotten() {
        let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
        for bytes in [b"ab", b"cd"] {
            let mut input = [0, 0, 0, 0, 2, bytes[0]];
            assert_eq!(
                decoder.decode(&mut input, 9, &mut pool),
                Ok((6, Item::NeedMore))
            );
            decoder.decode(&mut [bytes[1]], 9, &mut pool).unwrap();
            assert_eq!(decoder.assembled(), bytes);
        }
    }

    #[test]
    fn a_declared_length_costs_nothing() {
        let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
        let mut input = *b"\0\xff\xff\xff\xff";
        let result = decoder.decode(&mut input, u64::MAX, &mut pool);
        assert_eq!(result, Ok((5, Item::NeedMore)));
        decoder.release(&mut pool);
        assert_eq!(pool.free_bytes(), 0, "no storage was taken yet");
        decoder.decode(&mut [7; 5000], u64::MAX, &mut pool).unwrap();
        decoder.decode(&mut [7; 5000], u64::MAX, &mut pool).unwrap();
        assert_eq!(decoder.assembled_len(), 10_000);
        decoder.assembly.complete(10_000);
        decoder.release(&mut pool);
        assert_eq!(pool.free_bytes(), 16_384);
    }

    #[test]
    fn the_header_is_enough_to_refuse_a_message() {
        let mut pool = Pool::default();
        let mut input = *b"\0\0\0\0\x06";
        let mut decode = |limit| BinaryDecoder::default().decode(&mut input, limit, &mut pool);
        let too_big = ProtocolError::MessageTooBig { size: 6, limit: 5 };
        assert_eq!(decode(5), Err(too_big));
        assert_eq!(decode(6), Ok((5, Item::NeedMore)));
    }

    #[test]
    fn unknown_types_are_refused() {
        let mut pool = Pool::default();
        for tag in 3..=255 {
            let result = BinaryDecoder::default().decode(&mut [tag, 0], 9, &mut pool);
            assert_eq!(result, Err(ProtocolError::UnknownType(tag)));
        }
    }

    #[test]
    fn a_length_beyond_32_bits_is_refused() {
        assert_eq!(header(0x0102_0304), Ok([0, 1, 2, 3, 4]));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(header(1 << 32), Err(EncodeError::TooLong { size: 1 << 32 }));
    }
}
