//! A token bucket, kept as a single time.

use std::num::NonZeroU32;

use crate::proto::time::Micros;

/// A rate: so many units a second, and one second's worth at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rate(pub(crate) NonZeroU32);

impl Rate {
    /// Returns the time that so many units take, nanoseconds.
    fn time_of(self, count: u64) -> u64 {
        count.saturating_mul(1_000_000_000) / u64::from(self.0.get())
    }
}

/// What was taken at a rate: until when that is paid for. (The generic cell rate algorithm, ITU-T I.371.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Nanoseconds of core time.
    paid: u64,
    /// Until then, time that has passed unused counts.
    credit_ends: Micros,
}

impl Bucket {
    /// Returns a full bucket.
    pub(super) fn new(now: Micros) -> Self {
        Self {
            paid: nanos(now),
            credit_ends: Micros::ZERO,
        }
    }

    /// Takes so many units, even if there are not as many. Returns whether more were taken than there were.
    pub(super) fn take(&mut self, rate: Rate, count: u64, now: Micros) -> bool {
        if now >= self.credit_ends {
            self.paid = self.paid.max(nanos(now));
        }
        self.paid = self.paid.saturating_add(rate.time_of(count));
        self.refills_at() > now
    }

    /// Counts what is taken soon as if it had been taken evenly since then: it lay unread.
    pub(super) fn credit(&mut self, since: Micros, now: Micros) {
        if self.paid < nanos(now) {
            self.paid = self.paid.max(nanos(since));
            self.credit_ends = now + CREDIT;
        }
    }

    /// Returns from when on no more is taken than there was.
    pub(super) fn refills_at(&self) -> Micros {
        Micros::new(self.paid.div_ceil(1_000)) - BURST
    }

    /// Says whether the bucket is as new.
    pub(super) fn is_full(&self, now: Micros) -> bool {
        now >= self.credit_ends && self.paid <= nanos(now)
    }
}

fn nanos(at: Micros) -> u64 {
    at.as_micros().saturating_mul(1_000)
}

/// Time whose units may come at once.
const BURST: Micros = Micros::from_secs(1);

/// Time within which what lay unread is read.
const CREDIT: Micros = Micros::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(a_second: u32) -> Rate {
        Rate(NonZeroU32::new(a_second).expect("not zero"))
    }

    fn millis(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_each_in_its_time() {
        let mut bucket = Bucket::new(millis(5_000));
        for _ in 0..10 {
            assert!(!bucket.take(rate(10), 1, millis(5_000)));
        }
        assert!(bucket.take(rate(10), 1, millis(5_000)));
        assert_eq!(bucket.refills_at(), millis(5_100));
        assert!(!bucket.is_full(millis(6_099)) && bucket.is_full(millis(6_100)));
        assert!(bucket.take(rate(10), 1, millis(5_199)));
        assert!(!bucket.take(rate(10), 1, millis(5_300)));
    }

    #[test]
    fn small_amounts_at_a_high_rate_add_up() {
        let (mut bucket, fast) = (Bucket::new(Micros::ZERO), rate(10_000_000));
        let takes = (0..).take_while(|_| !bucket.take(fast, 7, Micros::ZERO));
        assert_eq!(takes.count(), 10_000_000 / 7);
    }

    #[test]
    fn what_lay_unread_counts_as_if_it_had_come_evenly() {
        let mut bucket = Bucket::new(Micros::ZERO);
        bucket.credit(millis(1_000), millis(6_000));
        for _ in 0..60 {
            assert!(
                !bucket.take(rate(10), 1, millis(6_000)),
                "five seconds and a burst"
            );
        }
        assert!(bucket.take(rate(10), 1, millis(6_000)));
        // What was not used of it is forgotten.
        let mut bucket = Bucket::new(Micros::ZERO);
        bucket.credit(Micros::ZERO, millis(6_000));
        assert!(!bucket.is_full(millis(8_999)));
        let takes = (0..).take_while(|_| !bucket.take(rate(10), 1, millis(9_000)));
        assert_eq!(takes.count(), 10);
    }

    #[test]
    fn who_is_ahead_gets_no_credit() {
        let mut bucket = Bucket::new(Micros::ZERO);
        assert!(bucket.take(rate(1), 2, Micros::ZERO));
        bucket.credit(Micros::ZERO, millis(1_999));
        assert!(bucket.take(rate(1), 1, millis(1_999)));
        assert_eq!(bucket.refills_at(), millis(2_000));
    }

    #[test]
    fn no_time_and_no_amount_overflows() {
        for now in [Micros::ZERO, Micros::MAX] {
            let mut bucket = Bucket::new(now);
            bucket.take(rate(1), u64::MAX, now);
            bucket.take(rate(1), u64::MAX, now);
            bucket.credit(now, now);
        }
    }
}
