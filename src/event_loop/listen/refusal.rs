//! Why a connection is refused before it has a slot, and how the peer is told.

#[cfg(feature = "websocket")]
use std::io;

#[cfg(feature = "websocket")]
use crate::close::CloseCode;
use crate::config::WireKind;
#[cfg(feature = "websocket")]
use crate::proto::http::response::refusal;
use crate::proto::session::Env;
#[cfg(feature = "websocket")]
use crate::proto::websocket::{Opcode, encode};
use crate::sys::{Socket, Stream};

/// Which limit of ours turns a connection away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Draining,
    /// Its listener was closed before it was taken in.
    Closed,
    /// The system could not watch its socket.
    Unwatched,
    Full,
    Rate,
    HalfOpen,
    Open,
    Share,
    AddressRate,
}

impl Refusal {
    /// Returns the status that tells a WebSocket client: 429 where the fault is its own.
    #[cfg(feature = "websocket")]
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::Draining | Self::Closed | Self::Unwatched | Self::Full | Self::Rate => 503,
            Self::HalfOpen | Self::Open | Self::Share | Self::AddressRate => 429,
        }
    }

    /// Returns the reason in words.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "going away",
            Self::Closed => "the listener was closed",
            Self::Unwatched => "the system could not watch the socket",
            Self::Full => "too many connections",
            Self::Rate => "too many new connections at once",
            Self::HalfOpen => "too many handshakes from your address: the oldest makes way",
            Self::Open => "too many connections from your address",
            Self::Share => "too many connections from your address: others need room",
            Self::AddressRate => "too many new connections at once from your address",
        }
    }
}

impl Refusal {
    /// Tells a WebSocket client why it is turned away, as far as one write goes; the other wires have no
    /// words for it, and get a reset.
    #[cfg(feature = "websocket")]
    pub(super) fn tell<S: Stream>(self, stream: &mut S, wire: WireKind, env: &Env) {
        if !wire.is_websocket() || !stream.is_open() {
            stream.socket_mut().reset_on_close();
            return;
        }
        let fields = [("Retry-After", "1")];
        let response = refusal(self.status(), self.reason(), &fields, env.date().as_ref());
        // The request may be on its way: ended like this, the answer outlives it.
        say_last(stream, &response);
        // Or it is here: left unread, it would make a reset of the end.
        let mut head = [0; 1024];
        for _ in 0..8 {
            if !matches!(stream.socket_mut().read(&mut head), Ok(1..)) {
                break;
            }
        }
    }

    /// Tells a client whose WebSocket somebody else has opened, by a Close frame: 1001 or 1013.
    #[cfg(feature = "websocket")]
    pub(super) fn tell_open<S: Stream>(self, stream: &mut S, wire: WireKind) {
        if !wire.is_websocket() || !stream.is_open() {
            stream.socket_mut().reset_on_close();
            return;
        }
        let code = match self {
            Self::Draining | Self::Closed => CloseCode::GOING_AWAY,
            _ => CloseCode::TRY_AGAIN_LATER,
        };
        let mut payload = code.as_u16().to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason().as_bytes());
        let mut close = Vec::new();
        encode(true, Opcode::Close, &payload, None, &mut close);
        say_last(stream, &close);
    }

    #[cfg(not(feature = "websocket"))]
    pub(super) fn tell_open<S: Stream>(self, stream: &mut S, _wire: WireKind) {
        stream.socket_mut().reset_on_close();
    }

    #[cfg(not(feature = "websocket"))]
    pub(super) fn tell<S: Stream>(self, stream: &mut S, _wire: WireKind, _env: &Env) {
        stream.socket_mut().reset_on_close();
    }
}

/// Writes once, and ends the output.
#[cfg(feature = "websocket")]
fn say_last<S: Stream>(stream: &mut S, bytes: &[u8]) {
    if let Err(error) = stream.write(&[io::IoSlice::new(bytes)]) {
        log::debug!("could not write the answer to a refused connection: {error}");
    }
    if let Err(error) = stream.shutdown() {
        log::debug!("could not end output to a refused connection: {error}");
    }
}
