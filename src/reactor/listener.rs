//! Listening sockets: what they offer, and how they pause when descriptors run out.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;

use super::admission::Admission;
use crate::config::{AdmissionConfig, HeartbeatConfig, LimitsConfig, WireKind};
use crate::proto::codec::Codec;
use crate::proto::session::{PolicyId, Wire};
use crate::proto::time::Micros;

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

/// What a listener's sockets get from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections the kernel completes ahead of us. Default 4096. A shorter one makes bursts of
    /// connections stall for a second each. Needs the feature `sockets`.
    pub backlog: i32,
    /// Whether several processes may listen on the same port and share its connections. Default no.
    /// Needs the feature `sockets`.
    pub reuse_port: bool,
    /// How long sent data may stay unacknowledged before the kernel itself gives up
    /// (`TCP_USER_TIMEOUT`, Linux). Default: the kernel's own, a quarter of an hour.
    pub user_timeout: Option<Duration>,
    /// Whether the kernel sends keepalive probes of its own. Default no: a heartbeat is better.
    pub keepalive: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            user_timeout: None,
            keepalive: false,
        }
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
            socket: SocketOptions::default(),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) addr: SocketAddr,
    pub(super) wire: WireFactory,
    pub(super) policy: PolicyId,
    pub(super) admission: Admission,
    /// Until when the new connections so far are paid for.
    pub(super) paid: Micros,
    /// Connections may wait to be accepted.
    pub(super) ready: bool,
    /// Accepting rests until then, because descriptors ran out.
    pub(super) paused_until: Option<Micros>,
    /// This episode of it was logged.
    pub(super) exhausted: bool,
}
