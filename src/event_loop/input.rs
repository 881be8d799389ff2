//! Reading: input is decoded and handed to callbacks, until the socket would block or a budget is
//! used up.

use std::time::Duration;

use super::carried::Carried;
use super::conn::{Mark, ReadOutcome, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::handler::Handler;
use super::share::STEP;
use super::token::ConnId;
use super::work::WorkList;
use crate::close::{Cause, Phase};
use crate::config::WireKind;
use crate::proto::message::Message;
use crate::proto::pool::Pool;
use crate::proto::received::{Loan, Received};
use crate::proto::ring::Ring;
use crate::proto::session::Event;
use crate::proto::time::Micros;
use crate::proto::wire::{MessageKind, Payload};
use crate::sys::{LayerFault, Probe, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Reads connections for which an earlier turn had no time, in their order, while there is time.
    /// They come before the events, because their own came earlier.
    pub(super) fn read_light<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        for _ in 0..self.carried.light().len() {
            if !self.progress.has_time_to_read(self.now.at) {
                return;
            }
            self.read_next(handler, Carried::light);
        }
    }

    /// Reads connections with input left while there is time: first those that the events left no
    /// time for, then at least one that used up its share. The latter come last, so that a peer that
    /// sends little does not wait for those that send much.
    pub(super) fn read_carried<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        let ends = self.progress.reading_ends(self.now.at + CARRIED_SLICE);
        for _ in 0..self.carried.light().len() {
            if self.now.at >= ends {
                break;
            }
            self.read_next(handler, Carried::light);
        }
        for _ in 0..self.carried.heavy().len() {
            if self.read_next(handler, Carried::heavy) && self.now.at >= ends {
                return;
            }
        }
    }

    /// Reads the first connection of a queue. Returns whether it was still there.
    fn read_next<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        queue: impl FnOnce(&mut Carried) -> &mut WorkList<Mark, ConnId>,
    ) -> bool {
        let (conns, names) = (&mut self.conns, self.names);
        let next = queue(&mut self.carried).pop(|id| {
            let conn = conns.get_mut(id.index())?;
            (conn.id(id.index(), names) == id).then_some(&mut conn.marks)
        });
        let Some((id, Some(marks))) = next else {
            return false;
        };
        if marks.has(Mark::Doomed) {
            return false;
        }
        self.read(handler, id);
        self.catch_up();
        true
    }

    /// Reads a connection until it would block or its share of this turn is used up: work, bytes or
    /// time. Then writes the resulting output. The clock is read after each read, because a proof of
    /// life must not be stamped earlier, and after the callbacks.
    ///
    /// A connection that used up its share is heavy until all that it sent at once takes less.
    pub(super) fn read<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
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
        let is_light = !self.conns[key].marks.has(Mark::Heavy);
        // The rest of what it used up its share with.
        let is_rest = !is_light && heard.is_none() && self.has_rest(key, &ring);
        self.share.begin();
        let (mut called, mut is_over) = match heard {
            // What an earlier pause, handshake or budget left behind comes first.
            None => self.decode(handler, id, &mut ring, ends),
            Some(_) => (false, false),
        };
        let is_cut = loop {
            let outcome = match heard.take() {
                Some(outcome) => outcome,
                None => {
                    let conn = &self.conns[key];
                    if conn.session.is_paused() && !conn.may_have_left() {
                        break false;
                    }
                    if is_over {
                        break true;
                    }
                    if !conn.ready.has(Ready::Readable) {
                        break false;
                    }
                    if budget == 0
                        || (called && self.now.at >= ends)
                        || (is_light && self.share.is_used_up())
                    {
                        break true;
                    }
                    match self.read_some(key, &mut ring, budget) {
                        Some(outcome) => outcome,
                        None => break false,
                    }
                }
            };
            match outcome {
                ReadOutcome::Bytes {
                    count,
                    assembled,
                    records,
                } => {
                    budget = budget.saturating_sub(count);
                    self.share.charge_bytes(count);
                    self.share.charge_records(records);
                    (called, is_over) = match assembled {
                        0 => self.decode(handler, id, &mut ring, ends),
                        fresh => {
                            let called = self.decode_assembled(handler, id, fresh);
                            let (more, is_over) = self.decode(handler, id, &mut ring, ends);
                            (called || more, is_over)
                        }
                    };
                }
                ReadOutcome::Blocked => break false,
                ReadOutcome::Eof => {
                    self.handle_eof(handler, id);
                    break false;
                }
                ReadOutcome::Cut => {
                    self.handle_cut(key);
                    break false;
                }
                ReadOutcome::Failed(error) => {
                    self.conns[key].fail(&mut self.env, self.now, &error);
                    break false;
                }
            }
        };
        let is_heavy = is_cut || is_rest || self.share.is_used_up();
        self.conns[key].marks.set(Mark::Heavy, is_heavy);
        if is_cut {
            self.carry(key);
        }
        self.is_behind |= called;
        if called || self.conns[key].session.has_output() {
            self.catch_up();
        }
        self.settle_input(id, ring);
    }

    /// Reads a connection at rest once, into the ring of the loop. The answer to a heartbeat ends here;
    /// whatever else came is left in that ring.
    fn hear<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) -> Heard {
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
            .probe(&conn.socket, Probe::Decoded { is_left: false });
        self.tell_pong(handler, id, rtt);
        let conn = &mut self.conns[key];
        if !conn.is_calm()
            || conn.ready.has(Ready::Readable)
            || conn.session.is_paused()
            || conn.layer_memory() > 0
        {
            // There is more to read or to count, or the callback wants something.
            return Heard::Other(ReadOutcome::Bytes {
                count: 0,
                assembled: 0,
                records: 0,
            });
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
        if let ReadOutcome::Bytes { count, .. } = *outcome {
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
            self.system.probe(&conn.socket, decoded);
            self.in_hand.end_input();
            self.rearm(key);
            return;
        }
        let conn = &mut self.conns[key];
        if !ring.is_empty() && conn.session.phase() == Phase::Closed {
            ring.consume(ring.len());
        }
        let has_rest = !ring.is_empty() || conn.session.is_inflating();
        let is_left = has_rest && (conn.marks.has(Mark::Carried) || conn.session.is_paused());
        self.system.probe(&conn.socket, Probe::Decoded { is_left });
        conn.session.put_input(&mut self.env, ring);
        self.in_hand.end_input();
        let counted = conn.session.tally().bytes;
        self.probe_cause(key);
        let conn = &mut self.conns[key];
        if conn.session.phase() != Phase::Open {
            self.mark_dirty(key);
        } else if conn.session.wants_flush()
            || conn.layer_wants_write()
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

    /// Handles an end without the goodbye of a layer. Where a write was told of a reset, it is that.
    fn handle_cut(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.ready.has(Ready::Reset) {
            conn.session.handle_io_error(self.now, None, true);
        } else {
            let cut = LayerFault::truncated().into();
            conn.fail(&mut self.env, self.now, &cut);
        }
    }

    fn handle_eof<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        if let Some((kind, payload)) = self.conns[key].session.decode_rest(&mut self.env, self.now)
        {
            self.deliver(handler, id, kind, payload, &mut Ring::default(), 0);
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
    /// callback other than `on_pong` ran, and whether the share was used up before the input.
    fn decode<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
        ends: Micros,
    ) -> (bool, bool) {
        let key = id.index();
        let is_light = !self.conns[key].marks.has(Mark::Heavy);
        let mut called = false;
        loop {
            let conn = &mut self.conns[key];
            let is_done = ring.is_empty() && !conn.session.is_inflating();
            if is_done || conn.session.is_paused() {
                return (called, false);
            }
            if self.share.take_look() {
                self.refresh_now();
                if self.now.at >= ends || (is_light && self.share.is_used_up()) {
                    return (called, true);
                }
                continue;
            }
            self.share.charge(STEP);
            if conn.session.phase() == Phase::Handshaking {
                if conn.session.wire() == WireKind::Own {
                    if !self.shake_hands(handler, id, ring) {
                        return (called, false);
                    }
                    called = true;
                    continue;
                }
                #[cfg(feature = "websocket")]
                if self.handshake(handler, id, ring) {
                    called = true;
                    continue;
                }
                return (called, false);
            }
            let input = ring.contiguous_mut();
            let (consumed, event) = conn.session.decode(&mut self.env, self.now, input);
            self.share.charge(self.env.take_effort());
            match event {
                Event::NeedMore => {
                    ring.consume(consumed);
                    return (called, false);
                }
                Event::Consumed | Event::Inflating => {}
                Event::Message { kind, payload } => {
                    self.share.charge(STEP);
                    self.deliver(handler, id, kind, payload, ring, consumed);
                    called = true;
                    continue;
                }
                Event::Pong { rtt } => self.tell_pong(handler, id, rtt),
            }
            ring.consume(consumed);
        }
    }

    fn tell_pong<C, H: Handler<C, S, Data = D>>(
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
        let is_kept = ring.is_empty()
            && conn.is_calm()
            && self.ring.capacity() == 0
            && conn.layer_memory() == 0;
        if is_kept {
            std::mem::swap(&mut self.ring, ring);
        }
        is_kept
    }

    /// Decodes bytes that were read right into an unfinished message. Returns whether a callback ran.
    fn decode_assembled<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        fresh: usize,
    ) -> bool {
        self.share.charge(STEP);
        let session = &mut self.conns[id.index()].session;
        let event = session.decode_assembled(&mut self.env, self.now, fresh);
        self.share.charge(self.env.take_effort());
        let Event::Message { kind, payload } = event else {
            return false;
        };
        self.share.charge(STEP);
        self.deliver(handler, id, kind, payload, &mut Ring::default(), 0);
        true
    }

    /// Hands a message to its callback, and takes the `consumed` bytes that brought it from the ring. A
    /// long message lies in storage that the callback may share.
    fn deliver<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        kind: MessageKind,
        payload: Payload,
        ring: &mut Ring,
        consumed: usize,
    ) {
        match payload {
            Payload::Input(range) if Loan::is_worth(range.len(), ring.len()) => {
                let loan = Loan::of(ring, range, consumed);
                let message = Message::received(kind, loan.message());
                handler.on_message(&mut Context::new(self), id, message);
                *ring = loan.end(&mut self.env.pool);
            }
            Payload::Input(range) => {
                let message = Message::decoded(kind, &ring.contiguous_mut()[range]);
                handler.on_message(&mut Context::new(self), id, message);
                ring.consume(consumed);
            }
            Payload::Assembled => {
                ring.consume(consumed);
                let assembled = self.conns[id.index()].session.take_assembled();
                if assembled.len() >= Received::LEAST {
                    let received = Received::assembled(assembled);
                    let message = Message::received(kind, &received);
                    handler.on_message(&mut Context::new(self), id, message);
                    received.give(&mut self.env.pool);
                } else {
                    let message = Message::decoded(kind, &assembled);
                    handler.on_message(&mut Context::new(self), id, message);
                    self.env.pool.give_vec(assembled);
                }
            }
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Says whether something that a connection sent earlier is left: input, or a message to inflate.
    fn has_rest(&self, key: usize, ring: &Ring) -> bool {
        !ring.is_empty() || self.conns[key].session.is_inflating()
    }

    /// Returns the time in this turn for reading.
    pub(super) fn reading_slice(&self) -> Micros {
        match self.expiries.is_behind() {
            true => EVENTS_BEHIND,
            false => EVENTS_SLICE,
        }
    }

    /// Puts a connection into the queue of those with input left.
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

/// Time in one turn for reading. The timers of a loop that is always busy wait for two turns.
const EVENTS_SLICE: Micros = Micros::from_millis(3);

/// Time for connections with input left, where those with events have used all of that.
const CARRIED_SLICE: Micros = Micros::from_millis(1);

/// The same while pings of the last turn are left: they catch up first.
const EVENTS_BEHIND: Micros = Micros::from_millis(1);

/// Time in one turn for the callbacks of one connection.
const CONN_SLICE: Micros = Micros::from_millis(1);
