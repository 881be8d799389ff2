//! Redirects: where a response with a status of 3xx sends a client (RFC 9110, section 15.4).

use std::error::Error as StdError;
use std::fmt;

use crate::proto::authority::{self, Authority};
use crate::proto::http::uri::{Reference, is_resource_name};

/// The address of a WebSocket server: where a client connects, and what it requests.
///
/// ```
/// use heartwheel::proto::websocket::handshake::Address;
///
/// let old = Address { secure: false, host: "a.example".into(), port: 80, path: "/x/y?z".into() };
/// assert_eq!(old.redirected("../chat")?.to_string(), "ws://a.example/chat");
/// assert_eq!(old.redirected("http://b.example:81")?.to_string(), "ws://b.example:81/");
/// assert!(old.redirected("ftp://b.example/").is_err());
/// # Ok::<(), heartwheel::proto::websocket::handshake::RedirectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is used: `wss` instead of `ws`.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, never empty.
    pub path: String,
}

impl Address {
    /// Resolves the `Location` of a response from this address: an absolute URI, or one relative to
    /// this address (RFC 3986, section 5.2). Servers may write `http` for `ws`, and `https` for
    /// `wss`. A fragment has no meaning here (RFC 6455, section 3) and is left out.
    ///
    /// # Errors
    ///
    /// It is not the address of a WebSocket server, or would lead from `wss` to `ws`.
    pub fn redirected(&self, location: &str) -> Result<Self, RedirectError> {
        let base = self.to_string();
        let base = Reference::parse(&base);
        let target = Reference::parse(location).resolve(&base);
        let secure = match target
            .scheme
            .as_deref()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) | None => return Err(RedirectError::Scheme),
        };
        let authority = target.authority.unwrap_or_default();
        // RFC 9110, 4.2.4: a reference from an untrusted source with user information is treated as
        // an error, because it probably hides the real host.
        if authority.contains('@') {
            return Err(RedirectError::UserInfo);
        }
        let (host, port) = if authority == self.authority() {
            // As it is dialed: a link-local address may have a zone.
            let is_named = self.port != Self::default_port(self.secure);
            (self.host.as_str(), is_named.then_some(self.port))
        } else {
            let named = Authority::parse(&authority).ok_or(RedirectError::Invalid)?;
            (named.name(), named.port())
        };
        let port = port.unwrap_or_else(|| Self::default_port(secure));
        let mut path = target.path;
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        if let Some(query) = target.query {
            path.push('?');
            path.push_str(&query);
        }
        if port == 0 || !is_resource_name(&path) {
            return Err(RedirectError::Invalid);
        }
        if self.secure && !secure {
            return Err(RedirectError::Downgrade);
        }
        let host = host.to_owned();
        Ok(Self {
            secure,
            host,
            port,
            path,
        })
    }

    /// Returns whether scheme, host and port are the same. Only then may credentials for one
    /// address be sent to the other.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }

    /// Returns the host for the Host field. The port is added unless it is the default.
    pub fn authority(&self) -> String {
        let is_named = self.port != Self::default_port(self.secure);
        authority::join(&self.host, is_named.then_some(self.port))
    }

    const fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Why a client does not follow a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// The configuration does not allow redirects.
    NotAsked,
    /// The limit of redirects is reached.
    TooMany {
        /// The limit in force.
        limit: u8,
    },
    /// From `wss` to `ws`: secret data would be sent without encryption.
    Downgrade,
    /// To `wss`, and the client cannot speak TLS.
    Secure,
    /// To another scheme than `ws`, `wss`, `http` or `https`.
    Scheme,
    /// The address has user information (RFC 9110, section 4.2.4).
    UserInfo,
    /// The address has no valid host, port or path.
    Invalid,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("redirects are not followed"),
            Self::TooMany { limit } => write!(f, "more than {limit} redirects"),
            Self::Downgrade => f.write_str("wss is not left for ws"),
            Self::Secure => f.write_str("wss needs TLS, for which the client has no configuration"),
            Self::Scheme => f.write_str("no address of a websocket"),
            Self::UserInfo => f.write_str("the address names a user"),
            Self::Invalid => f.write_str("not a sound address"),
        }
    }
}

impl StdError for RedirectError {}

/// Returns whether a header field is secret: it must not be sent to another server.
pub fn is_credential(name: &str) -> bool {
    ["Authorization", "Cookie", "Proxy-Authorization"]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}

/// Returns whether this status sends the client to the address in `Location`. Not included: 300 (a
/// person must choose), 304 (the answer to a condition that we do not send), 305 and 306 (no longer
/// in use).
pub const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(secure: bool, host: &str, port: u16, path: &str) -> Address {
        Address {
            secure,
            host: host.into(),
            port,
            path: path.into(),
        }
    }

    #[test]
    fn a_location_is_absolute_or_relative() {
        let base = address(false, "a", 8080, "/b/c?d");
        for (location, expected) in [
            ("ws://x", "ws://x/"),
            ("HTTP://x:80?q#f", "ws://x/?q"),
            ("http://[::1]:81/y", "ws://[::1]:81/y"),
            ("https://x/y", "wss://x/y"),
            ("wss://x:444", "wss://x:444/"),
            ("//x:9/y", "ws://x:9/y"),
            ("/y/./z/../w", "ws://a:8080/y/w"),
            ("y", "ws://a:8080/b/y"),
            ("../../y?z", "ws://a:8080/y?z"),
            ("?z", "ws://a:8080/b/c?z"),
            ("#f", "ws://a:8080/b/c?d"),
            ("", "ws://a:8080/b/c?d"),
        ] {
            let found = base.redirected(location).map(|found| found.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{location}");
        }
    }

    #[test]
    fn a_link_local_address_keeps_its_interface() {
        let base = address(false, "fe80::1%eth0", 9001, "/");
        let found = base.redirected("/x").expect("it is followed");
        assert_eq!(found, address(false, "fe80::1%eth0", 9001, "/x"));
        assert!(found.is_same_origin(&base));
    }

    #[test]
    fn what_is_no_address_of_a_websocket_is_refused() {
        let base = address(false, "a", 80, "/");
        for (location, error) in [
            ("ftp://x/", RedirectError::Scheme),
            ("mailto:a@b", RedirectError::Scheme),
            ("javascript:alert(1)", RedirectError::Scheme),
            ("http://u@x/", RedirectError::UserInfo),
            ("//u:p@x/", RedirectError::UserInfo),
            ("http://", RedirectError::Invalid),
            ("http:x", RedirectError::Invalid),
            ("http://x:0/", RedirectError::Invalid),
            ("http://x:99999/", RedirectError::Invalid),
            ("http://a b/", RedirectError::Invalid),
            ("/a b", RedirectError::Invalid),
            ("/a\r\nX: y", RedirectError::Invalid),
            ("/\u{e9}", RedirectError::Invalid),
        ] {
            assert_eq!(base.redirected(location), Err(error), "{location:?}");
        }
    }

    #[test]
    fn wss_is_not_left_for_ws() {
        let base = address(true, "a", 443, "/");
        for location in ["ws://a/", "http://a/", "http://a:443/x"] {
            let found = base.redirected(location);
            assert_eq!(found, Err(RedirectError::Downgrade), "{location}");
        }
        for location in ["/x", "//b", "wss://b", "https://b"] {
            assert!(base.redirected(location).is_ok_and(|found| found.secure));
        }
        let plain = address(false, "a", 80, "/");
        assert!(plain.redirected("wss://a/").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let one = address(false, "a.example", 80, "/");
        assert!(one.is_same_origin(&address(false, "A.Example", 80, "/other")));
        for other in [
            address(true, "a.example", 80, "/"),
            address(false, "b.example", 80, "/"),
            address(false, "a.example", 81, "/"),
            address(false, "a.example.evil", 80, "/"),
        ] {
            assert!(!one.is_same_origin(&other), "{other}");
        }
    }

    #[test]
    fn five_statuses_are_redirects() {
        let found: Vec<_> = (0..=u16::MAX).filter(|&code| is_redirect(code)).collect();
        assert_eq!(found, [301, 302, 303, 307, 308]);
    }
}
