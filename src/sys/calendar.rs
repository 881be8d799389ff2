//! The one place that reads the wall clock. Only for the dates of HTTP.
//!
//! No deadline depends on it, because anybody may set it to any time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::proto::http::HttpDate;

/// Returns the date. It is formatted again only if the second differs from that of `known`. `None`
/// if the wall clock is before 1970 or after 9999. A server without a clock must not send a date
/// (RFC 9110, section 6.6.1).
pub(super) fn today(known: Option<HttpDate>) -> Option<HttpDate> {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    known
        .filter(|known| known.unix() == secs)
        .or_else(|| HttpDate::from_unix(secs))
}
