//! The record that the program prints for an end, and what it must say.

use std::time::Duration;

use serde_json::Value;

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
        assert_eq!(self.cause(), expected_silence_cause(self), "{}", self.0);
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

/// Returns the cause that a silent peer ends with, by the table of causes: what the kernel's figures
/// say decides, where the record has them.
///
/// For a peer that sent no bytes since the ping in question.
pub(crate) fn expected_silence_cause(record: &Record) -> &'static str {
    let figure = |key: &str| {
        record.0[key]
            .as_u64()
            .or_else(|| record.0["kernel"][key].as_u64())
    };
    if record.count("pings_due") == 0 {
        return "silent";
    }
    let (Some(unacked), Some(retransmits), Some(window), Some(unsent), Some(mss)) = (
        figure("unacked"),
        figure("retransmits"),
        figure("window"),
        figure("unsent"),
        figure("mss"),
    ) else {
        return "pong_timeout";
    };
    let is_waiting = unacked > 0 || unsent > 0;
    let is_small = unacked == 0 && window < unsent.min(mss);
    if (is_waiting || record.count("queued") > 0) && (window == 0 || is_small) {
        "write_stalled"
    } else if is_waiting && retransmits > 0 {
        "path_dead"
    } else if !is_waiting {
        "peer_unresponsive"
    } else {
        "pong_timeout"
    }
}
