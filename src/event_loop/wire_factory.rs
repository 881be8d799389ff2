//! Makes the wire of each connection.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::config::WireKind;
use crate::peer::PeerAddr;
use crate::proto::codec::Codec;
use crate::proto::session::Wire;
use crate::proto::wire::Role;

/// Makes the wire of each new connection.
#[derive(Clone)]
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
    /// The embedder's own codec; see [`own`](Self::own).
    Own(MakeCodec),
}

/// Makes a codec for each connection. Listeners, clients and loops may share it.
pub type MakeCodec = Arc<dyn Fn(&Contact) -> Box<dyn Codec> + Send + Sync>;

/// Who is at the other end of a new connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Contact {
    /// The peer's address; see [`Offer::peer`](super::Offer::peer).
    pub peer: PeerAddr,
    /// Our listener or client that the connection belongs to.
    pub endpoint: Endpoint,
}

impl Contact {
    pub(super) const fn new(peer: PeerAddr, endpoint: Endpoint) -> Self {
        Self { peer, endpoint }
    }

    /// Returns which side of the connection we are.
    pub const fn role(&self) -> Role {
        match self.endpoint {
            Endpoint::Listener(_) => Role::Server,
            Endpoint::Client(_) => Role::Client,
        }
    }

    /// Stands for anybody: the address 0.0.0.0:0.
    pub(super) fn nobody(endpoint: Endpoint) -> Self {
        Self::new(
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
            endpoint,
        )
    }
}

impl WireFactory {
    /// Makes the wire of a codec. The function is called for each connection that is accepted or
    /// dialed, also for one that a limit then turns away, and again for the client that a
    /// [proxy](crate::config::ProxyConfig) names in its header, before the codec is asked anything. It
    /// is called once more when a listener or client is configured, for the address `0.0.0.0:0`, to ask
    /// the codec whether it has pings.
    pub fn own<C: Codec>(make: impl Fn(&Contact) -> C + Send + Sync + 'static) -> Self {
        Self::Own(Arc::new(move |contact| Box::new(make(contact))))
    }

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
    pub(super) fn make(&self, contact: &Contact) -> Wire {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => Wire::WebSocket,
            Self::Line => Wire::Line,
            Self::Binary => Wire::Binary,
            Self::Raw => Wire::Raw,
            Self::Own(make) => Wire::Own(make(contact)),
        }
    }
}

impl fmt::Debug for WireFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().label())
    }
}
