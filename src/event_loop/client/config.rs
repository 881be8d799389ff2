//! What a client dials, how often, and on which wire.

#[cfg(feature = "websocket")]
use std::net::Ipv6Addr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};
#[cfg(feature = "websocket")]
use std::str::FromStr;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use super::queue::QueueConfig;
use crate::config::{HeartbeatConfig, LimitsConfig};
use crate::error::ConfigError;
use crate::event_loop::wire_factory::WireFactory;
#[cfg(feature = "websocket")]
use crate::proto::authority;
use crate::proto::authority::Authority;
#[cfg(any(feature = "tls", feature = "websocket"))]
use crate::proto::authority::split_zone;
use crate::proto::backoff::BackoffPolicy;
#[cfg(feature = "websocket")]
use crate::proto::http::InvalidHead;
use crate::proto::tunnel::Proxy;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{InvalidHandshake, request};
use crate::sys::SocketOptions;

/// How long a client waits before it dials again.
///
/// After the n-th failure in a row the delay is random, between `min` and the smaller of `cap` and
/// `base · 2^n`. If the server sent `Retry-After`, its time is added, up to one day. So is a time for
/// some codes with which it closes an open connection:
/// [`delay_after_close`](crate::proto::backoff::delay_after_close) lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectConfig {
    /// Shortest delay. Default 50 ms.
    pub min: Duration,
    /// Longest delay after the first failure. Default 0.5 s.
    pub base: Duration,
    /// Longest delay at all. Default 60 s.
    pub cap: Duration,
    /// How long a connection must be open before the count of failures starts again at zero.
    /// Default 30 s.
    pub stable: Duration,
    /// Most failures in a row: attempts that failed, and connections that ended before they were
    /// [`stable`](Self::stable). With the last of them the client stops
    /// ([`StopReason::Attempts`](super::StopReason::Attempts)). Default `None`: no limit.
    pub max_attempts: Option<u32>,
    /// Longest time without an open connection, from when the client was added or its connection
    /// ended. The client stops ([`StopReason::Time`](super::StopReason::Time)) as soon as its next
    /// dial would come later, or while it waits for its turn. An attempt that has begun goes on to
    /// its own timeouts. Default `None`: no limit.
    pub give_up_after: Option<Duration>,
    /// Whether the client also dials again, with the usual delays, after a status of 401, 403 or 407.
    /// Otherwise they are final, as all of 4xx but 408, 425 and 429. Default false.
    pub retry_refused: bool,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(50),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            stable: Duration::from_secs(30),
            max_attempts: None,
            give_up_after: None,
            retry_refused: false,
        }
    }
}

impl ReconnectConfig {
    pub(super) fn policy(&self) -> Result<BackoffPolicy, ConfigError> {
        if self.min.is_zero() || self.base < self.min || self.cap < self.base {
            return Err(ConfigError::new(
                "reconnect",
                "needs 0 < min <= base <= cap",
            ));
        }
        if self.max_attempts == Some(0) {
            return Err(ConfigError::new("max_attempts", "must be at least 1"));
        }
        if self.give_up_after.is_some_and(|time| time.is_zero()) {
            return Err(ConfigError::new("give_up_after", "must not be zero"));
        }
        Ok(BackoffPolicy {
            min: self.min.into(),
            base: self.base.into(),
            cap: self.cap.into(),
            stable: self.stable.into(),
        })
    }
}

/// A target to dial.
///
/// ```
/// use heartwheel::reactor::ClientConfig;
///
/// let config = ClientConfig::from_url("tcp://localhost:9002")?;
/// assert_eq!((config.host.as_str(), config.port), ("localhost", 9002));
/// assert!(ClientConfig::from_url("http://localhost").is_err());
/// # Ok::<(), heartwheel::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct ClientConfig {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query of a WebSocket request. Default `/`.
    pub path: String,
    /// The wire to speak.
    pub wire: WireFactory,
    /// Heartbeat and deadlines. Default: those of the wire.
    pub heartbeat: HeartbeatConfig,
    /// Limits on sizes and rates.
    pub limits: LimitsConfig,
    /// How to dial again. `None`: dial only once.
    pub reconnect: Option<ReconnectConfig>,
    /// WebSocket subprotocols to offer, the preferred one first.
    pub subprotocols: Vec<String>,
    /// Header fields to add to the WebSocket request. For `Host` use
    /// [`host_header`](Self::host_header).
    pub headers: Vec<(String, String)>,
    /// The `Host` field of the WebSocket request, with its port if one is needed. Use it to name a
    /// virtual host behind the proxy or tunnel that you dial. Default `None`: the dialed
    /// [`host`](Self::host) and [`port`](Self::port), without the port if it is 80, or with TLS 443.
    pub host_header: Option<String>,
    /// Most redirects in a row that a WebSocket client follows (301, 302, 303, 307 and 308; RFC
    /// 9110, section 15.4). Default 0: it follows none and stops with
    /// [`DialError::Redirect`](super::DialError::Redirect).
    ///
    /// A redirect from `wss` to `ws` is never followed. After a redirect to another scheme, host or
    /// port, the client no longer sends `Authorization`, `Cookie` and `Proxy-Authorization`, and
    /// does not use [`host_header`](Self::host_header). It still sends the other headers. When a
    /// client dials again, it starts at its own address.
    pub follow: u8,
    /// Whether a WebSocket client waits while [others](Self::handshakes_at_once) of this reactor are
    /// in their opening handshakes with the same address and port. RFC 6455, section 4.1, demands
    /// this. A load generator may switch it off. Default true.
    /// [`ClientEvent::AwaitsTurn`](super::ClientEvent::AwaitsTurn) says that a client waits.
    pub takes_turns: bool,
    /// If a client takes turns: how many opening handshakes with one address and port may be under way
    /// at once, its own included. The RFC allows one. With more, clients of a server that is stuck
    /// fail sooner: they wait for one another's handshake timeouts. Default 1.
    pub handshakes_at_once: u32,
    /// Path of a Unix socket that is dialed instead of [`host`](Self::host) and [`port`](Self::port). These
    /// then only name the server in a WebSocket request. Default `None`.
    pub unix: Option<PathBuf>,
    /// Whether TLS lies between the socket and the wire, as in `wss://`. It needs [`tls`](Self::tls).
    /// Default false.
    #[cfg(feature = "tls")]
    pub secure: bool,
    /// What rustls needs to be a client, such as the roots that it trusts. Default `None`.
    /// [`heartwheel::tls`](crate::tls) makes such configurations. Clients should share one: it holds the
    /// tickets with which a later handshake is shorter.
    ///
    /// A client that is not [`secure`](Self::secure) needs it to [follow](Self::follow) a redirect to `wss`.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name or IP address that the server's certificate must be for. Default `None`: the
    /// [`host`](Self::host), or that of a redirect.
    #[cfg(feature = "tls")]
    pub server_name: Option<String>,
    /// The proxy through which the server is reached. Default `None`.
    ///
    /// Then the proxy is dialed. [`connect_timeout`](HeartbeatConfig::connect_timeout) is for TCP and the
    /// proxy's consent together. The `addr` of events and the `peer` of a connection are the proxy's, for
    /// that is who is connected; the name of the server is never looked up here. What goes wrong on the
    /// way is a [`DialError::Proxy`](super::DialError::Proxy). Redirects go through the same proxy.
    pub proxy: Option<Proxy>,
    /// What is kept of messages for this client while it has no open connection; see
    /// [`Context::send_client`](crate::Context::send_client). Default `None`: nothing.
    pub queue: Option<QueueConfig>,
    /// Options of the dialed socket: [`user_timeout`](SocketOptions::user_timeout) and
    /// [`keepalive`](SocketOptions::keepalive). The others are for listeners only. Default none.
    pub socket: SocketOptions,
}

impl ClientConfig {
    /// Makes a client with the wire's defaults.
    pub fn new(host: impl Into<String>, port: u16, wire: WireFactory) -> Self {
        Self {
            host: host.into(),
            port,
            path: "/".into(),
            heartbeat: HeartbeatConfig::for_wire(wire.kind()),
            wire,
            limits: LimitsConfig::default(),
            reconnect: Some(ReconnectConfig::default()),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            host_header: None,
            follow: 0,
            takes_turns: true,
            handshakes_at_once: 1,
            unix: None,
            #[cfg(feature = "tls")]
            secure: false,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            server_name: None,
            proxy: None,
            queue: None,
            socket: SocketOptions::default(),
        }
    }

    /// Parses a URL: `ws://`, `tcp://`, `tcp+binary://` or `tcp+raw://`, then host, port and path. With TLS:
    /// `wss://`, `tcps://`, `tcps+binary://` or `tcps+raw://`; such a client also needs
    /// [`tls`](Self::tls). On `ws` the default port is 80, on `wss` 443; the other schemes need a port.
    ///
    /// For a Unix socket the scheme ends with `+unix:`, and its path follows: `tcp+unix:/run/app.sock`. On
    /// `ws+unix:` a colon and the path of the request may follow, as in
    /// `ws+unix:/run/app.sock:/chat?room=1`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with field `url` and the reason.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let error = |reason: String| ConfigError::new("url", reason);
        if let Some((scheme, rest)) = url.split_once("+unix:") {
            return Self::from_unix_url(scheme, rest);
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            let authority = match url.split_once(":/") {
                Some((_, rest)) => rest.trim_start_matches('/'),
                None => url,
            };
            return Err(error(format!("needs a scheme, such as ws://{authority}")));
        };
        let Scheme {
            wire,
            port: default_port,
            is_secure,
        } = Scheme::parse(scheme)?;
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        if path.contains('#') || authority.contains('#') {
            return Err(error(
                "must not have a fragment (RFC 6455, section 3)".into(),
            ));
        }
        if authority.contains('@') {
            return Err(error("must not carry credentials".into()));
        }
        let named = Authority::parse_local(authority)
            .ok_or_else(|| error("needs a valid host and port".into()))?;
        let Some(port) = named.port().or(default_port) else {
            return Err(error(format!(
                "needs a port, such as {scheme}://{}:9002",
                named.host()
            )));
        };
        if port == 0 {
            return Err(error("needs a port other than 0".into()));
        }
        let host = match named.zone() {
            Some(zone) => format!("{}%{zone}", named.name()),
            None => named.name().to_owned(),
        };
        let path = match path.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Self {
            path,
            ..Self::new(host, port, wire)
        }
        .secured(is_secure))
    }

    /// Parses what follows `+unix:`: two slashes that may stand before a path, the path, and what is asked
    /// for there.
    fn from_unix_url(scheme: &str, rest: &str) -> Result<Self, ConfigError> {
        let error = |reason: &str| ConfigError::new("url", reason);
        let Scheme {
            wire,
            port,
            is_secure,
        } = Scheme::parse(scheme)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let is_websocket = wire.kind().is_websocket();
        let (path, request) = match rest.split_once(":/") {
            Some((path, request)) if is_websocket => (path, format!("/{request}")),
            _ => (rest, "/".to_owned()),
        };
        if path.is_empty() {
            return Err(error("needs a path, such as tcp+unix:/run/app.sock"));
        }
        if request.contains('#') {
            return Err(error("must not have a fragment (RFC 6455, section 3)"));
        }
        Ok(Self {
            unix: Some(path.into()),
            path: request,
            ..Self::new("localhost", port.unwrap_or(80), wire)
        }
        .secured(is_secure))
    }

    #[cfg(feature = "tls")]
    fn secured(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// Only where there is TLS do its schemes mean anything.
    #[cfg(not(feature = "tls"))]
    fn secured(self, _secure: bool) -> Self {
        self
    }

    /// Says whether the client can speak TLS, if it is to.
    #[cfg(feature = "websocket")]
    pub(super) fn may_be_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        let may_be = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let may_be = false;
        may_be
    }

    /// Says whether TLS lies between the socket and the wire.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        let is_secure = self.secure;
        #[cfg(not(feature = "tls"))]
        let is_secure = false;
        is_secure
    }

    /// Checks what neither the heartbeat nor the request contains.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (socket, default) = (&self.socket, SocketOptions::default());
        socket.check()?;
        for (field, is_asked_for) in [
            ("backlog", socket.backlog != default.backlog),
            ("reuse_port", socket.reuse_port),
        ] {
            if is_asked_for {
                return Err(ConfigError::new(field, "is for listeners only"));
            }
        }
        if self.handshakes_at_once == 0 {
            return Err(ConfigError::new("handshakes_at_once", "must be at least 1"));
        }
        if let Some(path) = &self.unix {
            self.check_unix(path)?;
        }
        if let Some(proxy) = &self.proxy {
            proxy.check_target(&self.host, self.port)?;
        }
        #[cfg(feature = "tls")]
        self.check_secure()?;
        self.queue.as_ref().map_or(Ok(()), QueueConfig::check)
    }

    #[cfg(feature = "tls")]
    fn check_secure(&self) -> Result<(), ConfigError> {
        if self.secure && self.tls.is_none() {
            let reason = "is needed for a secure URL: heartwheel::tls makes one, for example";
            return Err(ConfigError::new("tls", reason));
        }
        let field = match self.server_name {
            Some(_) => "server_name",
            None if self.secure => "host",
            None => return Ok(()),
        };
        match server_name(self.server_name.as_deref().unwrap_or(&self.host)) {
            Some(_) => Ok(()),
            None => Err(ConfigError::new(
                field,
                "is no name that a certificate can have",
            )),
        }
    }

    /// Checks the path of a Unix socket, and for what such a socket does not have.
    fn check_unix(&self, path: &Path) -> Result<(), ConfigError> {
        if path.as_os_str().is_empty() {
            return Err(ConfigError::new("unix", "must not be empty"));
        }
        if let Err(error) = UnixAddr::from_pathname(path) {
            return Err(ConfigError::new("unix", error.to_string()));
        }
        for (field, is_asked_for) in [
            ("proxy", self.proxy.is_some()),
            ("user_timeout", self.socket.user_timeout.is_some()),
            ("keepalive", self.socket.keepalive.is_some()),
        ] {
            if is_asked_for {
                return Err(ConfigError::new(field, "needs TCP: this is a Unix socket"));
            }
        }
        Ok(())
    }

    /// Returns the `Host` field of the request: [`host_header`](Self::host_header), or else host
    /// and port, an IPv6 address in brackets, without the default port.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) fn authority(&self) -> String {
        if let Some(host) = &self.host_header {
            return host.clone();
        }
        // The interface of a link-local address is this machine's own business (RFC 6874, section 3).
        let host = split_zone(&self.host).map_or(self.host.as_str(), |(ip, _)| ip);
        let address = Ipv6Addr::from_str(host).map(|ip| ip.to_string());
        let default = if self.is_secure() { 443 } else { 80 };
        let port = (self.port != default).then_some(self.port);
        authority::join(address.as_deref().unwrap_or(host), port)
    }
}

/// Returns the name that a certificate is to be for, given as a name or an IP address.
#[cfg(feature = "tls")]
pub(super) fn server_name(name: &str) -> Option<rustls::pki_types::ServerName<'static>> {
    // The interface of a link-local address is this machine's own business.
    let name = split_zone(name).map_or(name, |(ip, _)| ip);
    name.to_owned().try_into().ok()
}

/// What the scheme of a URL says.
struct Scheme {
    wire: WireFactory,
    /// Its default port.
    port: Option<u16>,
    /// It asks for TLS.
    is_secure: bool,
}

impl Scheme {
    fn parse(scheme: &str) -> Result<Self, ConfigError> {
        let error = |reason: String| Err(ConfigError::new("url", reason));
        // RFC 3986, 3.1: schemes are case-insensitive.
        let (wire, port, is_secure) = match scheme.to_ascii_lowercase().as_str() {
            #[cfg(feature = "websocket")]
            "ws" => (WireFactory::WebSocket, Some(80), false),
            #[cfg(feature = "websocket")]
            "wss" => (WireFactory::WebSocket, Some(443), true),
            #[cfg(not(feature = "websocket"))]
            "ws" | "wss" => {
                return error(format!("{scheme}:// needs the feature `websocket`"));
            }
            "tcp" => (WireFactory::Line, None, false),
            "tcp+binary" => (WireFactory::Binary, None, false),
            "tcp+raw" => (WireFactory::Raw, None, false),
            "tcps" => (WireFactory::Line, None, true),
            "tcps+binary" => (WireFactory::Binary, None, true),
            "tcps+raw" => (WireFactory::Raw, None, true),
            other => {
                return error(format!(
                    "has scheme {other:?}; use ws, tcp, tcp+binary or tcp+raw, or wss, tcps, \
                     tcps+binary or tcps+raw for TLS"
                ));
            }
        };
        if is_secure && !cfg!(feature = "tls") {
            return error(format!("{scheme}:// needs the feature `tls`"));
        }
        Ok(Self {
            wire,
            port,
            is_secure,
        })
    }
}

#[cfg(feature = "websocket")]
impl ClientConfig {
    /// Checks that the opening request can be sent.
    pub(in crate::event_loop) fn check_request(&self) -> Result<(), ConfigError> {
        self.check_words(&self.path, &self.subprotocols, &self.headers)
    }

    /// Checks that the opening request can be sent with these words.
    pub(super) fn check_words(
        &self,
        path: &str,
        subprotocols: &[String],
        headers: &[(String, String)],
    ) -> Result<(), ConfigError> {
        if !matches!(self.wire, WireFactory::WebSocket) {
            return Ok(());
        }
        match request(&self.authority(), path, [0; 16], subprotocols, headers) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::new(
                self.field_of(&error),
                format!("cannot be used in a request: {error}"),
            )),
        }
    }

    /// Returns the field that makes the request invalid.
    fn field_of(&self, error: &InvalidHandshake) -> &'static str {
        let error = match error {
            InvalidHandshake::Head(error) => error,
            InvalidHandshake::Subprotocol(_) => return "subprotocols",
        };
        match error {
            InvalidHead::HeaderName(_)
            | InvalidHead::HeaderValue(_)
            | InvalidHead::ReservedHeader(_)
            | InvalidHead::RepeatedHeader(_) => "headers",
            InvalidHead::Host(_) if self.host_header.is_some() => "host_header",
            InvalidHead::Host(_) => "host",
            InvalidHead::Path(_) => "path",
            InvalidHead::Status(_) => unreachable!("a request has no status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Result<(String, u16, String), String> {
        ClientConfig::from_url(url)
            .map(|config| (config.host, config.port, config.path))
            .map_err(|error| error.reason().to_owned())
    }

    #[test]
    fn a_url_is_split_into_host_port_and_path() {
        let split = |host: &str, port, path: &str| Ok((host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("tcp://10.0.0.1:7"), split("10.0.0.1", 7, "/"));
        assert_eq!(parts("tcp+binary://[::1]:7"), split("::1", 7, "/"));
        #[cfg(feature = "websocket")]
        {
            assert_eq!(parts("ws://example.com"), split("example.com", 80, "/"));
            assert_eq!(
                parts("ws://a:9001/chat?room=1"),
                split("a", 9001, "/chat?room=1")
            );
            assert_eq!(parts("ws://a:9001?room=1"), split("a", 9001, "/?room=1"));
            assert_eq!(parts("WS://[::1]:?x"), split("::1", 80, "/?x"));
            for url in ["ws://[fe80::1%25eth0]:9001", "ws://[fe80::1%eth0]:9001"] {
                assert_eq!(parts(url), split("fe80::1%eth0", 9001, "/"));
                let config = ClientConfig::from_url(url).expect("a sound url");
                assert_eq!(config.authority(), "[fe80::1]:9001");
            }
            assert_eq!(parts("ws://[fe80::1%25]"), split("fe80::1%25", 80, "/"));
        }
    }

    #[test]
    fn a_url_of_a_unix_socket_has_its_path_and_that_of_the_request() {
        let split = |url: &str| {
            let config = ClientConfig::from_url(url).map_err(|error| error.to_string())?;
            let path = config.unix.expect("it is one");
            Ok::<_, String>((path.display().to_string(), config.path))
        };
        let found = |path: &str, request: &str| Ok((path.to_owned(), request.to_owned()));
        let socket = "/run/app.sock";
        assert_eq!(split("tcp+unix:/run/app.sock"), found(socket, "/"));
        assert_eq!(split("TCP+raw+unix:///run/app.sock"), found(socket, "/"));
        // Only WebSocket asks for a path.
        assert_eq!(split("tcp+binary+unix:a:/b"), found("a:/b", "/"));
        #[cfg(feature = "websocket")]
        {
            assert_eq!(split("ws+unix:/run/app.sock"), found(socket, "/"));
            let chat = split("ws+unix:/run/app.sock:/chat?room=1");
            assert_eq!(chat, found(socket, "/chat?room=1"));
            assert!(split("ws+unix:/run/app.sock:/#x").is_err());
        }
        for url in ["tcp+unix:", "tcp+unix://", "http+unix:/a", "wss+unix:"] {
            assert!(split(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_a_unix_socket_has_no_use_for_is_refused_by_field() {
        let config = || ClientConfig::from_url("tcp+unix:/run/app.sock").expect("a sound url");
        assert_eq!(config().check(), Ok(()));
        for path in ["", "/run/a\0b", &"/long".repeat(100)] {
            let mut lost = config();
            lost.unix = Some(path.into());
            let error = lost.check().expect_err("no socket can have it");
            assert_eq!(error.field(), "unix", "{path:?}");
        }
        let mut proxied = config();
        proxied.proxy = Proxy::from_url("socks5h://127.0.0.1:1080").ok();
        let error = proxied.check().expect_err("it is no way to a path");
        assert_eq!(error.field(), "proxy");
        #[cfg(all(feature = "sockets", target_os = "linux"))]
        {
            let mut impatient = config();
            impatient.socket.user_timeout = Some(Duration::from_secs(5));
            let error = impatient.check().expect_err("TCP has it");
            assert_eq!(error.field(), "user_timeout");
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn the_host_field_leaves_the_default_port_out() {
        for (url, authority) in [
            ("ws://example.com", "example.com"),
            ("ws://example.com:80/", "example.com"),
            ("ws://example.com:9001/", "example.com:9001"),
            ("ws://[::1]/", "[::1]"),
            ("ws://[0:0::1]:9001/", "[::1]:9001"),
        ] {
            let config = ClientConfig::from_url(url).expect("a sound url");
            assert_eq!(config.authority(), authority, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_with_the_reason() {
        for url in [
            "",
            "localhost:1",
            "http://a",
            "tcp://a",
            "tcp://:1",
            "tcp://a:0",
            "tcp://a:65536",
            "tcp://[::1",
            "tcp://[a]:1",
            "tcp://[::1]a",
            "tcp://[::1%]:1",
            "tcp://[a%eth0]:1",
            "tcp://::1:1",
            "tcp://a:+1",
            "tcp://a:",
            "tcp://a:1#x",
            "tcp://u@a:1",
            "tcp://a b:1",
            "tcp://a\r\nb:1",
            "tcp://a,b:1",
        ] {
            assert!(parts(url).is_err(), "{url}");
        }
        #[cfg(all(feature = "websocket", not(feature = "tls")))]
        assert!(parts("wss://a").is_err_and(|reason| reason.contains("`tls`")));
        #[cfg(not(feature = "tls"))]
        assert!(parts("tcps://a:1").is_err_and(|reason| reason.contains("`tls`")));
        #[cfg(not(feature = "websocket"))]
        assert!(parts("ws://a").is_err_and(|reason| reason.contains("the feature `websocket`")));
        for url in ["a:1", "ws:/a:1"] {
            let reason = parts(url).expect_err("no scheme");
            assert!(!reason.contains("ws:/a"), "{reason}");
        }
    }
}
