//! How late a loop is, and what peers are forgiven for that, as DESIGN words it: "an interval of lateness
//! runs from when the wait should have ended (or the turn began) plus max(tick, 10 ms), to the turn's end,
//! or to now within a turn"; a deadline is judged later by "the longest single one, never the sum".

use std::cell::RefCell;
use std::rc::Rc;

use heartwheel::proto::time::Micros;

use super::pings::ROUNDING;

/// A moment on a process's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) at: Micros,
    /// When its turn began: what happened in the same turn happened no sooner.
    pub(crate) began: Micros,
    /// How late the loop had been in all.
    pub(crate) late: Micros,
}

/// When a turn looked at what had come due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) at: When,
    /// When it had seen to it.
    pub(crate) done: When,
    /// It saw to all of it.
    pub(crate) is_whole: bool,
}

/// All intervals of lateness of one loop, in their order.
#[derive(Debug)]
pub(crate) struct Intervals {
    over: Vec<(Micros, Micros)>,
    /// Since when the present turn is late, if it is that late already.
    since: Micros,
}

impl Intervals {
    /// The intervals from the latest to the earliest, up to `now`.
    fn backwards(&self, now: Micros) -> impl Iterator<Item = (Micros, Micros)> {
        let present = (self.since < now).then_some((self.since, now));
        present.into_iter().chain(self.over.iter().rev().copied())
    }

    /// How long each was, of what lies after `since`.
    fn lengths(&self, since: Micros, now: Micros) -> impl Iterator<Item = Micros> {
        self.backwards(now)
            .take_while(move |&(_, end)| end > since)
            .map(move |(start, end)| end - start.max(since))
    }

    /// "Intervals are cut at a. L is the longest single one."
    fn longest(&self, armed: Micros, now: Micros) -> Micros {
        self.lengths(armed, now).max().unwrap_or(Micros::ZERO)
    }

    /// How many there have been since then.
    pub(crate) fn count(&self, since: Micros) -> usize {
        self.over
            .iter()
            .rev()
            .take_while(|&&(_, end)| end > since)
            .count()
    }

    /// How late the loop was in all since then.
    pub(crate) fn total(&self, since: Micros, now: Micros) -> Micros {
        self.lengths(since, now)
            .fold(Micros::ZERO, |sum, len| sum + len)
    }

    /// "D is judged at D + L; where D falls inside an interval, at that interval's end + L."
    /// Of `granted`, which had made it late to be armed, it has been put off already.
    fn judged(
        &self,
        deadline: Micros,
        armed: Micros,
        granted: Micros,
        most: Micros,
        now: Micros,
    ) -> Micros {
        let around = self
            .backwards(now)
            .take_while(|&(_, end)| end > deadline)
            .find(|&(start, _)| start <= deadline);
        let counts_from = around.map_or(deadline, |(_, end)| end);
        counts_from + (self.longest(armed, now) - granted).min(most)
    }
}

/// A deadline that blames the peer: when it is over, and when it was armed, each between two times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) over: (Micros, Micros),
    pub(crate) armed: (Micros, Micros),
    /// The most that it is put off by.
    pub(crate) most: Micros,
    /// Whether our lateness had made it late to be armed, perhaps and for certain.
    pub(crate) is_delayed: (bool, bool),
    /// By how much, then.
    pub(crate) granted: (Micros, Micros),
}

impl Deadline {
    /// A span after something that happened between two times: "its own length" is the most.
    pub(crate) fn after(armed: (Micros, Micros), span: Micros) -> Self {
        Self {
            over: (armed.0 + span, armed.1 + span),
            armed,
            most: span,
            is_delayed: (false, false),
            granted: (Micros::ZERO, Micros::ZERO),
        }
    }

    /// Returns from when on the peer may be blamed, at the earliest.
    pub(crate) fn earliest(&self, ours: &Intervals, now: Micros) -> Micros {
        let granted = match self.is_delayed.0 {
            true => self.granted.1,
            false => Micros::ZERO,
        };
        ours.judged(self.over.0, self.armed.1, granted, self.most, now)
    }

    /// Returns the same at the latest.
    pub(crate) fn latest(&self, ours: &Intervals, now: Micros) -> Micros {
        if now < self.over.1 {
            // How much later it is before its time is not worth the search.
            return self.over.1;
        }
        let granted = match self.is_delayed.1 {
            true => self.granted.0,
            false => Micros::ZERO,
        };
        // Times are kept in whole milliseconds, rounded up, which may be within the next interval.
        let over = self.over.1 + ROUNDING;
        ours.judged(over, self.armed.0, granted, self.most, now)
    }
}

/// The count of one loop, kept from outside.
#[derive(Clone, Debug)]
pub(crate) struct Lateness {
    tick: Micros,
    total: Micros,
    should_end: Micros,
    began: Micros,
    wait_late: Micros,
    /// The longest turn, with what its wait was late.
    pub(crate) longest_turn: Micros,
    pub(crate) intervals: Rc<RefCell<Intervals>>,
}

impl Lateness {
    pub(crate) fn new(tick: Micros) -> Self {
        Self {
            tick,
            total: Micros::ZERO,
            should_end: Micros::MAX,
            began: Micros::ZERO,
            wait_late: Micros::ZERO,
            longest_turn: Micros::ZERO,
            intervals: Rc::new(RefCell::new(Intervals {
                over: Vec::new(),
                since: Micros::MAX,
            })),
        }
    }

    pub(crate) fn begin_turn(&mut self, clock: Micros) {
        self.began = clock;
        self.wait_late = clock - self.should_end;
        self.intervals.borrow_mut().since = self.should_end.min(clock) + self.threshold();
    }

    pub(crate) fn end_turn(&mut self, clock: Micros, should_end: Micros) {
        self.total = self.when(clock).late;
        let turn = self.wait_late + self.in_turn(clock);
        self.longest_turn = self.longest_turn.max(turn);
        let mut intervals = self.intervals.borrow_mut();
        if intervals.since < clock {
            let since = intervals.since;
            intervals.over.push((since, clock));
        }
        intervals.since = Micros::MAX;
        drop(intervals);
        self.should_end = should_end.max(clock);
        self.began = clock;
        self.wait_late = Micros::ZERO;
    }

    pub(crate) fn when(&self, clock: Micros) -> When {
        let since = self.intervals.borrow().since;
        When {
            at: clock,
            began: self.began,
            late: self.total + (clock - since),
        }
    }

    /// How long the present turn lasts already; between turns, the wait.
    pub(crate) fn in_turn(&self, clock: Micros) -> Micros {
        clock - self.began
    }

    /// How late a turn may be without its being counted.
    pub(crate) fn threshold(&self) -> Micros {
        self.tick.max(Micros::from_millis(10))
    }

    /// Says whether the present turn follows a stop of the whole process, and not one more wait of a loop
    /// that is late again and again.
    pub(crate) fn is_stalled(&self) -> bool {
        let intervals = self.intervals.borrow();
        // The first turn begins before the process has a clock of its own to count from.
        let is_busy = intervals
            .over
            .get(1..)
            .and_then(|later| later.last())
            .is_some_and(|&(_, end)| end + Micros::from_secs(3) > intervals.since);
        self.wait_late > Micros::from_millis(250) && !is_busy
    }

    pub(crate) fn tick(&self) -> Micros {
        self.tick
    }
}
