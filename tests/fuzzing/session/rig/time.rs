//! Time passes: timers fire, and what is due is judged.

use heartwheel::close::{Cause, Phase};
use heartwheel::config::Proof;
use heartwheel::proto::session::Due;
use heartwheel::proto::time::Micros;

use super::super::law::TICK;
use super::Rig;

impl Rig {
    /// Lets time pass; timers fire on their way.
    pub(in super::super) fn pass_until(&mut self, at: Micros) {
        for _ in 0..FIRINGS {
            let due = self.firing();
            if self.is_ended || due > at {
                break;
            }
            self.now.at = self.now.at.max(due);
            self.expire();
        }
        if self.is_ended || self.firing() > at {
            self.now.at = self.now.at.max(at);
        }
    }

    /// When the timer fires next.
    pub(in super::super) fn firing(&self) -> Micros {
        let tick = Micros::from(TICK).as_micros();
        match self.is_on_ticks && self.scheduled < Micros::MAX {
            true => Micros::new(self.scheduled.as_micros().next_multiple_of(tick)),
            false => self.scheduled,
        }
    }

    /// Holds the loop up: afterwards the socket is read first, as in a turn.
    pub(in super::super) fn stall(&mut self, span: Micros) {
        let began = self.now.at;
        self.env.lateness_mut().end_turn(began, began);
        self.now = self.env.lateness_mut().begin_turn(began + span);
        self.law.note_stop(began + LEAST_LATENESS, self.now.at);
        self.read();
        self.settle();
        self.pass_until(self.now.at);
        let ended = self.now.at;
        self.now = self.env.lateness_mut().end_turn(ended, Micros::MAX);
    }

    /// The timer has fired, perhaps for what was due before.
    pub(in super::super) fn expire(&mut self) {
        for _ in 0..THINGS_DUE {
            let was_paused = self.session.is_paused();
            let had_output = self.session.has_output();
            let (phase, cause) = (self.session.phase(), self.session.cause());
            let pings_due = self.env.stats().pings_due;
            match self.session.handle_timeout(&mut self.env, self.now) {
                Due::Wait(at) => {
                    assert!(at > self.now.at, "waits for what has passed");
                    assert_eq!(at, self.session.poll_deadline(&self.env, self.now));
                    self.scheduled = at;
                    return self.settle();
                }
                Due::Changed => {
                    let is_ping = self.env.stats().pings_due == pings_due + 1;
                    self.check_due(phase, cause, was_paused, is_ping);
                    if phase == Phase::Handshaking && self.session.phase() == Phase::Closing {
                        self.observer.expect_answer();
                    }
                    self.note_output(had_output);
                    if was_paused && !self.session.is_paused() {
                        self.read();
                    }
                }
                Due::Stalled => {
                    assert!(self.session.is_stalled(&self.env, self.now));
                    self.session.stall(&self.env, self.now);
                    self.check_due(phase, cause, was_paused, false);
                    self.note_output(had_output);
                }
                Due::Silent => self.judge(),
            }
        }
        panic!("something is always due");
    }

    fn check_due(&self, phase: Phase, before: Option<Cause>, was_paused: bool, is_ping: bool) {
        let times = self.times();
        match (before, self.session.cause()) {
            (None, Some(cause)) => {
                let state = (self.session.age(self.now), was_paused);
                self.law
                    .check_deadline(cause, &times, &self.limits, state, self.now);
            }
            (Some(_), _) => {
                assert_eq!(
                    (phase, self.session.phase()),
                    (Phase::Closing, Phase::Closed)
                );
                let has_output = self.session.has_output();
                self.law.check_close(&times, has_output, self.now);
            }
            (None, None) => assert!(is_ping, "nothing has changed"),
        }
    }

    /// Silence has lasted too long: one more read, then the verdict.
    fn judge(&mut self) {
        let times = self.times();
        let is_paused = self.session.is_paused();
        if is_paused {
            if !self.socket.arrived.is_empty() || self.session.has_input() {
                self.session.handle_waiting_bytes(&self.env, self.now);
                self.law.note_bytes(&times, self.now);
            }
        } else {
            self.read();
        }
        if self.session.is_silent(&self.env, self.now) {
            let kernel = self.kernel.as_ref();
            if self.session.spare_slow(&self.env, self.now, kernel) {
                return self.law.note_spared(&times);
            }
            let cause = self.session.judge(&self.env, self.now, self.kernel);
            let is_left = is_paused && !self.socket.arrived.is_empty();
            assert!(
                !(is_left && times.proof == Proof::Bytes),
                "proof was waiting"
            );
            self.law.check_silence(cause, &times, is_paused, self.now);
        }
    }
}

/// Firings of the timer that one passage of time follows.
const FIRINGS: usize = 64;

/// What is not counted as late.
const LEAST_LATENESS: Micros = Micros::from_millis(10);

/// Things one session may have due at once.
const THINGS_DUE: usize = 6;
