//! One turn, in eight steps: wait, clock, events, expiries, dials, flush, reap, report.

use std::hint::black_box;
use std::time::Duration;

use super::conn::{Conn, Mark, ReadOutcome, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handle::Command;
#[cfg(feature = "websocket")]
use super::handler::Answered;
use super::handler::{Closed, Handler, Readiness, Rejected};
use super::history::Ended;
use super::in_hand::News;
use super::token::{ConnId, SourceId, Target};
use crate::close::{Cause, CloseCode, Evidence, Phase};
use crate::peer::PeerAddr;
use crate::proto::message::Message;
use crate::proto::ring::Ring;
use crate::proto::session::{Event, Expiry, Found, SocketAction, Step};
use crate::proto::time::Micros;
use crate::proto::wire::{MessageKind, Payload};
use crate::sys::{Event as IoEvent, Probe, Ready as IoReady, Socket, Stream, System, Token};

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Turn {
    /// Events taken from the wait.
    pub events: usize,
    /// Timers of connections that were due.
    pub expired: usize,
    /// Connections that ended.
    pub ended: usize,
    /// How much later than it should the wait ended, plus the time spent in the turn.
    pub delay: Duration,
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Reads the clock, and looks when the coming wait must end: between turns anything may be asked.
    pub fn look_ahead(&mut self) {
        self.refresh_now();
        self.wake = self.next_wake(self.now.at);
        let (now, wake) = (self.now.at, self.wake);
        self.env.lateness_mut().look_ahead(now, wake);
    }

    /// Step 1: returns how long to wait from now on, `None` for as long as nothing comes. Ask after
    /// [`look_ahead`](Self::look_ahead) or right after a turn; the wait follows at once.
    pub fn prepare_wait(&mut self, limit: Option<Duration>) -> Option<Duration> {
        self.taken = 0;
        self.forget_refusals();
        let (now, wake) = (self.now.at, self.wake);
        if let Some(limit) = limit {
            self.env.lateness.limit_wait(now + limit.into());
        }
        let due = (wake < Micros::MAX).then(|| Duration::from(wake - now));
        match (due, limit) {
            (Some(due), Some(limit)) => Some(due.min(limit)),
            (Some(due), None) if due.is_zero() => Some(due),
            (Some(due), None) => {
                let needs_none = self.system.ends_wait(now, wake);
                (!needs_none).then_some(due)
            }
            (None, limit) => limit,
        }
    }

    /// Steps 2 to 8, on the events that the wait gave, at most `most` of them. After a turn that a panic
    /// cut short it must be given the same events again, and goes on with the next one.
    pub fn turn<H, I>(&mut self, handler: &mut H, events: I, most: usize) -> Turn
    where
        H: Handler<S, Data = D>,
        I: Iterator<Item = IoEvent> + Clone,
    {
        self.unwound = true;
        let now = self.env.lateness.begin_turn(self.system.now());
        self.set_now(now);
        let mut turn = Turn::default();
        self.env.stats.turns += 1;

        // Only clients do anything about it; a loop without any saves itself the look.
        if self.sleep.is_watched()
            && let Some(span) = self.sleep.take(self.system.slept())
        {
            self.wake_from_sleep(span);
        }
        self.see_to_panics(handler);
        self.reading_ends = self.now.at + EVENTS_SLICE;
        let mut coming = events.clone().skip(self.taken);
        for event in events.skip(self.taken) {
            if turn.events.is_multiple_of(FETCHED) {
                self.fetch(coming.by_ref().take(FETCHED).map(|event| event.token));
            }
            // Counted before it is handled: after a panic the next turn goes on with the next event.
            self.taken += 1;
            turn.events += 1;
            self.handle_event(handler, event);
        }
        self.unwound = false;
        self.catch_up();
        self.take_resolved(handler);
        self.take_commands(handler);
        self.read_carried(handler);
        self.accept_ready(handler);

        self.catch_up();
        let is_full = self.taken >= most;
        let events_done = self.now;
        turn.expired = self.expire(handler, is_full);
        self.run_timers(handler);
        self.step_drain();

        self.dial_due(handler);

        let mut reaping = None;
        for _ in 0..PASSES {
            if self.dirty.is_empty() && self.doomed.is_empty() && self.roomy.is_empty() {
                break;
            }
            self.refresh_now();
            self.flush_dirty();
            let ends = *reaping.get_or_insert(self.now.at + REAPING_SLICE);
            turn.ended += self.reap_doomed(handler, REAPED - turn.ended, ends);
            self.report_room(handler);
        }
        self.reaped = turn.ended;
        if self.stopping {
            turn.ended += self.end_all(handler);
        }
        self.free_waste();

        // Everything that takes time has read the clock again.
        if turn.expired > 0 || self.now != events_done {
            self.refresh_now();
        }
        turn.delay = self.env.lateness.delay(self.now.at).into();
        self.wake = self.next_wake(self.now.at);
        if let Some(due) = self.wheel.next_deadline().filter(|_| self.now.stalled) {
            self.env.lateness.leave_over(due);
        }
        self.now = self.env.lateness.end_turn(self.now.at, self.wake);
        self.env.stats.late = self.env.lateness.total(self.now.at).into();
        self.env.stats.health = self.env.lateness.health();
        turn
    }

    /// Looks at connections that are about to be handled. Of many idle ones none lies in the cache, and
    /// to wait for all at once takes hardly longer than to wait for each when its turn comes.
    fn fetch(&self, tokens: impl Iterator<Item = Token>) {
        for token in tokens {
            if let Target::Conn(id) = Target::of(token, self.names.shard) {
                black_box(self.conn(id).map(Conn::glance));
            }
        }
    }

    /// Ends the connection whose callback panicked in the last turn: the bytes in hand were lost. A client
    /// whose callback did goes on as if it had returned.
    fn see_to_panics<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        for id in self.in_hand.take_conns().into_iter().flatten() {
            let code = Some(CloseCode::INTERNAL_ERROR);
            let mut cx = Context::new(self);
            cx.close_for(id, Cause::LocalClose, code, "internal error");
        }
        if let Some(told) = self.in_hand.take_told() {
            self.follow_up(handler, told);
        }
    }

    /// Reads on where an earlier budget ended, in turn: at least one connection, more while there is
    /// time. They come after the events, so that who says little does not wait for who says much.
    fn read_carried<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
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

    /// Step 3, for one event. A token of another generation, or of nothing, is ignored.
    fn handle_event<H: Handler<S, Data = D>>(&mut self, handler: &mut H, event: IoEvent) {
        let target = Target::of(event.token, self.names.shard);
        if !matches!(target, Target::Conn(_)) {
            self.catch_up();
        }
        match target {
            Target::Conn(id) => self.handle_conn_event(handler, id, event.ready),
            Target::Listener(id) => {
                if let Some(listener) = self.listeners.get_mut(id.0 as usize) {
                    listener.ready = true;
                }
            }
            Target::Source(id) => self.handle_source_event(handler, id, event.ready),
            // Where it was about the clocks, the turn has looked at them already.
            Target::System(token) => self.system.handle_event(token),
            // Only noted: a panic in what follows must not leave the wake unanswered.
            Target::Waker => {
                self.inbox.acknowledge();
                self.clients.may_have_found = true;
            }
        }
    }

    fn handle_conn_event<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ready: IoReady,
    ) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        if conn.session.phase() == Phase::Connecting {
            if ready.writable || ready.readable || ready.failed {
                self.catch_up();
                self.finish_connect(handler, id);
            }
            // The peer may have spoken, and even gone, in the same event: no other edge will say so.
        } else if ready.writable && !conn.ready.has(Ready::Refused) {
            conn.ready.insert(Ready::Writable);
            if conn.has_output() {
                self.mark_dirty(id.index());
            }
        }
        if ready.readable {
            let Some(conn) = self.conn_mut(id) else {
                return;
            };
            if conn.session.phase() == Phase::Connecting || conn.marks.has(Mark::Doomed) {
                return;
            }
            conn.ready.insert(Ready::Readable);
            if ready.doubtful {
                conn.ready.insert(Ready::Doubtful);
            }
            if conn.marks.has(Mark::Carried) {
                return;
            }
            if self.now.at >= self.reading_ends {
                self.carry(id.index());
                return;
            }
            self.read(handler, id);
        }
    }

    fn handle_source_event<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: SourceId,
        ready: IoReady,
    ) {
        if self.sources.contains(id) {
            let ready = Readiness {
                readable: ready.readable,
                writable: ready.writable || ready.write_closed || ready.failed,
            };
            handler.on_source(&mut Context::new(self), id, ready);
            self.refresh_now();
        }
    }

    /// Does what other threads asked for, a bounded part of it in each turn: they may be faster, and to
    /// tell everyone something takes long where there are many.
    fn take_commands<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        if !self.inbox.may_hold() {
            return;
        }
        let ends = self.now.at + COMMANDS_SLICE;
        for _ in 0..COMMANDS {
            self.catch_up();
            if self.now.at >= ends {
                return;
            }
            let Some(command) = self.inbox.next() else {
                break;
            };
            self.is_behind = matches!(command, Command::Broadcast(_) | Command::Notify(_));
            let mut cx = Context::new(self);
            match command {
                Command::Send(id, message) => {
                    if let Err(error) = cx.send_shared(id, &message) {
                        log::debug!("a message of another thread for {id} was not sent: {error}");
                    }
                }
                Command::Broadcast(message) => {
                    cx.broadcast(&message);
                }
                Command::Close(id, code, reason) => cx.close(id, code, &reason),
                Command::Notify(word) => handler.on_notify(&mut cx, word),
                Command::Stop => cx.stop(),
            }
        }
        self.refresh_now();
    }

    /// Reads a connection until it would block, or until its budget for this turn, bytes or time, is
    /// used up; then writes what that has set off. The clock is read after each read, for a proof of life
    /// is stamped no earlier, and after the callbacks.
    pub(super) fn read<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        self.in_hand.begin_input(id);
        let mut ring = self.conns[key].session.take_input(&mut self.env);
        let mut budget = self.config.read_budget;
        let ends = self.now.at + CONN_SLICE;
        // What an earlier pause, handshake or budget left behind comes first.
        let (mut called, mut is_over) = self.decode(handler, id, &mut ring, ends);
        loop {
            let conn = &mut self.conns[key];
            if is_over && !conn.session.is_paused() {
                self.carry(key);
                break;
            }
            if !conn.ready.has(Ready::Readable) || conn.session.is_paused() {
                break;
            }
            if budget == 0 || (called && self.now.at >= ends) {
                self.carry(key);
                break;
            }
            if !conn.make_room(&mut ring, &mut self.env) {
                // Full of what is no frame: only a handler that reads on can make room.
                break;
            }
            match conn.read(&mut ring, &mut self.env, budget) {
                ReadOutcome::Bytes(count) => {
                    self.refresh_now();
                    budget = budget.saturating_sub(count);
                    self.conns[key]
                        .session
                        .handle_bytes(&mut self.env, self.now, count);
                    (called, is_over) = self.decode(handler, id, &mut ring, ends);
                }
                ReadOutcome::Blocked => break,
                ReadOutcome::Eof => {
                    self.handle_eof(handler, id);
                    break;
                }
                ReadOutcome::Failed(error) => {
                    conn.fail(self.now, &error);
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

    /// Gives the ring back, or lets go of it, and sees to what reading has set off.
    fn settle_input(&mut self, id: ConnId, mut ring: Ring) {
        let key = id.index();
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
            conn.session.release(&mut self.env);
            self.rearm(key);
        }
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

    /// Decodes what is whole and hands it out, until `ends`. Says whether a callback ran, other than for a
    /// pong, and whether time was over before the input was.
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
                Event::Pong { rtt } => {
                    let rtt = rtt.map(Duration::from);
                    handler.on_pong(&mut Context::new(self), id, rtt);
                    // The answer to a heartbeat is not worth a look of its own: the next read takes one.
                    self.is_behind = true;
                }
            }
            ring.consume(consumed);
        }
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

    /// Step 4: collects what the wheel has due, then handles it.
    ///
    /// While the last wait filled its buffer, or input was carried over, sockets come first; but only once
    /// in a row, for a busy loop would find the dead later by as many turns. No verdict is spoken without a
    /// read on that very socket anyway.
    fn expire<H: Handler<S, Data = D>>(&mut self, handler: &mut H, is_full: bool) -> usize {
        let is_pressed = is_full || !self.carried.is_empty();
        if self.expiries.put_off(is_pressed) {
            return 0;
        }
        let budget = self.config.expiry_budget;
        self.system.probe_expiries(self.now.at, None);
        let count = self.expiries.collect(&mut self.wheel, self.now.at, budget);
        self.fetch_expired();
        while let Some(key) = self.expiries.pop() {
            if let Some(conn) = self.conns.get(key) {
                self.handle_expiry(handler, conn.id(key, self.names));
            }
            if self.expiries.len().is_multiple_of(FETCHED) {
                self.refresh_now();
                self.fetch_expired();
            }
        }
        self.system
            .probe_expiries(self.now.at, Some(!self.expiries.has_more()));
        count
    }

    /// Does for connections that are due what [`fetch`](Self::fetch) does for those with events.
    fn fetch_expired(&self) {
        for key in self.expiries.coming().take(FETCHED) {
            black_box(self.conns.get(key).map(Conn::glance));
        }
    }

    /// Takes the steps that a session asks for whose deadline has come, until it waits.
    pub(super) fn handle_expiry<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        if self.conns[key].session.phase() == Phase::Handshaking {
            // Its answer bears a date.
            self.look_at_calendar();
        }
        let (mut expiry, mut found) = (Expiry::default(), Found::default());
        loop {
            let conn = &mut self.conns[key];
            if conn.marks.has(Mark::Doomed) {
                return;
            }
            found.is_unread = conn.marks.has(Mark::Carried);
            found.is_lost = conn.is_lost();
            let session = &mut conn.session;
            match session.handle_expiry(&mut self.env, self.now, &mut expiry, &found) {
                Step::Wait(Micros::MAX) => return,
                Step::Wait(deadline) => {
                    self.wheel.schedule(key, deadline);
                    return;
                }
                Step::Connect => self.finish_connect(handler, id),
                Step::ReadOnce => self.read_anyway(handler, id),
                Step::Peek => found.is_waiting = conn.stream.has_waiting_bytes(),
                Step::WriteOnce => {
                    self.write_anyway(key);
                    // It may have left altogether, and its buffers go back.
                    self.mark_dirty(key);
                }
                Step::Figures => found.kernel = conn.stream.socket().figures(),
                // A ping leaves at once: its connection lies in the cache, and the buffers it borrowed
                // serve the next one.
                Step::Flush if session.phase() == Phase::Open => self.flush(key),
                Step::Flush => self.mark_dirty(key),
                Step::Note(note) => self.system.probe(conn.stream.socket(), Probe::Expiry(note)),
            }
        }
    }

    /// Reads until the socket has nothing or a budget is used up, whatever was known of it.
    fn read_anyway<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let doubtful = conn.ready.has(Ready::Doubtful);
        conn.ready.insert(Ready::Doubtful);
        conn.ready.insert(Ready::Readable);
        self.read(handler, id);
        self.refresh_now();
        self.conns[id.index()].ready.set(Ready::Doubtful, doubtful);
    }

    fn run_timers<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        let due = self.now.at;
        while let Some(word) = self.timers.take_due(due) {
            handler.on_timer(&mut Context::new(self), word);
            self.refresh_now();
        }
    }

    /// Closes as many connections as the drain's schedule asks for; when its window is over, all.
    fn step_drain(&mut self) {
        let Some(mut drain) = self.drain else { return };
        self.look_at_calendar();
        let is_over = drain.is_over(self.now.at);
        let mut due = if is_over {
            u64::MAX
        } else {
            drain.due(self.now.at)
        };
        if is_over {
            drain.begin_last();
        }
        while due > 0 && drain.cursor < self.conns.capacity() {
            let key = drain.cursor;
            let Some(conn) = self.conns.get_mut(key) else {
                drain.cursor += 1;
                if self.conns.is_empty() {
                    break;
                }
                continue;
            };
            if is_over {
                conn.session.end(self.now, Cause::Drain, None);
            } else {
                conn.session
                    .close(&mut self.env, self.now, Cause::Drain, None, "going away");
            }
            self.mark_dirty(key);
            drain.count_close();
            drain.cursor += 1;
            due -= 1;
        }
        self.drain = Some(drain);
    }

    /// Step 6: writes what was queued, and lets the sockets go that are done.
    fn flush_dirty(&mut self) {
        // What is marked meanwhile is flushed in the next pass.
        for _ in 0..self.dirty.len() {
            let conns = &mut self.conns;
            let next = self.dirty.pop(|key| Some(&mut conns.get_mut(key)?.marks));
            if let Some((key, Some(_))) = next {
                self.flush(key);
            }
        }
    }

    fn flush(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        self.dirty.withdraw(&mut conn.marks);
        if conn.marks.has(Mark::Doomed) {
            return;
        }
        if conn.session.phase() != Phase::Connecting {
            self.write(key);
        }
        self.probe_cause(key);
        let conn = &mut self.conns[key];
        loop {
            match conn.session.socket_action() {
                SocketAction::Keep => break,
                SocketAction::ResumeReading => {
                    conn.ready.insert(Ready::Readable);
                    let id = conn.id(key, self.names);
                    self.carried.push(&mut conn.marks, id);
                }
                SocketAction::ShutdownWrite => {
                    if let Err(error) = conn.stream.shutdown() {
                        let peer = self.peers.addr(conn.peer);
                        log::debug!("could not end output to {peer}: {error}");
                    }
                }
                SocketAction::Close => {
                    self.doom(key);
                    return;
                }
                SocketAction::Reset => {
                    if let Some(figures) = conn.stream.socket().figures() {
                        conn.session.handle_kernel_figures(figures);
                    }
                    conn.stream.socket_mut().reset_on_close();
                    self.doom(key);
                    return;
                }
            }
        }
        if !conn.session.has_output() {
            conn.deepen(false);
            if conn.marks.remove(Mark::WantsRoom) {
                self.roomy.push(conn.id(key, self.names));
            }
        }
        conn.session.release(&mut self.env);
        self.rearm(key);
    }

    fn report_room<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        while let Some(id) = self.roomy.pop() {
            if self
                .conn(id)
                .is_some_and(|conn| conn.session.phase() == Phase::Open)
            {
                handler.on_writable(&mut Context::new(self), id);
                self.refresh_now();
            }
        }
    }

    /// Step 7: frees what is over, and reports each exactly once: at most so many of them, and until
    /// `ends`, since callbacks take time, but one at least. The rest is done in the next turn.
    fn reap_doomed<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        most: usize,
        ends: Micros,
    ) -> usize {
        let mut count = 0;
        while count < most
            && (count == 0 || self.now.at < ends)
            && let Some(key) = self.pop_doomed()
        {
            count += 1;
            self.reap(handler, key);
        }
        if count > 0 {
            self.wake_paused_listeners();
        }
        count
    }

    fn pop_doomed(&mut self) -> Option<usize> {
        let conns = &mut self.conns;
        let next = self.doomed.pop(|key| Some(&mut conns.get_mut(key)?.marks));
        next.map(|(key, _)| key)
    }

    /// Frees large buffers that nobody needs any more, piece by piece while there is time.
    fn free_waste(&mut self) {
        let ends = self.now.at + FREEING_SLICE;
        for _ in 0..FREED_PIECES {
            if !self.env.pool.has_waste() {
                return;
            }
            self.env.pool.free_some(FREED_PIECE);
            self.refresh_now();
            if self.now.at >= ends {
                return;
            }
        }
    }

    #[cfg(feature = "websocket")]
    fn report_answered<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        (peer, endpoint): (PeerAddr, Endpoint),
        (status, answers): (u16, u32),
        (evidence, reason): (&Evidence, &str),
    ) {
        let answered = Answered {
            peer,
            endpoint,
            status,
            answers,
            evidence,
            reason,
        };
        handler.on_answered(&mut Context::new(self), answered);
    }

    /// Only WebSocket listeners speak HTTP.
    #[cfg(not(feature = "websocket"))]
    fn report_answered<H: Handler<S, Data = D>>(
        &self,
        _handler: &mut H,
        _who: (PeerAddr, Endpoint),
        _answers: (u16, u32),
        _why: (&Evidence, &str),
    ) {
    }

    /// Ends every connection that is left, since the loop is to stop, and reports each.
    fn end_all<H: Handler<S, Data = D>>(&mut self, handler: &mut H) -> usize {
        let mut count = 0;
        for key in 0..self.conns.capacity() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.session.end(self.now, Cause::LocalClose, None);
                self.flush(key);
                count += self.reap_doomed(handler, usize::MAX, Micros::MAX);
            }
            if self.conns.is_empty() {
                break;
            }
        }
        while !self.doomed.is_empty() {
            count += self.reap_doomed(handler, usize::MAX, Micros::MAX);
        }
        count
    }

    fn reap<H: Handler<S, Data = D>>(&mut self, handler: &mut H, key: usize) {
        self.wheel.cancel(key);
        self.leave_address(key);
        let mut conn = self.conns.remove(key);
        let id = conn.id(key, self.names);
        let (peer, endpoint) = (self.peers.forget(conn.peer), conn.endpoint());
        self.group.leave();
        let evidence = conn.session.evidence(self.now);
        let reason = conn.session.reason().to_owned();
        let status = conn.session.answered();
        let answers = conn.session.answers();
        conn.session.discard(&mut self.env);
        // Closing the descriptor takes it out of the selector: nobody else holds it.
        drop(conn.stream);
        self.env.stats.count_end(evidence.cause);
        log::debug!("{id} of {peer} ended: {evidence}");
        let was_open = conn.marks.has(Mark::Welcome);
        self.history.push(Ended {
            at: self.now.at.into(),
            id: Some(id),
            peer: peer.clone(),
            endpoint,
            was_open,
            status,
            evidence,
        });
        if let Endpoint::Client(client) = endpoint {
            let news = News::Ended { was_open, evidence };
            self.in_hand.begin_telling(client, news);
        }
        if was_open {
            let closed = Closed {
                id,
                peer,
                endpoint,
                data: conn.data,
                evidence: &evidence,
                reason: &reason,
            };
            handler.on_close(&mut Context::new(self), closed);
        } else if let Some(status) = status {
            let (answers, why) = ((status, answers), (&evidence, reason.as_str()));
            self.report_answered(handler, (peer, endpoint), answers, why);
        } else {
            self.env.stats.rejected += 1;
            let rejected = Rejected {
                peer,
                endpoint,
                evidence: &evidence,
                reason: &reason,
            };
            handler.on_rejected(&mut Context::new(self), rejected);
        }
        self.in_hand.end_telling();
        self.refresh_now();
        if let Endpoint::Client(client) = endpoint {
            self.client_ended(handler, client, was_open, &evidence);
        }
    }
}

/// Rounds of flushing and reaping in one turn; callbacks of one round may set off another.
const PASSES: usize = 4;

/// Connections reaped in one turn, and time for it: callbacks and closing sockets take some.
const REAPED: usize = 256;
const REAPING_SLICE: Micros = Micros::from_millis(2);

/// Bytes of large buffers freed at a time, so many times in one turn, and time for it: the system takes
/// 80 µs to take a MiB back, or several times that.
const FREED_PIECE: usize = 4 * 1024 * 1024;
const FREED_PIECES: usize = 8;
const FREEING_SLICE: Micros = Micros::from_millis(3);

/// Time in one turn for reading where events say so, and then for reading on where an earlier turn
/// stopped. Together less than the lateness that a peer is forgiven for.
const EVENTS_SLICE: Micros = Micros::from_millis(4);
const CARRIED_SLICE: Micros = Micros::from_millis(4);

/// Connections fetched into the cache at a time, and pings written between two looks at the clock.
const FETCHED: usize = 16;

/// Time in one turn for the callbacks of one connection.
const CONN_SLICE: Micros = Micros::from_millis(1);

/// Commands of other threads in one turn, and time for them.
const COMMANDS: usize = 1024;
const COMMANDS_SLICE: Micros = Micros::from_millis(2);

/// Frames decoded between two looks at the clock.
const LOOK_UP: u32 = 8;

#[cfg(all(test, feature = "websocket"))]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::ReactorConfig;
    use crate::proto::lateness::Lateness;
    use crate::proto::time::Moment;
    use crate::reactor::{
        ClientConfig, ListenerConfig, Offer, Reactor, Rejection, Welcome, WireFactory,
    };

    /// Keeps the causes of ends, opened or not.
    #[derive(Default)]
    struct Ends(Vec<(Cause, bool)>);

    impl Handler for Ends {
        type Data = ();

        fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
            self.0.push((closed.evidence.cause, closed.evidence.clean));
        }
    }

    const SHORT: Duration = Duration::from_millis(50);

    /// Accepts one, which has said nothing yet.
    fn accepted(change: impl FnOnce(&mut ListenerConfig)) -> (Reactor<()>, ConnId, TcpStream) {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
        change(&mut config);
        let listener = reactor.listen(config).expect("a free port");
        let addr = reactor.local_addr(listener).expect("it listens");
        let peer = TcpStream::connect(addr).expect("it listens");
        while reactor.is_empty() {
            turn(&mut reactor, &mut Ends::default());
        }
        let (key, conn) = reactor.core.conns.iter().next().expect("it is in");
        let id = conn.id(key, reactor.core.names);
        (reactor, id, peer)
    }

    fn turn(reactor: &mut Reactor<()>, ends: &mut Ends) {
        reactor.turn(ends, Some(SHORT)).expect("the selector works");
    }

    fn shake_hands(mut peer: &TcpStream) {
        let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        peer.write_all(request.as_bytes()).expect("it has room");
    }

    fn opened(change: impl FnOnce(&mut ListenerConfig)) -> (Reactor<()>, ConnId, TcpStream) {
        let (mut reactor, id, peer) = accepted(change);
        shake_hands(&peer);
        while reactor.core.conns[id.index()].session.phase() != Phase::Open {
            turn(&mut reactor, &mut Ends::default());
        }
        (reactor, id, peer)
    }

    /// Handles a deadline that is over, though nothing has been read since.
    fn expire(core: &mut EventLoop<()>, ends: &mut Ends, id: ConnId) {
        // Whatever the turn before it was late.
        core.env.lateness = Lateness::new(Micros::from_millis(10));
        core.set_now(Moment::on_time(core.now.at + Micros::from_secs(60)));
        assert!(
            core.conns[id.index()]
                .session
                .is_overdue(&core.env, core.now)
        );
        core.handle_expiry(ends, id);
    }

    #[test]
    fn a_request_that_lies_unread_is_in_time() {
        let (mut reactor, id, peer) = accepted(|_| {});
        shake_hands(&peer);
        expire(&mut reactor.core, &mut Ends::default(), id);
        assert_eq!(reactor.core.conns[id.index()].session.phase(), Phase::Open);
    }

    #[test]
    fn expiries_are_put_off_for_one_turn_in_a_row_at_most() {
        let (mut reactor, _, _peer) = accepted(|_| {});
        let core = &mut reactor.core;
        // Its opening handshake is over by then.
        core.set_now(Moment::on_time(core.now.at + Micros::from_secs(60)));
        assert_eq!(core.expire(&mut Ends::default(), true), 0);
        assert_eq!(core.expire(&mut Ends::default(), true), 1);
    }

    #[test]
    fn a_request_of_which_a_budget_leaves_a_part_unread_is_in_time() {
        let (mut reactor, id, peer) = accepted(|_| {});
        reactor.core.config.read_budget = 64;
        shake_hands(&peer);
        // A clock that stays where it is, a minute later.
        let later = reactor.core.now.at + Micros::from_secs(60);
        let hands = std::sync::Mutex::new((later, Micros::ZERO)).into();
        *reactor.core.system.hands_mut() = crate::sys::Hands::Scripted(hands);
        reactor.core.env.lateness = Lateness::new(Micros::from_millis(10));
        reactor.core.refresh_now();
        let core = &mut reactor.core;
        for phase in [Phase::Handshaking, Phase::Handshaking, Phase::Open] {
            core.handle_expiry(&mut Ends::default(), id);
            assert_eq!(core.conns[id.index()].session.phase(), phase);
        }
    }

    #[test]
    fn a_goodbye_that_lies_unread_is_in_time() {
        let (mut reactor, id, mut peer) = opened(|_| {});
        let mut ends = Ends::default();
        reactor.context().close(id, CloseCode::NORMAL, "");
        reactor.core.flush_dirty();
        peer.write_all(&[0x88, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        expire(&mut reactor.core, &mut ends, id);
        turn(&mut reactor, &mut ends);
        assert_eq!(ends.0, [(Cause::LocalClose, true)]);
    }

    #[test]
    fn a_message_that_lies_unread_is_in_time() {
        let (mut reactor, id, mut peer) =
            opened(|config| config.heartbeat.app_idle = Some(Duration::from_secs(10)));
        peer.write_all(&[0x81, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        expire(&mut reactor.core, &mut Ends::default(), id);
        assert_eq!(reactor.core.conns[id.index()].session.phase(), Phase::Open);
    }

    #[test]
    fn a_dial_whose_answer_nobody_has_looked_at_is_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it listens").port();
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let mut ends = Ends::default();
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        reactor.connect(client).expect("a sound configuration");
        while reactor.is_empty() {
            turn(&mut reactor, &mut ends);
        }
        listener.accept().expect("it is dialed");
        let (key, conn) = reactor.core.conns.iter().next().expect("it dials");
        assert_eq!(conn.session.phase(), Phase::Connecting);
        let id = conn.id(key, reactor.core.names);
        expire(&mut reactor.core, &mut ends, id);
        assert_eq!(reactor.core.conns[key].session.phase(), Phase::Open);
    }

    #[test]
    fn a_pause_taken_back_before_the_opening_is_none() {
        struct Pauses(usize);
        impl Handler for Pauses {
            type Data = ();

            fn on_accept(
                &mut self,
                cx: &mut Context<'_, ()>,
                offer: &Offer<'_>,
            ) -> Result<Welcome<()>, Rejection> {
                cx.pause(offer.id);
                cx.resume(offer.id);
                Ok(Welcome::default())
            }

            fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {
                self.0 += 1;
            }
        }

        let (mut reactor, _, mut peer) = accepted(|_| {});
        shake_hands(&peer);
        let mut pauses = Pauses(0);
        reactor
            .turn(&mut pauses, Some(SHORT))
            .expect("the selector works");
        peer.write_all(&[0x81, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        for _ in 0..5 {
            reactor
                .turn(&mut pauses, Some(SHORT))
                .expect("the selector works");
        }
        assert_eq!(pauses.0, 1);
    }
}
