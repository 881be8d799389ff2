//! Clients: targets that are dialed, and dialed again when the connection is lost.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
#[cfg(feature = "websocket")]
use std::net::Ipv6Addr;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Index, IndexMut};
use std::str::FromStr;
use std::time::Duration;

use super::listener::WireFactory;
use super::token::{ClientId, ConnId};
use crate::close::{Cause, Evidence};
use crate::config::{HeartbeatConfig, LimitsConfig};
use crate::error::ConfigError;
#[cfg(feature = "websocket")]
use crate::proto::authority;
use crate::proto::authority::Authority;
use crate::proto::backoff::{Backoff, BackoffPolicy};
#[cfg(feature = "websocket")]
use crate::proto::http::{HttpDate, InvalidHead, RetryAfter};
use crate::proto::session::PolicyId;
use crate::proto::time::Micros;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{
    Address, InvalidHandshake, RedirectError, ResponseError, is_credential, is_redirect, request,
};
use crate::sys::{MORE_DESCRIPTORS, lacks_descriptors};

/// How a lost connection is dialed again: after a random time in [`min`, the smaller of `cap` and
/// `base` · 2^n] at the n-th failure in a row, and after what a server's `Retry-After` asks for, up to a
/// day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectConfig {
    /// Least delay. Default 50 ms.
    pub min: Duration,
    /// Most delay after the first failure. Default 0.5 s.
    pub base: Duration,
    /// Most delay ever. Default 60 s.
    pub cap: Duration,
    /// How long a connection must have been open for the count of failures to start over. Default
    /// 30 s.
    pub stable: Duration,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(50),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            stable: Duration::from_secs(30),
        }
    }
}

impl ReconnectConfig {
    fn policy(&self) -> Result<BackoffPolicy, ConfigError> {
        if self.min.is_zero() || self.base < self.min || self.cap < self.base {
            return Err(ConfigError::new(
                "reconnect",
                "needs 0 < min <= base <= cap",
            ));
        }
        Ok(BackoffPolicy {
            min: self.min.into(),
            base: self.base.into(),
            cap: self.cap.into(),
            stable: self.stable.into(),
        })
    }
}

/// One target to dial.
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
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query of a WebSocket request. Default `/`.
    pub path: String,
    /// What to speak.
    pub wire: WireFactory,
    /// Heartbeat and deadlines. Default: those of the wire.
    pub heartbeat: HeartbeatConfig,
    /// Sizes and rates.
    pub limits: LimitsConfig,
    /// Whether and how to dial again. `None`: once only.
    pub reconnect: Option<ReconnectConfig>,
    /// WebSocket subprotocols to offer, the best liked first.
    pub subprotocols: Vec<String>,
    /// Header fields to add to the WebSocket request. `Host` is not one of them: see
    /// [`host_header`](Self::host_header).
    pub headers: Vec<(String, String)>,
    /// What the Host field of the WebSocket request names, with its port if there is to be one, such as
    /// a virtual host behind the proxy or tunnel that is dialed. Default `None`: the
    /// [`host`](Self::host) and [`port`](Self::port) that are dialed, the port left out where it is 80.
    pub host_header: Option<String>,
    /// Most redirects in a row that a WebSocket client follows (301, 302, 303, 307 and 308; RFC 9110, section
    /// 15.4). Default 0: none, and the client stops with [`DialError::Redirect`].
    ///
    /// It never leads from `wss` to `ws`. Once it has led to another scheme, host or port, `Authorization`,
    /// `Cookie` and `Proxy-Authorization` are no longer sent, and [`host_header`](Self::host_header) does
    /// not apply; other headers are. A client that dials again begins at its own address.
    pub follow: u8,
    /// Whether a WebSocket client waits while another one of this reactor shakes hands with the same
    /// address and port, as RFC 6455, section 4.1, demands. A load generator switches it off. Default
    /// true.
    pub takes_turns: bool,
}

impl ClientConfig {
    /// Dials a target with the wire's defaults.
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
        }
    }

    /// Parses `ws://`, `tcp://`, `tcp+binary://` or `tcp+raw://`, host, port and path. Port 80 stands in
    /// for none on `ws`.
    ///
    /// # Errors
    ///
    /// The field `url` with what is wrong with it; `wss://` is not spoken yet.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let error = |reason: String| ConfigError::new("url", reason);
        let Some((scheme, rest)) = url.split_once("://") else {
            let authority = match url.split_once(":/") {
                Some((_, rest)) => rest.trim_start_matches('/'),
                None => url,
            };
            return Err(error(format!("needs a scheme, such as ws://{authority}")));
        };
        // RFC 3986, 3.1: schemes are case-insensitive.
        let (wire, default_port) = match scheme.to_ascii_lowercase().as_str() {
            #[cfg(feature = "websocket")]
            "ws" => (WireFactory::WebSocket, Some(80)),
            "wss" => return Err(error("wss:// needs TLS, which is not spoken yet".into())),
            "tcp" => (WireFactory::Line, None),
            "tcp+binary" => (WireFactory::Binary, None),
            "tcp+raw" => (WireFactory::Raw, None),
            other => {
                return Err(error(format!(
                    "has scheme {other:?}; use ws, tcp, tcp+binary or tcp+raw"
                )));
            }
        };
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
            .ok_or_else(|| error("needs a sound host and port".into()))?;
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
        })
    }

    /// Returns the Host field of the request: an address of version 6 in brackets, the port unless it is
    /// the default one; or what is set in its place.
    #[cfg(feature = "websocket")]
    pub(super) fn authority(&self) -> String {
        if let Some(host) = &self.host_header {
            return host.clone();
        }
        // The interface of a link-local address is this machine's own business (RFC 6874, section 3).
        let host = authority::split_zone(&self.host).map_or(self.host.as_str(), |(ip, _)| ip);
        let address = Ipv6Addr::from_str(host).map(|ip| ip.to_string());
        let port = (self.port != 80).then_some(self.port);
        authority::join(address.as_deref().unwrap_or(host), port)
    }
}

#[cfg(feature = "websocket")]
impl ClientConfig {
    /// Checks that the opening request can be sent at all.
    pub(super) fn check_request(&self) -> Result<(), ConfigError> {
        if !matches!(self.wire, WireFactory::WebSocket) {
            return Ok(());
        }
        let (host, names) = (self.authority(), &self.subprotocols);
        match request(&host, &self.path, [0; 16], names, &self.headers) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::new(
                self.field_of(&error),
                format!("makes no request: {error}"),
            )),
        }
    }

    /// Returns the field that holds what makes no head.
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

/// What a client is up to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// It dials this address.
    Dialing {
        /// Attempts so far, this one included, since the connection was last stable.
        attempt: u32,
        /// Where to.
        addr: SocketAddr,
    },
    /// The server sends it elsewhere, and it goes there at once; see [`ClientConfig::follow`].
    #[cfg(feature = "websocket")]
    Redirected {
        /// The HTTP status.
        code: u16,
        /// Where to.
        to: Address,
    },
    /// An attempt failed.
    Failed {
        /// Why.
        error: DialError,
    },
    /// It will dial again.
    Waiting {
        /// After this time.
        delay: Micros,
    },
    /// It will not dial again.
    Stopped,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address.
    NameNotFound(String),
    /// The reactor holds as many connections as it may.
    Full,
    /// The kernel says no: refused, unreachable and the like.
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// The kernel's number.
        errno: Option<i32>,
    },
    /// TCP or the opening handshake took too long; the cause says which.
    Timeout(Cause),
    /// The server's answer does not complete the handshake.
    #[cfg(feature = "websocket")]
    Handshake(ResponseError),
    /// The server sends us elsewhere, and we do not go.
    #[cfg(feature = "websocket")]
    Redirect {
        /// The HTTP status.
        code: u16,
        /// Where to: the address, or what the server calls one. Escape it before printing.
        to: String,
        /// Why not.
        reason: RedirectError,
    },
    /// The connection ended during the opening handshake.
    Ended(Cause),
}

impl DialError {
    /// Says whether another attempt may fare better. A status of 3xx, or of 4xx other than 408, 425 and 429, is
    /// the server's last word.
    pub fn is_retryable(&self) -> bool {
        match self {
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { code, .. }) => {
                !(300..500).contains(code) || matches!(code, 408 | 425 | 429)
            }
            #[cfg(feature = "websocket")]
            Self::Redirect { .. } => false,
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => true,
            Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_) => true,
        }
    }

    /// Returns the stable name of what went wrong, in `snake_case`: for counters, logs and JSON.
    ///
    /// What became of a connection goes by the label of its [`Cause`]; the rest is `name_not_found`,
    /// `connection_refused`, `unreachable`, `io_error`, `full`, `http_status`, `redirect` and
    /// `not_websocket`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NameNotFound(_) => "name_not_found",
            Self::Full => "full",
            Self::Io { kind, .. } => match kind {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
                io::ErrorKind::ConnectionReset => Cause::PeerReset.label(),
                io::ErrorKind::TimedOut => Cause::ConnectTimeout.label(),
                _ => Cause::IoError.label(),
            },
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { .. }) => "http_status",
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => "not_websocket",
            #[cfg(feature = "websocket")]
            Self::Redirect { .. } => "redirect",
            Self::Timeout(cause) | Self::Ended(cause) => cause.label(),
        }
    }

    /// Returns the status that a server answered the opening handshake with, where that is why it failed.
    pub fn status(&self) -> Option<u16> {
        match self {
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { code, .. }) | Self::Redirect { code, .. } => {
                Some(*code)
            }
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => None,
            Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_) => None,
        }
    }

    /// Returns when the server asks us to come again.
    #[cfg(feature = "websocket")]
    fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Handshake(ResponseError::Status { retry_after, .. }) => *retry_after,
            Self::Handshake(_)
            | Self::Redirect { .. }
            | Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_) => None,
        }
    }

    /// Returns how long the server asks us to wait, as far as we go along with it. `today` tells what the
    /// wall clock says, for one that names a date.
    #[cfg(feature = "websocket")]
    pub(super) fn asked_delay(&self, today: impl FnOnce() -> Option<HttpDate>) -> Option<Micros> {
        let seconds = match self.retry_after()? {
            RetryAfter::Seconds(seconds) => seconds,
            date @ RetryAfter::Date(_) => date.seconds(today())?,
        };
        Some(Micros::from_secs(seconds).min(MOST_ASKED))
    }

    pub(super) fn of_end(evidence: &Evidence) -> Self {
        match evidence.cause {
            Cause::ConnectTimeout | Cause::HandshakeTimeout => Self::Timeout(evidence.cause),
            Cause::IoError | Cause::PeerReset if evidence.errno.is_some() => {
                let errno = evidence.errno.unwrap_or(0);
                Self::Io {
                    kind: io::Error::from_raw_os_error(errno).kind(),
                    errno: evidence.errno,
                }
            }
            cause => Self::Ended(cause),
        }
    }
}

impl From<&io::Error> for DialError {
    fn from(error: &io::Error) -> Self {
        Self::Io {
            kind: error.kind(),
            errno: error.raw_os_error(),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameNotFound(name) => write!(f, "no address for {name}"),
            Self::Full => f.write_str("as many connections as there may be are held already"),
            Self::Io {
                errno: Some(errno), ..
            } if lacks_descriptors(*errno) => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(f, "{error}; {}", MORE_DESCRIPTORS)
            }
            Self::Io { kind, .. } => write!(f, "{kind}"),
            Self::Timeout(cause) => write!(f, "{cause}"),
            #[cfg(feature = "websocket")]
            Self::Handshake(error) => write!(f, "{error}"),
            #[cfg(feature = "websocket")]
            Self::Redirect { code, to, reason } => {
                let to = to.escape_debug();
                write!(f, "server answered {code}, moved to {to}: {reason}")
            }
            Self::Ended(cause) => write!(f, "ended in the opening handshake: {cause}"),
        }
    }
}

impl StdError for DialError {}

/// A target and how far its dialing has come.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: ClientConfig,
    pub(super) policy: PolicyId,
    pub(super) state: ClientState,
    /// Addresses of this attempt not tried yet, the next one last.
    pub(super) addrs: Vec<SocketAddr>,
    /// What the attempt under way failed with, where the evidence alone would not say it.
    pub(super) error: Option<DialError>,
    pub(super) backoff: Backoff,
    /// When looking its name up must be over, while it is looked up.
    pub(super) look_up_ends: Option<Micros>,
    /// Where redirects have led this attempt.
    #[cfg(feature = "websocket")]
    detour: Option<Detour>,
    /// Nonce of the opening handshake under way.
    #[cfg(feature = "websocket")]
    pub(super) key: [u8; 16],
}

/// Where redirects have led.
#[cfg(feature = "websocket")]
#[derive(Debug)]
struct Detour {
    to: Address,
    /// How many there were.
    count: u8,
    /// All of them were within one origin.
    is_at_home: bool,
}

/// All clients by name. Names are never given twice, so a stale one finds nothing, and a client that
/// has stopped is forgotten.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_id: HashMap<ClientId, Client>,
    last: u32,
}

impl Clients {
    pub(super) fn insert(&mut self, client: Client) -> ClientId {
        self.last = self
            .last
            .checked_add(1)
            .expect("clients are fewer than 2^32");
        let id = ClientId(self.last);
        self.by_id.insert(id, client);
        id
    }

    pub(super) fn remove(&mut self, id: ClientId) -> Option<Client> {
        self.by_id.remove(&id)
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&Client> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn ids(&self) -> Vec<ClientId> {
        // In their order, so that a seed gives the same run each time.
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// A client that has a connection, or is about to, is there.
impl Index<ClientId> for Clients {
    type Output = Client;

    fn index(&self, id: ClientId) -> &Client {
        self.get(id)
            .expect("a client lives as long as its connection")
    }
}

impl IndexMut<ClientId> for Clients {
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        self.get_mut(id)
            .expect("a client lives as long as its connection")
    }
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientState {
    /// Due to be dialed at this time.
    Waiting(Micros),
    /// Its name is being looked up, or the next of its addresses is about to be dialed.
    Resolving,
    /// It waits for another handshake with its address to end.
    Queued,
    /// It has a connection, open or not yet.
    Active(ConnId),
    /// It is not dialed any more.
    Stopped,
}

impl Client {
    pub(super) fn new(config: ClientConfig, policy: PolicyId) -> Result<Self, ConfigError> {
        let backoff = config.reconnect.clone().unwrap_or_default().policy()?;
        Ok(Self {
            config,
            policy,
            state: ClientState::Stopped,
            addrs: Vec::new(),
            error: None,
            backoff: Backoff::new(backoff),
            look_up_ends: None,
            #[cfg(feature = "websocket")]
            detour: None,
            #[cfg(feature = "websocket")]
            key: [0; 16],
        })
    }

    /// Says whether there may be only one of its kind in an opening handshake with an address.
    pub(super) fn takes_turns(&self) -> bool {
        #[cfg(feature = "websocket")]
        let has_handshake = matches!(self.config.wire, WireFactory::WebSocket);
        #[cfg(not(feature = "websocket"))]
        let has_handshake = false;
        has_handshake && self.config.takes_turns
    }

    /// Returns the name or address of the host that is dialed.
    pub(super) fn host(&self) -> &str {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return &detour.to.host;
        }
        &self.config.host
    }

    /// Returns the port that is dialed.
    pub(super) fn port(&self) -> u16 {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return detour.to.port;
        }
        self.config.port
    }

    /// Begins an attempt at the client's own address.
    pub(super) fn begin_attempt(&mut self) {
        self.error = None;
        #[cfg(feature = "websocket")]
        {
            self.detour = None;
        }
    }

    /// Returns the address where the host is one, so that nothing must be looked up.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        let addr = IpAddr::from_str(self.host()).ok()?;
        Some(SocketAddr::new(addr, self.port()))
    }

    /// Decides, after an attempt or a connection ended, whether and when to dial again: later by `asked`.
    pub(super) fn retry_delay(
        &mut self,
        error: Option<&DialError>,
        cause: Option<Cause>,
        asked: Micros,
        random: u64,
    ) -> Option<Micros> {
        self.config.reconnect.as_ref()?;
        let is_final = error.is_some_and(|error| !error.is_retryable())
            || matches!(cause, Some(Cause::LocalClose | Cause::Drain));
        if is_final {
            return None;
        }
        // Added, not the larger of both: those who were told the same time come back spread.
        Some(asked + self.backoff.next_delay(random))
    }
}

#[cfg(feature = "websocket")]
impl Client {
    /// Builds the request that opens a connection.
    pub(super) fn request(&self) -> Result<Vec<u8>, InvalidHandshake> {
        let config = &self.config;
        let (host, path) = match &self.detour {
            None => (config.authority(), &config.path),
            Some(detour) if detour.is_at_home => (config.authority(), &detour.to.path),
            Some(detour) => (detour.to.authority(), &detour.to.path),
        };
        let is_at_home = self.detour.as_ref().is_none_or(|detour| detour.is_at_home);
        let headers = config.headers.iter();
        let headers: Vec<_> = headers
            .filter(|(name, _)| is_at_home || !is_credential(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        request(&host, path, self.key, &config.subprotocols, &headers)
    }

    /// Follows the redirect that an attempt failed with, and returns its status and where it leads. An error
    /// that is none, or not to be followed, comes back as what the attempt fails with.
    pub(super) fn follow(&mut self, error: DialError) -> Result<(u16, Address), DialError> {
        let (code, location) = match &error {
            DialError::Handshake(ResponseError::Status {
                code,
                location: Some(location),
                ..
            }) if is_redirect(*code) => (*code, location),
            _ => return Err(error),
        };
        let here = self.address();
        let count = self.detour.as_ref().map_or(0, |detour| detour.count);
        let limit = self.config.follow;
        let (to, reason) = match here.redirected(location) {
            Ok(to) if to.secure => (to.to_string(), RedirectError::Secure),
            Ok(to) if limit == 0 => (to.to_string(), RedirectError::NotAsked),
            Ok(to) if count >= limit => (to.to_string(), RedirectError::TooMany { limit }),
            Ok(to) => {
                let was_at_home = self.detour.as_ref().is_none_or(|detour| detour.is_at_home);
                self.detour = Some(Detour {
                    is_at_home: was_at_home && to.is_same_origin(&here),
                    to: to.clone(),
                    count: count + 1,
                });
                return Ok((code, to));
            }
            Err(reason) => (location.clone(), reason),
        };
        Err(DialError::Redirect { code, to, reason })
    }

    /// Returns the address that this attempt has come to.
    fn address(&self) -> Address {
        match &self.detour {
            Some(detour) => detour.to.clone(),
            None => Address {
                secure: false,
                host: self.config.host.clone(),
                port: self.config.port,
                path: self.config.path.clone(),
            },
        }
    }
}

/// The longest wait that a server may ask for: a number too many must not keep a client away for ever.
#[cfg(feature = "websocket")]
const MOST_ASKED: Micros = Micros::from_secs(24 * 60 * 60);

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
    fn a_dial_without_a_descriptor_says_so_and_what_to_do() {
        const EMFILE: i32 = 24;
        let error = DialError::from(&io::Error::from_raw_os_error(EMFILE)).to_string();
        assert!(error.contains("os error 24"), "{error}");
        assert!(error.ends_with(MORE_DESCRIPTORS), "{error}");
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
        assert!(parts("wss://a").is_err_and(|reason| reason.contains("TLS")));
        for url in ["a:1", "ws:/a:1"] {
            let reason = parts(url).expect_err("no scheme");
            assert!(!reason.contains("ws:/a"), "{reason}");
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_client_error_is_final_and_a_server_error_is_not() {
        let status = |code| {
            DialError::Handshake(ResponseError::Status {
                code,
                retry_after: None,
                location: None,
            })
        };
        for code in [300, 301, 304, 305, 308, 399] {
            assert!(!status(code).is_retryable(), "{code}");
        }
        assert!(!status(401).is_retryable());
        assert!(!status(404).is_retryable());
        assert!(status(429).is_retryable());
        assert!(status(503).is_retryable());
    }

    /// A client of `ws://a/x` that follows three redirects.
    #[cfg(feature = "websocket")]
    fn follower() -> Client {
        let mut env = crate::proto::session::Env::new(Box::new(Zeros));
        let config = ClientConfig {
            follow: 3,
            host_header: Some("virtual.example".into()),
            headers: ["Authorization", "cookie", "Proxy-Authorization", "Origin"]
                .map(|name| (name.to_owned(), "secret".to_owned()))
                .into(),
            ..ClientConfig::from_url("ws://a/x").expect("a sound url")
        };
        let tick = Duration::from_millis(10);
        let wire = config.wire.kind();
        let policy =
            crate::proto::policy::Policy::new(&config.heartbeat, &config.limits, wire, tick);
        let policy = env.intern(policy.expect("defaults are sound"));
        Client::new(config, policy.expect("there is room")).expect("a sound configuration")
    }

    #[derive(Debug)]
    #[cfg(feature = "websocket")]
    struct Zeros;

    #[cfg(feature = "websocket")]
    impl crate::proto::session::Entropy for Zeros {
        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    /// What the client dials and asks for after these redirects.
    #[cfg(feature = "websocket")]
    fn after(client: &mut Client, locations: &[&str]) -> Result<String, DialError> {
        for location in locations {
            client.follow(DialError::Handshake(ResponseError::Status {
                code: 307,
                retry_after: None,
                location: Some((*location).to_owned()),
            }))?;
        }
        let request = client.request().expect("a sound request");
        Ok(String::from_utf8(request).expect("a request is ASCII here"))
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn credentials_stay_with_the_scheme_host_and_port_they_were_given_for() {
        for locations in [&["/y"][..], &["ws://a/y"], &["http://A:80/y"], &["z", "y"]] {
            let request = after(&mut follower(), locations).expect("it is followed");
            assert!(request.starts_with("GET /y HTTP/1.1\r\nHost: virtual.example\r\n"));
            assert_eq!(request.matches("secret").count(), 4, "{request}");
        }
        for (locations, host) in [
            (&["ws://b/y"][..], "b"),
            (&["ws://a:81/y"], "a:81"),
            (&["//a.b/y"], "a.b"),
            // Who sends us back names the path, and must not have us speak there in our own name.
            (&["http://b/", "http://a/y"], "a"),
        ] {
            let mut client = follower();
            let request = after(&mut client, locations).expect("it is followed");
            let line = format!("GET /y HTTP/1.1\r\nHost: {host}\r\n");
            assert!(request.starts_with(&line), "{request}");
            assert!(request.ends_with("\r\nOrigin: secret\r\n\r\n"), "{request}");
            assert_eq!(request.matches("secret").count(), 1, "{request}");
            // The next attempt begins at home.
            client.begin_attempt();
            assert_eq!((client.host(), client.port()), ("a", 80));
            let request = after(&mut client, &[]).expect("there is none");
            assert_eq!(request.matches("secret").count(), 4);
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_redirect_that_is_not_followed_is_told_with_its_address_and_reason() {
        let refused = |locations: &[&str]| after(&mut follower(), locations).expect_err("refused");
        let error = |to: &str, reason| DialError::Redirect {
            code: 307,
            to: to.into(),
            reason,
        };
        assert_eq!(
            refused(&["/1", "/2", "/3", "/4"]),
            error("ws://a/4", RedirectError::TooMany { limit: 3 })
        );
        let secure = refused(&["https://a/"]);
        assert_eq!(secure, error("wss://a/", RedirectError::Secure));
        let foreign = refused(&["ftp://a/"]);
        assert_eq!(foreign, error("ftp://a/", RedirectError::Scheme));
        let user = refused(&["ws://u:p@a/"]);
        assert_eq!(user, error("ws://u:p@a/", RedirectError::UserInfo));
        let mut client = follower();
        client.config.follow = 0;
        let unasked = after(&mut client, &["../z"]).expect_err("nobody asked");
        assert_eq!(unasked, error("ws://a/z", RedirectError::NotAsked));
        assert!(!unasked.is_retryable());
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_server_may_ask_for_a_day_and_no_more() {
        let now = HttpDate::from_unix(784_111_777);
        let asked = |retry_after| {
            let error = DialError::Handshake(ResponseError::Status {
                code: 503,
                retry_after: Some(retry_after),
                location: None,
            });
            error.asked_delay(|| now)
        };
        let day = 24 * 60 * 60;
        for (seconds, delay) in [(day - 1, day - 1), (day + 1, day), (u64::MAX, day)] {
            let delay = Some(Micros::from_secs(delay));
            assert_eq!(asked(RetryAfter::Seconds(seconds)), delay);
        }
        for (date, delay) in [
            ("Sun, 06 Nov 1994 08:51:07 GMT", 90),
            ("Sunday, 06-Nov-94 08:51:07 GMT", 90),
            ("Sun Nov  6 08:51:07 1994", 90),
            ("Sun, 06 Nov 1994 08:48:07 GMT", 0),
            ("Fri, 06 Nov 2026 08:51:07 GMT", day),
        ] {
            let date = RetryAfter::Date(HttpDate::parse(date.as_bytes()).expect("a date"));
            assert_eq!(asked(date), Some(Micros::from_secs(delay)), "{date}");
        }
    }
}
