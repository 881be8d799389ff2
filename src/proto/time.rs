//! Core time: microseconds as plain numbers, handed in by whoever drives the core.
//!
//! Nothing in [`proto`](crate::proto) reads a clock. A test passes literal numbers, the reactor passes
//! what its clock said once for a whole batch of work.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in core time, or a span of it, in microseconds.
///
/// Point zero is wherever the driver's clock began. Addition and subtraction saturate: a deadline
/// beyond the end of time never comes, a span before its beginning is zero.
///
/// ```
/// use heartwheel::proto::time::Micros;
///
/// let sent = Micros::from_secs(10);
/// assert_eq!(sent + Micros::from_millis(250), Micros::new(10_250_000));
/// assert_eq!(sent - Micros::from_secs(11), Micros::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(u64);

impl Micros {
    /// The beginning of core time, and the empty span.
    pub const ZERO: Self = Self(0);
    /// The end of core time: a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// Wraps a number of microseconds.
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Converts from milliseconds, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Converts from seconds, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Returns the bare number of microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns seconds, for people to read.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from(self).as_secs_f64()
    }

    /// Adds, or returns `None` past the end of time.
    pub const fn checked_add(self, span: Self) -> Option<Self> {
        match self.0.checked_add(span.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Multiplies a span, saturating.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add for Micros {
    type Output = Self;

    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Micros {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// Rounds up to whole microseconds, so that a deadline never comes early. Saturates.
impl From<Duration> for Micros {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_rounds_up_to_the_next_microsecond() {
        assert_eq!(Micros::from(Duration::from_nanos(1)), Micros::new(1));
        assert_eq!(Micros::from(Duration::from_nanos(1_000)), Micros::new(1));
        assert_eq!(Micros::from(Duration::MAX), Micros::MAX);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Micros::MAX + Micros::new(1), Micros::MAX);
        assert_eq!(Micros::new(1) - Micros::new(2), Micros::ZERO);
        assert_eq!(Micros::MAX.checked_add(Micros::new(1)), None);
    }
}
