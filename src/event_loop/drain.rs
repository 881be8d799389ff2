//! Shutting down gradually: the closes are spread evenly over a window.

use crate::proto::time::Micros;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    began: Micros,
    window: Micros,
    /// Connections to close in each second.
    per_second: u64,
    closed: u64,
    /// Slot to look at next.
    pub(super) cursor: usize,
    /// The window is over, and the last look at all slots has begun.
    is_last: bool,
}

impl Drain {
    /// Spreads `count` closes over the window, at least 100 a second. They end a little before the
    /// window, so that the last close can be answered too.
    pub(super) fn new(now: Micros, window: Micros, count: usize) -> Self {
        let last = ANSWER.min(Micros::new(window.as_micros() / 10));
        let micros = (window - last).as_micros().max(1);
        let even = (count as u64).saturating_mul(1_000_000).div_ceil(micros);
        Self {
            began: now,
            window,
            per_second: even.max(LEAST_PER_SECOND),
            closed: 0,
            cursor: 0,
            is_last: false,
        }
    }

    /// Begins the last look at all slots, once.
    pub(super) fn begin_last(&mut self) {
        if !self.is_last {
            self.is_last = true;
            self.cursor = 0;
        }
    }

    /// Returns how many closes are due at `now`; the first ones at once.
    pub(super) fn due(&self, now: Micros) -> u64 {
        let elapsed = (now - self.began).as_micros() + STEP.as_micros();
        let share = u128::from(elapsed) * u128::from(self.per_second) / 1_000_000;
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .max(1)
            .saturating_sub(self.closed)
    }

    /// Counts one close.
    pub(super) fn count_close(&mut self) {
        self.closed += 1;
    }

    /// Says whether the window is over.
    pub(super) fn is_over(&self, now: Micros) -> bool {
        now >= self.began + self.window
    }

    /// Returns when to look again: at once if a turn left some of the closes that are due.
    pub(super) fn next_step(&self, now: Micros, has_slots: bool) -> Micros {
        let is_behind = has_slots && (self.is_over(now) || self.due(now) > 0);
        match is_behind {
            true => now,
            false => (now + STEP).min(self.began + self.window),
        }
    }
}

/// The lowest rate of closes: few connections need not wait.
const LEAST_PER_SECOND: u64 = 100;

/// Time for the answers to the last closes, unless the window is hardly longer.
const ANSWER: Micros = Micros::from_millis(200);

const STEP: Micros = Micros::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_connections_go_within_one_step() {
        let mut drain = Drain::new(Micros::ZERO, Micros::from_secs(8), 2);
        assert_eq!(drain.due(Micros::ZERO), 2);
        drain.count_close();
        drain.count_close();
        assert_eq!(drain.due(Micros::ZERO), 0);
    }

    #[test]
    fn ten_thousand_are_spread_flat_over_the_window() {
        let mut drain = Drain::new(Micros::ZERO, Micros::from_secs(8), 10_000);
        for second in 1..=8u64 {
            let mut closed = 0;
            for step in 0..50 {
                let now = Micros::from_millis((second - 1) * 1_000 + step * 20);
                for _ in 0..drain.due(now) {
                    drain.count_close();
                    closed += 1;
                }
            }
            assert!(
                (1_000..=1_500).contains(&closed),
                "{closed} in second {second}"
            );
        }
        let mut early = Drain::new(Micros::ZERO, Micros::from_secs(8), 10_000);
        early.closed = early.due(Micros::from_millis(7_800));
        assert!(early.closed >= 10_000, "the last ones are answered");
        assert!(drain.is_over(Micros::from_secs(8)));
        assert!(!drain.is_over(Micros::from_millis(7_999)));
    }
}
