//! HTTP/1.1 heads: fields and their limits, dates, the parts of URIs (RFC 9110, RFC 9112, RFC 3986).
//!
//! The law of this layer: it knows bytes, not time, not sockets, and nothing of what an upgrade leads to.

pub(crate) mod head;
pub(crate) mod progress;
pub(crate) mod uri;

mod date;

pub use date::{HttpDate, RetryAfter};
pub use head::{HeadLimits, InvalidHead};
pub use progress::HeadProgress;
