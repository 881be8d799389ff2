//! The peer's view of what a session writes: whole frames of its wire, and nothing after the goodbye.

use std::collections::VecDeque;

use heartwheel::proto::wire::Role;

use super::super::memory::opening;
use super::plan::WireChoice;
use super::reader::{Next, Reader};

/// Reads all that was written, in order.
pub(super) struct Observer {
    reader: Reader,
    /// The wire has frames; else a message is as many bytes as were sent.
    is_framed: bool,
    waiting: Vec<u8>,
    /// The head of the opening handshake, as far as it has come, and whether more of it comes first.
    head: Vec<u8>,
    is_opening: bool,
    /// That head answers that no connection opens; its body follows.
    is_refusal: bool,
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

impl Observer {
    /// Begins to read what the session with this role writes.
    pub(super) fn new(wire: WireChoice, role: Role) -> Self {
        let other = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        Self {
            reader: Reader::new(wire, other, u64::MAX),
            is_framed: !matches!(wire, WireChoice::Raw),
            waiting: Vec::new(),
            head: Vec::new(),
            is_opening: matches!(wire, WireChoice::WebSocket),
            is_refusal: false,
            sent: VecDeque::new(),
            owed: VecDeque::new(),
            newest_ping: Vec::new(),
            newest_pong: Vec::new(),
            folded: 0,
            pings: Vec::new(),
            is_closed: false,
        }
    }

    /// Returns the head of the opening handshake, once it has come.
    pub(super) fn head(&self) -> Option<&[u8]> {
        (!self.is_opening).then_some(&self.head)
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
        if self.is_opening {
            self.head.extend_from_slice(bytes);
            let Some(len) = opening::head_len(&self.head) else {
                return;
            };
            self.is_opening = false;
            self.waiting = self.head.split_off(len);
            let is_opened = self.head.starts_with(b"HTTP/1.1 101 ");
            self.is_refusal = self.head.starts_with(b"HTTP/1.1 ") && !is_opened;
            let is_known = is_opened || self.is_refusal || self.head.starts_with(b"GET / ");
            assert!(is_known, "{:?}", self.head.escape_ascii().to_string());
        } else {
            self.waiting.extend_from_slice(bytes);
        }
        if self.is_refusal {
            return;
        }
        while let Some(next) = self.next() {
            self.note(next);
        }
        assert!(
            !self.is_closed || self.waiting.is_empty(),
            "something was written after the goodbye"
        );
    }

    fn note(&mut self, next: Next) {
        assert!(!self.is_closed, "{next:?} after the goodbye");
        match next {
            Next::More | Next::Frame => {}
            Next::Message(payload) => {
                assert_eq!(
                    Some(payload),
                    self.sent.pop_front(),
                    "messages in their order"
                );
            }
            Next::Ping(payload) => self.pings.push(payload),
            Next::Pong(payload) => self.note_pong(payload.unwrap_or_default()),
            Next::Close => self.is_closed = true,
        }
    }

    fn note_pong(&mut self, payload: Vec<u8>) {
        let place = self.owed.iter().position(|owed| *owed == payload);
        let place = place.expect("a pong answers a ping of the peer");
        self.owed.drain(..=place);
        self.folded += place as u64;
        self.newest_pong = payload;
    }

    /// Takes the next whole frame.
    fn next(&mut self) -> Option<Next> {
        if self.waiting.is_empty() {
            return None;
        }
        if !self.is_framed {
            let len = self.sent.front().expect("only messages are written").len();
            let is_whole = self.waiting.len() >= len;
            return is_whole.then(|| Next::Message(self.waiting.drain(..len).collect()));
        }
        let (consumed, next) = self
            .reader
            .step(self.waiting.clone())
            .expect("what we write keeps the rules");
        self.waiting.drain(..consumed);
        (!matches!(next, Next::More)).then_some(next)
    }
}
