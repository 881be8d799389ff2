//! How late a loop is, as DESIGN words it: "for each turn, how much later than it should the wait ended
//! or the reading began, plus time spent inside the turn, where that exceeds max(tick, 10 ms)".

use heartwheel::proto::time::Micros;

/// A moment on a process's own clock, and in the time that peers are held to: the same, less all that
/// its loop had been late by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) at: Micros,
    pub(crate) fair: Micros,
}

impl When {
    /// How late the loop had been in all.
    pub(crate) fn late(self) -> Micros {
        self.at - self.fair
    }
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

/// The count of one loop, kept from outside.
#[derive(Clone, Debug)]
pub(crate) struct Lateness {
    tick: Micros,
    total: Micros,
    should_end: Micros,
    began: Micros,
    wait_late: Micros,
}

impl Lateness {
    pub(crate) fn new(tick: Micros) -> Self {
        Self {
            tick,
            total: Micros::ZERO,
            should_end: Micros::MAX,
            began: Micros::ZERO,
            wait_late: Micros::ZERO,
        }
    }

    pub(crate) fn begin_turn(&mut self, clock: Micros) {
        self.began = clock;
        self.wait_late = clock - self.should_end;
    }

    pub(crate) fn end_turn(&mut self, clock: Micros, should_end: Micros) {
        self.total = self.when(clock).late();
        self.should_end = should_end.max(clock);
        self.began = clock;
        self.wait_late = Micros::ZERO;
    }

    pub(crate) fn when(&self, clock: Micros) -> When {
        let delay = self.wait_late + (clock - self.began);
        When {
            at: clock,
            fair: clock - (self.total + (delay - self.threshold())),
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

    /// Says whether the present turn follows a stop of the whole process.
    pub(crate) fn is_stalled(&self) -> bool {
        self.wait_late > Micros::from_millis(250)
    }

    pub(crate) fn tick(&self) -> Micros {
        self.tick
    }
}
