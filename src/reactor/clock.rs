//! The one place that reads the clock, and the count of our own lateness.

use std::time::Instant;

use crate::proto::time::{Micros, Moment};

/// Core time from the monotonic clock, and how late the loop is.
///
/// For each turn: how much later the wait ended than it should have, plus the time spent inside the
/// turn. What of that exceeds the larger of the tick and 10 ms is ours to answer for. Only the excess:
/// a loop that is busy for good would otherwise forgive its peers for ever.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// Lateness of the turns that are over.
    late: Micros,
    /// By when the present wait should end.
    should_end: Micros,
    /// When the present turn's wait ended.
    turn_began: Micros,
    /// How much too late that was.
    wait_late: Micros,
    threshold: Micros,
}

impl Clock {
    pub(super) fn new(tick: Micros) -> Self {
        Self {
            start: Instant::now(),
            late: Micros::ZERO,
            should_end: Micros::MAX,
            turn_began: Micros::ZERO,
            wait_late: Micros::ZERO,
            threshold: tick.max(Micros::from_millis(10)),
        }
    }

    /// Notes that a turn is over, `now`, and that the next wait should end by `should_end`.
    pub(super) fn end_turn(&mut self, now: Micros, should_end: Micros) -> Moment {
        self.late = self.moment(now).late;
        self.should_end = should_end.max(now);
        // Until the wait is over nothing more counts.
        self.turn_began = now;
        self.wait_late = Micros::ZERO;
        self.moment(now)
    }

    /// Notes that the caller's limit lets the wait end sooner than [`end_turn`](Self::end_turn) said.
    pub(super) fn limit_wait(&mut self, now: Micros, longest: Micros) {
        self.should_end = self.should_end.min(now + longest);
    }

    /// Notes that the wait is over.
    pub(super) fn begin_turn(&mut self) -> Moment {
        let now = self.at();
        self.turn_began = now;
        self.wait_late = now - self.should_end;
        self.moment(now)
    }

    /// Reads the clock within a turn.
    pub(super) fn now(&self) -> Moment {
        self.moment(self.at())
    }

    /// Returns how late this turn is at `now`, whether or not it is enough to count.
    pub(super) fn delay(&self, now: Micros) -> Micros {
        self.wait_late + (now - self.turn_began)
    }

    fn at(&self) -> Micros {
        // Rounded down to whole microseconds, as deadlines are rounded up.
        Micros::new(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn moment(&self, at: Micros) -> Moment {
        let delay = self.delay(at);
        Moment {
            at,
            late: self.late + (delay - self.threshold),
            stalled: self.wait_late > STALL,
        }
    }
}

/// A wait that ends this much too late has been a stop of the whole process, not a busy turn.
const STALL: Micros = Micros::from_millis(250);
