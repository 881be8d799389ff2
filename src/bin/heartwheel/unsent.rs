//! Lines that could not be sent. The first is reported at once; more are counted and reported
//! together.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::complain;

/// Complaints about lines of input, at most one in a second however many lines are at fault.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// When it was complained last.
    last: Option<Instant>,
    /// Lines since then, and what was wrong with the latest of them.
    more: u64,
    reason: String,
}

impl Unsent {
    /// Notes a line that cannot be sent, and the reason.
    pub(crate) fn note(&mut self, reason: &dyn Display, now: Instant) {
        if let Some(complaint) = self.judge(reason, now) {
            complain(format_args!("{complaint}"));
        }
    }

    /// Tells of what has been counted, if it is time; returns when to be called again although nothing
    /// happens.
    pub(crate) fn after_turn(&mut self, now: Instant) -> Option<Duration> {
        if self.more == 0 {
            return None;
        }
        let left = self.left(now);
        if left.is_none() {
            self.finish();
            self.last = Some(now);
        }
        left
    }

    /// Reports what has been counted.
    pub(crate) fn finish(&mut self) {
        if let Some(complaint) = self.sum() {
            complain(format_args!("{complaint}"));
        }
    }

    fn judge(&mut self, reason: &dyn Display, now: Instant) -> Option<String> {
        if self.more == 0 && self.left(now).is_none() {
            self.last = Some(now);
            return Some(format!("not sent: {reason}"));
        }
        self.more += 1;
        self.reason = reason.to_string();
        None
    }

    fn sum(&mut self) -> Option<String> {
        match std::mem::take(&mut self.more) {
            0 => None,
            1 => Some(format!("not sent: {}", self.reason)),
            more => Some(format!(
                "not sent: {more} more lines, the last: {}",
                self.reason
            )),
        }
    }

    /// Returns how long to wait before the next report, if it is not due.
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = PAUSE.checked_sub(now - self.last?)?;
        (!left.is_zero()).then_some(left)
    }
}

/// Time between two complaints.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_more_together() {
        let mut unsent = Unsent::default();
        let start = Instant::now();
        assert_eq!(
            unsent.judge(&"odd", start).as_deref(),
            Some("not sent: odd")
        );
        assert_eq!(unsent.after_turn(start), None);
        for reason in ["odd", "odd", "long"] {
            assert_eq!(unsent.judge(&reason, start + PAUSE / 4), None);
        }
        assert_eq!(unsent.after_turn(start + PAUSE / 4), Some(PAUSE * 3 / 4));
        let sum = unsent.sum();
        assert_eq!(
            sum.as_deref(),
            Some("not sent: 3 more lines, the last: long")
        );
        assert_eq!(unsent.sum(), None);
        let later = unsent.judge(&"odd", start + PAUSE);
        assert_eq!(later.as_deref(), Some("not sent: odd"));
    }
}
