//! The opening handshake: requests for an upgrade and their responses (RFC 6455, section 4).
//!
//! [`http`](crate::proto::http) parses the heads. This module checks whether they obey the rules of
//! WebSocket.
//!
//! A server reads a [`Request`](crate::proto::http::Request). Then it upgrades the connection,
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
//! or answers with [`response`](crate::proto::http::response) or [`error_response`]. A client sends
//! a [`request`] and checks the response with [`parse_response`].

mod accept;
mod client;
#[cfg(feature = "deflate")]
mod deflate;
mod extension;
mod invalid;
mod redirect;
mod server;

pub use accept::accept_of;
pub use client::{
    Acceptance, ResponseError, accept_for, parse_more_response, parse_response, request,
};
#[cfg(feature = "deflate")]
pub use client::{parse_more_response_with, request_with};
#[cfg(feature = "deflate")]
pub use deflate::DeflateAgreement;
pub use invalid::InvalidHandshake;
pub use redirect::{Address, RedirectError, is_credential, is_redirect};
#[cfg(feature = "deflate")]
pub use server::accept_response_with;
pub use server::{HandshakeError, Upgrade, accept_response, error_response};
