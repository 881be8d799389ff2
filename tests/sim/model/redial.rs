//! When a client may dial again: evenly in [min, min(cap, base · 2^n)] after the n-th failure in a row,
//! from the beginning again after a stable connection, and after the machine has slept.

use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::time::Micros;

/// What is expected of one client.
#[derive(Debug)]
pub(crate) struct Redial {
    policy: BackoffPolicy,
    failures: u32,
    opened: Option<Micros>,
    /// The earliest and the latest that the next dial may begin.
    window: (Micros, Micros),
}

impl Redial {
    pub(crate) fn new(policy: BackoffPolicy, now: Micros) -> Self {
        Self {
            policy,
            failures: 0,
            opened: None,
            window: (now, now),
        }
    }

    pub(crate) fn handle_open(&mut self, now: Micros) {
        self.opened = Some(now);
    }

    /// Notes the end of a connection. Where it was stable only for who looks at the clock a moment later,
    /// either will do.
    pub(crate) fn handle_close(&mut self, now: Micros) {
        if let Some(opened) = self.opened.take()
            && now - opened >= self.policy.stable
        {
            self.failures = 0;
        }
    }

    /// Notes that an attempt or a connection is over; `again`: it is to dial once more.
    pub(crate) fn handle_end(&mut self, now: Micros, again: bool) {
        if again {
            self.wait(now);
        }
    }

    /// Notes that the machine has slept; `is_waiting`: for its next dial.
    pub(crate) fn handle_sleep(&mut self, now: Micros, is_waiting: bool) {
        self.failures = 0;
        if is_waiting {
            self.wait(now);
        }
    }

    /// Notes that it dials; late by no more than its loop. Returns how much of the time that a backoff
    /// which has grown may take it has waited, in thousandths.
    pub(crate) fn handle_dial(&self, now: Micros, late: Micros) -> Option<u64> {
        let (low, high) = self.window;
        assert!(now >= low, "dials at {now:?}, before {low:?}");
        assert!(now <= high + late, "dials at {now:?}, after {high:?}");
        let waited = (now.min(high) - low).as_micros() * 1_000;
        let share = waited.checked_div((high - low).as_micros())?;
        (self.failures > 1).then_some(share)
    }

    /// Notes that somebody wants it to dial at once.
    pub(crate) fn handle_wanted(&mut self, now: Micros) {
        self.window = (now, now);
    }

    /// Notes when the loop has been told of that.
    pub(crate) fn handle_told(&mut self, now: Micros) {
        self.window.1 = now;
    }

    fn wait(&mut self, now: Micros) {
        let BackoffPolicy { min, base, cap, .. } = self.policy;
        let doubled = base.saturating_mul(1u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        self.failures += 1;
        self.window = (now + min, now + doubled.min(cap).max(min));
    }
}
