//! HTTP/1.1 without sockets: requests, responses, and which pages may connect (RFC 9110, RFC 9112).
//!
//! httparse parses the heads, and this module checks their form. `parse` always gets the whole
//! head: when more bytes have arrived, call it again. Bytes after the head are ignored. The only
//! state between calls is a [`HeadProgress`]. It avoids that a head that arrives byte by byte is
//! parsed for every byte. A server keeps an [`Exchange`], which also handles the body of a request
//! and the next request of the connection.
//!
//! The law of this layer: it knows bytes, but no time, no sockets and no protocol that an upgrade
//! starts.

pub(crate) mod head;
pub(crate) mod response;
pub(crate) mod uri;

mod body;
mod date;
mod error;
mod exchange;
mod forwarded;
mod owned;
mod pairs;
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
pub use forwarded::{ForwardedError, client_of};
pub use head::{HeadLimits, InvalidHead};
pub use owned::OwnedRequest;
pub use persistence::Persistence;
pub use progress::HeadProgress;
pub use request::Request;
pub use response::{Response, error_response, response};
pub use visitors::{Unwelcome, Visitors};
