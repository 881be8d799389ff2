//! Ends: each once, for a cause that is true, and with evidence that agrees with what was seen.

use heartwheel::close::{Cause, Evidence, Phase};
use heartwheel::proto::time::Micros;

use super::lateness::{Deadline, Intervals, When};
use super::pings::ROUNDING;
use super::silence::Truth;
use super::watch::{Between, Watch};
use crate::world::tcp::Failure;

impl Watch {
    /// Notes the phase at the end of a turn, or at its end.
    pub(crate) fn handle_phase(&mut self, began: When, now: When, phase: Phase) {
        self.settled = [self.last_in, self.last_out];
        self.written_before = self.written.len();
        if std::mem::take(&mut self.is_new) {
            self.ruled = now;
        }
        if phase == self.phase {
            return;
        }
        self.demand(now, rank(phase) > rank(self.phase), || {
            format!("{:?} after {:?}", phase, self.phase)
        });
        self.phase = phase;
        self.since = Between {
            low: began,
            high: now,
        };
    }

    /// Notes that the connection reached `Open` just now: that is proof of life.
    pub(crate) fn handle_opened(&mut self, now: When) {
        self.opened = Some(now);
        self.is_deferred = false;
        self.is_new = true;
        self.phase = Phase::Open;
        self.since = Between::exactly(now);
        self.last_message = Between::exactly(now);
        self.passed = self.passed.max(now.at);
        self.prove(now);
        self.proof = Between::in_turn(now);
        // What came with the head is decoded once the application knows of the connection.
        self.is_undecoded |= self.last_in.is_some();
    }

    /// Notes that there is a cause; says whether it was not known before. `unread`: bytes that wait in its
    /// socket and have not been looked for in this turn.
    pub(crate) fn begin_cause(&mut self, now: When, cause: Cause, unread: usize) -> bool {
        if let Some((known, _)) = self.cause {
            self.demand(now, self.may_become(now, known, cause), || {
                format!("{cause} after {known}")
            });
            return false;
        }
        self.cause = Some((cause, now));
        self.answered_at_end = self.answered_before;
        self.written_at_end = self.written_before;
        self.passed_at_end = [self.settled, [self.last_in, self.last_out]];
        self.waited_at_end = self.last_waiting;
        self.proof_at_end = [self.proof_before, self.proof];
        self.demand_true(now, cause);
        // "Spoken only after a read on that very socket, in this turn, returned would-block."
        // Where we are late with a decision there is nothing to look for.
        let must_look = cause == Cause::HandshakeTimeout && !self.is_deferred;
        self.demand(now, unread == 0 || !must_look, || {
            format!("{cause} with {unread} bytes unread")
        });
        true
    }

    /// Says whether a queue that was full may have drained below the floor. Control frames are written beside
    /// the messages that count.
    fn may_read_slowly(&self, now: When) -> bool {
        let rules = &self.rules;
        let span = rules.slow_grace.max(rules.write.unwrap_or_default());
        let began = now.at - span;
        let lately = self.written_lately.iter().rev();
        let lately = lately.take_while(|(at, _)| *at > began + self.longest_turn);
        let written: u64 = lately.map(|(_, bytes)| bytes).sum();
        let wanted = rules.slow_floor * span.as_micros() / 1_000_000;
        let is_full = self.full.is_some_and(|full| full.began <= began);
        // A write verdict only after a write in this turn was refused.
        let is_tried = self.refused == Some(now.began) || self.failure.is_some();
        is_full && is_tried && written < wanted + CONTROL
    }

    fn demand_true(&self, now: When, cause: Cause) {
        match cause {
            Cause::Silent | Cause::PongTimeout | Cause::PeerUnresponsive => {
                self.demand_verdict(now, cause)
            }
            // The kernel itself has given up, or we judge.
            Cause::PathDead if self.failure == Some(Failure::TimedOut) => {}
            Cause::PathDead => self.demand_verdict(now, cause),
            Cause::WriteStalled if self.expected.is_some() => self.demand_verdict(now, cause),
            Cause::WriteStalled => {
                let Some(write) = self.rules.write else {
                    self.fail(now, "stalled though W is off")
                };
                let end = self.earliest(now, self.progress, write);
                // Behind a write that failed there may still be input, and the reset only behind that.
                let is_stuck = self.is_blocked || self.failure.is_some();
                self.demand(now, is_stuck, || "stalled though output flows".into());
                // "A write verdict only after a write in this turn was refused."
                let is_tried = self.refused == Some(now.began) || self.failure.is_some();
                self.demand(now, is_tried, || "stalled, and no write was tried".into());
                self.demand(now, now.at >= end, || "stalled before W".into());
            }
            Cause::SlowPeer => {
                let slow = self.slow_ends(&self.ours.borrow(), now.at);
                let is_slow = slow.is_some_and(|(low, _)| now.at >= low);
                let is_slow = is_slow && !self.is_paused;
                self.demand(now, is_slow || self.may_read_slowly(now), || {
                    "not that slow".into()
                });
            }
            Cause::AppIdle => {
                let end = self
                    .rules
                    .app_idle
                    .map(|idle| self.last_message.low.at + idle);
                let is_idle = end.is_some_and(|end| now.at + self.longest_turn >= end);
                self.demand(now, is_idle && !self.is_paused, || "not idle".into());
            }
            Cause::MaxLifetime => {
                let end = self.rules.lifetime.map(|lifetime| {
                    self.began.at + (lifetime - Micros::new(lifetime.as_micros() / 10))
                });
                self.demand(now, end.is_some_and(|end| now.at + ROUNDING >= end), || {
                    "not old enough".into()
                });
            }
            Cause::HandshakeTimeout => {
                self.demand_phase(now, Phase::Handshaking, self.rules.handshake)
            }
            Cause::ConnectTimeout => self.demand_phase(now, Phase::Connecting, self.rules.connect),
            Cause::PeerClosed => {
                self.demand(now, self.is_closed_by_peer, || "no Close was read".into());
            }
            Cause::PeerEof => self.demand(now, self.is_eof, || "no end was read".into()),
            Cause::PeerReset => {
                let is_reset = matches!(self.failure, Some(Failure::Reset | Failure::BrokenPipe));
                self.demand(now, is_reset, || "there was no reset".into());
            }
            Cause::IoError => {
                let is_error = matches!(
                    self.failure,
                    Some(Failure::Refused | Failure::TimedOut | Failure::Reset)
                );
                self.demand(now, is_error, || "the kernel gave no error".into());
                // Later on each of them has a cause of its own.
                let is_dial = self.phase == Phase::Connecting;
                self.demand(now, is_dial, || format!("in {:?}", self.phase));
            }
            Cause::LocalClose
            | Cause::Drain
            | Cause::Replaced
            | Cause::Refused
            | Cause::SendQueueFull => {
                let is_asked_for = [&self.wanted, &self.allowed]
                    .iter()
                    .any(|causes| causes.contains(&cause));
                self.demand(now, is_asked_for, || format!("nobody asked for {cause}"));
            }
            Cause::MemoryLimit => {
                self.demand(now, self.is_relieved, || "it was not chosen".into());
            }
            Cause::PingFlood | Cause::PongFlood if self.is_swamped() => {}
            // Both sides are ours, and keep to the rules. Nothing else has a reason here.
            _ => self.fail(now, format!("there is no reason for {cause}")),
        }
    }

    /// Says whether the loop or the application may hold bytes for it.
    pub(super) fn holds_something(&self) -> bool {
        self.hoard > 0 || self.unfinished.is_some() || self.is_undecoded || self.refused.is_some()
    }

    fn demand_verdict(&self, now: When, cause: Cause) {
        let is_waiting = cause == Cause::WriteStalled && self.may_hold_ping(now);
        // What was heard may have come before the ping that asks, if that is a later one.
        let may_be_later = self
            .ask
            .and_then(|ask| ask.written)
            .is_some_and(|(written, _)| written.at <= self.proof.high.at);
        let is_unheard = cause == Cause::PeerUnresponsive
            && self.expected == Some(Cause::PongTimeout)
            && may_be_later;
        let is_right = self.expected == Some(cause) || is_waiting || is_unheard;
        self.demand(now, is_right, || {
            format!("{cause}, and not {:?}", self.expected)
        });
    }

    fn demand_phase(&self, now: When, phase: Phase, span: Micros) {
        let end = self.earliest(now, self.since, span);
        self.demand(now, self.phase == phase, || format!("in {:?}", self.phase));
        self.demand(now, now.at >= end, || "before its time".into());
    }

    /// Returns when at the earliest something is late that was to happen so long after another.
    fn earliest(&self, now: When, armed: Between, span: Micros) -> Micros {
        Deadline::after(armed.times(), span).earliest(&self.ours.borrow(), now.at)
    }

    /// Returns for how long it was held.
    pub(crate) fn held(&self, now: When) -> Micros {
        now.at - self.began.at
    }

    /// Returns when the last byte was read.
    pub(crate) fn last_read(&self) -> Option<Micros> {
        self.last_in.map(|when| when.at)
    }

    /// Notes that the connection was taken out, and compares its evidence with what was seen.
    pub(crate) fn handle_end(
        &mut self,
        now: When,
        evidence: &Evidence,
        was_open: bool,
        with_reset: bool,
    ) {
        self.closes += 1;
        self.demand(now, self.closes == 1, || "ended twice".into());
        self.demand(now, was_open == (self.opens == 1), || {
            format!("opened {} times, and its end says {was_open}", self.opens)
        });
        let Some((cause, when)) = self.cause else {
            self.fail(now, "ended without a cause")
        };
        // Whoever is judged dead gets a reset, and so does a stream that is not whole; nobody else. Where
        // a Close has overtaken the rest, it tells so; and it may itself be what has not left.
        let is_cut_short = evidence.bytes_dropped > 0;
        let has_overtaken = is_cut_short && (!is_patient(cause) || self.is_closed_by_peer);
        let must_reset = evidence.cause.is_reset() || (is_cut_short && !has_overtaken);
        let may_reset = must_reset
            || is_cut_short
            || self.is_blocked
            || self.is_relieved
            || self.failure.is_some()
            // The kernel would keep the last words for a peer that takes none and says none.
            || (self.is_shut && !self.is_closed_by_peer && !self.is_eof());
        self.demand(now, with_reset || !must_reset, || {
            format!("{}, without a reset", evidence.cause)
        });
        self.demand(now, may_reset || !with_reset, || {
            format!("{}, with a reset", evidence.cause)
        });
        self.demand_patience(now, cause, evidence, with_reset);
        self.demand(now, !evidence.clean || !evidence.is_cut(), || {
            format!("clean, and cut: {evidence}")
        });
        self.demand_kept(now, cause, evidence);
        self.demand_counts(now, evidence);
        self.demand_ages(now, when, evidence);
    }

    /// Whatever was queued at an end that blames nobody had its time to leave, and the peer had its time
    /// to answer.
    fn demand_patience(&self, now: When, cause: Cause, evidence: &Evidence, with_reset: bool) {
        let is_over = self.phase != Phase::Closing || self.failure.is_some() || !with_reset;
        if is_over || !is_patient(cause) || self.is_relieved {
            return;
        }
        let is_over = |armed, span| now.at >= self.earliest(now, armed, span);
        let stalls = self
            .rules
            .write
            .is_some_and(|write| is_over(self.progress, write));
        let total = is_over(self.since, self.rules.close_total);
        let sent = evidence.bytes_dropped == 0 && is_over(self.progress, self.rules.close);
        self.demand(now, stalls || total || sent, || {
            format!("{cause} cuts output that makes progress")
        });
    }

    /// Returns by when a goodbye is over, whatever the peer does.
    pub(super) fn goodbye_ends(&self, ours: &Intervals, now: Micros) -> Micros {
        let after = |armed: Between, span| Deadline::after(armed.times(), span).latest(ours, now);
        let total = after(self.since, self.rules.close_total);
        let Some((cause, _)) = self.cause else {
            return total;
        };
        if !is_patient(cause) {
            return after(self.since, self.rules.close);
        }
        let is_later = self.progress.high.at > self.since.high.at;
        let moved = if is_later { self.progress } else { self.since };
        match self.rules.write {
            Some(write) if self.is_blocked => {
                total.min(after(self.progress, write).max(self.since.high.at))
            }
            // What is behind a write that failed will never leave; the reset lies behind unread input.
            Some(_) | None if self.is_blocked || self.failure.is_some() => total,
            Some(_) | None => total.min(after(moved, self.rules.close)),
        }
    }

    /// The first cause wins; only an orderly end that takes too long or that there is no memory for, and
    /// stalled output on a dead path, are called something else at last.
    fn may_become(&self, now: When, first: Cause, last: Cause) -> bool {
        match (first, last) {
            (first, last) if first == last => true,
            (Cause::LocalClose | Cause::PeerClosed, Cause::CloseTimeout) => {
                // It counts from the last byte, which may have left in the same turn or later.
                let close = now.at >= self.since.low.at + self.rules.close;
                let total = now.at >= self.earliest(now, self.since, self.rules.close_total);
                let stalls = self
                    .rules
                    .write
                    .is_some_and(|write| now.at >= self.earliest(now, self.progress, write));
                close || total || (stalls && self.is_blocked)
            }
            (Cause::LocalClose | Cause::PeerClosed, Cause::MemoryLimit) => self.is_relieved,
            (Cause::WriteStalled, Cause::PathDead) => true,
            _ => false,
        }
    }

    fn demand_kept(&self, now: When, cause: Cause, evidence: &Evidence) {
        let truth = Truth {
            figures: evidence.kernel,
            unread: 0,
            has_ping: false,
        };
        let is_kept = self.may_become(now, cause, evidence.cause)
            && (cause == evidence.cause
                || evidence.cause != Cause::PathDead
                || truth.is_path_dead());
        self.demand(now, is_kept, || {
            format!("{cause} became {}", evidence.cause)
        });
    }

    fn demand_counts(&self, now: When, evidence: &Evidence) {
        // A ping of which a part had left is finished in front of a goodbye.
        let written = self.written_at_end..=self.written.len();
        let told = evidence.pings_written as usize;
        self.demand(now, written.contains(&told), || {
            format!("{told} pings written, and not {written:?}")
        });
        let told = evidence.pings_answered as usize;
        // What comes after a goodbye need not be looked at.
        let is_true = (self.answered_at_end..=self.answered).contains(&told);
        let is_certain = told == self.answered
            && self.answered_at_end == told
            && !self.is_undecoded
            && !self.was_undecoded;
        self.demand(now, is_true || self.is_undecoded, || {
            format!("{told} pings answered, and not {}", self.answered)
        });
        let most = evidence.pings_due + self.asked_for;
        self.demand(now, evidence.pings_written <= most, || {
            format!("{} pings written of {most}", evidence.pings_written)
        });
        // A pong that was read and not looked at tells nothing.
        if is_certain {
            let (told, known) = (evidence.rtt.map(|rtt| rtt.last.into()), self.rtt);
            let is_near = told
                .zip(known)
                .is_none_or(|(told, known): (Micros, Micros)| {
                    let held = self.longest_turn + ROUNDING;
                    told <= known + held && known <= told + held
                });
            self.demand(now, is_near && told.is_some() == known.is_some(), || {
                format!("a round trip of {told:?}, and not {known:?}")
            });
        }
        if let Some(rtt) = evidence.rtt {
            let is_possible = Micros::from(rtt.min) + ROUNDING >= self.shortest;
            self.demand(now, is_possible, || {
                format!(
                    "an answer within {:?}, on a path of {:?}",
                    rtt.min, self.shortest
                )
            });
            self.demand(now, rtt.min <= rtt.last, || {
                "the least is not the least".into()
            });
        }
    }

    fn demand_ages(&self, now: When, when: When, evidence: &Evidence) {
        let near = |told: Micros, then: When| {
            let true_age = when.at - then.at;
            let held = self.longest_turn + ROUNDING + ROUNDING;
            told <= true_age + held && told + held >= true_age
        };
        self.demand(now, near(evidence.age.into(), self.began), || {
            format!("age {:?}", evidence.age)
        });
        let is_open = evidence.phase == Phase::Open && self.opened.is_some() && !self.is_paused;
        if !is_open {
            return;
        }
        let [[in_before, out_before], [last_in, last_out]] = self.passed_at_end;
        for (what, told, thens) in [
            (
                "last_in",
                evidence.last_in,
                [in_before, last_in, self.waited_at_end],
            ),
            ("last_out", evidence.last_out, [out_before, last_out, None]),
        ] {
            let mut thens = thens.iter().flatten().peekable();
            if let (Some(told), true) = (told.map(Micros::from), thens.peek().is_some()) {
                self.demand(now, thens.any(|then| near(told, *then)), || {
                    format!("{what} {told:?}, read {:?}", self.last_in)
                });
            }
        }
        let told = evidence.last_proof.map_or(Micros::ZERO, Micros::from);
        let [before, known] = self.proof_at_end;
        let proofs = [before, known, self.proof];
        let is_near = |proof: &Between| {
            let held = self.longest_turn + ROUNDING + ROUNDING;
            told <= when.at - proof.low.at + held && told + held >= when.at - proof.high.at
        };
        let is_true = self.is_undecoded || proofs.iter().any(is_near);
        self.demand(now, is_true, || format!("last proof {told:?}"));
        let told = Micros::from(evidence.forgiveness);
        let held = self.longest_turn + ROUNDING + ROUNDING;
        let is_stalled = evidence.cause == Cause::WriteStalled && self.expected.is_some();
        let is_silence = is_stalled || self.expected == Some(evidence.cause);
        let (low, high) = match self.forgiven.filter(|_| is_silence) {
            Some(forgiven) => forgiven,
            // One that fell into an interval counts from its end, and then that counts once more.
            None => {
                let late = self.ours.borrow().total(self.began.at, now.at);
                (Micros::ZERO, late + late)
            }
        };
        let is_true = told <= high + held && told + held >= low;
        self.demand(now, is_true || self.is_undecoded, || {
            format!("forgiveness {told:?}, and not {low:?} to {high:?}")
        });
    }
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Connecting => 0,
        Phase::Handshaking => 1,
        Phase::Open => 2,
        Phase::Closing => 3,
        Phase::Closed => 4,
    }
}

/// Says whether what is queued leaves first at an end for this cause, as long as it makes progress: our own
/// orderly ends, and those that the peer brings about in good order.
fn is_patient(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::LocalClose
            | Cause::Drain
            | Cause::MaxLifetime
            | Cause::AppIdle
            | Cause::Replaced
            | Cause::Refused
            | Cause::PeerEof
            | Cause::PeerClosed
    )
}

/// More than the control frames that leave within one span of the floor for output.
const CONTROL: u64 = 4 * 1024;
