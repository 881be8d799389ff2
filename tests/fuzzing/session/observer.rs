//! The peer's view of what a session writes: whole frames of its wire, and nothing after the goodbye.

use std::collections::VecDeque;

use heartwheel::proto::binary::BinaryDecoder;
use heartwheel::proto::line::LineDecoder;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::{Decoder, Item as WebSocketItem};
use heartwheel::proto::wire::{Item, Payload, Role};

use super::plan::WireChoice;

/// Reads all that was written, in order.
pub(super) struct Observer {
    reader: Reader,
    pool: Pool,
    waiting: Vec<u8>,
    /// Bytes of an opening handshake that are to come first.
    head: VecDeque<u8>,
    /// The session answered a handshake for itself: what is written is that answer.
    answer: Option<Vec<u8>>,
    /// Messages queued and not read yet.
    pub(super) sent: VecDeque<Vec<u8>>,
    /// Payloads of pings received and not answered yet.
    owed: VecDeque<Vec<u8>>,
    newest_ping: Vec<u8>,
    newest_pong: Vec<u8>,
    /// Pings that a later pong answered.
    folded: u64,
    /// Payloads of the pings written whole.
    pub(super) pings: Vec<Vec<u8>>,
    pub(super) is_closed: bool,
}

enum Reader {
    WebSocket(Role, Decoder),
    Line(LineDecoder),
    Binary(BinaryDecoder),
    Raw,
    Own,
}

/// One frame of ours.
#[derive(Debug)]
enum Seen {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Fragment,
    Close,
}

impl Observer {
    /// Begins to read what the session with this role writes.
    pub(super) fn new(wire: WireChoice, role: Role) -> Self {
        let other = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        Self {
            reader: match wire {
                WireChoice::WebSocket => Reader::WebSocket(other, Decoder::default()),
                WireChoice::Line => Reader::Line(LineDecoder::default()),
                WireChoice::Binary => Reader::Binary(BinaryDecoder::default()),
                WireChoice::Raw => Reader::Raw,
                WireChoice::Own => Reader::Own,
            },
            pool: Pool::default(),
            waiting: Vec::new(),
            head: VecDeque::new(),
            answer: None,
            sent: VecDeque::new(),
            owed: VecDeque::new(),
            newest_ping: Vec::new(),
            newest_pong: Vec::new(),
            folded: 0,
            pings: Vec::new(),
            is_closed: false,
        }
    }

    /// Notes that the session was given a head to send.
    pub(super) fn expect_head(&mut self, head: &[u8]) {
        self.head.extend(head);
    }

    /// Notes that the handshake took too long: an answer of the session's own comes, and nothing else.
    pub(super) fn expect_answer(&mut self) {
        self.answer = Some(Vec::new());
    }

    /// Notes that a ping was received which is to be answered.
    pub(super) fn expect_pong(&mut self, payload: Vec<u8>) {
        self.newest_ping.clone_from(&payload);
        self.owed.push_back(payload);
    }

    /// Returns the most bytes that owed pongs take while they wait.
    pub(super) fn owed_bytes(&self) -> usize {
        const LONGEST_HEADER: usize = 6;
        self.owed
            .iter()
            .map(|owed| owed.len() + LONGEST_HEADER)
            .sum()
    }

    /// Nothing waits to be written: each ping has its pong, or a newer one's.
    pub(super) fn settle_pongs(&mut self, folded: u64) {
        assert_eq!(
            self.newest_pong, self.newest_ping,
            "the newest ping is answered"
        );
        // Of equal ones it cannot be told which was folded.
        let missing = self.owed.len() as u64;
        assert_eq!(self.folded + missing, folded, "a pong was lost");
        self.folded = folded;
        self.owed.clear();
    }

    /// Reads bytes that the socket accepted.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let head_len = bytes.len().min(self.head.len());
        let (head, frames) = bytes.split_at(head_len);
        assert!(
            self.head.drain(..head_len).eq(head.iter().copied()),
            "the head comes first"
        );
        if let Some(answer) = &mut self.answer {
            answer.extend_from_slice(frames);
            let start = b"HTTP/1.1 408 ";
            let len = answer.len().min(start.len());
            assert_eq!(answer[..len], start[..len]);
            return;
        }
        self.waiting.extend_from_slice(frames);
        while let Some(seen) = self.next() {
            self.note(seen);
        }
        assert!(
            !self.is_closed || self.waiting.is_empty(),
            "something was written after the goodbye"
        );
    }

    fn note(&mut self, seen: Seen) {
        assert!(!self.is_closed, "{seen:?} after the goodbye");
        match seen {
            Seen::Fragment => {}
            Seen::Message(payload) => {
                assert_eq!(
                    Some(payload),
                    self.sent.pop_front(),
                    "messages in their order"
                );
            }
            Seen::Ping(payload) => self.pings.push(payload),
            Seen::Pong(payload) => {
                let place = self.owed.iter().position(|owed| *owed == payload);
                let place = place.expect("a pong answers a ping of the peer");
                self.owed.drain(..=place);
                self.folded += place as u64;
                self.newest_pong = payload;
            }
            Seen::Close => self.is_closed = true,
        }
    }

    /// Takes the next whole frame.
    fn next(&mut self) -> Option<Seen> {
        if self.waiting.is_empty() {
            return None;
        }
        let (consumed, seen) = match &mut self.reader {
            Reader::WebSocket(role, decoder) => {
                let (consumed, item) = decoder
                    .decode(*role, &mut self.waiting, u64::MAX, &mut self.pool)
                    .expect("what we write keeps the rules");
                let bytes = |range: std::ops::Range<usize>| self.waiting[range].to_vec();
                let seen = match item {
                    WebSocketItem::NeedMore => None,
                    WebSocketItem::Fragment => Some(Seen::Fragment),
                    WebSocketItem::Message { payload, .. } => Some(Seen::Message(match payload {
                        Payload::Input(range) => bytes(range),
                        Payload::Assembled => decoder.assembled().to_vec(),
                    })),
                    WebSocketItem::Ping(range) => Some(Seen::Ping(bytes(range))),
                    WebSocketItem::Pong(range) => Some(Seen::Pong(bytes(range))),
                    WebSocketItem::Close { .. } => Some(Seen::Close),
                };
                (consumed, seen)
            }
            Reader::Line(decoder) => {
                let (consumed, item) = decoder
                    .decode(&mut self.waiting, u64::MAX, &mut self.pool)
                    .expect("what we write keeps the rules");
                (consumed, plain(item, &self.waiting, decoder.assembled()))
            }
            Reader::Binary(decoder) => {
                let (consumed, item) = decoder
                    .decode(&mut self.waiting, u64::MAX, &mut self.pool)
                    .expect("what we write keeps the rules");
                (consumed, plain(item, &self.waiting, decoder.assembled()))
            }
            Reader::Raw => return self.next_raw(),
            Reader::Own => own(&self.waiting),
        };
        self.waiting.drain(..consumed);
        seen
    }

    /// Without frames a message is as many bytes as were sent.
    fn next_raw(&mut self) -> Option<Seen> {
        let len = self.sent.front().expect("only messages are written").len();
        (self.waiting.len() >= len).then(|| Seen::Message(self.waiting.drain(..len).collect()))
    }
}

fn plain(item: Item, input: &[u8], assembled: &[u8]) -> Option<Seen> {
    match item {
        Item::NeedMore => None,
        Item::Ping => Some(Seen::Ping(Vec::new())),
        Item::Pong => Some(Seen::Pong(Vec::new())),
        Item::Message { payload, .. } => Some(Seen::Message(match payload {
            Payload::Input(range) => input[range].to_vec(),
            Payload::Assembled => assembled.to_vec(),
        })),
    }
}

fn own(input: &[u8]) -> (usize, Option<Seen>) {
    match *input {
        [b'm', len, ref rest @ ..] => match rest.get(..usize::from(len)) {
            Some(payload) => (2 + payload.len(), Some(Seen::Message(payload.to_vec()))),
            None => (0, None),
        },
        [b'?', a, b, c, d, ..] => (5, Some(Seen::Ping(vec![a, b, c, d]))),
        [b'!', a, b, c, d, ..] => (5, Some(Seen::Pong(vec![a, b, c, d]))),
        [b'.', ..] => (1, Some(Seen::Close)),
        [] | [b'm' | b'?' | b'!', ..] => (0, None),
        [tag, ..] => panic!("{tag:#x} was written"),
    }
}
