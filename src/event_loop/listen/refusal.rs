//! Why a connection is refused before it has a slot, and how the peer is told.

#[cfg(feature = "websocket")]
use std::io;

#[cfg(feature = "websocket")]
use crate::close::CloseCode;
use crate::config::WireKind;
#[cfg(feature = "websocket")]
use crate::proto::http::response::refusal;
#[cfg(feature = "websocket")]
use crate::proto::pool::Pool;
use crate::proto::session::Env;
#[cfg(feature = "websocket")]
use crate::proto::websocket::{Opcode, encode};
use crate::sys::{Layer, Socket, Transport};

/// Which limit of ours turns a connection away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Draining,
    /// Its listener was closed before it was taken in.
    Closed,
    /// The system could not watch its socket.
    Unwatched,
    /// TLS could not begin.
    Unsealed,
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
            Self::Draining
            | Self::Closed
            | Self::Unwatched
            | Self::Unsealed
            | Self::Full
            | Self::Rate => 503,
            Self::HalfOpen | Self::Open | Self::Share | Self::AddressRate => 429,
        }
    }

    /// Returns the reason in words.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "going away",
            Self::Closed => "the listener was closed",
            Self::Unwatched => "the system could not watch the socket",
            Self::Unsealed => "TLS could not begin",
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
    pub(super) fn tell<K: Socket, L: Layer<K>>(
        self,
        mut transport: Transport<'_, K, L>,
        wire: WireKind,
        env: &mut Env,
    ) {
        if !wire.is_websocket() || !transport.is_open() {
            transport.socket.reset_on_close();
            return;
        }
        let fields = [("Retry-After", "1")];
        let response = refusal(self.status(), self.reason(), &fields, env.date().as_ref());
        // The request may be on its way: ended like this, the answer outlives it.
        say_last(&mut transport, &mut env.pool, &response);
        // Or it is here: left unread, it would make a reset of the end.
        let mut head = [0; 1024];
        for _ in 0..8 {
            if !matches!(transport.socket.read(&mut head), Ok(1..)) {
                break;
            }
        }
    }

    /// Tells a client whose WebSocket somebody else has opened, by a Close frame: 1001 or 1013.
    #[cfg(feature = "websocket")]
    pub(super) fn tell_open<K: Socket, L: Layer<K>>(
        self,
        mut transport: Transport<'_, K, L>,
        wire: WireKind,
        env: &mut Env,
    ) {
        if !wire.is_websocket() || !transport.is_open() {
            transport.socket.reset_on_close();
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
        say_last(&mut transport, &mut env.pool, &close);
    }

    #[cfg(not(feature = "websocket"))]
    pub(super) fn tell_open<K: Socket, L: Layer<K>>(
        self,
        transport: Transport<'_, K, L>,
        _wire: WireKind,
        _env: &mut Env,
    ) {
        transport.socket.reset_on_close();
    }

    #[cfg(not(feature = "websocket"))]
    pub(super) fn tell<K: Socket, L: Layer<K>>(
        self,
        transport: Transport<'_, K, L>,
        _wire: WireKind,
        _env: &mut Env,
    ) {
        transport.socket.reset_on_close();
    }
}

/// Writes once, and ends the output.
#[cfg(feature = "websocket")]
fn say_last<K: Socket, L: Layer<K>>(
    transport: &mut Transport<'_, K, L>,
    pool: &mut Pool,
    bytes: &[u8],
) {
    if let Err(error) = transport.write(pool, &[io::IoSlice::new(bytes)]) {
        log::debug!("could not write the answer to a refused connection: {error}");
    }
    if let Err(error) = transport.shutdown(pool) {
        log::debug!("could not end output to a refused connection: {error}");
    }
}
