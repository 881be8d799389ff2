//! One client: a target that is dialed, and dialed again when the connection is lost.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use super::config::ClientConfig;
#[cfg(feature = "tls")]
use super::config::server_name;
use super::event::{DialError, StopReason};
use super::lanes::Lane;
use super::queue::Queue;
use super::request::{DialRequest, LastEnd};
use crate::close::{Cause, Evidence};
use crate::error::ConfigError;
#[cfg(feature = "websocket")]
use crate::event_loop::wire_factory::WireFactory;
use crate::peer::PeerAddr;
use crate::proto::backoff::Backoff;
use crate::proto::session::PolicyId;
use crate::proto::time::Micros;
use crate::proto::tunnel::{Proxy, Tunnel};
#[cfg(all(feature = "websocket", not(feature = "deflate")))]
use crate::proto::websocket::handshake::request;
#[cfg(feature = "deflate")]
use crate::proto::websocket::handshake::request_with;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{
    Address, InvalidHandshake, RedirectError, ResponseError, is_credential, is_redirect,
};
use crate::sys::Seal;

/// A target and how far its dialing has come.
#[derive(Debug)]
pub(in crate::event_loop) struct Client {
    pub(in crate::event_loop) config: ClientConfig,
    pub(in crate::event_loop) policy: PolicyId,
    /// Addresses of this attempt not tried yet, the next one last.
    pub(in crate::event_loop) addrs: Vec<PeerAddr>,
    /// Why the present attempt failed, if the evidence alone does not say it.
    pub(in crate::event_loop) error: Option<DialError>,
    pub(in crate::event_loop) backoff: Backoff,
    /// Messages that wait for a connection.
    pub(in crate::event_loop) queue: Queue,
    /// The lane of the opening handshake under way.
    pub(in crate::event_loop) lane: Option<Lane>,
    /// The way through a proxy, until it is open.
    pub(in crate::event_loop) tunnel: Option<Box<Tunnel>>,
    /// Attempts and connections in a row that came to nothing.
    failures: u32,
    /// Since when it has had no open connection.
    since: Micros,
    /// How the last attempt or connection ended.
    last: Option<LastEnd>,
    /// What this attempt is made with, where that differs from the configuration.
    words: Option<Box<DialRequest>>,
    /// Why it is to stop, once that is known.
    pub(in crate::event_loop) stop: Option<StopReason>,
    /// Where redirects have led this attempt.
    #[cfg(feature = "websocket")]
    detour: Option<Detour>,
    /// Nonce of the opening handshake under way.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) key: [u8; 16],
}

/// Where redirects have led.
#[cfg(feature = "websocket")]
#[derive(Debug)]
struct Detour {
    to: Address,
    /// Number of redirects.
    count: u8,
    /// All of them were within one origin.
    is_at_home: bool,
}

impl Client {
    pub(in crate::event_loop) fn new(
        config: ClientConfig,
        policy: PolicyId,
        now: Micros,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let backoff = config.reconnect.clone().unwrap_or_default().policy()?;
        Ok(Self {
            config,
            policy,
            addrs: Vec::new(),
            error: None,
            backoff: Backoff::new(backoff),
            queue: Queue::default(),
            lane: None,
            tunnel: None,
            failures: 0,
            since: now,
            last: None,
            words: None,
            stop: None,
            #[cfg(feature = "websocket")]
            detour: None,
            #[cfg(feature = "websocket")]
            key: [0; 16],
        })
    }

    /// Says whether this client must not do its opening handshake at the same time as another one
    /// with its address.
    pub(in crate::event_loop) fn takes_turns(&self) -> bool {
        #[cfg(feature = "websocket")]
        let has_handshake = matches!(self.config.wire, WireFactory::WebSocket);
        #[cfg(not(feature = "websocket"))]
        let has_handshake = false;
        has_handshake && self.config.takes_turns
    }

    /// Returns the name or address of the host that is dialed: the proxy's, if there is one.
    pub(in crate::event_loop) fn host(&self) -> &str {
        let proxy = self.config.proxy.as_ref();
        proxy.map_or_else(|| self.target_host(), Proxy::host)
    }

    /// Returns the port that is dialed.
    pub(in crate::event_loop) fn port(&self) -> u16 {
        let proxy = self.config.proxy.as_ref();
        proxy.map_or_else(|| self.target_port(), Proxy::port)
    }

    /// Returns for whose opening handshakes it waits before it dials this address.
    pub(in crate::event_loop) fn lane_to(&self, addr: PeerAddr) -> Lane {
        match self.config.proxy {
            Some(_) => Lane::Behind(self.target_host().to_ascii_lowercase(), self.target_port()),
            None => Lane::At(addr),
        }
    }

    /// Begins the way through the proxy, if there is one.
    pub(in crate::event_loop) fn begin_tunnel(&mut self) {
        let Some(proxy) = &self.config.proxy else {
            return;
        };
        let (host, port) = (self.target_host(), self.target_port());
        let address = IpAddr::from_str(host.split('%').next().unwrap_or(host));
        let tunnel = match address {
            Ok(IpAddr::V4(ip)) => Tunnel::new(proxy, host, &ip.octets(), port),
            Ok(IpAddr::V6(ip)) => Tunnel::new(proxy, host, &ip.octets(), port),
            Err(_) => Tunnel::new(proxy, host, &[], port),
        };
        self.tunnel = Some(Box::new(tunnel));
    }

    /// Returns the name or address of the server.
    fn target_host(&self) -> &str {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return &detour.to.host;
        }
        &self.config.host
    }

    /// Returns the port of the server.
    fn target_port(&self) -> u16 {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return detour.to.port;
        }
        self.config.port
    }

    /// Begins an attempt at the client's own address.
    pub(in crate::event_loop) fn begin_attempt(&mut self) {
        self.error = None;
        self.words = None;
        #[cfg(feature = "websocket")]
        {
            self.detour = None;
        }
    }

    /// Returns the number of the present attempt.
    pub(in crate::event_loop) fn attempt(&self) -> u32 {
        self.backoff.attempts().saturating_add(1)
    }

    /// Returns what the handler is asked about before an attempt.
    pub(in crate::event_loop) fn dial_request(&self) -> DialRequest {
        DialRequest {
            attempt: self.attempt(),
            last: self.last.clone(),
            path: self.config.path.clone(),
            headers: self.config.headers.clone(),
            subprotocols: self.config.subprotocols.clone(),
        }
    }

    /// Makes the attempt with these words.
    ///
    /// # Errors
    ///
    /// They cannot be sent.
    pub(in crate::event_loop) fn adopt(&mut self, words: DialRequest) -> Result<(), ConfigError> {
        let config = &self.config;
        let is_changed = words.path != config.path
            || words.headers != config.headers
            || words.subprotocols != config.subprotocols;
        if is_changed {
            #[cfg(feature = "websocket")]
            config.check_words(&words.path, &words.subprotocols, &words.headers)?;
            self.words = Some(Box::new(words));
        }
        Ok(())
    }

    /// Returns the address if no look-up is needed: it is a Unix socket, or the host is an IP address.
    pub(in crate::event_loop) fn literal(&self) -> Option<PeerAddr> {
        if let Some(path) = self.unix() {
            return Some(PeerAddr::of_path(path));
        }
        let addr = IpAddr::from_str(self.host()).ok()?;
        Some(SocketAddr::new(addr, self.port()).into())
    }

    /// Returns the path of the Unix socket that is dialed: the client's own, unless a redirect has led
    /// away from it.
    fn unix(&self) -> Option<&Path> {
        #[cfg(feature = "websocket")]
        if self
            .detour
            .as_ref()
            .is_some_and(|detour| !detour.is_at_home)
        {
            return None;
        }
        self.config.unix.as_deref()
    }

    /// Notes that an open connection has ended.
    pub(in crate::event_loop) fn handle_close(&mut self, now: Micros, evidence: &Evidence) {
        self.error = None;
        self.addrs.clear();
        self.since = now;
        let was_stable = self.backoff.handle_close(now);
        self.handle_failure(LastEnd::of_close(evidence));
        if was_stable {
            self.failures = 0;
        }
    }

    /// Notes that an attempt has failed.
    pub(in crate::event_loop) fn handle_failure(&mut self, end: LastEnd) {
        self.failures = self.failures.saturating_add(1);
        self.last = Some(end);
    }

    /// Notes that the machine has slept: what came before means nothing now.
    pub(in crate::event_loop) fn handle_sleep(&mut self, now: Micros) {
        self.backoff.handle_sleep();
        self.failures = 0;
        if self.since <= now {
            self.since = now;
        }
    }

    /// Returns when the client stops, unless it has an open connection by then.
    pub(in crate::event_loop) fn gives_up(&self) -> Micros {
        let reconnect = self.config.reconnect.as_ref();
        let budget = reconnect.and_then(|reconnect| reconnect.give_up_after);
        budget.map_or(Micros::MAX, |budget| self.since + budget.into())
    }

    /// Decides, after an attempt or a connection ended, whether and when to dial again: later by `asked`.
    pub(in crate::event_loop) fn retry_delay(
        &mut self,
        error: Option<&DialError>,
        cause: Option<Cause>,
        asked: Micros,
        now: Micros,
        random: u64,
    ) -> Result<Micros, StopReason> {
        if let Some(why) = self.stop {
            return Err(why);
        }
        match cause {
            Some(Cause::LocalClose) => return Err(StopReason::Asked),
            Some(Cause::Drain) => return Err(StopReason::Drain),
            _ => {}
        }
        let reconnect = self.config.reconnect.as_ref().ok_or(StopReason::Once)?;
        let may_retry = |error: &DialError| {
            error.is_retryable() || (reconnect.retry_refused && error.is_refusal())
        };
        if !error.is_none_or(may_retry) {
            return Err(StopReason::Final);
        }
        if reconnect
            .max_attempts
            .is_some_and(|most| self.failures >= most)
        {
            return Err(StopReason::Attempts);
        }
        // Added, not the larger of both: those who were told the same time come back spread.
        let delay = asked + self.backoff.next_delay(random);
        match now + delay > self.gives_up() {
            true => Err(StopReason::Time),
            false => Ok(delay),
        }
    }
}

#[cfg(feature = "tls")]
impl Client {
    /// Returns what is to lie between the socket and the session of this attempt. `None` if the name of its
    /// server is none that a certificate can have.
    pub(in crate::event_loop) fn seal(&self) -> Option<Seal> {
        let Some(tls) = self.config.tls.as_ref().filter(|_| self.is_secure()) else {
            return Some(Seal::None);
        };
        let name = match &self.config.server_name {
            Some(name) if self.is_at_home() => name,
            _ => self.target_host(),
        };
        Some(Seal::Client(tls.clone(), server_name(name)?))
    }

    fn is_secure(&self) -> bool {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return detour.to.secure;
        }
        self.config.secure
    }

    fn is_at_home(&self) -> bool {
        #[cfg(feature = "websocket")]
        if let Some(detour) = &self.detour {
            return detour.is_at_home;
        }
        true
    }
}

#[cfg(not(feature = "tls"))]
impl Client {
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "with TLS it needs both"
    )]
    pub(in crate::event_loop) fn seal(&self) -> Option<Seal> {
        Some(Seal::None)
    }
}

#[cfg(feature = "websocket")]
impl Client {
    /// Builds the request that opens a connection.
    pub(in crate::event_loop) fn request(&self) -> Result<Vec<u8>, InvalidHandshake> {
        let config = &self.config;
        let (host, path) = match &self.detour {
            None => (config.authority(), self.path()),
            Some(detour) if detour.is_at_home => (config.authority(), &*detour.to.path),
            Some(detour) => (detour.to.authority(), &*detour.to.path),
        };
        let is_at_home = self.detour.as_ref().is_none_or(|detour| detour.is_at_home);
        let words = self.words.as_ref();
        let headers = words.map_or(&config.headers, |words| &words.headers).iter();
        let headers: Vec<_> = headers
            .filter(|(name, _)| is_at_home || !is_credential(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (key, subprotocols) = (self.key, self.subprotocols());
        #[cfg(feature = "deflate")]
        let head = {
            let deflate = config.limits.deflate.as_ref();
            request_with(&host, path, key, subprotocols, deflate, &headers)
        };
        #[cfg(not(feature = "deflate"))]
        let head = request(&host, path, key, subprotocols, &headers);
        head
    }

    /// Returns the subprotocols that this attempt offers.
    pub(in crate::event_loop) fn subprotocols(&self) -> &[String] {
        let words = self.words.as_ref();
        words.map_or(&self.config.subprotocols, |words| &words.subprotocols)
    }

    fn path(&self) -> &str {
        let words = self.words.as_ref();
        words.map_or(&self.config.path, |words| &words.path)
    }

    /// Follows the redirect that an attempt failed with, and returns its status and new address. An
    /// error that is no redirect, or must not be followed, is returned as the reason of the
    /// failure.
    pub(in crate::event_loop) fn follow(
        &mut self,
        error: DialError,
    ) -> Result<(u16, Address), DialError> {
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
            Ok(to) if to.secure && !self.config.may_be_secure() => {
                (to.to_string(), RedirectError::Secure)
            }
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

    /// Returns the address of this attempt.
    fn address(&self) -> Address {
        match &self.detour {
            Some(detour) => detour.to.clone(),
            None => Address {
                secure: self.config.is_secure(),
                host: self.config.host.clone(),
                port: self.config.port,
                path: self.path().to_owned(),
            },
        }
    }
}

#[cfg(all(test, feature = "websocket"))]
mod tests {
    use super::*;

    /// A client of `ws://a/x` that follows three redirects.
    fn follower() -> Client {
        let mut env = crate::proto::session::Env::new(Box::new(crate::dice::Dice::new(1)));
        let config = ClientConfig {
            follow: 3,
            host_header: Some("virtual.example".into()),
            headers: ["Authorization", "cookie", "Proxy-Authorization", "Origin"]
                .map(|name| (name.to_owned(), "secret".to_owned()))
                .into(),
            ..ClientConfig::from_url("ws://a/x").expect("a sound url")
        };
        let tick = std::time::Duration::from_millis(10);
        let wire = config.wire.kind();
        let policy =
            crate::proto::policy::Policy::new(&config.heartbeat, &config.limits, wire, tick);
        let policy = env.intern(policy.expect("defaults are sound"));
        let policy = policy.expect("there is room");
        Client::new(config, policy, Micros::ZERO).expect("a sound configuration")
    }

    /// What the client dials and asks for after these redirects.
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
}
