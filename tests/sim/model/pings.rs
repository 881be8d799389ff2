//! Pings: on the grid, once for each point of it, and all of them.

use heartwheel::config::PingWhen;
use heartwheel::proto::time::Micros;

use super::lateness::{Look, When};
use super::scanner::Speech;
use super::watch::{Ask, Moves, Sent, Watch};

impl Watch {
    /// Says whether its wire has pings.
    pub(crate) fn has_pings(&self) -> bool {
        self.speech != Speech::Raw
    }

    /// Notes that the application wants a ping now.
    pub(crate) fn handle_ping_wanted(&mut self, now: When) {
        self.asked_for += u32::from(!self.is_ping_waiting);
        self.begin_ask(now, now);
        self.is_ping_waiting = true;
    }

    /// Says whether a ping may wait that came due in the latest look, or in this very one.
    pub(super) fn may_hold_ping(&self, now: When) -> bool {
        let point = self.rules.grid_point(self.fraction, now.at);
        let is_due = point.is_some_and(|point| point > self.pinged[1]);
        self.may_ping_wait || self.is_blocked && is_due
    }

    /// Notes whether a turn follows a stop of the process: so do those behind it, until one has looked at all
    /// that has come due.
    pub(crate) fn note_stop(&mut self, is_stalled: bool) {
        self.is_stalled |= is_stalled;
    }

    /// Compares the number of pings due with the grid, at the end of a turn that looked at what had come
    /// due.
    pub(crate) fn check_pings(&mut self, due: u32, look: Look) {
        let now = look.at;
        let fresh = due - self.due;
        self.due = due;
        let since = self.opened.map_or(now.at, |opened| opened.at);
        // The clock went on while the turn saw to it, and may have passed a point.
        let [sooner, grid] =
            [now.at, look.done.at].map(|at| self.rules.grid_point(self.fraction, at));
        if fresh > 0 {
            self.demand(now, fresh == 1, || format!("{fresh} pings at once"));
            let Some(point) = grid else {
                self.fail(now, "a ping while the interval is off")
            };
            let is_new = point > self.pinged[0] && point + self.longest_turn >= since;
            self.demand(now, is_new, || {
                format!(
                    "a ping before its time: {point:?}, pinged {:?}",
                    self.pinged
                )
            });
            self.demand(now, !self.must_be_spared(look.done), || {
                "a ping to who has just spoken".into()
            });
            let least = sooner.filter(|sooner| *sooner > self.pinged[0] && *sooner >= since);
            self.pinged = [least.unwrap_or(point), point];
            self.has_skipped = false;
            self.begin_ask(now, look.done);
            self.is_ping_waiting = self.written.last().is_none_or(|sent| sent.when.at < now.at);
            // What was written may have been the one before, which had waited.
            self.may_ping_wait = self.is_blocked;
            let moves = match self.last_out {
                Some(out) if out.at > look.done.at => Moves::Surely,
                Some(out) if out.at >= now.at => Moves::Perhaps,
                Some(_) | None => Moves::No,
            };
            if let Some(ask) = &mut self.ask
                && ask.written.is_none()
            {
                ask.moves = ask.moves.max(moves);
            }
            return;
        }
        if !look.is_whole || self.is_broken() {
            return;
        }
        let is_stalled = std::mem::take(&mut self.is_stalled);
        // What a tick and the rounding may still hold back is not missed yet.
        let sure = now.at - self.rules.tick - ROUNDING;
        let Some(point) = self.rules.grid_point(self.fraction, sure) else {
            return;
        };
        if sure < self.ruled.at && is_stalled {
            self.passed = self.passed.max(grid.unwrap_or(point));
        }
        if point <= self.pinged[1].max(self.passed).max(since) || sure < self.ruled.at {
            return;
        }
        if self.may_be_spared(point) {
            self.passed = grid.unwrap_or(point);
            self.has_skipped = false;
        } else if is_stalled
            && (!self.has_skipped || self.spares() && self.proof.high.at > self.passed)
        {
            // Who was heard between two stops may have been spared a ping there, in a turn of which nothing is seen.
            self.passed = grid.unwrap_or(point);
            self.has_skipped = true;
        } else {
            self.fail(
                now,
                format!("no ping for {point:?}, pinged {:?}", self.pinged),
            );
        }
    }

    pub(super) fn handle_ping_written(&mut self, now: When, payload: Vec<u8>) {
        self.is_ping_waiting = false;
        self.may_ping_wait = false;
        self.timed.get_or_insert(self.written.len());
        self.written.push(Sent { payload, when: now });
        let place = self.place;
        let is_asked = self.ask.is_some_and(|ask| ask.written.is_some());
        let counts = self.counts_from(now, now);
        if let Some(ask) = self.ask.as_mut().filter(|ask| ask.is_doubtful) {
            // If the other one is answered, this is the first.
            ask.counts.1 = ask.counts.1.max(counts.1);
            ask.is_doubtful = false;
        }
        if !is_asked && self.rules.interval.is_some() {
            self.is_heard = false;
            self.ask = Some(Ask {
                counts,
                written: Some((now, place)),
                moves: Moves::No,
                is_doubtful: false,
                is_spared: false,
            });
        }
    }

    /// One ping at a time is timed, the first that is written while none is. Its round trip is known if
    /// it is answered itself, and not along with a later one.
    pub(super) fn handle_answer(&mut self, now: When, place: usize) {
        if self.timed == Some(place) {
            self.rtt = Some(now.at - self.written[place].when.at);
        }
        self.timed = self.timed.filter(|&timed| timed > place);
    }

    /// Notes that a ping was queued, some time between the two.
    fn begin_ask(&mut self, from: When, to: When) {
        if self.ask.is_none() && self.rules.interval.is_some() {
            self.ask = Some(Ask {
                counts: self.counts_from(from, to),
                written: None,
                moves: Moves::No,
                is_doubtful: false,
                is_spared: false,
            });
        }
    }

    /// Returns the times from which a ping counts that is queued or written now: from then, or, where
    /// rounding alone has made it late, from an interval after the last proof. After another policy T
    /// counts from the ping, not T - I.
    fn counts_from(&self, from: When, to: When) -> (Micros, Micros) {
        let (low, high) = (from.began, to.at);
        let interval = self.rules.interval.unwrap_or(Micros::ZERO);
        if self.changed.is_some() {
            return (low + interval, high + interval);
        }
        let on_time = self.rules.on_time();
        let count = |written: Micros, proof: Micros, held: Micros| {
            let promised = proof + interval;
            if written > promised + held {
                written
            } else {
                promised.min(written)
            }
        };
        let proofs = [self.proof.low.at, self.proof.high.at];
        // The proof and the time for rounding are both rounded up to whole milliseconds.
        let lows = proofs.map(|proof| count(low, proof, on_time + ROUNDING + ROUNDING));
        let highs = proofs.map(|proof| count(high, proof, on_time - ROUNDING - ROUNDING));
        (lows[0].min(lows[1]), highs[0].max(highs[1]))
    }

    /// With `ping_when = idle`, proof within the last interval spares a ping.
    fn must_be_spared(&self, now: When) -> bool {
        let age = now.at - self.proof.low.at + ROUNDING;
        self.spares() && self.rules.interval.is_some_and(|interval| age < interval)
    }

    fn may_be_spared(&self, point: Micros) -> bool {
        let age = point - self.proof.high.at;
        self.spares()
            && self
                .rules
                .interval
                .is_some_and(|interval| age < interval + ROUNDING)
    }

    fn spares(&self) -> bool {
        self.rules.ping_when == PingWhen::Idle
    }
}

/// Times are kept in whole milliseconds, rounded up.
pub(super) const ROUNDING: Micros = Micros::from_millis(1);
