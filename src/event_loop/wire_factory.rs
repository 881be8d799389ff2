//! Makes the wire of each connection.

use std::fmt;

use crate::config::WireKind;
use crate::proto::codec::Codec;
use crate::proto::session::Wire;

/// Makes the wire of each new connection.
pub enum WireFactory {
    /// WebSocket (RFC 6455).
    #[cfg(feature = "websocket")]
    WebSocket,
    /// Text lines.
    Line,
    /// Binary frames with a length.
    Binary,
    /// Bytes without framing.
    Raw,
    /// The embedder's own codec; the function makes one for each connection.
    Own(Box<dyn Fn() -> Box<dyn Codec> + Send>),
}

impl WireFactory {
    /// Returns the kind of wire that it makes.
    pub const fn kind(&self) -> WireKind {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => WireKind::WebSocket,
            Self::Line => WireKind::Line,
            Self::Binary => WireKind::Binary,
            Self::Raw => WireKind::Raw,
            Self::Own(_) => WireKind::Own,
        }
    }

    /// Makes one.
    pub(super) fn make(&self) -> Wire {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => Wire::WebSocket,
            Self::Line => Wire::Line,
            Self::Binary => Wire::Binary,
            Self::Raw => Wire::Raw,
            Self::Own(make) => Wire::Own(make()),
        }
    }
}

impl fmt::Debug for WireFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().label())
    }
}
