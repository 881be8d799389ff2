//! Where to listen, on which wire, and who may connect.

use std::net::SocketAddr;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use super::admission::Admission;
use super::proxies::Proxies;
#[cfg(feature = "websocket")]
use crate::config::WebConfig;
use crate::config::{AdmissionConfig, HeartbeatConfig, LimitsConfig, ProxyConfig};
use crate::error::ConfigError;
use crate::event_loop::wire_factory::WireFactory;
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::proto::policy::Policy;
use crate::sys::{ListenAddr, SocketOptions};

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
    /// Where to listen. `None`: nowhere. Such a listener accepts nothing by itself, and takes in sockets that
    /// somebody else has accepted; see [`Context::adopt`](crate::Context::adopt).
    pub addr: Option<ListenAddr>,
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
    /// Whether plain HTTP requests are answered even while the loop drains or is full, so that health
    /// checks hear the truth. Default no: newcomers are then answered 503 before they ask.
    ///
    /// For this, each loop lets in up to 16 connections beyond
    /// [`max_connections`](crate::config::ReactorConfig::max_connections), and for 16 more in a turn
    /// the oldest of them is answered 503. A request to upgrade is answered 503, and a drain does not
    /// wait for them. The handler learns from
    /// [`Context::is_draining`](crate::reactor::Context::is_draining) and
    /// [`is_full`](crate::reactor::Context::is_full) what to say.
    #[cfg(feature = "websocket")]
    pub answer_when_full: bool,
    /// TLS for everybody who connects: what rustls needs to be a server, such as certificates. Default
    /// `None`: no TLS. [`heartwheel::tls`](crate::tls) makes such configurations.
    ///
    /// The TLS handshake and the opening handshake together have the handshake timeout. A header of the
    /// PROXY protocol comes before both. Every loop of a group may share one configuration; new
    /// certificates come by [`set_listener`](crate::Context::set_listener), or by a resolver within the
    /// configuration.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Options of the sockets.
    pub socket: SocketOptions,
}

impl ListenerConfig {
    /// Makes a listener on a TCP address, with the wire's defaults.
    pub fn new(addr: SocketAddr, wire: WireFactory) -> Self {
        Self::at(addr, wire)
    }

    /// Makes a listener on a Unix socket, with the wire's defaults.
    pub fn unix(path: impl Into<PathBuf>, wire: WireFactory) -> Self {
        Self::at(ListenAddr::Unix(path.into()), wire)
    }

    /// Makes a listener anywhere, with the wire's defaults: on an address, or on a socket that already
    /// listens.
    pub fn at(addr: impl Into<ListenAddr>, wire: WireFactory) -> Self {
        Self {
            addr: Some(addr.into()),
            ..Self::nowhere(wire)
        }
    }

    /// Checks all fields but the address and TLS, as listening would. `tick` is that of the loop,
    /// [`ReactorConfig::tick`](crate::config::ReactorConfig::tick).
    ///
    /// # Errors
    ///
    /// The field that makes no sense, with the reason.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use heartwheel::{ListenerConfig, WireFactory};
    ///
    /// let mut config = ListenerConfig::nowhere(WireFactory::Line);
    /// config.admission.share_per_address = Some(200);
    /// let error = config.check(Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.field(), "share_per_address");
    /// ```
    pub fn check(&self, tick: Duration) -> Result<(), ConfigError> {
        let wire = self.wire.kind();
        Policy::new(&self.heartbeat, &self.limits, wire, tick)?;
        Admission::try_from(&self.admission)?;
        Proxies::new(&self.proxy, wire)?;
        #[cfg(feature = "websocket")]
        Visitors::try_from(&self.web)?;
        self.socket.check()
    }

    /// Makes a listener without a socket, with the wire's defaults; see [`addr`](Self::addr).
    pub fn nowhere(wire: WireFactory) -> Self {
        Self {
            addr: None,
            heartbeat: HeartbeatConfig::for_wire(wire.kind()),
            wire,
            limits: LimitsConfig::default(),
            admission: AdmissionConfig::default(),
            proxy: ProxyConfig::default(),
            #[cfg(feature = "websocket")]
            web: WebConfig::default(),
            #[cfg(feature = "websocket")]
            answer_when_full: false,
            #[cfg(feature = "tls")]
            tls: None,
            socket: SocketOptions::default(),
        }
    }
}
