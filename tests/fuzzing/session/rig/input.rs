//! Bytes in, and what the session says of them.

use heartwheel::close::{Cause, Phase};
use heartwheel::proto::outbox::Outbox;
use heartwheel::proto::ring::Ring;
use heartwheel::proto::session::Event;
use heartwheel::proto::wire::Payload;

use super::super::plan::WireChoice;
use super::super::reader::Next;
use super::Rig;

impl Rig {
    /// Reads all that has arrived, unless reading is paused.
    pub(in super::super) fn read(&mut self) {
        let phase = self.session.phase();
        if self.is_ended || phase == Phase::Connecting || self.session.is_paused() {
            return;
        }
        if self.socket.is_reset {
            self.session.handle_io_error(self.now, Some(104), true);
            return;
        }
        let had_output = self.session.has_output();
        let mut ring = self.session.take_input(&mut self.env);
        self.decode(&mut ring);
        while !self.socket.arrived.is_empty() {
            if ring.is_full() {
                let limit = self.session.input_limit(&self.env);
                if !ring.grow(limit, self.env.pool_mut()) {
                    let is_waiting = self.session.phase() == Phase::Handshaking;
                    assert!(is_waiting, "a full ring that nothing empties");
                    break;
                }
            }
            let count = self.socket.read(&mut ring, self.env.pool_mut());
            self.session.handle_bytes(&mut self.env, self.now, count);
            self.law.note_bytes(&self.times(), self.now);
            self.decode(&mut ring);
        }
        let limit = self.session.input_limit(&self.env);
        assert!(ring.capacity() <= limit.next_multiple_of(64 * 1024));
        if self.session.phase() == Phase::Closed {
            ring.consume(ring.len());
        }
        self.session.put_input(&mut self.env, ring);
        self.see_end();
        self.note_output(had_output);
    }

    fn see_end(&mut self) {
        let socket = &mut self.socket;
        if !socket.is_ended || !socket.arrived.is_empty() || socket.is_end_seen {
            return;
        }
        socket.is_end_seen = true;
        let messages = self.env.stats().messages_in;
        if let Some((_, payload)) = self.session.decode_rest(&mut self.env, self.now) {
            assert_eq!(payload, Payload::Assembled);
            assert!(matches!(self.wire, WireChoice::Line));
            let line = self.session.take_assembled();
            assert!(line.len() <= self.limits.max_message);
            assert_eq!(self.env.stats().messages_in, messages + 1);
        }
        self.session.handle_eof(&self.env, self.now);
        assert_ne!(self.session.phase(), Phase::Open);
    }

    fn decode(&mut self, ring: &mut Ring) {
        while !ring.is_empty() && self.session.phase() != Phase::Handshaking {
            let input = ring.contiguous_mut();
            let is_watched = self.session.phase() == Phase::Open;
            let expected = is_watched.then(|| self.reader.step(input.to_vec()));
            let len = input.len();
            let (consumed, event) = self.session.decode(&mut self.env, self.now, input);
            assert!(consumed <= len);
            let is_done = matches!(event, Event::NeedMore);
            assert!(is_done || consumed > 0, "{event:?} out of nothing");
            let found = match &event {
                Event::Message { payload, .. } => Some(match payload {
                    Payload::Input(range) => {
                        assert!(range.end <= consumed);
                        input[range.clone()].to_vec()
                    }
                    Payload::Assembled => self.session.take_assembled(),
                }),
                Event::NeedMore | Event::Consumed | Event::Pong { .. } => None,
            };
            match expected {
                Some(Ok((used, next))) => {
                    assert_eq!(consumed, used, "{event:?}, not {next:?}");
                    self.check_event(&event, found, next);
                }
                Some(Err(error)) => {
                    assert!(is_done && consumed == len);
                    assert_eq!(self.session.cause(), Some(error.cause()), "{error:?}");
                }
                None => assert!(found.is_none(), "a message after the goodbye"),
            }
            ring.consume(consumed);
            if is_done {
                break;
            }
        }
    }

    fn check_event(&mut self, event: &Event, found: Option<Vec<u8>>, next: Next) {
        let is_open = self.session.phase() == Phase::Open;
        match (next, event) {
            (Next::More, Event::NeedMore) | (Next::Frame, Event::Consumed) => assert!(is_open),
            (Next::Message(payload), Event::Message { .. }) => {
                assert_eq!(found, Some(payload));
                self.law.note_message_in(&self.times(), self.now);
            }
            (Next::Ping(payload), Event::Consumed) => self.check_ping(payload, is_open),
            (Next::Pong(token), event) => self.check_pong(token, event, is_open),
            (Next::Close, Event::Consumed) => {
                assert_eq!(self.session.cause(), Some(Cause::PeerClosed));
            }
            (next, event) => panic!("{next:?} became {event:?}"),
        }
    }

    /// While the socket takes output every ping gets a pong of its own, within the bounds of memory.
    fn check_ping(&mut self, payload: Vec<u8>, is_open: bool) {
        if is_open {
            self.observer.expect_pong(payload);
            let folded = self.env.stats().pongs_folded;
            if self.socket.is_writable && self.observer.owed_bytes() <= Outbox::PONG_LIMIT {
                assert_eq!(folded, self.folded, "a pong stands for two pings");
            }
            self.folded = folded;
            return;
        }
        assert_eq!(self.session.cause(), Some(Cause::PingFlood));
        let rate = self.limits.pings_per_second;
        assert_burst(self.env.stats().pings_received, rate);
    }

    fn check_pong(&mut self, token: Option<Vec<u8>>, event: &Event, is_open: bool) {
        let written = self.observer.pings.len();
        let number = match token {
            // A wire without tokens: the oldest.
            None => (self.answered < written).then_some(self.answered),
            Some(token) => {
                let mut outstanding = (self.answered..written).rev();
                outstanding.find(|&number| self.observer.pings[number] == token)
            }
        };
        match (number, event) {
            (Some(number), Event::Pong { rtt }) => {
                self.answered = number + 1;
                let took = self.now.at - self.written_at[number];
                assert!(rtt.is_none_or(|rtt| rtt == took));
                self.law.note_answer(self.now);
            }
            (None, Event::Consumed) => {
                if !is_open {
                    assert_eq!(self.session.cause(), Some(Cause::PongFlood));
                    let rate = self.limits.pongs_per_second;
                    let stats = self.env.stats();
                    assert_burst(stats.pongs_unsolicited + stats.pongs_mismatched, rate);
                }
            }
            (number, event) => panic!("pong of ping {number:?} became {event:?}"),
        }
    }
}

/// A peer may send three seconds' worth at once.
fn assert_burst(count: u64, rate: Option<u32>) {
    let cost = 1_000 / rate.expect("the limit is on");
    assert!(count * u64::from(cost) > 3_000, "a flood of {count}");
}
