//! Where an answer of 3xx sends a client (RFC 9110, section 15.4).

use std::error::Error as StdError;
use std::fmt;

use crate::proto::authority::{self, Authority};
use crate::proto::http::uri::{Reference, is_resource_name};

/// The address of a WebSocket: what a client dials and asks for.
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
    /// Whether it is spoken through TLS: `wss`, and not `ws`.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, never empty.
    pub path: String,
}

impl Address {
    /// Reads what the `Location` of an answer from here means: an absolute URI, or one relative to this
    /// address (RFC 3986, section 5.2). `http` and `https` are what a server calls `ws` and `wss`. A
    /// fragment means nothing here (RFC 6455, section 3) and is left out.
    ///
    /// # Errors
    ///
    /// It is no address of a WebSocket, or would lead from `wss` to `ws`.
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
        // RFC 9110, 4.2.4: user information in a reference from elsewhere is to be treated as an error,
        // for it is likely there to hide the real host.
        if authority.contains('@') {
            return Err(RedirectError::UserInfo);
        }
        let (host, port) = if authority == self.authority() {
            // As it is dialed: a link-local address may name its interface.
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

    /// Says whether both have the same scheme, host and port: only then may credentials that were given
    /// for one be sent to the other.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }

    /// Returns the host with its port, unless that is the default one, as a Host field has it.
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

/// Why a client does not go where an answer sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// It was not asked to follow redirects.
    NotAsked,
    /// As many redirects as may be followed were followed already.
    TooMany {
        /// The limit in force.
        limit: u8,
    },
    /// From `wss` to `ws`: what was to be secret would go in the clear.
    Downgrade,
    /// To `wss`, which is not spoken.
    Secure,
    /// To something that is neither `ws`, `wss`, `http` nor `https`.
    Scheme,
    /// The address has user information (RFC 9110, section 4.2.4).
    UserInfo,
    /// The address has no sound host, port or path.
    Invalid,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("redirects are not followed"),
            Self::TooMany { limit } => write!(f, "more than {limit} redirects"),
            Self::Downgrade => f.write_str("wss is not left for ws"),
            Self::Secure => f.write_str("wss needs TLS, which is not supported yet"),
            Self::Scheme => f.write_str("no address of a websocket"),
            Self::UserInfo => f.write_str("the address names a user"),
            Self::Invalid => f.write_str("not a sound address"),
        }
    }
}

impl StdError for RedirectError {}

/// Says whether a header field holds what must not be told to another server.
pub fn is_credential(name: &str) -> bool {
    ["Authorization", "Cookie", "Proxy-Authorization"]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}

/// Says whether this status sends the client to the address in `Location`. 300 leaves the choice to a person, 304
/// answers a condition that we do not set, 305 and 306 are no longer in use.
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
