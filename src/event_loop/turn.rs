//! One turn, in eight steps: wait, clock, events, expiries, dials, flush, reap, report.

use std::ptr;
use std::time::Duration;

use super::conn::{Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::deferrals::Verdict;
use super::handle::{Command, MOST_COMMANDS};
use super::handler::{Handler, Readiness};
use super::output::FLUSHING_SLICE;
use super::reap::{REAPED, REAPING_SLICE};
use super::token::{ConnId, SourceId, Target};
use crate::close::{Cause, CloseCode, Phase};
use crate::proto::prefetch::prefetch;
use crate::proto::time::Micros;
use crate::sys::{Event as IoEvent, Ready as IoReady, System, Token};

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Turn {
    /// Events handled.
    pub events: usize,
    /// Timers of connections that expired.
    pub expired: usize,
    /// Connections that broadcasts were handed out to, and messages for topics with many subscribers.
    pub reached: usize,
    /// Connections that ended.
    pub ended: usize,
    /// How late the wait ended, plus the time spent in the turn.
    pub delay: Duration,
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Steps 2 to 8, on the events that the wait gave, at most `most` of them. After a turn that a panic
    /// cut short it must be given the same events again, and goes on with the next one.
    pub fn turn<C, H, I>(&mut self, handler: &mut H, events: I, most: usize) -> Turn
    where
        C: 'static,
        D: 'static,
        H: Handler<C, S, Data = D>,
        I: Iterator<Item = IoEvent> + Clone,
    {
        let now = self.env.lateness.begin_turn(self.system.now());
        self.progress.begin_turn(now.at);
        self.set_now(now);
        let mut turn = Turn::default();
        self.env.stats.turns += 1;

        // Only clients do anything about it; a loop without any saves itself the look.
        if self.sleep.is_watched()
            && let Some(span) = self.sleep.take(self.system.slept())
        {
            self.wake_from_sleep(span);
        }
        if !self.in_hand.is_empty() {
            self.see_to_panics(handler);
        }
        let taken = self
            .progress
            .begin_events(self.now.at + self.reading_slice());
        if self.carried.has_light() {
            self.read_light(handler);
        }
        let mut coming = events.clone().skip(taken + 1);
        for event in events.skip(taken) {
            if let Some(next) = coming.next() {
                self.prefetch(event.token, next.token);
            }
            self.progress.take_event();
            turn.events += 1;
            self.handle_event(handler, event);
        }
        self.progress.end_events();
        self.catch_up();
        if !self.clients.are_quiet() {
            self.take_resolved(handler);
        }
        self.take_commands(handler);
        if self.deferrals.answers() > 0 {
            self.take_answers(handler);
        }
        if self.siblings.lane().has_any() {
            self.take_published();
        }
        self.let_go();
        self.read_carried(handler);
        self.shake_hands_of_layers(handler);
        self.accept_ready(handler);
        self.admit_adopted(handler);

        self.catch_up();
        let is_full = self.progress.taken() >= most;
        let events_done = self.now;
        turn.expired = self.expire(handler, is_full);
        self.run_timers(handler);
        if self.drain.is_some() {
            self.step_drain();
        }
        if self.renewals.has_work() {
            self.step_renewals();
        }

        if !self.clients.are_quiet() {
            self.dial_due(handler);
        }
        if self.broadcasts.has_work() {
            turn.reached = self.step_broadcasts(handler);
        }
        if self.siblings.has_any() {
            self.pass_on();
        }

        let (mut flushing, mut reaping) = (None, None);
        for _ in 0..PASSES {
            if self.dirty.is_empty()
                && self.doomed.is_empty()
                && self.roomy.is_empty()
                && self.closing.is_empty()
            {
                break;
            }
            self.refresh_now();
            let ends = self.progress.slice(self.now.at, FLUSHING_SLICE);
            self.flush_dirty(*flushing.get_or_insert(ends));
            self.relieve();
            let ends = self.progress.slice(self.now.at, REAPING_SLICE);
            let ends = *reaping.get_or_insert(ends);
            self.report_closing(handler, ends);
            turn.ended += self.reap_doomed(handler, REAPED - turn.ended, ends);
            self.report_room(handler);
        }
        self.progress.end_reaping(turn.ended);
        if self.stopping {
            self.end_broadcasts(handler);
            turn.ended += self.end_all(handler);
        }
        if self.is_over() {
            self.take_last_commands(handler);
            self.tell_all_stopped(handler);
            self.end_broadcasts(handler);
            self.pass_on_last();
            self.has_ended = true;
        }
        if self.env.pool.has_waste() {
            self.free_waste();
        }

        // Everything that takes time has read the clock again.
        if turn.expired > 0 || self.now != events_done {
            self.refresh_now();
        }
        let delay = self.env.lateness.delay(self.now.at);
        self.env.stats.loop_delay.record_micros(delay);
        turn.delay = delay.into();
        let wake = self.next_wake(self.now.at);
        self.progress.plan_wait(wake);
        self.now = self.env.lateness.end_turn(self.now.at, wake);
        self.env.stats.late = self.env.lateness.total(self.now.at).into();
        self.env.stats.health = self.env.lateness.health();
        self.env.stats.memory = self.memory() as u64;
        self.env.stats.topics = self.topics.len() as u64;
        self.env.stats.subscriptions = self.topics.subscriptions() as u64;
        turn
    }

    /// Brings the connection of the next event into the processor's cache.
    fn prefetch(&self, present: Token, next: Token) {
        let shard = self.names.shard;
        if let (Target::Conn(present), Target::Conn(next)) =
            (Target::of(present, shard), Target::of(next, shard))
        {
            self.prefetch_conn(present.index(), next.index());
        }
    }

    /// Ends the connection whose callback panicked in the last turn, because the input in hand was
    /// lost. A client whose callback panicked continues as if it had returned.
    fn see_to_panics<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        for id in self.in_hand.take_conns().into_iter().flatten() {
            let code = Some(CloseCode::INTERNAL_ERROR);
            let mut cx = Context::new(self);
            cx.close_for(id, Cause::LocalClose, code, "internal error");
        }
        if let Some(told) = self.in_hand.take_told() {
            self.follow_up(handler, told);
        }
    }

    /// Step 3, for one event. A token of an old generation, or of nothing, is ignored.
    fn handle_event<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, event: IoEvent) {
        let target = Target::of(event.token, self.names.shard);
        if !matches!(target, Target::Conn(_)) {
            self.catch_up();
        }
        match target {
            Target::Conn(id) => self.handle_conn_event(handler, id, event.ready),
            Target::Listener(id) => self.listeners.note_ready(id),
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

    fn handle_conn_event<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ready: IoReady,
    ) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        let conn_has_layer = conn.layer().is_some();
        if conn.session.phase() == Phase::Connecting {
            if ready.writable || ready.readable || ready.failed {
                self.catch_up();
                if conn_has_layer {
                    self.put_to_shaking(id, ready.doubtful);
                    return;
                }
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
            if conn.marks.has(Mark::Heavy) || !self.progress.has_time_to_read(self.now.at) {
                self.carry(id.index());
                return;
            }
            self.read(handler, id);
        }
    }

    fn handle_source_event<C, H: Handler<C, S, Data = D>>(
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

    /// Handles commands of other threads, a limited number in each turn. Other threads may be
    /// faster than the loop, and a broadcast to many connections takes long.
    fn take_commands<C: 'static, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H)
    where
        D: 'static,
    {
        if !self.inbox.may_hold() {
            return;
        }
        let ends = self.progress.slice(self.now.at, COMMANDS_SLICE);
        for _ in 0..COMMANDS {
            self.catch_up();
            if self.now.at >= ends {
                return;
            }
            // Other threads wait until broadcasts have room again.
            if self.broadcasts.is_full() {
                break;
            }
            let Some(command) = self.inbox.next() else {
                break;
            };
            self.obey(handler, command);
        }
        self.refresh_now();
    }

    /// Handles what the queue still holds when every connection has ended, because the loop is over. No
    /// thread can queue so fast that this never ends: one that is quicker is left to the next turn.
    fn take_last_commands<C: 'static, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H)
    where
        D: 'static,
    {
        for _ in 0..MOST_COMMANDS {
            let Some(command) = self.inbox.next() else {
                break;
            };
            self.obey(handler, command);
        }
    }

    fn obey<C: 'static, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, command: Command)
    where
        D: 'static,
    {
        self.is_behind = matches!(command, Command::Own(_) | Command::Publish(_));
        let mut cx = Context::new(self);
        match command {
            Command::Send(id, message) => {
                if let Err(error) = cx.send_shared(id, &message) {
                    log::debug!("a message from another thread for {id} was not sent: {error}");
                    self.env.stats.undelivered += 1;
                    self.is_behind = true;
                    handler.on_undelivered(&mut Context::new(self), id, &message, error);
                }
            }
            Command::Broadcast(message) => {
                cx.event_loop().broadcasts.begin(message, None);
            }
            Command::Publish(publication) => {
                cx.event_loop().publish_for(publication);
            }
            Command::Close(id, code, reason) => cx.close(id, code, &reason),
            Command::Subscribe(id, topic) => {
                if let Err(error) = cx.subscribe(id, &topic) {
                    log::debug!("{id} was not subscribed for another thread: {error}");
                    self.env.stats.subscriptions_missed += 1;
                }
            }
            Command::Unsubscribe(id, topic) => {
                cx.unsubscribe(id, &topic);
            }
            Command::Accept(id, welcome) => match welcome.downcast() {
                Ok(welcome) => self.decide_now(handler, id, Verdict::Accept(*welcome)),
                Err(_) => log::warn!("a welcome was of another type than the handler's"),
            },
            Command::Reject(id, rejection) => {
                self.decide_now(handler, id, Verdict::Reject(rejection));
            }
            #[cfg(feature = "websocket")]
            Command::Answer(id, answer) => {
                self.decide_now(handler, id.conn, Verdict::Answer(id.number, answer));
            }
            Command::Own(command) => match command.downcast() {
                Ok(command) => handler.on_command(&mut cx, *command),
                Err(_) => log::warn!("a command was of another type than the handler's"),
            },
            Command::Drain(window) => cx.drain(window),
            Command::Stop => cx.stop(),
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Brings the connection that comes after the present one into the processor's cache.
    ///
    /// A slab keeps all slots in one vector: the address is known without a look at the slot, for which
    /// the processor would have to wait.
    pub(super) fn prefetch_conn(&self, present: usize, next: usize) {
        if let Some(conn) = self.conns.get(present) {
            let distance = next.cast_signed().wrapping_sub(present.cast_signed());
            prefetch(ptr::from_ref(conn).wrapping_offset(distance));
        }
    }
}

/// Most rounds of flushing and reaping in one turn; the callbacks of one round may cause another.
const PASSES: usize = 4;

/// Commands of other threads in one turn, and time for them. As much again is for what other loops have
/// published.
pub(super) const COMMANDS: usize = 1024;
pub(super) const COMMANDS_SLICE: Micros = Micros::from_millis(2);
