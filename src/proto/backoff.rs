//! How long a client waits before it dials again.
//!
//! It uses full jitter: the delay is random between a lower and an upper limit, and the upper limit
//! doubles with each failure. So clients that lost the same server at the same time do not come
//! back at the same time.

use super::time::Micros;
use crate::close::CloseCode;

/// The numbers behind a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The shortest delay, 50 ms by default. It limits how often one client dials.
    pub min: Micros,
    /// The upper limit after the first failure, 500 ms by default. It doubles with each further
    /// failure.
    pub base: Micros,
    /// The largest upper limit, 60 s by default. A value below `min` counts as `min`.
    pub cap: Micros,
    /// How long a connection must be open before its end is not a failure, 30 s by default. So a
    /// server that accepts connections and drops them at once is not dialed at full speed.
    pub stable: Micros,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            min: Micros::from_millis(50),
            base: Micros::from_millis(500),
            cap: Micros::from_secs(60),
            stable: Micros::from_secs(30),
        }
    }
}

/// The dialing history of one client.
///
/// ```text
///   next_delay ──> dialing ──handle_open──> open ──handle_close──> next_delay ..
///       ^             │                              after `stable`: attempts = 0
///       └── failed ───┘
/// ```
///
/// It has no random numbers of its own; the caller passes one for each delay.
///
/// ```
/// use heartwheel::proto::backoff::{Backoff, BackoffPolicy};
/// use heartwheel::proto::time::Micros;
///
/// let mut backoff = Backoff::new(BackoffPolicy::default());
/// assert_eq!(backoff.next_delay(0), Micros::from_millis(50));
/// assert_eq!(backoff.next_delay(u64::MAX), Micros::from_secs(1));
///
/// backoff.handle_open(Micros::from_secs(10));
/// backoff.handle_close(Micros::from_secs(40));
/// assert_eq!(backoff.attempts(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    /// Delays returned since the last stable connection. It stops at the maximum.
    attempts: u32,
    opened: Option<Micros>,
}

impl Backoff {
    /// Starts without a failure.
    pub const fn new(policy: BackoffPolicy) -> Self {
        Self {
            policy,
            attempts: 0,
            opened: None,
        }
    }

    /// Returns how long to wait before the next dial, and counts the attempt.
    ///
    /// The delay lies in `[min, min(cap, base * 2^n)]`, both ends included, where n is the number of
    /// attempts before this one. `random` must be drawn evenly from all of u64; zero gives the
    /// shortest delay, the largest number the longest.
    pub fn next_delay(&mut self, random: u64) -> Micros {
        let (min, max) = (self.policy.min, self.ceiling());
        self.attempts = self.attempts.saturating_add(1);
        between(min, max - min, random)
    }

    /// Notes that a connection was opened.
    pub fn handle_open(&mut self, now: Micros) {
        self.opened = Some(now);
    }

    /// Notes that the connection has ended. Resets the failures if it was open for at least
    /// `stable`, and says whether that is so.
    ///
    /// Does nothing for a dial that never opened.
    pub fn handle_close(&mut self, now: Micros) -> bool {
        let opened = self.opened.take();
        let is_stable = opened.is_some_and(|opened| now - opened >= self.policy.stable);
        if is_stable {
            self.attempts = 0;
        }
        is_stable
    }

    /// Notes that the machine has slept. Failures from before that are reset, because they mean
    /// nothing now.
    pub fn handle_sleep(&mut self) {
        self.attempts = 0;
    }

    /// Returns the number of delays returned since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The longest possible delay now.
    fn ceiling(&self) -> Micros {
        let doubled = match 1u64.checked_shl(self.attempts) {
            Some(factor) => self.policy.base.saturating_mul(factor),
            None => Micros::MAX,
        };
        doubled.min(self.policy.cap).max(self.policy.min)
    }
}

/// Returns how much longer a client waits before it dials again because the server closed its open
/// connection with this code. It comes on top of [`Backoff::next_delay`], as the time of a
/// `Retry-After` does, and is random, so that clients do not come back together.
///
/// | code | meaning | longer by |
/// | --- | --- | --- |
/// | 1012 | service restart | 5 to 30 s, as its registration asks for |
/// | 1013 | try again later: overload, as HTTP's 503 | 30 to 60 s |
/// | 1008 | policy: what we did there is not allowed, or not so often, as HTTP's 429 | 30 to 60 s |
/// | 1000, 1001 and all others | | nothing |
///
/// RFC 6455, section 7.4.1, defines 1008; the others were registered later, at IANA's "WebSocket Close
/// Code Number Registry". 3000 to 4999 mean what the application says (section 7.4.2): if they are to
/// change the delay, it stops the client and adds it again.
///
/// ```
/// use heartwheel::close::CloseCode;
/// use heartwheel::proto::backoff::delay_after_close;
/// use heartwheel::proto::time::Micros;
///
/// let restart = CloseCode::new(1012);
/// assert_eq!(delay_after_close(restart, 0), Micros::from_secs(5));
/// assert_eq!(delay_after_close(restart, u64::MAX), Micros::from_secs(30));
/// assert_eq!(delay_after_close(CloseCode::GOING_AWAY, u64::MAX), Micros::ZERO);
/// ```
pub fn delay_after_close(code: CloseCode, random: u64) -> Micros {
    let secs = match code.as_u16() {
        1012 => 5..=30,
        1008 | 1013 => 30..=60,
        _ => return Micros::ZERO,
    };
    let [least, most] = [*secs.start(), *secs.end()].map(Micros::from_secs);
    between(least, most - least, random)
}

/// Returns a time between `least` and `span` more, both ends included.
fn between(least: Micros, span: Micros, random: u64) -> Micros {
    let span = span.as_micros();
    // The high half of the product is evenly spread over 0..=span. A modulo would not be.
    let scaled = (u128::from(random) * (u128::from(span) + 1)) >> u64::BITS;
    least + Micros::new(u64::try_from(scaled).unwrap_or(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn f7_a_machine_that_slept_starts_over() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        for _ in 0..10 {
            backoff.next_delay(0);
        }
        assert_eq!(backoff.next_delay(u64::MAX), Micros::from_secs(60));
        backoff.handle_sleep();
        assert_eq!(backoff.next_delay(u64::MAX), Micros::from_millis(500));
    }

    #[test]
    fn a_close_code_that_asks_for_patience_gets_it() {
        let secs = |code| {
            [0, u64::MAX].map(|random| {
                delay_after_close(CloseCode::new(code), random).as_micros() as f64 / 1e6
            })
        };
        assert_eq!(secs(1012), [5.0, 30.0]);
        assert_eq!(secs(1013), [30.0, 60.0]);
        assert_eq!(secs(1008), [30.0, 60.0]);
        for code in [
            0, 1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1014, 1015, 3000, 4001, 4999,
        ] {
            assert_eq!(secs(code), [0.0, 0.0], "{code}");
        }
    }

    #[test]
    fn the_first_delay_lies_between_min_and_base() {
        let delay = |random| Backoff::new(BackoffPolicy::default()).next_delay(random);
        assert_eq!(delay(0), Micros::from_millis(50));
        assert_eq!(delay(u64::MAX), Micros::from_millis(500));
        assert_eq!(delay(u64::MAX / 2), Micros::from_millis(275));
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_the_floor_stays() {
        let mut long = Backoff::new(BackoffPolicy::default());
        let mut short = long.clone();
        for expected in [
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
        ] {
            assert_eq!(long.next_delay(u64::MAX), Micros::from_millis(expected));
            assert_eq!(short.next_delay(0), Micros::from_millis(50));
        }
        assert_eq!(long.attempts(), 9);
    }

    #[test]
    fn both_ends_of_the_range_are_reached_and_never_left() {
        let policy = BackoffPolicy {
            min: Micros::new(10),
            base: Micros::new(13),
            cap: Micros::new(13),
            stable: Micros::ZERO,
        };
        let quarter = 1 << 62;
        let mut backoff = Backoff::new(policy);
        let expected = [(0, 10), (quarter, 11), (2 * quarter, 12), (3 * quarter, 13)];
        for (random, delay) in expected {
            assert_eq!(backoff.next_delay(random), Micros::new(delay));
            assert_eq!(
                backoff.next_delay(random + (quarter - 1)),
                Micros::new(delay)
            );
        }
    }

    #[test]
    fn delays_are_spread_evenly() {
        let mut counts = [0u32; 64];
        let mut dice = Dice::new(1);
        for _ in 0..64_000 {
            let random = dice.next_u64();
            let delay = Backoff::new(BackoffPolicy::default()).next_delay(random);
            let bin = (delay.as_micros() - 50_000) * 64 / 450_001;
            counts[usize::try_from(bin).unwrap()] += 1;
        }
        let squares = counts
            .iter()
            .map(|&count| (f64::from(count) - 1_000.0).powi(2));
        let chi_square = squares.sum::<f64>() / 1_000.0;
        // 63 degrees of freedom: a fair spread stays below 103 in 999 of 1000 seeds.
        assert!(chi_square < 103.0, "chi-square {chi_square}");
    }

    #[test]
    fn only_a_stable_connection_forgets_failures() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        backoff.next_delay(0);
        backoff.next_delay(0);
        backoff.handle_open(Micros::from_secs(100));
        backoff.handle_close(Micros::from_secs(130) - Micros::new(1));
        assert_eq!(backoff.attempts(), 2);
        backoff.handle_open(Micros::from_secs(200));
        backoff.handle_close(Micros::from_secs(230));
        assert_eq!(backoff.attempts(), 0);
        assert_eq!(backoff.next_delay(u64::MAX), Micros::from_millis(500));
    }

    #[test]
    fn a_dial_that_never_opened_forgets_nothing() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        backoff.next_delay(0);
        backoff.handle_close(Micros::from_secs(1_000));
        assert_eq!(backoff.attempts(), 1);
        backoff.handle_open(Micros::from_secs(2_000));
        backoff.handle_close(Micros::from_secs(2_001));
        backoff.handle_close(Micros::from_secs(3_000));
        assert_eq!(
            backoff.attempts(),
            1,
            "the second close has no open before it"
        );
    }

    #[test]
    fn failures_without_end_stay_at_the_cap() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        for attempts in [62, 63, 64, 65, u32::MAX - 1, u32::MAX, u32::MAX] {
            backoff.attempts = backoff.attempts.max(attempts);
            assert_eq!(backoff.next_delay(u64::MAX), Micros::from_secs(60));
        }
        assert_eq!(backoff.attempts(), u32::MAX);
    }

    #[test]
    fn a_policy_of_extremes_does_not_overflow() {
        let widest = BackoffPolicy {
            min: Micros::ZERO,
            base: Micros::MAX,
            cap: Micros::MAX,
            stable: Micros::ZERO,
        };
        assert_eq!(Backoff::new(widest).next_delay(u64::MAX), Micros::MAX);
        let inverted = BackoffPolicy {
            min: Micros::MAX,
            cap: Micros::ZERO,
            ..widest
        };
        assert_eq!(Backoff::new(inverted).next_delay(u64::MAX), Micros::MAX);
    }
}
