//! The opening handshake: requests to upgrade and their answers (RFC 6455, section 4).
//!
//! [`http`](crate::proto::http) reads the heads; this module judges whether they make a WebSocket.
//!
//! A server reads a [`Request`](crate::proto::http::Request) and either upgrades it,
//!
//! ```
//! use heartwheel::proto::http::{HeadLimits, Request};
//! use heartwheel::proto::websocket::handshake::{Upgrade, accept_response};
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
//! let upgrade = Upgrade::of(&request)?;
//! let response = accept_response(&upgrade, None, None, &[("Server", "heartwheel")])?;
//! assert!(response.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! or answers it with [`response`](crate::proto::http::response) or [`error_response`]. A client sends a
//! [`request`] and judges the answer by [`parse_response`].

mod accept;
mod client;
mod extension;
mod invalid;
mod redirect;
mod server;

pub use client::{
    Acceptance, ResponseError, accept_for, parse_more_response, parse_response, request,
};
pub use invalid::InvalidHandshake;
pub use redirect::{Address, RedirectError, is_credential, is_redirect};
pub use server::{HandshakeError, Upgrade, accept_response, error_response};
