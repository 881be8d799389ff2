//! The time of the loop. It stands still between two looks at the clock.

use super::core::EventLoop;
use crate::proto::session::Session;
use crate::proto::time::{Micros, Moment};
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Reads the clock. What follows happens at that time.
    pub(super) fn refresh_now(&mut self) {
        self.set_now(self.env.lateness.moment(self.system.now()));
        self.is_behind = false;
    }

    /// Reads the clock, and says whether the time of a step that stops at `ends` is over.
    pub(super) fn is_past(&mut self, ends: Micros) -> bool {
        self.refresh_now();
        self.now.at >= ends
    }

    /// Reads the clock for a caller that continues at once, such as a callback. The time until then
    /// belongs to this turn.
    pub(super) fn read_clock(&mut self) -> Micros {
        self.refresh_now();
        self.is_behind = true;
        self.now.at
    }

    /// Moves the loop's time on. If it jumps by days, because the process was stopped or nobody
    /// called the loop, sessions are told before anything else.
    pub(super) fn set_now(&mut self, now: Moment) {
        let before = std::mem::replace(&mut self.now, now);
        if now.at - before.at >= Session::LEAP {
            for (_, conn) in &mut self.conns {
                conn.session.handle_leap(before, now);
            }
        }
    }

    /// Reads the clock if a callback has run since.
    pub(super) fn catch_up(&mut self) {
        if self.is_behind {
            self.refresh_now();
        }
    }

    /// Looks what date it is, for the answers to come.
    #[cfg(feature = "websocket")]
    pub(super) fn look_at_calendar(&mut self) {
        let date = self.system.date(self.env.date());
        self.env.set_date(date);
    }

    /// Only HTTP dates its answers.
    #[cfg(not(feature = "websocket"))]
    pub(super) fn look_at_calendar(&self) {}
}
