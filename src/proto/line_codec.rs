//! A codec for text protocols: lines, with the heartbeats of your protocol among them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::error::ProtocolError;
use crate::proto::codec::{Codec, Decoded, Encoding, Pongs, Rules};
use crate::proto::wire::{EncodeError, MessageKind};

/// Lines as a [`Codec`]: which end they have, how long they may be, and which of them are heartbeats.
///
/// Clone one for each connection; the clones share their format. A line may end with LF or with CR and
/// LF, whatever we send. A message is one line of text. What would be two lines, is not UTF-8, or reads
/// as a heartbeat is not sent: `encode` says why. Answers to pings overtake messages that wait, and none
/// of them is left out.
///
/// ```
/// use heartwheel::WireFactory;
/// use heartwheel::proto::codec::{Codec, Decoded};
/// use heartwheel::proto::line_codec::{Beat, LineCodec, LineEnd, LineFormat};
///
/// let mut lines = LineCodec::new(LineFormat {
///     end: LineEnd::CrLf,
///     beat: Some(Beat::numbered("HB", "HB-ACK")),
///     ..LineFormat::default()
/// });
/// let ping = lines.decode(b"HB 7\r\n", &mut Vec::new());
/// assert_eq!(ping, Ok(Decoded::Ping { consumed: 6, payload: 2..4 }));
/// let mut pong = Vec::new();
/// lines.encode_pong(b" 7", &mut pong);
/// assert_eq!(pong, b"HB-ACK 7\r\n");
///
/// let wire = WireFactory::own(move |_| lines.clone());
/// ```
#[derive(Clone, Debug)]
pub struct LineCodec {
    format: Arc<LineFormat>,
    rules: Rules,
    /// So many bytes of the input have no line feed.
    searched: usize,
}

/// What the lines of a [`LineCodec`] are like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LineFormat {
    /// What ends a line that we send. Default: a line feed.
    pub end: LineEnd,
    /// Most bytes of a line that comes, without its end. Default 64 KiB. A longer line ends the
    /// connection with cause `message_too_big`, and so does one above
    /// [`max_message`](crate::config::LimitsConfig::max_message).
    pub max_line: usize,
    /// The lines that are heartbeats. Default: none; the interval must be off then.
    pub beat: Option<Beat>,
}

impl Default for LineFormat {
    fn default() -> Self {
        Self {
            end: LineEnd::Lf,
            max_line: 64 * 1024,
            beat: None,
        }
    }
}

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LineEnd {
    /// A line feed.
    #[default]
    Lf,
    /// A carriage return and a line feed.
    CrLf,
}

impl LineEnd {
    /// Returns its bytes.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// The lines that ask for a sign of life, and those that answer. Either side may ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Beat {
    ping: String,
    pong: String,
    is_numbered: bool,
}

impl Beat {
    /// Heartbeats that are these very lines, such as `PING` and `PONG`. The first answer is to the first
    /// ping.
    pub fn plain(ping: impl Into<String>, pong: impl Into<String>) -> Self {
        Self {
            ping: ping.into(),
            pong: pong.into(),
            is_numbered: false,
        }
    }

    /// Heartbeats that are one of these words, a space and a number, such as `HB 17` and `HB-ACK 17`.
    /// What follows the word in a ping of the peer comes back with the answer, whatever it is.
    pub fn numbered(ping: impl Into<String>, pong: impl Into<String>) -> Self {
        Self {
            is_numbered: true,
            ..Self::plain(ping, pong)
        }
    }

    /// Returns what follows the word, if the line is this word, and numbered where heartbeats are.
    fn rest<'l>(&self, word: &str, line: &'l [u8]) -> Option<&'l [u8]> {
        let rest = line.strip_prefix(word.as_bytes())?;
        let is_it = match self.is_numbered {
            true => rest.first() == Some(&b' '),
            false => rest.is_empty(),
        };
        is_it.then_some(rest)
    }

    fn is_beat(&self, line: &[u8]) -> bool {
        self.rest(&self.ping, line).is_some() || self.rest(&self.pong, line).is_some()
    }
}

impl LineCodec {
    /// Makes a codec for lines of this format.
    pub fn new(format: LineFormat) -> Self {
        let mut hasher = DefaultHasher::new();
        format.hash(&mut hasher);
        let rules = Rules {
            pongs: Pongs::Ahead,
            has_tokens: format.beat.as_ref().is_some_and(|beat| beat.is_numbered),
            checks_text: false,
            encoding: Encoding::Once(hasher.finish()),
        };
        Self {
            format: Arc::new(format),
            rules,
            searched: 0,
        }
    }

    /// Returns where the first line lies, and how many bytes it takes with its end.
    fn find(&mut self, input: &[u8]) -> Result<Option<(Range<usize>, usize)>, ProtocolError> {
        let from = self.searched.min(input.len());
        let Some(found) = input[from..].iter().position(|&byte| byte == b'\n') else {
            self.searched = input.len();
            // Its last byte may be half of its end.
            let len = without_return(input).len();
            return self.check_length(len).map(|()| None);
        };
        self.searched = 0;
        let line = without_return(&input[..from + found]);
        self.check_length(line.len())?;
        Ok(Some((0..line.len(), from + found + 1)))
    }

    fn check_length(&self, len: usize) -> Result<(), ProtocolError> {
        if len > self.format.max_line {
            return Err(ProtocolError::MessageTooBig {
                size: len as u64,
                limit: self.format.max_line as u64,
            });
        }
        Ok(())
    }

    fn put(&self, parts: &[&[u8]], out: &mut Vec<u8>) {
        for part in parts {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(self.format.end.bytes());
    }
}

impl Codec for LineCodec {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some((payload, consumed)) = self.find(input)? else {
            return Ok(Decoded::NeedMore);
        };
        let line = &input[payload.clone()];
        if let Some(beat) = &self.format.beat {
            if let Some(rest) = beat.rest(&beat.pong, line) {
                let number = std::str::from_utf8(rest).ok();
                let token = number.and_then(|number| number.trim_start().parse().ok());
                return Ok(Decoded::Pong { consumed, token });
            }
            if beat.rest(&beat.ping, line).is_some() {
                let payload = beat.ping.len()..line.len();
                return Ok(Decoded::Ping { consumed, payload });
            }
        }
        Ok(Decoded::Message {
            consumed,
            kind: MessageKind::Text,
            payload,
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if let Some(at) = payload.iter().position(|&byte| byte == b'\n') {
            return Err(EncodeError::LineFeed { at });
        }
        let is_beat = |beat: &Beat| beat.is_beat(payload);
        if self.format.beat.as_ref().is_some_and(is_beat) {
            return Err(EncodeError::ReadsAsControl);
        }
        if std::str::from_utf8(payload).is_err() {
            return Err(EncodeError::NotUtf8);
        }
        // A carriage return of the message must not be taken for half of the end.
        let is_cut = self.format.end == LineEnd::Lf && payload.ends_with(b"\r");
        let guard: &[u8] = if is_cut { b"\r" } else { b"" };
        self.put(&[payload, guard], out);
        Ok(())
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    fn has_pings(&self) -> bool {
        self.format.beat.is_some()
    }

    fn encode_ping(&mut self, token: u32, out: &mut Vec<u8>) {
        let Some(beat) = &self.format.beat else {
            return;
        };
        match beat.is_numbered {
            true => self.put(&[beat.ping.as_bytes(), format!(" {token}").as_bytes()], out),
            false => self.put(&[beat.ping.as_bytes()], out),
        }
    }

    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if let Some(beat) = &self.format.beat {
            self.put(&[beat.pong.as_bytes(), payload], out);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(end: LineEnd, beat: Option<Beat>) -> LineCodec {
        LineCodec::new(LineFormat {
            end,
            max_line: 9,
            beat,
        })
    }

    /// Decodes as the session does, fed in two pieces.
    fn decode(codec: &mut LineCodec, stream: &[u8], cut: usize) -> Vec<String> {
        let (mut at, mut end, mut found) = (0, cut, Vec::new());
        loop {
            let input = &stream[at..end];
            let decoded = codec.decode(input, &mut Vec::new()).unwrap();
            let text = |range: Range<usize>| String::from_utf8_lossy(&input[range]).into_owned();
            at += match decoded {
                Decoded::NeedMore if end == stream.len() => return found,
                Decoded::NeedMore => {
                    end = stream.len();
                    0
                }
                Decoded::Message {
                    consumed, payload, ..
                } => {
                    found.push(text(payload));
                    consumed
                }
                Decoded::Ping { consumed, payload } => {
                    found.push(format!("ping{}", text(payload)));
                    consumed
                }
                Decoded::Pong { consumed, token } => {
                    found.push(format!("pong {token:?}"));
                    consumed
                }
                other => panic!("{other:?}"),
            };
        }
    }

    #[test]
    fn lines_and_heartbeats_are_found_wherever_the_input_is_cut() {
        let stream = b"one\r\n\nHB 17\r\nHB\nHB-ACK 4\nHB-ACK x\r\nHBx 1\n hb\rz\r\r\n";
        let expected = [
            "one",
            "",
            "ping 17",
            "HB",
            "pong Some(4)",
            "pong None",
            "HBx 1",
            " hb\rz\r",
        ];
        for cut in 0..=stream.len() {
            let mut codec = lines(LineEnd::CrLf, Some(Beat::numbered("HB", "HB-ACK")));
            assert_eq!(decode(&mut codec, stream, cut), expected, "cut at {cut}");
        }
        let mut codec = lines(LineEnd::Lf, Some(Beat::plain("PING", "PONG")));
        let found = decode(&mut codec, b"PING\nPONG\r\nPING 1\n", 3);
        assert_eq!(found, ["ping", "pong None", "PING 1"]);
    }

    #[test]
    fn a_line_may_have_exactly_the_limit() {
        for stream in [&b"123456789\n"[..], b"123456789\r\n"] {
            for cut in 0..=stream.len() {
                let mut codec = lines(LineEnd::Lf, None);
                assert_eq!(decode(&mut codec, stream, cut), ["123456789"]);
            }
        }
        for stream in [&b"1234567890"[..], b"123456789\r\r", b"1234567890\n"] {
            let mut codec = lines(LineEnd::Lf, None);
            let decoded = codec.decode(stream, &mut Vec::new());
            let too_big = ProtocolError::MessageTooBig { size: 10, limit: 9 };
            assert_eq!(decoded, Err(too_big), "{stream:?}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for end in [LineEnd::Lf, LineEnd::CrLf] {
            for text in ["", "one", "\r", "a\r\r", "HB", "HB-ACK", "hb 1"] {
                let mut codec = lines(end, Some(Beat::numbered("HB", "HB-ACK")));
                let mut out = Vec::new();
                codec
                    .encode(MessageKind::Text, text.as_bytes(), &mut out)
                    .unwrap();
                assert!(out.ends_with(end.bytes()));
                assert_eq!(decode(&mut codec, &out, 1), [text], "{end:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_a_line_is_refused() {
        let mut codec = lines(LineEnd::Lf, Some(Beat::numbered("HB", "HB-ACK")));
        for (payload, error) in [
            (&b"a\nb"[..], EncodeError::LineFeed { at: 1 }),
            (b"HB 1", EncodeError::ReadsAsControl),
            (b"HB-ACK ", EncodeError::ReadsAsControl),
            (b"\xff", EncodeError::NotUtf8),
        ] {
            let mut out = Vec::new();
            let refused = codec.encode(MessageKind::Binary, payload, &mut out);
            assert_eq!((refused, out), (Err(error), vec![]));
        }
    }

    #[test]
    fn a_ping_of_ours_is_answered_as_the_peer_would() {
        for (beat, ping, pong) in [
            (Beat::numbered("HB", "HB-ACK"), "HB 7\r\n", "HB-ACK 7\r\n"),
            (Beat::plain("PING", "PONG"), "PING\r\n", "PONG\r\n"),
        ] {
            let mut codec = lines(LineEnd::CrLf, Some(beat));
            let mut out = Vec::new();
            codec.encode_ping(7, &mut out);
            assert_eq!(out, ping.as_bytes());
            let Ok(Decoded::Ping { payload, .. }) = codec.decode(&out, &mut Vec::new()) else {
                panic!("{ping} is a ping");
            };
            let mut answer = Vec::new();
            codec.encode_pong(&out[payload], &mut answer);
            assert_eq!(answer, pong.as_bytes());
        }
        let mut codec = lines(LineEnd::Lf, None);
        let mut out = Vec::new();
        codec.encode_ping(7, &mut out);
        codec.encode_pong(b"", &mut out);
        assert!(out.is_empty() && !codec.has_pings());
    }

    #[test]
    fn only_codecs_of_one_format_share_what_they_encode() {
        let encoding = |end, beat| lines(end, beat).rules().encoding;
        let beat = || Some(Beat::plain("a", "b"));
        let all = [
            encoding(LineEnd::Lf, None),
            encoding(LineEnd::CrLf, None),
            encoding(LineEnd::Lf, beat()),
            encoding(LineEnd::Lf, Some(Beat::numbered("a", "b"))),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(all[2], encoding(LineEnd::Lf, beat()));
    }

    #[test]
    fn a_long_line_is_searched_once() {
        let mut codec = LineCodec::new(LineFormat::default());
        let mut input = vec![b'x'; 1_000];
        assert_eq!(codec.decode(&input, &mut Vec::new()), Ok(Decoded::NeedMore));
        assert_eq!(codec.searched, 1_000);
        input.push(b'\n');
        codec.decode(&input, &mut Vec::new()).unwrap();
        assert_eq!(codec.searched, 0);
    }
}
