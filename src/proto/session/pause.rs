//! Pauses: the shell stops reading on purpose, and goes on.

use super::{Owed, Session};
use crate::close::Phase;
use crate::proto::time::{Moment, Stamp};

impl Session {
    /// Notes that the shell stopped reading on purpose.
    pub fn handle_pause(&mut self, now: Moment) {
        if !self.note_pause(true) && !self.note_choked(true) && !self.hold_limited(true) {
            self.pause(now);
        }
    }

    pub(super) fn pause(&mut self, now: Moment) {
        if self.heartbeat.is_paused() {
            return;
        }
        self.heartbeat.handle_pause();
        if self.phase == Phase::Open {
            self.phase_ends = Stamp::new(now.at);
        }
    }

    /// Notes that the shell reads again. While a limit has paused reading, that is when the limit
    /// allows it.
    pub fn handle_resume(&mut self, now: Moment) {
        if !self.note_pause(false) && !self.note_choked(false) {
            self.resume_within(now);
        }
    }

    /// Reads again, unless a limit keeps us from that.
    pub(super) fn resume_within(&mut self, now: Moment) {
        if !self.hold_limited(false) {
            self.resume(now);
        }
    }

    pub(super) fn resume(&mut self, now: Moment) {
        if self.heartbeat.is_paused() {
            self.end_pause();
            self.heartbeat.handle_resume(now);
            self.give_credit(now, self.phase_ends);
            self.restart_slow_clock(now);
            self.note_message(now);
            self.owed.insert(Owed::Rearm);
        }
    }

    /// Owes the shell a word that it reads again, if it does not now.
    pub(super) fn end_pause(&mut self) {
        if self.is_paused() {
            self.owed.insert(Owed::ResumeReading);
        }
    }
}
