//! The one place that looks at the wall clock, for the dates of HTTP and for nothing else.
//!
//! No deadline depends on it: somebody may set it at any time, to anything.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::proto::http::HttpDate;

/// Returns the date, written anew only where it is another second than `known`. `None` where the wall
/// clock stands before 1970 or behind 9999: RFC 9110, section 6.6.1, has a server without a clock send no
/// date.
pub(super) fn today(known: Option<HttpDate>) -> Option<HttpDate> {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    known
        .filter(|known| known.unix() == secs)
        .or_else(|| HttpDate::from_unix(secs))
}
