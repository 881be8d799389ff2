//! Core time: microseconds as plain numbers, passed in by the driver of the core.
//!
//! Nothing in [`proto`](crate::proto) reads a clock. A test passes literal numbers. The reactor
//! reads its clock once and passes that time for a whole batch of work.

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

    /// Returns whole milliseconds, as stamps add them: no more than a stamp's reach.
    pub(crate) fn as_stamp_millis(self) -> u32 {
        u32::try_from(self.as_millis()).unwrap_or(Stamp::REACH)
    }

    /// Returns seconds, for people to read.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from(self).as_secs_f64()
    }

    /// Adds a span; `None` if the result is beyond the end of time.
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
        let micros = span.as_secs().saturating_mul(1_000_000);
        Self(micros.saturating_add(span.subsec_nanos().div_ceil(1_000).into()))
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

/// A time, and how far behind the loop is in its current turn.
///
/// [`Lateness`](crate::proto::lateness::Lateness) creates the moments of a loop, and knows for
/// which pauses of the loop the peers get more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Moment {
    /// Core time.
    pub at: Micros,
    /// How late the loop is in this turn, even if it is too little to count.
    pub delay: Micros,
}

impl Moment {
    /// A moment of a loop that is not late.
    pub const fn on_time(at: Micros) -> Self {
        Self {
            at,
            delay: Micros::ZERO,
        }
    }
}

/// A time in microseconds, in six bytes. It wraps around after eight years. It is exact, and a
/// [`Stamp`] is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Fine([u16; 3]);

impl Fine {
    const MASK: u64 = (1 << 48) - 1;

    pub(crate) fn new(at: Micros) -> Self {
        let [_, _, a, b, c, d, e, f] = at.as_micros().to_be_bytes();
        Self([[a, b], [c, d], [e, f]].map(u16::from_be_bytes))
    }

    /// Returns the time since this time.
    pub(crate) fn age(self, now: Micros) -> Micros {
        let [high, middle, low] = self.0.map(u64::from);
        let then = high << 32 | middle << 16 | low;
        Micros::new(now.as_micros().wrapping_sub(then) & Self::MASK)
    }

    /// Returns the time until this time; `None` if it is in the past, or more than `reach` ahead.
    pub(crate) fn left(self, now: Micros, reach: Micros) -> Option<Micros> {
        let left = self.age(now).as_micros().wrapping_neg() & Self::MASK;
        Some(Micros::new(left)).filter(|&left| left <= reach)
    }
}

/// A time in milliseconds, rounded up, in four bytes instead of the eight of a [`Micros`]. It wraps
/// around.
///
/// Two stamps can only be compared if they are less than [`Stamp::REACH`] apart. A session renews
/// its stamps long before that. If the time jumps ahead by more, the session is told (see
/// `Session::handle_leap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// The span within which two stamps can be compared, in milliseconds (24.8 days).
    pub(crate) const REACH: u32 = i32::MAX as u32;
    /// A session renews its stamps at least this often, in milliseconds (9.3 hours).
    pub(crate) const VISIT: u32 = Self::REACH / 64;
    /// The largest age of a stamp, in milliseconds (18.6 days). It is longer than every deadline,
    /// and some days less than the reach, because a renewal is late if the process was stopped.
    const OLDEST: u32 = Self::REACH / 4 * 3;

    pub(crate) fn new(at: Micros) -> Self {
        Self(low_bits(at.as_micros().div_ceil(1_000)))
    }

    /// Returns a stamp that is `millis` later.
    pub(crate) fn plus(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Returns the whole milliseconds from this stamp to `now`; negative if the stamp is later than
    /// `now`.
    pub(crate) fn elapsed(self, now: Micros) -> i32 {
        low_bits(now.as_millis()).wrapping_sub(self.0).cast_signed()
    }

    /// Returns the time since this stamp; zero if the stamp is later than `now`.
    pub(crate) fn age(self, now: Micros) -> Micros {
        Micros::from_millis(u64::try_from(self.elapsed(now)).unwrap_or(0))
    }

    /// Returns whether `now` is at or after this stamp.
    pub(crate) fn is_due(self, now: Micros) -> bool {
        self.elapsed(now) >= 0
    }

    /// Returns the stamp as core time. It must be within reach of `now`.
    pub(crate) fn time(self, now: Micros) -> Micros {
        let now_millis = now.as_millis();
        let elapsed = self.elapsed(now);
        Micros::from_millis(now_millis.saturating_add_signed(-i64::from(elapsed)))
    }

    /// Returns a stamp that is `millis` earlier.
    pub(crate) fn less(self, millis: u32) -> Self {
        Self(self.0.wrapping_sub(millis))
    }

    /// Returns the earliest time for which this stamp may have been made: stamps are rounded up.
    pub(crate) fn earliest(self, now: Micros) -> Micros {
        self.time(now) - Micros::new(999)
    }

    /// Returns the later of two stamps.
    pub(crate) fn later(self, other: Self) -> Self {
        if self.0.wrapping_sub(other.0).cast_signed() >= 0 {
            self
        } else {
            other
        }
    }

    /// Returns the earlier of two stamps.
    pub(crate) fn earlier(self, other: Self) -> Self {
        if self.later(other) == self {
            other
        } else {
            self
        }
    }

    /// Keeps a stamp within reach when the time jumps from `before` to `now`.
    pub(crate) fn leap(&mut self, before: Micros, now: Micros) {
        let age = now
            .as_millis()
            .saturating_sub(self.time(before).as_millis());
        if age > u64::from(Self::OLDEST) {
            self.0 = low_bits(now.as_millis()).wrapping_sub(Self::OLDEST);
        }
    }

    /// Returns a number that changes every seventy minutes of stamps, and so between two of them.
    pub(crate) fn epoch(self) -> u32 {
        self.0 >> 22
    }

    /// Keeps a stamp of the past within reach until the next renewal.
    pub(crate) fn refresh(&mut self, now: Micros) {
        if self.elapsed(now) > Self::OLDEST.cast_signed() {
            self.0 = low_bits(now.as_millis()).wrapping_sub(Self::OLDEST);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a stamp wraps by design")]
fn low_bits(millis: u64) -> u32 {
    millis as u32
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

    #[test]
    fn a_fine_time_is_exact_on_both_sides_of_its_wrap() {
        for start in [0, 12_345, (1 << 48) - 2, 1 << 48, u64::MAX - 2_000] {
            let then = Micros::new(start + 1_000);
            let fine = Fine::new(then);
            assert_eq!(fine.age(then + Micros::new(7)), Micros::new(7));
            let left = |now, reach| fine.left(Micros::new(now), Micros::new(reach));
            assert_eq!(left(start, 1_000), Some(Micros::new(1_000)));
            assert_eq!(left(start, 999), None, "beyond its reach");
            assert_eq!(left(start + 1_000, 999), Some(Micros::ZERO));
            assert_eq!(left(start + 1_001, 999), None, "over");
        }
    }

    #[test]
    fn a_stamp_rounds_up_and_ages_down() {
        let stamp = Stamp::new(Micros::new(1_001));
        assert_eq!(stamp.elapsed(Micros::new(1_999)), -1);
        assert!(!stamp.is_due(Micros::new(1_999)));
        assert!(stamp.is_due(Micros::new(2_000)));
        assert_eq!(stamp.time(Micros::new(1_500)), Micros::new(2_000));
    }

    #[test]
    fn a_stamp_survives_the_wrap_of_its_counter() {
        let before = Micros::from_millis((1 << 32) - 10);
        let after = Micros::from_millis((1 << 32) + 10);
        let stamp = Stamp::new(before);
        assert_eq!(stamp.age(after), Micros::from_millis(20));
        assert_eq!(stamp.plus(20).time(before), after);
        assert_eq!(stamp.later(stamp.plus(20)), stamp.plus(20));
    }

    #[test]
    fn an_old_stamp_is_moved_before_it_falls_out_of_reach() {
        let mut stamp = Stamp::new(Micros::ZERO);
        let now = Micros::from_millis(u64::from(Stamp::REACH) - 1);
        stamp.refresh(now);
        assert_eq!(
            stamp.age(now),
            Micros::from_millis(u64::from(Stamp::OLDEST))
        );
    }

    #[test]
    fn a_stamp_survives_a_leap_of_any_length() {
        let day = |days: u64| Micros::from_secs(days * 24 * 60 * 60);
        let before = day(100);
        for (made, ages) in [(day(82), true), (before, true), (day(112), false)] {
            for leap in 0..400 {
                let (mut stamp, now) = (Stamp::new(made), before + day(leap));
                stamp.leap(before, now);
                assert_eq!(stamp.is_due(now), now >= made, "{leap}");
                let oldest = Micros::from_millis(Stamp::OLDEST.into());
                assert_eq!(stamp.age(now), (now - made).min(oldest), "{leap}");
                assert_eq!(stamp.time(now) - now, made - now, "{leap}");
                assert!(!ages || stamp.plus(0).elapsed(now) >= 0);
            }
        }
    }

    #[test]
    fn a_stamp_stays_old_though_each_visit_is_days_late() {
        let mut stamp = Stamp::new(Micros::ZERO);
        let late = Micros::from_secs(5 * 24 * 60 * 60);
        let mut now = Micros::ZERO;
        for _ in 0..100 {
            now = now + Micros::from_millis(Stamp::VISIT.into()) + late;
            assert!(stamp.age(now) > late);
            stamp.refresh(now);
        }
    }

    #[test]
    fn a_stamp_grows_older_than_the_longest_deadline() {
        let longest = Micros::from(crate::config::HeartbeatConfig::LONGEST);
        assert!(Micros::from_millis(Stamp::OLDEST.into()) > longest);
    }
}
