//! Where to listen, what to speak there, and whom to let in.

use std::net::SocketAddr;

#[cfg(feature = "websocket")]
use crate::config::WebConfig;
use crate::config::{AdmissionConfig, HeartbeatConfig, LimitsConfig};
use crate::event_loop::wire_factory::WireFactory;
use crate::sys::SocketOptions;

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
