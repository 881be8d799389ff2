//! How the loop ends: at once, or gradually by a drain.

use std::time::Duration;

use super::client::StopReason;
use super::core::EventLoop;
use super::drain::Drain;
use super::handler::Handler;
use crate::close::Cause;
use crate::proto::time::Micros;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    pub(super) fn start_drain(&mut self, window: Duration) {
        if self.drain.is_none() {
            let now = self.read_clock();
            self.drain = Some(Drain::new(now, window.into(), self.conns.len()));
            self.has_ended = false;
            for id in self.clients.ids() {
                self.stop_dialing(id, StopReason::Drain);
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.has_ended = false;
    }

    /// Says whether the loop has ended: it is stopped or drained, every end is reported, and a turn has
    /// handed over what other threads had queued by then.
    pub fn is_stopped(&self) -> bool {
        self.has_ended && self.is_over()
    }

    /// Says whether the loop is stopped or drained, and holds no connection.
    pub(super) fn is_over(&self) -> bool {
        (self.stopping || self.drain.is_some()) && self.conns.is_empty() && self.adopted.is_empty()
    }

    /// Says whether a turn has yet to do what belongs to the end of the loop.
    pub(super) fn must_end(&self) -> bool {
        self.is_over() && !self.has_ended
    }

    /// Notes that the driver has acted on [`is_stopped`](Self::is_stopped). The loop may go on
    /// later.
    pub fn handle_stopped(&mut self) {
        self.stopping = false;
        self.has_ended = false;
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Closes as many connections as the drain's schedule demands, and all when its window is over:
    /// a limited number in each turn.
    pub(super) fn step_drain(&mut self) {
        let Some(mut drain) = self.drain else { return };
        self.look_at_calendar();
        let is_over = drain.is_over(self.now.at);
        if is_over {
            drain.begin_last();
        }
        let due = usize::try_from(drain.due(self.now.at)).unwrap_or(usize::MAX);
        let mut left = if is_over { DRAINED } else { due.min(DRAINED) };
        for _ in 0..SLOTS {
            if left == 0 || drain.cursor >= self.broadcasts.reach() {
                break;
            }
            let key = drain.cursor;
            drain.cursor += 1;
            if self.conns.contains(key) && (is_over || !self.guests.have(key)) {
                self.drain_one(key, is_over);
                drain.count_close();
                left -= 1;
            }
        }
        self.drain = Some(drain);
        if self.has_only_guests() {
            self.end_guests();
        }
    }

    fn drain_one(&mut self, key: usize, is_over: bool) {
        if is_over {
            self.conns[key].session.end(self.now, Cause::Drain, None);
        } else {
            self.settle_broadcasts(key);
            let session = &mut self.conns[key].session;
            session.close(&mut self.env, self.now, Cause::Drain, None, "going away");
        }
        self.mark_dirty(key);
    }

    /// Tells a connection that waits for the handler that the loop stops, as far as one write goes.
    fn leave_waiting(&mut self, key: usize) {
        if self.conns[key].session.awaited().is_some() {
            self.look_at_calendar();
            let session = &mut self.conns[key].session;
            session.leave(&mut self.env, self.now, Cause::LocalClose);
            self.flush(key);
        }
    }

    /// Ends and reports every remaining connection, because the loop stops.
    pub(super) fn end_all<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) -> usize {
        let mut count = 0;
        self.refuse_adopted(handler);
        for key in 0..self.broadcasts.reach() {
            if self.conns.contains(key) {
                self.leave_waiting(key);
                let session = &mut self.conns[key].session;
                session.end(self.now, Cause::LocalClose, None);
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
}

/// Connections that a drain closes in one turn, and slots that it looks at.
const DRAINED: usize = 256;
const SLOTS: usize = 16 * 1024;
