//! Lines in: however the bytes are cut, and beside a reading of the whole text at once.

use std::str;

use heartwheel::error::ProtocolError;
use heartwheel::proto::line::{LineDecoder, encode};
use heartwheel::proto::pool::Pool;
use heartwheel::proto::wire::{Item, MessageKind, Payload};

use super::feed::{Decode, End, Outcome, cut_everywhere};

/// Arbitrary bytes as lines: limit, cuts, and the stream.
pub fn line(data: &[u8]) {
    let Some(([limit, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let outcome = cut_everywhere::<Lines>(stream, u64::from(*seed), limit, is_same);
    let (expected, end, _) = read(stream, limit);
    assert_eq!(outcome.found, expected);
    assert!(
        is_same(&outcome.end, &end),
        "{:?}, not {end:?}",
        outcome.end
    );
    check_rest(stream, &outcome, limit);
    check_encoding(&outcome.found);
    check_message(stream);
}

const LIMITS: [u64; 6] = [0, 1, 4, 5, 100, u64::MAX];

/// How many bytes a line that is too long has, depends on how many have come.
fn is_same(one: &End, other: &End) -> bool {
    let kind = |end: &End| match *end {
        End::Error(ProtocolError::MessageTooBig { limit, .. }) => {
            End::Error(ProtocolError::MessageTooBig { size: 0, limit })
        }
        end => end,
    };
    kind(one) == kind(other)
}

/// Reads all lines at once; also returns what is left behind the last of them.
fn read(stream: &[u8], limit: u64) -> (Vec<Found>, End, Rest<'_>) {
    let (mut found, mut rest) = (Vec::new(), stream);
    loop {
        rest = match pass_commands(rest) {
            Ok(Some(line)) => line,
            Ok(None) => return (found, End::More, Rest::Command),
            Err(error) => return (found, End::Error(error), Rest::Command),
        };
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            break;
        };
        match judge(&rest[..end], limit) {
            Ok(one) => found.push(one),
            Err(error) => return (found, End::Error(error), Rest::Line(rest)),
        }
        rest = &rest[end + 1..];
    }
    // A line without its end is too long already, or it is not yet.
    match judge(rest, limit) {
        Err(error @ ProtocolError::MessageTooBig { .. }) => {
            (found, End::Error(error), Rest::Line(rest))
        }
        Err(_) | Ok(_) => (found, End::More, Rest::Line(rest)),
    }
}

/// What the stream ends with.
enum Rest<'a> {
    Line(&'a [u8]),
    /// A Telnet command.
    Command,
}

/// Passes over whole Telnet commands; `None` if the last one is not complete.
fn pass_commands(mut text: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    while let Some((255, command)) = text.split_first() {
        text = match command {
            [] | [251..=254] => return Ok(None),
            [251..=254, _, rest @ ..] | [236..=249, rest @ ..] => rest,
            [250, parameters @ ..] => match pass_parameters(parameters)? {
                Some(rest) => rest,
                None => return Ok(None),
            },
            _ => return Err(ProtocolError::InvalidUtf8),
        };
    }
    Ok(Some(text))
}

fn pass_parameters(mut text: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    for size in 1.. {
        text = match text {
            [] | [255] => return Ok(None),
            [255, 240, rest @ ..] => return Ok(Some(rest)),
            [255, _, rest @ ..] | [_, rest @ ..] => rest,
        };
        if size > 1_024 {
            return Err(ProtocolError::MessageTooBig { size, limit: 1_024 });
        }
    }
    unreachable!("parameters are bounded")
}

fn judge(line: &[u8], limit: u64) -> Result<Found, ProtocolError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let size = line.len() as u64;
    if size > limit {
        return Err(ProtocolError::MessageTooBig { size, limit });
    }
    match line {
        b"PING" => Ok(Found::Ping),
        b"PONG" => Ok(Found::Pong),
        line => match str::from_utf8(line) {
            Ok(text) => Ok(Found::Line(text.to_owned())),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        },
    }
}

/// The end of input ends the last line.
fn check_rest(stream: &[u8], outcome: &Outcome<Found>, limit: u64) {
    if outcome.end != End::More {
        return;
    }
    let (mut lines, mut pool) = (Lines::default(), Pool::default());
    lines
        .0
        .decode(&mut [], limit, &mut pool)
        .expect("nothing is no error");
    super::feed::feed(
        &mut lines,
        stream,
        super::feed::Cuts::Bytes,
        limit,
        &mut pool,
    );
    let Rest::Line(rest) = read(stream, limit).2 else {
        assert!(!lines.0.is_idle());
        assert_eq!(lines.0.finish(&mut pool), Ok(Item::NeedMore));
        return;
    };
    assert_eq!(lines.0.is_idle(), rest.is_empty());
    let finished = lines.0.finish(&mut pool);
    match (rest, judge(rest, limit)) {
        ([], _) => assert_eq!(finished, Ok(Item::NeedMore)),
        (_, Ok(expected)) => {
            let item = finished.expect("a line that keeps the rules");
            assert_eq!(lines.found(item, &[]), Some(expected));
        }
        (_, Err(error)) => assert_eq!(finished, Err(error)),
    }
}

/// What was found, written and read again, is the same.
fn check_encoding(found: &[Found]) {
    let mut stream = Vec::new();
    for one in found {
        match one {
            Found::Ping => stream.extend_from_slice(heartwheel::proto::line::PING),
            Found::Pong => stream.extend_from_slice(heartwheel::proto::line::PONG),
            Found::Line(text) => {
                encode(text.as_bytes(), &mut stream).expect("a line that was read")
            }
        }
    }
    let (again, end, _) = read(&stream, u64::MAX);
    assert_eq!((again, end), (found.to_vec(), End::More));
}

/// A message that can be written arrives as it was; one that cannot leaves nothing behind.
fn check_message(payload: &[u8]) {
    let mut stream = Vec::new();
    match encode(payload, &mut stream) {
        Ok(()) => {
            let text = str::from_utf8(payload).expect("a line is text");
            let found = vec![Found::Line(text.to_owned())];
            let (again, end, _) = read(&stream, u64::MAX);
            assert_eq!((again, end), (found, End::More));
        }
        Err(_) => assert!(stream.is_empty()),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Found {
    Ping,
    Pong,
    Line(String),
}

#[derive(Default)]
struct Lines(LineDecoder);

impl Lines {
    fn found(&self, item: Item, consumed: &[u8]) -> Option<Found> {
        let payload = match item {
            Item::NeedMore => return None,
            Item::Ping => return Some(Found::Ping),
            Item::Pong => return Some(Found::Pong),
            Item::Message { kind, payload } => {
                assert_eq!(kind, MessageKind::Text);
                payload
            }
        };
        let line = match payload {
            Payload::Input(range) => &consumed[range],
            Payload::Assembled => self.0.assembled(),
        };
        Some(Found::Line(
            String::from_utf8(line.to_vec()).expect("utf-8"),
        ))
    }
}

impl Decode for Lines {
    type Found = Found;

    const MOST_LEFT: usize = 0;

    fn step(
        &mut self,
        input: &mut [u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Option<Found>), ProtocolError> {
        let (consumed, item) = self.0.decode(input, limit, pool)?;
        Ok((consumed, self.found(item, &input[..consumed])))
    }

    fn release(mut self, pool: &mut Pool) {
        // An unfinished line keeps its storage until it is finished; one that is no text keeps it.
        let _ = self.0.finish(pool);
        self.0.release(pool);
    }
}
