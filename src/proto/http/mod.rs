//! HTTP/1.1 without sockets: requests, responses, and who may connect (RFC 9110, RFC 9112).
//!
//! httparse reads the heads; this module judges their form. A head is looked at as a whole: a driver calls
//! the same `parse` again when more bytes have come, and what lies behind the head's length is left alone.
//! Between calls there is no state but a [`HeadProgress`], which keeps a head that comes in single bytes
//! from being parsed as often. A server keeps an [`Exchange`], which goes on to the body of a request and
//! to the next request of the connection.
//!
//! The law of this layer: it knows bytes, not time, not sockets, and nothing of what an upgrade leads to.

pub(crate) mod head;
pub(crate) mod response;
pub(crate) mod uri;

mod body;
mod date;
mod error;
mod exchange;
mod persistence;
mod progress;
mod request;
#[cfg(test)]
pub(crate) mod samples;
mod visitors;

pub use body::BodyError;
pub use date::{HttpDate, RetryAfter};
pub use error::HeadError;
pub use exchange::{Arrival, CONTINUE, Exchange};
pub use head::{HeadLimits, InvalidHead};
pub use persistence::Persistence;
pub use progress::HeadProgress;
pub use request::Request;
pub use response::{Response, error_response, response};
pub use visitors::{Unwelcome, Visitors};
