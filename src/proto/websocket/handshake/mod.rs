//! The opening handshake: HTTP heads in and out (RFC 6455, section 4).
//!
//! httparse reads the heads; this module judges them. A head is looked at as a whole: a driver calls the
//! same `parse` again when more bytes have come, and what lies behind the head's length is the peer's first
//! frames. Between calls there is no state but a [`HeadProgress`](crate::proto::http::HeadProgress), which keeps a head that comes in single
//! bytes from being parsed as often.
//!
//! A server reads a [`Request`] and either upgrades it,
//!
//! ```
//! use heartwheel::proto::http::HeadLimits;
//! use heartwheel::proto::websocket::handshake::{Request, accept_response};
//!
//! let input = b"GET /chat HTTP/1.1\r\n\
//!     Host: example.com\r\n\
//!     Upgrade: websocket\r\n\
//!     Connection: Upgrade\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Version: 13\r\n\r\n";
//! let (request, len) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
//! assert_eq!((request.path(), len), ("/chat", input.len()));
//!
//! let upgrade = request.upgrade()?;
//! let response = accept_response(&upgrade, None, None, &[("Server", "heartwheel")])?;
//! assert!(response.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! or answers it with [`http_response`] or [`error_response`]. A client sends a [`request`] and judges
//! the answer by [`parse_response`].

mod accept;
mod client;
mod extension;
mod redirect;
mod server;
mod visitors;

pub use client::{
    Response, ResponseError, accept_for, parse_more_response, parse_response, request,
};
pub use redirect::{Address, RedirectError, is_credential, is_redirect};
pub use server::{
    HandshakeError, Request, Upgrade, accept_response, error_response, http_response,
};
pub use visitors::{Unwelcome, Visitors};
