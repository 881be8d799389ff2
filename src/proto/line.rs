//! The line wire: a message is a line of text, so that a person with `nc` can speak it.
//!
//! A line ends with a line feed; one carriage return before it is not part of the message. The lines
//! `PING` and `PONG` are the heartbeat, compared exactly: `ping` and `PING ` are messages.

use std::fmt;
use std::mem;
use std::str;

use super::assembly::Assembly;
use super::copy;
use super::pool::Pool;
use super::wire::{EncodeError, Item, MessageKind, Payload};
use crate::error::ProtocolError;

/// The ping, as it is written.
pub const PING: &[u8] = b"PING\n";

/// The pong, as it is written.
pub const PONG: &[u8] = b"PONG\n";

/// Finds lines in a stream of bytes.
///
/// A line that lies complete in the input is handed out where it lies. Of an incomplete one the decoder
/// keeps what is there, in storage from the pool, so that the input can be emptied.
///
/// ```
/// use heartwheel::proto::line::LineDecoder;
/// use heartwheel::proto::pool::Pool;
/// use heartwheel::proto::wire::{Item, MessageKind, Payload};
///
/// let mut pool = Pool::default();
/// let mut decoder = LineDecoder::default();
/// let mut input = *b"hello\r\nPING\n";
///
/// let (consumed, item) = decoder.decode(&mut input, 1024, &mut pool)?;
/// let payload = Payload::Input(0..5);
/// assert_eq!(item, Item::Message { kind: MessageKind::Text, payload });
/// assert_eq!(consumed, 7);
/// assert_eq!(decoder.decode(&mut input[7..], 1024, &mut pool)?, (5, Item::Ping));
/// # Ok::<(), heartwheel::error::ProtocolError>(())
/// ```
#[derive(Default)]
pub struct LineDecoder {
    /// The beginning of a line; never contains a line feed.
    assembly: Assembly,
}

impl LineDecoder {
    /// Reads up to the end of the first line in `input`.
    ///
    /// Returns how many bytes were consumed and what they are. The range of [`Payload::Input`] counts
    /// from the beginning of `input`. With [`Item::NeedMore`] all bytes are consumed and kept.
    ///
    /// `max_message` is in bytes, without the line end.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] as soon as the line cannot be short enough any more, and
    /// [`ProtocolError::InvalidUtf8`] at its end. There is no way to go on after either.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        max_message: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError> {
        self.assembly.forget_complete();
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            self.check_size(input, max_message)?;
            self.assembly.extend(input, pool);
            return Ok((input.len(), Item::NeedMore));
        };
        let consumed = end + 1;
        self.check_size(&input[..end], max_message)?;
        if self.assembly.is_unfinished() {
            self.assembly.extend(&input[..end], pool);
            return Ok((consumed, self.end_assembled(pool)?));
        }
        let line = without_return(&input[..end]);
        let item = match control(line) {
            Some(item) => item,
            None => text(line, Payload::Input(0..line.len()))?,
        };
        Ok((consumed, item))
    }

    /// Hands out the last line if the peer ended its output without a line end: what was read counts.
    ///
    /// [`Item::NeedMore`] means that there is none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidUtf8`], for instance if the end came within a character.
    pub fn finish(&mut self, pool: &mut Pool) -> Result<Item, ProtocolError> {
        self.assembly.forget_complete();
        if self.assembly.is_unfinished() {
            self.end_assembled(pool)
        } else {
            Ok(Item::NeedMore)
        }
    }

    /// Takes the message that was handed out as [`Payload::Assembled`]; empty if there is none.
    ///
    /// Its storage goes with it and does not return to the pool. Where a look at the message is
    /// enough, [`assembled`](Self::assembled) and then [`release`](Self::release) spare an allocation.
    /// A message that nobody takes is forgotten by the next call of [`decode`](Self::decode).
    pub fn take_assembled(&mut self) -> Vec<u8> {
        self.assembly.take()
    }

    /// Gives storage back to the pool, unless an unfinished line is in it.
    pub fn release(&mut self, pool: &mut Pool) {
        self.assembly.release(pool);
    }

    /// Gives all storage back and forgets an unfinished line, at the end of a connection.
    pub fn discard(&mut self, pool: &mut Pool) {
        mem::take(self).assembly.discard(pool);
    }

    /// Returns the message that was handed out as [`Payload::Assembled`], or the beginning of an
    /// unfinished line.
    pub fn assembled(&self) -> &[u8] {
        self.assembly.bytes()
    }

    /// Returns the bytes kept here, of an unfinished line or of a message not yet taken.
    pub fn assembled_len(&self) -> usize {
        self.assembly.len()
    }

    /// Returns whether no line is unfinished.
    pub fn is_idle(&self) -> bool {
        !self.assembly.is_unfinished()
    }

    fn check_size(&self, more: &[u8], limit: u64) -> Result<(), ProtocolError> {
        let last = more.last().or_else(|| self.assembly.bytes().last());
        // A return at the end may turn out to belong to the line end.
        let doubtful = usize::from(last == Some(&b'\r'));
        let size = (self.assembly.len() + more.len() - doubtful) as u64;
        if size > limit {
            return Err(ProtocolError::MessageTooBig { size, limit });
        }
        Ok(())
    }

    fn end_assembled(&mut self, pool: &mut Pool) -> Result<Item, ProtocolError> {
        let line = without_return(self.assembly.bytes());
        let (len, control) = (line.len(), control(line));
        let item = match control {
            Some(item) => item,
            None => text(line, Payload::Assembled)?,
        };
        self.assembly.complete(len);
        if item == Item::Ping || item == Item::Pong {
            self.assembly.release(pool);
        }
        Ok(item)
    }
}

/// Shows the measures and leaves the bytes out: they belong to the peers, not into a log.
impl fmt::Debug for LineDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineDecoder")
            .field("assembled_len", &self.assembled_len())
            .finish()
    }
}

/// Appends a message as one line.
///
/// # Errors
///
/// Those of [`line_end`]; `out` is then left as it was.
///
/// ```
/// use heartwheel::proto::line;
/// use heartwheel::proto::wire::EncodeError;
///
/// let mut out = Vec::new();
/// line::encode(b"hello", &mut out)?;
/// assert_eq!(out, b"hello\n");
/// assert_eq!(line::encode(b"two\nlines", &mut out), Err(EncodeError::LineFeed { at: 3 }));
/// # Ok::<(), EncodeError>(())
/// ```
pub fn encode(payload: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let end = line_end(payload)?;
    copy::append(out, payload);
    out.extend_from_slice(end);
    Ok(())
}

/// Returns what to write behind a message to make it a line, for callers that copy it themselves.
///
/// This is a line feed; after a message that ends with a carriage return it is another return and a
/// line feed, so that the peer strips the right one. Every message accepted here is read back as it
/// was.
///
/// # Errors
///
/// If the message contains a line feed, is not UTF-8, or would be read as a ping or pong.
pub fn line_end(payload: &[u8]) -> Result<&'static [u8], EncodeError> {
    if let Some(at) = payload.iter().position(|&byte| byte == b'\n') {
        return Err(EncodeError::LineFeed { at });
    }
    if control(payload).is_some() {
        return Err(EncodeError::ReadsAsControl);
    }
    if str::from_utf8(payload).is_err() {
        return Err(EncodeError::NotUtf8);
    }
    Ok(if payload.ends_with(b"\r") {
        b"\r\n"
    } else {
        b"\n"
    })
}

fn control(line: &[u8]) -> Option<Item> {
    match line {
        b"PING" => Some(Item::Ping),
        b"PONG" => Some(Item::Pong),
        _ => None,
    }
}

fn text(line: &[u8], payload: Payload) -> Result<Item, ProtocolError> {
    match str::from_utf8(line) {
        Ok(_) => Ok(Item::Message {
            kind: MessageKind::Text,
            payload,
        }),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: Payload) -> Item {
        Item::Message {
            kind: MessageKind::Text,
            payload,
        }
    }

    fn decode_all(
        decoder: &mut LineDecoder,
        input: &[u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut input = input.to_vec();
        let (mut at, mut found) = (0, Vec::new());
        while at < input.len() {
            let (consumed, item) = decoder.decode(&mut input[at..], limit, pool)?;
            match item {
                Item::NeedMore => assert_eq!(consumed, input.len() - at),
                Item::Ping => found.push(b"(ping)".to_vec()),
                Item::Pong => found.push(b"(pong)".to_vec()),
                Item::Message {
                    payload: Payload::Input(range),
                    ..
                } => {
                    found.push(input[at..][range].to_vec());
                }
                Item::Message {
                    payload: Payload::Assembled,
                    ..
                } => {
                    found.push(decoder.take_assembled());
                }
            }
            at += consumed;
        }
        Ok(found)
    }

    #[test]
    fn lines_are_found_wherever_the_input_is_cut() {
        let stream = "one\nPING\r\n\nPONG\n\rzw\u{f6}lf\r\r\nping\n PING\nend\n".as_bytes();
        let expected = [
            "one",
            "(ping)",
            "",
            "(pong)",
            "\rzw\u{f6}lf\r",
            "ping",
            " PING",
            "end",
        ];
        for cut in 0..=stream.len() {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            let mut found = decode_all(&mut decoder, &stream[..cut], 99, &mut pool).unwrap();
            found.extend(decode_all(&mut decoder, &stream[cut..], 99, &mut pool).unwrap());
            assert_eq!(found, expected.map(str::as_bytes), "cut at {cut}");
            assert!(decoder.is_idle());
        }
    }

    #[test]
    fn bytes_may_come_one_at_a_time() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        let mut found = Vec::new();
        for byte in b"hello\r\nPING\nPONG\r\n\n" {
            found.extend(decode_all(&mut decoder, &[*byte], 5, &mut pool).unwrap());
        }
        assert_eq!(found, [&b"hello"[..], b"(ping)", b"(pong)", b""]);
    }

    #[test]
    fn an_incomplete_line_is_swallowed_and_its_storage_returns() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        assert_eq!(
            decoder.decode(&mut b"hel".to_vec(), 9, &mut pool),
            Ok((3, Item::NeedMore))
        );
        assert_eq!((decoder.assembled_len(), decoder.is_idle()), (3, false));
        decoder.release(&mut pool);
        assert_eq!(pool.free_bytes(), 0, "an unfinished line stays");
        let done = decoder.decode(&mut b"lo\nnext".to_vec(), 9, &mut pool);
        assert_eq!(done, Ok((3, message(Payload::Assembled))));
        assert_eq!(
            (decoder.assembled(), decoder.is_idle()),
            (&b"hello"[..], true)
        );
        decoder.release(&mut pool);
        assert_eq!((decoder.assembled_len(), pool.free_bytes()), (0, 4096));
    }

    #[test]
    fn a_message_nobody_took_is_forgotten() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        decode_all(&mut decoder, b"hel", 9, &mut pool).unwrap();
        decoder.decode(&mut b"lo\n".to_vec(), 9, &mut pool).unwrap();
        assert_eq!(decode_all(&mut decoder, b"a", 9, &mut pool), Ok(vec![]));
        assert_eq!(
            decode_all(&mut decoder, b"b\n", 9, &mut pool),
            Ok(vec![b"ab".to_vec()])
        );
        assert_eq!(decoder.take_assembled(), b"", "taken once already");
    }

    #[test]
    fn a_line_may_have_exactly_the_limit() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        let stream = b"12345\n12345\r\n\r2345\n";
        for cut in 0..=stream.len() {
            decode_all(&mut decoder, &stream[..cut], 5, &mut pool).unwrap();
            decode_all(&mut decoder, &stream[cut..], 5, &mut pool).unwrap();
        }
    }

    #[test]
    fn a_line_over_the_limit_fails_before_its_end_is_seen() {
        let too_big = |size| Err(ProtocolError::MessageTooBig { size, limit: 5 });
        for (first, second, expected) in [
            (&b"123456"[..], &b""[..], too_big(6)),
            (b"123456\n", b"", too_big(6)),
            (b"123", b"4567", too_big(7)),
            (b"12345", b"\r\n", Ok(vec![b"12345".to_vec()])),
            (b"12345\r", b"\n", Ok(vec![b"12345".to_vec()])),
            (b"12345\r", b"6", too_big(7)),
            (b"12345\r", b"\r", too_big(6)),
        ] {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            let result = decode_all(&mut decoder, first, 5, &mut pool)
                .and_then(|_| decode_all(&mut decoder, second, 5, &mut pool));
            assert_eq!(result, expected, "{first:?} {second:?}");
            assert!(decoder.assembled_len() <= 6);
        }
    }

    #[test]
    fn invalid_utf8_is_refused_whole_or_assembled() {
        for cut in 0..=3 {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            let stream = b"a\xff\n";
            let result = decode_all(&mut decoder, &stream[..cut], 9, &mut pool)
                .and_then(|_| decode_all(&mut decoder, &stream[cut..], 9, &mut pool));
            assert_eq!(result, Err(ProtocolError::InvalidUtf8), "cut at {cut}");
        }
    }

    #[test]
    fn the_end_of_input_ends_the_last_line() {
        for (stream, item, bytes) in [
            (
                &b"one\nlast"[..],
                Ok(message(Payload::Assembled)),
                &b"last"[..],
            ),
            (b"last\r", Ok(message(Payload::Assembled)), b"last"),
            (b"PING", Ok(Item::Ping), b""),
            (b"one\n", Ok(Item::NeedMore), b""),
            (b"", Ok(Item::NeedMore), b""),
            (b"\xc3", Err(ProtocolError::InvalidUtf8), b"\xc3"),
        ] {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            decode_all(&mut decoder, stream, 9, &mut pool).unwrap();
            assert_eq!(decoder.finish(&mut pool), item);
            assert_eq!(decoder.assembled(), bytes);
        }
    }

    #[test]
    fn what_cannot_be_a_line_is_refused() {
        let mut out = Vec::new();
        assert_eq!(
            encode(b"a\nb\n", &mut out),
            Err(EncodeError::LineFeed { at: 1 })
        );
        assert_eq!(encode(b"PING", &mut out), Err(EncodeError::ReadsAsControl));
        assert_eq!(encode(b"PONG", &mut out), Err(EncodeError::ReadsAsControl));
        assert_eq!(encode(b"\xff", &mut out), Err(EncodeError::NotUtf8));
        assert_eq!(out, b"");
        assert_eq!(
            EncodeError::LineFeed { at: 1 }.to_string(),
            "line feed at byte 1 of a line"
        );
    }

    #[test]
    fn carriage_returns_at_the_end_survive() {
        let mut out = Vec::new();
        encode(b"PING\r", &mut out).unwrap();
        encode(b"a\r\r", &mut out).unwrap();
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        let found = decode_all(&mut decoder, &out, 9, &mut pool).unwrap();
        assert_eq!(found, [&b"PING\r"[..], b"a\r\r"]);
    }
}
