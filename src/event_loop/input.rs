//! Reading: input is decoded and handed to callbacks, until the socket would block or a budget is
//! used up.

use std::time::Duration;

use super::conn::{Mark, ReadOutcome, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::handler::Handler;
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::proto::message::Message;
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::session::Event;
use crate::proto::time::Micros;
use crate::proto::wire::{MessageKind, Payload};
use crate::sys::{Probe, Stream, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Continues to read connections whose budget ended in an earlier turn, in their order: at
    /// least one, and more while there is time. They come after the events, so that a peer that
    /// sends little does not wait for one that sends much.
    pub(super) fn read_carried<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        let ends = self.now.at + CARRIED_SLICE;
        for _ in 0..self.carried.len() {
            let (conns, names) = (&mut self.conns, self.names);
            let next = self.carried.pop(|id| {
                let conn = conns.get_mut(id.index())?;
                (conn.id(id.index(), names) == id).then_some(&mut conn.marks)
            });
            let Some((id, Some(marks))) = next else {
                continue;
            };
            if marks.has(Mark::Doomed) {
                continue;
            }
            self.read(handler, id);
            self.catch_up();
            if self.now.at >= ends {
                return;
            }
        }
    }

    /// Reads a connection until it would block or its budget for this turn, bytes or time, is used
    /// up. Then writes the resulting output. The clock is read after each read, because a proof of
    /// life must not be stamped earlier, and after the callbacks.
    pub(super) fn read<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        self.in_hand.begin_input(id);
        let mut heard = match self.hear(handler, id) {
            Heard::Answer => return self.in_hand.end_input(),
            Heard::Other(outcome) => Some(outcome),
            Heard::Nothing => None,
        };
        let mut ring = match heard {
            Some(_) => std::mem::take(&mut self.ring),
            None => self.conns[key].session.take_input(&mut self.env),
        };
        let mut budget = self.config.read_budget;
        let ends = self.now.at + CONN_SLICE;
        let (mut called, mut is_over) = match heard {
            // What an earlier pause, handshake or budget left behind comes first.
            None => self.decode(handler, id, &mut ring, ends),
            Some(_) => (false, false),
        };
        loop {
            let outcome = match heard.take() {
                Some(outcome) => outcome,
                None => {
                    if is_over && !self.conns[key].session.is_paused() {
                        self.carry(key);
                        break;
                    }
                    let conn = &self.conns[key];
                    if !conn.ready.has(Ready::Readable) || conn.session.is_paused() {
                        break;
                    }
                    if budget == 0 || (called && self.now.at >= ends) {
                        self.carry(key);
                        break;
                    }
                    match self.read_some(key, &mut ring, budget) {
                        Some(outcome) => outcome,
                        None => break,
                    }
                }
            };
            match outcome {
                ReadOutcome::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    (called, is_over) = self.decode(handler, id, &mut ring, ends);
                }
                ReadOutcome::Blocked => break,
                ReadOutcome::Eof => {
                    self.handle_eof(handler, id);
                    break;
                }
                ReadOutcome::Failed(error) => {
                    self.conns[key].fail(self.now, &error);
                    break;
                }
            }
        }
        self.is_behind |= called;
        if called || self.conns[key].session.has_output() {
            self.catch_up();
        }
        self.settle_input(id, ring);
    }

    /// Reads a connection at rest once, into the ring of the loop. The answer to a heartbeat ends here;
    /// whatever else came is left in that ring.
    fn hear<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) -> Heard {
        let key = id.index();
        let conn = &mut self.conns[key];
        let is_short =
            conn.is_calm() && conn.ready.has(Ready::Readable) && !conn.session.is_paused();
        if !is_short || !self.system.takes_short_way() {
            return Heard::Nothing;
        }
        self.ring.widen(Pool::LARGEST, &mut self.env.pool);
        let outcome = conn.read(&mut self.ring, &mut self.env, self.config.read_budget);
        self.note_bytes(key, &outcome);
        let conn = &mut self.conns[key];
        let input = self.ring.contiguous_mut();
        let Some(rtt) = conn.session.decode_answer(&mut self.env, self.now, input) else {
            return Heard::Other(outcome);
        };
        self.ring.clear();
        self.system
            .probe(conn.stream.socket(), Probe::Decoded { is_left: false });
        self.tell_pong(handler, id, rtt);
        let conn = &mut self.conns[key];
        if !conn.is_calm() || conn.ready.has(Ready::Readable) || conn.session.is_paused() {
            // There is more to read, or the callback wants something.
            return Heard::Other(ReadOutcome::Bytes(0));
        }
        self.rearm(key);
        Heard::Answer
    }

    /// Reads once into the ring. `None` if that is full of what is no frame: only a handler that reads on
    /// can make room.
    fn read_some(&mut self, key: usize, ring: &mut Ring, budget: usize) -> Option<ReadOutcome> {
        let conn = &mut self.conns[key];
        if !conn.make_room(ring, &mut self.env) {
            return None;
        }
        let outcome = conn.read(ring, &mut self.env, budget);
        self.note_bytes(key, &outcome);
        Some(outcome)
    }

    /// Notes what a read found, at the time of the read.
    fn note_bytes(&mut self, key: usize, outcome: &ReadOutcome) {
        if let ReadOutcome::Bytes(count) = *outcome {
            self.refresh_now();
            self.conns[key]
                .session
                .handle_bytes(&mut self.env, self.now, count);
        }
    }

    /// Gives the ring back or keeps it, and handles the consequences of reading.
    fn settle_input(&mut self, id: ConnId, mut ring: Ring) {
        let key = id.index();
        if self.keep_ring(key, &mut ring) {
            let conn = &self.conns[key];
            let decoded = Probe::Decoded { is_left: false };
            self.system.probe(conn.stream.socket(), decoded);
            self.in_hand.end_input();
            self.rearm(key);
            return;
        }
        let conn = &mut self.conns[key];
        if !ring.is_empty() && conn.session.phase() == Phase::Closed {
            ring.consume(ring.len());
        }
        let is_left =
            !ring.is_empty() && (conn.marks.has(Mark::Carried) || conn.session.is_paused());
        self.system
            .probe(conn.stream.socket(), Probe::Decoded { is_left });
        conn.session.put_input(&mut self.env, ring);
        self.in_hand.end_input();
        let counted = conn.session.tally().bytes;
        self.probe_cause(key);
        let conn = &mut self.conns[key];
        if conn.session.phase() != Phase::Open {
            self.mark_dirty(key);
        } else if conn.session.wants_flush()
            || conn.stream.wants_write()
            || conn.marks.has(Mark::WantsRoom)
        {
            // What its callbacks queued leaves at once, before others have their turn.
            self.flush(key);
        } else {
            self.settle(key);
            self.rearm(key);
        }
        self.limit_growth(key, counted);
    }

    fn handle_eof<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        if let Some((kind, payload)) = self.conns[key].session.decode_rest(&mut self.env, self.now)
        {
            self.deliver(handler, id, kind, payload, &[]);
        }
        let conn = &mut self.conns[key];
        if conn.ready.has(Ready::Reset) {
            conn.session.handle_io_error(self.now, None, true);
        } else {
            conn.session.handle_eof(&self.env, self.now);
        }
        if conn.ready.has(Ready::Broken) {
            // Nothing can be flushed any more; the cause is known.
            conn.session.end(self.now, Cause::PeerEof, None);
        }
    }

    /// Decodes complete frames and hands them to callbacks, until `ends`. Returns whether a
    /// callback other than `on_pong` ran, and whether the time was over before the input.
    fn decode<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
        ends: Micros,
    ) -> (bool, bool) {
        let key = id.index();
        let mut called = false;
        let mut steps = 0u32;
        loop {
            let conn = &mut self.conns[key];
            if ring.is_empty() || conn.session.is_paused() {
                return (called, false);
            }
            if steps == LOOK_UP {
                steps = 0;
                self.refresh_now();
                if self.now.at >= ends {
                    return (called, true);
                }
                continue;
            }
            steps += 1;
            if conn.session.phase() == Phase::Handshaking {
                #[cfg(feature = "websocket")]
                if self.handshake(handler, id, ring) {
                    called = true;
                    continue;
                }
                return (called, false);
            }
            let input = ring.contiguous_mut();
            let (consumed, event) = conn.session.decode(&mut self.env, self.now, input);
            match event {
                Event::NeedMore => {
                    ring.consume(consumed);
                    return (called, false);
                }
                Event::Consumed => {}
                Event::Message { kind, payload } => {
                    self.deliver(handler, id, kind, payload, input);
                    called = true;
                }
                Event::Pong { rtt } => self.tell_pong(handler, id, rtt),
            }
            ring.consume(consumed);
        }
    }

    fn tell_pong<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        rtt: Option<Micros>,
    ) {
        handler.on_pong(&mut Context::new(self), id, rtt.map(Duration::from));
        // The answer to a heartbeat is not worth a look of its own: the next read takes one.
        self.is_behind = true;
    }

    /// Takes the ring back for the next read, if nothing is left in it and the connection is at rest.
    /// Returns whether that was so.
    fn keep_ring(&mut self, key: usize, ring: &mut Ring) -> bool {
        let conn = &self.conns[key];
        let is_kept = ring.is_empty() && conn.is_calm() && self.ring.capacity() == 0;
        if is_kept {
            std::mem::swap(&mut self.ring, ring);
        }
        is_kept
    }

    fn deliver<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        kind: MessageKind,
        payload: Payload,
        input: &[u8],
    ) {
        match payload {
            Payload::Input(range) => {
                let message = Message::decoded(kind, &input[range]);
                handler.on_message(&mut Context::new(self), id, message);
            }
            Payload::Assembled => {
                let assembled = self.conns[id.index()].session.take_assembled();
                let message = Message::decoded(kind, &assembled);
                handler.on_message(&mut Context::new(self), id, message);
                self.env.pool.give_vec(assembled);
            }
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Puts a connection on the list of those that the next turn reads first.
    pub(super) fn carry(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key) {
            let id = conn.id(key, self.names);
            self.carried.push(&mut conn.marks, id);
        }
    }
}

/// What a read of a connection at rest came to.
enum Heard {
    /// The answer to a heartbeat, and nothing else.
    Answer,
    /// This, which is noted but not decoded.
    Other(ReadOutcome),
    /// Nobody has read: it is not at rest.
    Nothing,
}

/// Time in one turn for reading connections with events, and the same again for connections carried
/// over. The sum is less than the lateness that does not count.
pub(super) const EVENTS_SLICE: Micros = Micros::from_millis(4);
const CARRIED_SLICE: Micros = Micros::from_millis(4);

/// Time in one turn for the callbacks of one connection.
const CONN_SLICE: Micros = Micros::from_millis(1);

/// Frames decoded between two looks at the clock.
const LOOK_UP: u32 = 8;
