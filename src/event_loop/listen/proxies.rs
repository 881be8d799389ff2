//! Which proxies a listener believes.

use std::net::IpAddr;

use crate::config::{Network, ProxyConfig, WireKind};
use crate::error::ConfigError;

/// The proxies in front of a listener, parsed.
#[derive(Clone, Debug, Default)]
pub(in crate::event_loop) struct Proxies {
    speak_first: bool,
    trusted: Box<[Network]>,
}

impl Proxies {
    pub(super) fn new(config: &ProxyConfig, wire: WireKind) -> Result<Self, ConfigError> {
        if !config.protocol && !config.trusted.is_empty() && !wire.is_websocket() {
            return Err(ConfigError::new(
                "trusted",
                "does nothing on this wire without protocol: only http names clients",
            ));
        }
        Ok(Self {
            speak_first: config.protocol,
            trusted: config.trusted.as_slice().into(),
        })
    }

    /// Says whether a connection from here begins with a header. Without an IP address it came by a Unix
    /// socket.
    pub(super) fn expect_header(&self, ip: Option<IpAddr>) -> bool {
        let is_anybody = self.trusted.is_empty();
        self.speak_first && (is_anybody || ip.is_some_and(|ip| self.trust(ip)))
    }

    /// Says whether any address is that of a proxy.
    #[cfg(feature = "websocket")]
    pub(super) fn trust_any(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// Says whether this is the address of a proxy.
    pub(in crate::event_loop) fn trust(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn proxies(protocol: bool, trusted: &[IpAddr]) -> Proxies {
        let config = ProxyConfig {
            protocol,
            trusted: trusted.iter().map(|&ip| ip.into()).collect(),
        };
        Proxies::new(&config, WireKind::Line).expect("it makes sense")
    }

    #[test]
    fn a_header_is_expected_of_anybody_or_of_those_who_are_named() {
        let nobody = proxies(false, &[]);
        assert!(!nobody.expect_header(Some(PROXY)) && !nobody.trust(PROXY));
        let anybody = proxies(true, &[]);
        assert!(anybody.expect_header(Some(PROXY)) && anybody.expect_header(None));
        assert!(!anybody.trust(PROXY), "with fields that name a client");
        let named = proxies(true, &[PROXY]);
        assert!(named.expect_header(Some(PROXY)) && named.trust(PROXY));
        assert!(!named.expect_header(Some(OTHER)) && !named.expect_header(None));
        assert!(!named.trust(OTHER));
    }

    #[test]
    fn trust_that_nothing_rests_on_is_refused_by_name() {
        let config = ProxyConfig {
            protocol: false,
            trusted: vec![PROXY.into()],
        };
        let error = Proxies::new(&config, WireKind::Binary).expect_err("no fields");
        assert_eq!(error.field(), "trusted");
        #[cfg(feature = "websocket")]
        assert!(Proxies::new(&config, WireKind::WebSocket).is_ok());
    }
}
