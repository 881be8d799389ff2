//! The wait before a turn: how long it may last.

use std::time::Duration;

use super::core::EventLoop;
use crate::proto::time::Micros;
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Reads the clock, and finds when the next wait must end if work may have been added since the
    /// end of the last turn.
    pub fn look_ahead(&mut self) {
        self.refresh_now();
        let now = self.now.at;
        let wake = match self.progress.planned() {
            Some(wake) => wake,
            None => self.next_wake(now),
        };
        self.progress.plan_wait(wake);
        self.env.lateness_mut().look_ahead(now, wake);
    }

    /// Step 1: returns how long to wait from now on. `None` means until an event comes. Call it
    /// after [`look_ahead`](Self::look_ahead) or right after a turn, and wait at once.
    pub fn prepare_wait(&mut self, limit: Option<Duration>) -> Option<Duration> {
        let wake = self.progress.begin_wait();
        self.forget_refusals();
        let now = self.now.at;
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
}

impl<D, S: System> EventLoop<D, S> {
    /// Returns the longest time to wait before the next [`turn`](Self::turn). Zero means that work
    /// is left over. `None` means that no deadline is due: only an event ends the wait.
    pub fn next_timeout(&self) -> Option<Duration> {
        let now = self.system.now();
        let wake = self.next_wake(now);
        (wake < Micros::MAX).then(|| (wake - now).into())
    }

    /// Returns when the next wait must end: `now`, if work is left over.
    pub(super) fn next_wake(&self, now: Micros) -> Micros {
        if !self.carried.is_empty()
            || !self.shaking.is_empty()
            || !self.dirty.is_empty()
            || !self.doomed.is_empty()
            || self.env.pool.has_waste()
            || !self.roomy.is_empty()
            || !self.closing.is_empty()
            || !self.adopted.is_empty()
            || self.broadcasts.has_work()
            || self.renewals.has_work()
            || !self.expiries.is_empty()
            || !self.in_hand.is_empty()
            || self.clients.have_work()
            || self.inbox.may_hold()
            || self.deferrals.answers() > 0
            || self.siblings.lane().has_any()
            || self.progress.is_unwound()
            || self.stopping
            || self.must_end()
        {
            return now;
        }
        let mut wake = self.wheel.next_deadline().unwrap_or(Micros::MAX);
        if !self.clients.are_quiet() {
            if let Some((due, _)) = self.clients.first_dial() {
                wake = wake.min(due);
            }
            if let Some(ends) = self.look_up_ends(now) {
                wake = wake.min(ends);
            }
            if let Some((ends, _)) = self.clients.first_limited() {
                wake = wake.min(ends);
            }
        }
        if let Some(due) = self.siblings.due(now) {
            wake = wake.min(due.max(now));
        }
        if let Some(due) = self.held_back.first_due() {
            wake = wake.min(due.max(now));
        }
        if let Some(due) = self.timers.first_due() {
            wake = wake.min(due);
        }
        if let Some(drain) = &self.drain
            && !self.conns.is_empty()
        {
            let has_slots = drain.cursor < self.broadcasts.reach();
            wake = wake.min(drain.next_step(now, has_slots));
        }
        if let Some(next) = self.listeners.next_try(now) {
            wake = wake.min(next);
        }
        wake
    }
}
