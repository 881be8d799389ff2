//! Where to listen, on which wire, and who may connect.

use std::net::SocketAddr;

#[cfg(feature = "websocket")]
use crate::config::WebConfig;
use crate::config::{AdmissionConfig, HeartbeatConfig, LimitsConfig, ProxyConfig};
use crate::event_loop::wire_factory::WireFactory;
use crate::sys::SocketOptions;

/// An address to listen on, and its wire.
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
    /// The address. With port 0 the system chooses a port.
    pub addr: SocketAddr,
    /// The wire to speak.
    pub wire: WireFactory,
    /// Heartbeat and deadlines. Default: those of the wire.
    pub heartbeat: HeartbeatConfig,
    /// Limits on sizes and rates.
    pub limits: LimitsConfig,
    /// Limits on who may connect.
    pub admission: AdmissionConfig,
    /// Proxies in front of it. Default: none.
    pub proxy: ProxyConfig,
    /// Which web pages may open a WebSocket here, and which host names a request may use. Default:
    /// pages whose host is the host that the request names, whatever host that is.
    #[cfg(feature = "websocket")]
    pub web: WebConfig,
    /// Options of the sockets.
    pub socket: SocketOptions,
}

impl ListenerConfig {
    /// Makes a listener with the wire's defaults.
    pub fn new(addr: SocketAddr, wire: WireFactory) -> Self {
        Self {
            addr,
            heartbeat: HeartbeatConfig::for_wire(wire.kind()),
            wire,
            limits: LimitsConfig::default(),
            admission: AdmissionConfig::default(),
            proxy: ProxyConfig::default(),
            #[cfg(feature = "websocket")]
            web: WebConfig::default(),
            socket: SocketOptions::default(),
        }
    }
}
