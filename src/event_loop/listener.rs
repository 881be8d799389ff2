//! Listening sockets: what they offer, and how they pause when descriptors run out.

use std::fmt;
use std::net::SocketAddr;

use super::admission::Admission;
#[cfg(feature = "websocket")]
use crate::config::WebConfig;
use crate::config::{AdmissionConfig, HeartbeatConfig, LimitsConfig, WireKind};
use crate::proto::codec::Codec;
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::proto::session::{PolicyId, Wire};
use crate::proto::time::Micros;
use crate::sys::SocketOptions;

/// Makes the wire of each new connection.
pub enum WireFactory {
    /// RFC 6455.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// Text lines.
    Line,
    /// Length-prefixed data.
    Binary,
    /// No framing.
    Raw,
    /// A codec of the embedder's, one for each connection.
    Own(Box<dyn Fn() -> Box<dyn Codec> + Send>),
}

impl WireFactory {
    /// Returns the kind of wire it makes.
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
            Self::Own(make) => Wire::Own(Box::new(make())),
        }
    }
}

impl fmt::Debug for WireFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().label())
    }
}

/// One address to listen on, and what to speak there.
///
/// ```
/// use heartwheel::reactor::{ListenerConfig, WireFactory};
///
/// let config = ListenerConfig::new("127.0.0.1:0".parse()?, WireFactory::Line);
/// assert_eq!(config.admission.half_open_per_address, Some(256));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct ListenerConfig {
    /// Where; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// What to speak.
    pub wire: WireFactory,
    /// Heartbeat and deadlines. Default: those of the wire.
    pub heartbeat: HeartbeatConfig,
    /// Sizes and rates.
    pub limits: LimitsConfig,
    /// Whom to let in.
    pub admission: AdmissionConfig,
    /// Which web pages may open a WebSocket here, and by which names of ours. Default: those of the host
    /// that the request names, whatever that is.
    #[cfg(feature = "websocket")]
    pub web: WebConfig,
    /// What the sockets get from the kernel.
    pub socket: SocketOptions,
}

impl ListenerConfig {
    /// Listens with the wire's defaults.
    pub fn new(addr: SocketAddr, wire: WireFactory) -> Self {
        Self {
            addr,
            heartbeat: HeartbeatConfig::for_wire(wire.kind()),
            wire,
            limits: LimitsConfig::default(),
            admission: AdmissionConfig::default(),
            #[cfg(feature = "websocket")]
            web: WebConfig::default(),
            socket: SocketOptions::default(),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener<L> {
    pub(super) socket: L,
    pub(super) addr: SocketAddr,
    pub(super) wire: WireFactory,
    pub(super) policy: PolicyId,
    pub(super) admission: Admission,
    #[cfg(feature = "websocket")]
    pub(super) visitors: Visitors,
    /// Connections may wait to be accepted.
    pub(super) ready: bool,
    /// Accepting rests until then, because no socket could be had.
    pub(super) paused_until: Option<Micros>,
    /// When there was last no room for somebody who came.
    pub(super) shortage: Option<Micros>,
}
