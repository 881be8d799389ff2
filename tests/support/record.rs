//! The record that the program prints for an end, and what it must say.

use std::time::Duration;

use heartwheel::close::KernelFigures;
use serde_json::Value;

use super::silence::cause_by_table;

/// A `closed` event.
#[derive(Clone, Debug)]
pub(crate) struct Record(pub(crate) Value);

impl Record {
    pub(crate) fn cause(&self) -> &str {
        self.0["cause"]
            .as_str()
            .unwrap_or_else(|| panic!("no cause in {}", self.0))
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.0["clean"]
            .as_bool()
            .unwrap_or_else(|| panic!("no clean in {}", self.0))
    }

    pub(crate) fn count(&self, key: &str) -> u64 {
        self.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    /// Returns a time; `key` is without the unit.
    pub(crate) fn time(&self, key: &str) -> Duration {
        Duration::from_micros(self.count(&format!("{key}_us")))
    }

    /// Returns what the kernel said of the socket, where the record has it.
    fn kernel(&self) -> Option<KernelFigures> {
        let figure = |key: &str| {
            let value = self.0[key]
                .as_u64()
                .or_else(|| self.0["kernel"][key].as_u64());
            value.map(|value| u32::try_from(value).unwrap())
        };
        Some(KernelFigures {
            unacked: figure("unacked")?,
            retransmits: figure("retransmits")?,
            window: figure("window")?,
            unsent: figure("unsent")?,
            mss: figure("mss")?,
            ..KernelFigures::default()
        })
    }

    /// Returns how late a verdict may come: a tick, what the server itself reports of its delay, and
    /// 250 ms.
    pub(crate) fn allowance(&self, tick: Duration) -> Duration {
        tick + self.time("forgiveness") + self.time("loop_delay") + Duration::from_millis(250)
    }

    /// Checks how it ended.
    pub(crate) fn assert_end(&self, cause: &str, clean: bool) {
        assert_eq!(
            (self.cause(), self.is_clean()),
            (cause, clean),
            "{}",
            self.0
        );
    }

    /// Checks that silence ended it with the right cause, not early and not late by the server's own
    /// account.
    pub(crate) fn assert_silence(&self, timeout: Duration, tick: Duration) {
        let kernel = self.kernel();
        let cause = cause_by_table(
            self.count("pings_due"),
            self.count("queued"),
            kernel.as_ref(),
        );
        assert_eq!(self.cause(), cause.label(), "{}", self.0);
        assert!(!self.is_clean(), "{}", self.0);
        let silence = self.time("last_proof");
        assert!(
            silence >= timeout,
            "early: {silence:?} of {timeout:?}: {}",
            self.0
        );
        let latest = timeout + self.allowance(tick);
        assert!(
            silence <= latest,
            "late: {silence:?}, latest {latest:?}: {}",
            self.0
        );
    }
}
