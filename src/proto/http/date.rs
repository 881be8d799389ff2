//! Dates in the format of HTTP, for the fields `Date` and `Retry-After`.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// A time of the wall clock, in whole seconds, in the format of HTTP (RFC 9110, section 5.6.7).
///
/// The core reads no clock. The caller reads one and passes the date in.
///
/// ```
/// use heartwheel::proto::http::HttpDate;
///
/// let date = HttpDate::from_unix(784_111_777).expect("before the year 10000");
/// assert_eq!(date.as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
/// assert_eq!(HttpDate::parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), Some(date));
/// assert_eq!(HttpDate::parse(b"Sun Nov  6 08:49:37 1994"), Some(date));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpDate {
    secs: u64,
    text: [u8; 29],
}

impl HttpDate {
    /// Creates a date from the seconds since the beginning of 1970, UTC; `None` after the year
    /// 9999.
    pub fn from_unix(secs: u64) -> Option<Self> {
        let time = (secs < YEAR_10000).then(|| UNIX_EPOCH + Duration::from_secs(secs))?;
        let text = httpdate::fmt_http_date(time);
        let text = text.as_bytes().try_into().ok()?;
        Some(Self { secs, text })
    }

    /// Parses a date in any of the three formats that a recipient must accept (RFC 9110, section
    /// 5.6.7); `None` if it is not a date, or is before 1970.
    ///
    /// A year with two digits is from 1970 to 2069.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
        Self::from_unix(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    /// Returns the number of seconds since the beginning of 1970, UTC.
    pub const fn unix(&self) -> u64 {
        self.secs
    }

    /// Returns the date in the format for sending, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).expect("a date is ASCII")
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a client may ask again (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this number of seconds.
    Seconds(u64),
    /// Not before this date.
    Date(HttpDate),
}

impl RetryAfter {
    /// Parses the value of the field; `None` if it is neither.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !is_number {
            return HttpDate::parse(value).map(Self::Date);
        }
        // If the number does not fit, it is a long time anyway.
        let text = std::str::from_utf8(value).ok()?;
        Some(Self::Seconds(text.parse().unwrap_or(u64::MAX)))
    }

    /// Returns the number of seconds to wait, if the wall clock says `now`: zero for a date in the
    /// past, `None` for a date if there is no clock.
    pub fn seconds(&self, now: Option<HttpDate>) -> Option<u64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Date(date) => Some(date.secs.saturating_sub(now?.secs)),
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "after {seconds} s"),
            Self::Date(date) => write!(f, "not before {date}"),
        }
    }
}

/// When the year gets a fifth digit, for which the format has no space.
const YEAR_10000: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9110, section 5.6.7.
    const SAMPLE: u64 = 784_111_777;

    #[test]
    fn s9110_5_6_7_dates_are_read_in_three_forms_and_sent_in_one() {
        let sample = HttpDate::from_unix(SAMPLE).unwrap();
        assert_eq!(sample.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(HttpDate::parse(text.as_bytes()), Some(sample), "{text}");
        }
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "784111777",
            "\u{e9}",
        ] {
            assert_eq!(HttpDate::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_date_that_can_be_written_is_read_back() {
        let days = YEAR_10000 / 86_400;
        for day in (0..days).step_by(97).chain([days - 1]) {
            let date = HttpDate::from_unix(day * 86_400 + day % 86_400).unwrap();
            assert_eq!(HttpDate::parse(date.as_str().as_bytes()), Some(date));
        }
        assert_eq!(HttpDate::from_unix(YEAR_10000), None);
        assert_eq!(HttpDate::from_unix(u64::MAX), None);
    }

    #[test]
    fn a_date_to_come_is_so_many_seconds_and_one_that_is_over_none() {
        let date = |secs| HttpDate::from_unix(secs);
        let until = RetryAfter::Date(date(SAMPLE).unwrap());
        assert_eq!(until.seconds(date(SAMPLE - 90)), Some(90));
        assert_eq!(until.seconds(date(SAMPLE + 90)), Some(0));
        assert_eq!(until.seconds(None), None);
        assert_eq!(RetryAfter::Seconds(7).seconds(None), Some(7));
    }

    #[test]
    fn a_retry_is_a_number_or_a_date_or_nothing() {
        for (value, seconds) in [("0", 0), ("120", 120), ("99999999999999999999", u64::MAX)] {
            let parsed = RetryAfter::parse(value.as_bytes());
            assert_eq!(parsed, Some(RetryAfter::Seconds(seconds)), "{value}");
        }
        let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
        assert!(matches!(RetryAfter::parse(date), Some(RetryAfter::Date(_))));
        for value in ["", "-1", "1.5", "soon", "+1"] {
            assert_eq!(RetryAfter::parse(value.as_bytes()), None, "{value}");
        }
    }
}
