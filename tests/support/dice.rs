//! Chance that a seed decides, so that what failed fails again: the only one that tests have. The unit
//! tests in `src`, the simulator and the fuzz targets take this file as well.
#![allow(dead_code, reason = "each test file uses its own part")]

use heartwheel::proto::session::Entropy;
use heartwheel::proto::time::Micros;

/// SplitMix64. What a seed gives must not change: seeds stand in tests, and in what failures print.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let hash = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^ (hash >> 31)
    }

    /// Draws from `0..bound`; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// Draws from `low..high`; `low` where there is nothing between.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// Draws from `0..len`; zero for a length of zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index of what is in memory")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next_u64().to_le_bytes()[0]
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
        Self::next_u64(self)
    }
}
