//! When a client may dial again: evenly in [min, min(cap, base · 2^n)] after the n-th failure in a row,
//! from the beginning again after a stable connection, and after the machine has slept. Later after some
//! closes of the server: by 5 to 30 s after 1012, by 30 to 60 s after 1008 and 1013.

use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::time::Micros;

/// What is expected of one client.
#[derive(Debug)]
pub(crate) struct Redial {
    policy: BackoffPolicy,
    failures: u32,
    opened: Option<Micros>,
    /// How much later it dials, at least and at most, because of how its server closed.
    patience: (Micros, Micros),
    /// The earliest and the latest that the next dial may begin.
    window: (Micros, Micros),
}

impl Redial {
    pub(crate) fn new(policy: BackoffPolicy, now: Micros) -> Self {
        Self {
            policy,
            failures: 0,
            opened: None,
            patience: (Micros::ZERO, Micros::ZERO),
            window: (now, now),
        }
    }

    pub(crate) fn handle_open(&mut self, now: Micros) {
        self.opened = Some(now);
    }

    /// Notes with which code the server has closed an open connection.
    pub(crate) fn handle_code(&mut self, code: u16) {
        let (least, most) = match code {
            1012 => (5, 30),
            1008 | 1013 => (30, 60),
            _ => (0, 0),
        };
        self.patience = (Micros::from_secs(least), Micros::from_secs(most));
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
        self.patience = (Micros::ZERO, Micros::ZERO);
        if is_waiting {
            self.wait(now);
        }
    }

    /// Notes that it dials; late by no more than its loop. Returns how much of the time that a backoff
    /// which has grown may take it has waited, in thousandths.
    pub(crate) fn handle_dial(&mut self, now: Micros, late: Micros) -> Option<u64> {
        let (low, high) = self.window;
        let patience = std::mem::replace(&mut self.patience, (Micros::ZERO, Micros::ZERO));
        let is_even = patience.1 == Micros::ZERO;
        assert!(now >= low, "dials at {now:?}, before {low:?}");
        assert!(now <= high + late, "dials at {now:?}, after {high:?}");
        let waited = (now.min(high) - low).as_micros() * 1_000;
        let share = waited.checked_div((high - low).as_micros())?;
        (self.failures > 1 && is_even).then_some(share)
    }

    /// Notes that somebody wants it to dial at once.
    pub(crate) fn handle_wanted(&mut self, now: Micros) {
        self.patience = (Micros::ZERO, Micros::ZERO);
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
        let (least, most) = self.patience;
        self.window = (now + min + least, now + doubled.min(cap).max(min) + most);
    }
}
