//! Reads the bytes of a stream as the wires' descriptions say, and knows nothing of the code.

use std::mem;

/// What a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    WebSocket,
    Line,
    Binary,
    Raw,
    Own,
}

/// What was found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The opening handshake's request, or the response that accepts it.
    Head,
    /// A data frame that is not the last of its message.
    Fragment,
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    speech: Speech,
    /// The opening handshake is not over.
    in_head: bool,
    /// What comes is no frames, but the text of a refusal.
    is_over: bool,
    buffer: Vec<u8>,
    /// Fragments of the present message.
    message: Option<Vec<u8>>,
}

impl Scanner {
    pub(crate) fn new(speech: Speech) -> Self {
        Self {
            speech,
            in_head: speech == Speech::WebSocket,
            is_over: false,
            buffer: Vec::new(),
            message: None,
        }
    }

    /// Reads on; whatever is complete goes to `found`.
    pub(crate) fn scan(&mut self, bytes: &[u8], found: &mut Vec<Item>) {
        if self.is_over {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let mut done = 0;
        while let Some((len, item)) = self.next(done) {
            done += len;
            found.extend(item);
            if self.is_over {
                done = self.buffer.len();
            }
        }
        self.buffer.drain(..done);
    }

    /// Says whether the stream stands within a frame, a message or a head.
    pub(crate) fn is_within(&self) -> bool {
        !self.buffer.is_empty() || self.message.is_some()
    }

    /// Says whether the opening handshake is not over.
    pub(crate) fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// Says whether fragments of a message have come, and not its last.
    pub(crate) fn is_in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Says whether the newest bytes are of a message that is not whole.
    pub(crate) fn is_within_data(&self) -> bool {
        let Some(&first) = self.buffer.first() else {
            return false;
        };
        match self.speech {
            _ if self.in_head || self.is_over => false,
            Speech::WebSocket => first & 0x08 == 0,
            Speech::Line => {
                !b"PING".starts_with(&self.buffer) && !b"PONG".starts_with(&self.buffer)
            }
            Speech::Binary | Speech::Own => first == 0,
            Speech::Raw => true,
        }
    }

    /// Returns the bytes of the unfinished message: of its payload for certain, and at most.
    pub(crate) fn unfinished(&self) -> (u64, u64) {
        let whole = self.message.as_ref().map_or(0, Vec::len) as u64;
        let rest = self.buffer.len() as u64;
        (whole + rest.saturating_sub(MOST_HEADER), whole + rest)
    }

    /// Says whether the unfinished message has, or has announced, more bytes of payload than this.
    pub(crate) fn is_longer_than(&self, limit: u64) -> bool {
        let whole = self.message.as_ref().map_or(0, Vec::len) as u64;
        let input = &self.buffer;
        // Of which this many are the header, and this many the payload that it announces.
        let (header, announced) = match self.speech {
            Speech::WebSocket => match (input.first(), input.get(1).map(|second| second & 0x7f)) {
                (Some(first), _) if first & 0x08 != 0 => (0, None),
                (_, Some(126)) => (8, read_u16(input, 2)),
                (_, Some(127)) => (14, read_u64(input, 2)),
                (_, Some(len)) => (6, Some(len.into())),
                (_, None) => (0, None),
            },
            Speech::Binary => (5, read_u32(input, 1)),
            Speech::Line | Speech::Raw | Speech::Own => (0, Some(0)),
        };
        // Clients mask their frames, servers do not: only then is the mask a part of the header.
        let is_masked = input.get(1).is_some_and(|second| second & 0x80 != 0);
        let mask = match self.speech {
            Speech::WebSocket if !is_masked => 4,
            _ => 0,
        };
        match announced {
            Some(len) if input.len() as u64 + mask >= header || self.speech == Speech::Line => {
                let payload = (input.len() as u64 + mask).saturating_sub(header);
                whole + payload.max(len) > limit
            }
            _ => whole + input.len() as u64 > limit,
        }
    }

    /// Returns what an end of the stream now would make of an unfinished line.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Finds the next frame from `done` on: its length, and what it was.
    fn next(&mut self, done: usize) -> Option<(usize, Option<Item>)> {
        let input = &self.buffer[done..];
        if input.is_empty() {
            return None;
        }
        if self.in_head {
            let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            self.in_head = false;
            let is_refusal = input.starts_with(b"HTTP/1.1 ") && !input[9..].starts_with(b"101 ");
            self.is_over = is_refusal;
            return Some((end, (!is_refusal).then_some(Item::Head)));
        }
        match self.speech {
            Speech::WebSocket => self.next_websocket(done),
            Speech::Line => {
                let end = input.iter().position(|&byte| byte == b'\n')?;
                let item = match &input[..end] {
                    b"PING" => Item::Ping(Vec::new()),
                    b"PONG" => Item::Pong(Vec::new()),
                    line => Item::Message(line.to_vec()),
                };
                Some((end + 1, Some(item)))
            }
            Speech::Binary => match input[0] {
                1 => Some((1, Some(Item::Ping(Vec::new())))),
                2 => Some((1, Some(Item::Pong(Vec::new())))),
                0 => {
                    let len = u32::from_be_bytes(*input.get(1..)?.first_chunk()?) as usize;
                    let payload = input.get(5..5 + len)?.to_vec();
                    Some((5 + len, Some(Item::Message(payload))))
                }
                other => panic!("the binary wire has no frame {other}"),
            },
            Speech::Raw => Some((input.len(), Some(Item::Message(input.to_vec())))),
            Speech::Own => {
                let len = usize::from(u16::from_be_bytes(*input.get(1..)?.first_chunk()?));
                let payload = input.get(3..3 + len)?.to_vec();
                let item = match input[0] {
                    0 => Item::Message(payload),
                    1 => Item::Ping(payload),
                    2 => Item::Pong(payload),
                    3 => Item::Close,
                    other => panic!("the own wire has no frame {other}"),
                };
                Some((3 + len, Some(item)))
            }
        }
    }

    /// RFC 6455, section 5.2.
    fn next_websocket(&mut self, done: usize) -> Option<(usize, Option<Item>)> {
        let input = &self.buffer[done..];
        let (first, second) = (input[0], *input.get(1)?);
        let (len, mut at) = match second & 0x7f {
            126 => (
                u64::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?)),
                4,
            ),
            127 => (u64::from_be_bytes(*input.get(2..)?.first_chunk()?), 10),
            len => (u64::from(len), 2),
        };
        let len = usize::try_from(len).expect("no test sends that much");
        let mask: [u8; 4] = match second & 0x80 {
            0 => [0; 4],
            _ => {
                at += 4;
                *input.get(at - 4..)?.first_chunk()?
            }
        };
        let mut payload = input.get(at..at + len)?.to_vec();
        for (place, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[place % 4];
        }
        let is_final = first & 0x80 != 0;
        let item = match first & 0x0f {
            opcode @ 0..=2 => {
                assert_eq!(
                    opcode == 0,
                    self.message.is_some(),
                    "a fragment out of place"
                );
                let mut message = self.message.take().unwrap_or_default();
                message.append(&mut payload);
                if is_final {
                    Item::Message(message)
                } else {
                    self.message = Some(message);
                    Item::Fragment
                }
            }
            8 => {
                self.is_over = true;
                Item::Close
            }
            9 => Item::Ping(payload),
            10 => Item::Pong(payload),
            other => panic!("WebSocket has no opcode {other}"),
        };
        Some((at + len, Some(item)))
    }

    /// Takes what is left, as when a line ends with its stream.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.buffer)
    }
}

fn read_u16(input: &[u8], at: usize) -> Option<u64> {
    let bytes = input.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes).into())
}

fn read_u32(input: &[u8], at: usize) -> Option<u64> {
    let bytes = input.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes).into())
}

fn read_u64(input: &[u8], at: usize) -> Option<u64> {
    let bytes = input.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

/// Bytes that a frame has beside its payload, at most.
const MOST_HEADER: u64 = 14;
