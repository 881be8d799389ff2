//! The line wire: a message is one line of text, so a person can speak it with `nc`.
//!
//! A line ends with a line feed. One carriage return before it is not part of the message. The
//! lines `PING` and `PONG` are the heartbeat. They are compared exactly: `ping` and `PING ` are
//! messages. Telnet commands (from a Telnet client such as PuTTY) before a line are skipped. They
//! start with a byte that no text contains.

use std::fmt;
use std::mem;

use super::assembly::Assembly;
use super::copy;
use super::pool::Pool;
use super::utf8;
use super::wire::{EncodeError, Item, MessageKind, Payload};
use crate::error::ProtocolError;

/// The ping, as it is sent.
pub const PING: &[u8] = b"PING\n";

/// The pong, as it is sent.
pub const PONG: &[u8] = b"PONG\n";

/// Finds lines in a stream of bytes.
///
/// A line that is complete in the input is returned as a range of the input. The bytes of an
/// incomplete line are kept in storage from the pool, so the input can be emptied. They are checked
/// to be UTF-8 as they arrive, so the end of a long line takes no longer than the end of a short
/// one.
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
    /// The beginning of a line. It never contains a line feed.
    assembly: Assembly,
    negotiation: Negotiation,
    /// Checks the bytes in `assembly` as they arrive.
    text: utf8::Validator,
    /// The line is not UTF-8. This is reported only at the end of the line, so that the result does
    /// not depend on how the bytes were split into reads.
    is_no_text: bool,
}

impl LineDecoder {
    /// Reads to the end of the first line in `input`.
    ///
    /// Returns how many bytes were consumed and what they are. A range in [`Payload::Input`] counts
    /// from the start of `input`. With [`Item::NeedMore`] all bytes are consumed and kept.
    ///
    /// `max_message` is in bytes, without the end of the line.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] as soon as the line is too long, or if a Telnet command
    /// before it is longer than 1 KiB. [`ProtocolError::InvalidUtf8`] at the end of a line that is
    /// not UTF-8, or at a byte that is no Telnet command although it must be one. After an error
    /// the decoder cannot go on.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        max_message: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError> {
        self.assembly.forget_complete();
        let start = match self.assembly.is_unfinished() {
            true => 0,
            false => self.negotiation.skip(input)?,
        };
        let more = &input[start..];
        let Some(len) = more.iter().position(|&byte| byte == b'\n') else {
            if !more.is_empty() {
                self.check_size(more, max_message)?;
                self.extend(more, pool);
            }
            return Ok((input.len(), Item::NeedMore));
        };
        let consumed = start + len + 1;
        self.check_size(&more[..len], max_message)?;
        if self.assembly.is_unfinished() {
            self.extend(&more[..len], pool);
            return Ok((consumed, self.end_assembled(pool)?));
        }
        let line = without_return(&more[..len]);
        let item = match control(line) {
            Some(item) => item,
            None => text(
                utf8::is_text(line),
                Payload::Input(start..start + line.len()),
            )?,
        };
        Ok((consumed, item))
    }

    /// Returns the last line if the peer ended its output without a line end. What was read counts
    /// as a line.
    ///
    /// [`Item::NeedMore`] means that there is no such line.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidUtf8`], for example if the output ended inside a character.
    pub fn finish(&mut self, pool: &mut Pool) -> Result<Item, ProtocolError> {
        self.assembly.forget_complete();
        if self.assembly.is_unfinished() {
            self.end_assembled(pool)
        } else {
            Ok(Item::NeedMore)
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

    /// Gives the storage back to the pool, unless an unfinished line is in it.
    pub fn release(&mut self, pool: &mut Pool) {
        self.assembly.release(pool);
    }

    /// Gives all storage back and discards an unfinished line. For the end of a connection.
    pub fn discard(&mut self, pool: &mut Pool) {
        mem::take(self).assembly.discard(pool);
    }

    /// Returns the message that was returned as [`Payload::Assembled`], or the start of an
    /// unfinished line.
    pub fn assembled(&self) -> &[u8] {
        self.assembly.bytes()
    }

    /// Returns the number of bytes kept here: of an unfinished line, or of a message not yet taken.
    pub fn assembled_len(&self) -> usize {
        self.assembly.len()
    }

    /// Returns the size of the storage, bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.assembly.capacity()
    }

    /// Returns whether neither a line nor a Telnet command before it is unfinished.
    pub fn is_idle(&self) -> bool {
        !self.assembly.is_unfinished() && self.negotiation.state == Telnet::None
    }

    fn check_size(&self, more: &[u8], limit: u64) -> Result<(), ProtocolError> {
        let last = more.last().or_else(|| self.assembly.bytes().last());
        // A carriage return at the end may be part of the line end.
        let doubtful = usize::from(last == Some(&b'\r'));
        let size = (self.assembly.len() + more.len() - doubtful) as u64;
        if size > limit {
            return Err(ProtocolError::MessageTooBig { size, limit });
        }
        Ok(())
    }

    /// Keeps a part of a line, and checks it.
    fn extend(&mut self, piece: &[u8], pool: &mut Pool) {
        if !self.is_no_text {
            self.is_no_text = self.text.push(piece).is_err();
        }
        self.assembly.extend(piece, pool);
    }

    fn end_assembled(&mut self, pool: &mut Pool) -> Result<Item, ProtocolError> {
        // A carriage return at the end is not part of the line, but it is valid UTF-8 anyway.
        let text_so_far = mem::take(&mut self.text);
        let is_text = !mem::take(&mut self.is_no_text) && text_so_far.is_complete();
        let line = without_return(self.assembly.bytes());
        let (len, control) = (line.len(), control(line));
        let item = match control {
            Some(item) => item,
            None => text(is_text, Payload::Assembled)?,
        };
        self.assembly.complete(len);
        if item == Item::Ping || item == Item::Pong {
            self.assembly.release(pool);
        }
        Ok(item)
    }
}

/// Skips Telnet commands before a line (RFC 854), however the input is split.
#[derive(Default)]
struct Negotiation {
    state: Telnet,
    /// Bytes of the current command's parameters so far. Limited, so that a command must end.
    len: u64,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Telnet {
    /// A line, or the first byte of a command.
    #[default]
    None,
    /// The command byte.
    Command,
    /// The option that the command is about.
    Option,
    /// Parameters, up to the end of the command.
    Parameters,
    /// The byte after an `IAC` within the parameters.
    Escaped,
}

impl Negotiation {
    /// Returns how many bytes at the start of the input are commands.
    fn skip(&mut self, input: &[u8]) -> Result<usize, ProtocolError> {
        for (at, &byte) in input.iter().enumerate() {
            self.state = match (self.state, byte) {
                (Telnet::None, IAC) => Telnet::Command,
                (Telnet::None, _) => return Ok(at),
                (Telnet::Command, WILL..=DONT) => Telnet::Option,
                (Telnet::Command, SB) => {
                    self.len = 0;
                    Telnet::Parameters
                }
                (Telnet::Command, EOF..=GA) | (Telnet::Option, _) => Telnet::None,
                // Neither text nor a command.
                (Telnet::Command, _) => return Err(ProtocolError::InvalidUtf8),
                (Telnet::Escaped, SE) => Telnet::None,
                (Telnet::Parameters, IAC) => Telnet::Escaped,
                (Telnet::Parameters | Telnet::Escaped, _) => {
                    self.len += 1;
                    if self.len > MOST_PARAMETERS {
                        return Err(ProtocolError::MessageTooBig {
                            size: self.len,
                            limit: MOST_PARAMETERS,
                        });
                    }
                    Telnet::Parameters
                }
            };
        }
        Ok(input.len())
    }
}

/// Bytes of Telnet commands (RFC 854): "interpret as command", the commands that are followed by an
/// option, those around parameters, and the range of those without anything after them (from RFC
/// 1184 on).
const IAC: u8 = 255;
const DONT: u8 = 254;
const WILL: u8 = 251;
const SB: u8 = 250;
const GA: u8 = 249;
const SE: u8 = 240;
const EOF: u8 = 236;

/// The largest number of parameter bytes in a command.
const MOST_PARAMETERS: u64 = 1024;

/// Shows the sizes but not the bytes. They are the peer's data and do not belong in a log.
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
/// Those of [`line_end`]. On an error `out` is unchanged.
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
    out.reserve(payload.len() + end.len());
    copy::append(out, payload);
    out.extend_from_slice(end);
    Ok(())
}

/// Returns what to write after a message to make it a line, for callers that copy the message
/// themselves.
///
/// This is a line feed. After a message that ends with a carriage return it is another carriage
/// return and a line feed, so that the peer removes only the second one. The peer reads every
/// message accepted here exactly as it was.
///
/// # Errors
///
/// If the message contains a line feed, is not UTF-8, or would be read as a ping or pong.
pub fn line_end(payload: &[u8]) -> Result<&'static [u8], EncodeError> {
    // Faster than a search for the position, which is only needed if the message is refused.
    if payload.contains(&b'\n') {
        let at = payload.iter().take_while(|&&byte| byte != b'\n').count();
        return Err(EncodeError::LineFeed { at });
    }
    if control(payload).is_some() {
        return Err(EncodeError::ReadsAsControl);
    }
    if !utf8::is_text(payload) {
        return Err(EncodeError::NotUtf8);
    }
    Ok(if payload.ends_with(b"\r") {
        b"\r\n"
    } else {
        b"\n"
    })
}

/// Returns whether a line, without its end, is the first line of an HTTP request: a method, a
/// target and a version (RFC 9112, section 3). It checks the end first, because that rules out most
/// lines.
pub(crate) fn is_http_request(line: &[u8]) -> bool {
    let Some((request, [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])) =
        line.split_last_chunk()
    else {
        return false;
    };
    let Some(space) = request.iter().position(|&byte| byte == b' ') else {
        return false;
    };
    let (method, target) = (&request[..space], &request[space + 1..]);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (major.is_ascii_digit() && minor.is_ascii_digit())
        && (!method.is_empty() && method.iter().all(is_token))
        && (!target.is_empty() && !target.contains(&b' '))
}

fn control(line: &[u8]) -> Option<Item> {
    match line {
        b"PING" => Some(Item::Ping),
        b"PONG" => Some(Item::Pong),
        _ => None,
    }
}

fn text(is_text: bool, payload: Payload) -> Result<Item, ProtocolError> {
    if !is_text {
        return Err(ProtocolError::InvalidUtf8);
    }
    Ok(Item::Message {
        kind: MessageKind::Text,
        payload,
    })
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
    fn a_long_line_is_checked_as_it_comes() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        let mut checked = 0;
        // Pieces of which none is text by itself.
        for piece in "\u{10348}".repeat(1_000).as_bytes().chunks(7) {
            decoder
                .decode(&mut piece.to_vec(), 9_999, &mut pool)
                .unwrap();
            checked += piece.len();
            assert_eq!(decoder.text.is_complete(), checked % 4 == 0);
        }
        decoder
            .decode(&mut b"\xff ".to_vec(), 9_999, &mut pool)
            .unwrap();
        assert!(decoder.is_no_text, "known before the line ends");
        let end = decoder.decode(&mut b"\n".to_vec(), 9_999, &mut pool);
        assert_eq!(end, Err(ProtocolError::InvalidUtf8));
    }

    #[test]
    fn a_fault_of_one_line_is_forgotten_with_it() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        for fault in [b"a\xff", b"b\xc3"] {
            decode_all(&mut decoder, fault, 9, &mut pool).unwrap();
            decoder.discard(&mut pool);
            decode_all(&mut decoder, b"c", 9, &mut pool).unwrap();
            let found = decode_all(&mut decoder, b"\n", 9, &mut pool);
            assert_eq!(found, Ok(vec![b"c".to_vec()]));
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
    fn telnet_commands_in_front_of_a_line_are_passed_over_wherever_they_are_cut() {
        // As PuTTY begins, a window size with a line feed and an escaped 255 in it, and an interrupt.
        let stream = b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfd\x03one\r\n\
            \xff\xfa\x1f\x00\x0a\xff\xff\x18\xff\xf0PING\r\n\xff\xf4\xff\xfd\x06two\n";
        for cut in 0..=stream.len() {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            let mut found = decode_all(&mut decoder, &stream[..cut], 4, &mut pool).unwrap();
            found.extend(decode_all(&mut decoder, &stream[cut..], 4, &mut pool).unwrap());
            assert_eq!(found, [&b"one"[..], b"(ping)", b"two"], "cut at {cut}");
            assert!(decoder.is_idle());
        }
    }

    #[test]
    fn a_telnet_command_without_end_is_unfinished_and_bounded() {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        let feed = |decoder: &mut LineDecoder, pool: &mut Pool, bytes: &[u8]| {
            decoder.decode(&mut bytes.to_vec(), 9, pool)
        };
        assert_eq!(
            feed(&mut decoder, &mut pool, b"\xff\xfa\x1f"),
            Ok((3, Item::NeedMore))
        );
        assert!(!decoder.is_idle());
        assert_eq!(decoder.finish(&mut pool), Ok(Item::NeedMore));
        let too_big = Err(ProtocolError::MessageTooBig {
            size: 1_025,
            limit: 1_024,
        });
        assert_eq!(feed(&mut decoder, &mut pool, &[7; 2_000]), too_big);
    }

    #[test]
    fn what_only_begins_like_a_telnet_command_is_no_text() {
        for stream in [&b"\xff\xff\n"[..], b"\xffa\n", b"a\xff\xf1b\n"] {
            let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
            let result = decode_all(&mut decoder, stream, 9, &mut pool);
            assert_eq!(result, Err(ProtocolError::InvalidUtf8), "{stream:?}");
        }
    }

    #[test]
    fn the_first_line_of_a_request_is_known() {
        for line in [
            "GET / HTTP/1.1",
            "POST /a?b HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "CONNECT h:1 HTTP/1.1",
            "PRI * HTTP/2.0",
            "get http://h/ HTTP/1.1",
        ] {
            assert!(is_http_request(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "GET",
            "GET /",
            "GET HTTP/1.1",
            "we all speak HTTP/1.1",
            "GET  HTTP/1.1x",
            " GET / HTTP/1.1",
            "GET / HTTP/1",
            "GET / http/1.1",
            "hello, who speaks HTTP/1.1?",
            "\u{e9} / HTTP/1.1",
        ] {
            assert!(!is_http_request(line.as_bytes()), "{line}");
        }
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
