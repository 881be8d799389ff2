//! Chance that a seed decides, so that a failure comes again.

use heartwheel::proto::session::Entropy;
use heartwheel::proto::time::Micros;

use crate::end;

/// SplitMix64, as for single ends.
#[derive(Clone, Debug)]
pub(crate) struct Dice(end::Dice);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(end::Dice(seed))
    }

    /// Draws from `0..bound`; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index of what is in memory")
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// Draws a time from `low` on and before `high`; `low` where there is none between.
    pub(crate) fn span(&mut self, low: Micros, high: Micros) -> Micros {
        low + Micros::new(self.below((high - low).as_micros()))
    }

    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Micros {
        self.span(Micros::from_millis(low), Micros::from_millis(high))
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Splits off dice of their own, so that what one part of a world draws does not move the rest.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

impl Entropy for Dice {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
