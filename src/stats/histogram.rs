//! A histogram of times in fixed buckets.

use std::fmt;
use std::time::Duration;

use crate::proto::time::Micros;

/// Counts times in buckets. A bucket's width is at most a sixteenth of the times in it.
///
/// All buckets exist from the start; counting allocates nothing. A result is never too low, because
/// each bucket stands for its longest time. All times from [`Histogram::LONGEST`] on share the last
/// bucket.
///
/// ```
/// use std::time::Duration;
///
/// use heartwheel::stats::Histogram;
///
/// let mut waits = Histogram::default();
/// for millis in 1..=1_000 {
///     waits.record(Duration::from_millis(millis));
/// }
/// let p99 = waits.quantile(0.99);
/// assert!(p99 >= Duration::from_millis(990) && p99 <= Duration::from_millis(1_055));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Histogram {
    /// The shortest time of the last bucket: 67 s.
    pub const LONGEST: Duration = Duration::from_micros(LONGEST.as_micros());

    /// Makes an empty histogram.
    pub const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
        }
    }

    /// Counts a time. It is rounded up to whole microseconds.
    pub fn record(&mut self, time: Duration) {
        self.record_many(time, 1);
    }

    /// Counts a time `count` times, for example from another histogram.
    pub fn record_many(&mut self, time: Duration, count: u64) {
        self.counts[bucket_of(time.into())] += count;
    }

    /// Counts a time of the core.
    pub(crate) fn record_micros(&mut self, time: Micros) {
        self.counts[bucket_of(time)] += 1;
    }

    /// Returns how many times were counted.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Says whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a time that the given share of the counted times, from 0 to 1, does not exceed. Zero
    /// if nothing was counted; [`Duration::MAX`] for times from [`LONGEST`](Self::LONGEST) on.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.len() as f64 * share).ceil() as u64;
        let mut seen = 0;
        self.buckets()
            .find(|(_, count)| {
                seen += count;
                seen >= wanted
            })
            .map_or(Duration::ZERO, |(time, _)| time)
    }

    /// Returns the buckets with a count above zero: the longest time of each, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (shown(longest_in(bucket)), *count))
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Returns the counts since `earlier`, a former snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        since
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.buckets()).finish()
    }
}

/// Microseconds of 26 bits have buckets of their own.
const BITS: usize = 26;

/// Each power of two is cut into sixteen.
const CUT_BITS: usize = 4;
const CUTS: usize = 1 << CUT_BITS;

/// See [`Histogram::LONGEST`].
const LONGEST: Micros = Micros::new(1 << BITS);

/// One for each of the first sixteen microseconds, sixteen for each further bit, and the last.
const BUCKETS: usize = CUTS * (BITS - CUT_BITS + 1) + 1;

fn bucket_of(time: Micros) -> usize {
    if time >= LONGEST {
        return BUCKETS - 1;
    }
    // Less than 2^26, so it fits whatever a usize is.
    let micros = time.as_micros() as usize;
    let bits = (usize::BITS - micros.leading_zeros()) as usize;
    match bits.checked_sub(CUT_BITS + 1) {
        None => micros,
        Some(shift) => (shift << CUT_BITS) + (micros >> shift),
    }
}

fn longest_in(bucket: usize) -> Micros {
    if bucket == BUCKETS - 1 {
        return Micros::MAX;
    }
    let shift = (bucket >> CUT_BITS).saturating_sub(1);
    let cut = bucket - (shift << CUT_BITS);
    Micros::new((((cut + 1) << shift) - 1) as u64)
}

/// Tells a bucket's time; the last one has none.
fn shown(longest: Micros) -> Duration {
    match longest {
        Micros::MAX => Duration::MAX,
        longest => longest.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: u64) -> Micros {
        Micros::new(micros)
    }

    #[test]
    fn a_bucket_never_tells_less_than_it_holds_nor_a_sixteenth_more() {
        let near = (0..BITS).flat_map(|bit| {
            let power = 1u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        });
        for time in (0..5_000).chain(near).map(micros) {
            let told = longest_in(bucket_of(time));
            assert!(told >= time, "{time:?} is told as {told:?}");
            let most = time.as_micros() + time.as_micros() / 16;
            assert!(told.as_micros() <= most, "{time:?} is told as {told:?}");
        }
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for bucket in 1..BUCKETS - 1 {
            let (before, last) = (longest_in(bucket - 1), longest_in(bucket));
            assert!(before < last);
            assert_eq!(bucket_of(before + micros(1)), bucket);
            assert_eq!(bucket_of(last), bucket);
        }
        assert_eq!(longest_in(BUCKETS - 2) + micros(1), LONGEST);
    }

    #[test]
    fn what_is_too_long_to_tell_counts_as_for_ever() {
        let mut histogram = Histogram::default();
        histogram.record(Histogram::LONGEST);
        histogram.record(Duration::MAX);
        histogram.record_micros(Micros::MAX);
        assert_eq!(histogram.len(), 3);
        assert_eq!(histogram.quantile(0.01), Duration::MAX);
    }

    #[test]
    fn quantiles_are_those_of_the_times_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        let micros = Duration::from_micros;
        histogram.record_many(micros(3), 998);
        histogram.record(micros(1_000_000));
        histogram.record_micros(Micros::new(12));
        assert_eq!(histogram.quantile(0.998), micros(3));
        assert_eq!(histogram.quantile(0.999), micros(12));
        let longest = histogram.quantile(1.0).as_micros();
        assert!((1_000_000..=1_062_500).contains(&longest), "{longest}");
    }

    #[test]
    fn a_difference_added_to_the_earlier_one_is_the_later() {
        let mut earlier = Histogram::default();
        let micros = Duration::from_micros;
        earlier.record(micros(7));
        let mut later = earlier.clone();
        later.record_many(micros(7), 2);
        later.record(micros(90_000));
        let since = later.since(&earlier);
        assert_eq!(since.len(), 3);
        earlier.merge(&since);
        assert_eq!(earlier, later);
    }
}
