//! The wall clock, which the dates in certificates are of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Tells rustls the time. Its own provider panics if the clock is set to before 1970.
#[derive(Debug)]
pub(super) struct Calendar;

impl TimeProvider for Calendar {
    fn current_time(&self) -> Option<UnixTime> {
        now()
    }
}

/// Returns the time; `None` if the clock is set to before 1970.
pub(super) fn now() -> Option<UnixTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::since_unix_epoch(since))
}

/// Writes a time as RFC 3339 has it, in UTC.
pub(super) fn written(time: UnixTime) -> String {
    let since = Duration::from_secs(time.as_secs().min(LAST));
    format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// The end of the year 9999; no certificate has a later date (RFC 5280, section 4.1.2.5).
const LAST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_up_to_the_last_one() {
        let at = |secs| written(UnixTime::since_unix_epoch(Duration::from_secs(secs)));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(LAST), "9999-12-31T23:59:59Z");
        assert_eq!(at(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
