//! Which pages may open a connection, and which host names are ours: checks the `Origin` and the
//! `Host` of a request.

use std::error::Error as StdError;
use std::fmt;

use super::request::Request;
use super::uri::is_scheme;
use crate::config::WebConfig;
use crate::error::ConfigError;
use crate::proto::authority::{Authority, without_root};

/// The rules of a [`WebConfig`], parsed.
///
/// ```
/// use heartwheel::config::WebConfig;
/// use heartwheel::proto::http::{HeadLimits, Request, Visitors};
///
/// let visitors = Visitors::try_from(&WebConfig::default())?;
/// let head = b"GET / HTTP/1.1\r\nHost: chat.example:9001\r\nOrigin: https://evil.example\r\n\r\n";
/// let (request, _) = Request::parse(head, &HeadLimits::default())?.expect("a whole head");
/// let unwelcome = visitors.check_origin(&request).unwrap_err();
/// assert_eq!(unwelcome.status(), 403);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Visitors {
    /// `None`: all pages are allowed.
    origins: Option<Vec<Page>>,
    /// `None`: all hosts are allowed.
    hosts: Option<Vec<(String, Option<u16>)>>,
    loopback_hosts: bool,
}

impl TryFrom<&WebConfig> for Visitors {
    type Error = ConfigError;

    fn try_from(config: &WebConfig) -> Result<Self, ConfigError> {
        let origins = config.origins.iter().map(|origin| Page::parse(origin));
        let origins = origins.collect::<Option<Vec<_>>>().ok_or_else(|| {
            ConfigError::new(
                "origins",
                "must be such as https://example.com or http://localhost:8080, without a path, or null",
            )
        })?;
        let hosts = config.hosts.iter().map(|host| {
            let authority = Authority::parse(host)?;
            Some((authority.host().to_owned(), authority.port()))
        });
        let hosts = hosts.collect::<Option<Vec<_>>>().ok_or_else(|| {
            ConfigError::new(
                "hosts",
                "must be such as example.com, example.com:8080, 192.0.2.1 or [2001:db8::1]",
            )
        })?;
        let is_checked = config.loopback_hosts || !hosts.is_empty();
        Ok(Self {
            origins: (!config.any_origin).then_some(origins),
            hosts: is_checked.then_some(hosts),
            loopback_hosts: config.loopback_hosts,
        })
    }
}

impl Visitors {
    /// Checks that a request, for an upgrade or not, names one of our hosts. A request without a
    /// host does not come from a browser and is accepted.
    ///
    /// # Errors
    ///
    /// [`Unwelcome::Host`].
    pub fn check_host(&self, request: &Request<'_>) -> Result<(), Unwelcome> {
        let Some(hosts) = &self.hosts else {
            return Ok(());
        };
        let Some(named) = request.authority().and_then(Authority::parse) else {
            return match request.header("host") {
                None => Ok(()),
                Some(host) => Err(Unwelcome::Host(shown(host))),
            };
        };
        let is_listed = |(host, port): &(String, Option<u16>)| {
            without_root(named.host()).eq_ignore_ascii_case(without_root(host))
                && port.is_none_or(|port| named.port().unwrap_or(80) == port)
        };
        let is_ours = self.loopback_hosts && named.is_loopback();
        match is_ours || hosts.iter().any(is_listed) {
            true => Ok(()),
            false => Err(Unwelcome::Host(shown(named.host().as_bytes()))),
        }
    }

    /// Checks whether the page that sent a request for an upgrade may open a connection. A request
    /// without `Origin` does not come from a page and is accepted.
    ///
    /// Browsers leave out a default port, both for the page and for the request. Here a missing
    /// port means the default port of the page's scheme for both, because the request does not tell
    /// whether it came through TLS. So `https://example.com` matches the hosts `example.com` and
    /// `example.com:443`, and `http://example.com` does not match the second one.
    ///
    /// # Errors
    ///
    /// [`Unwelcome::Origin`].
    pub fn check_origin(&self, request: &Request<'_>) -> Result<(), Unwelcome> {
        let Some(allowed) = &self.origins else {
            return Ok(());
        };
        let mut origins = request.fields().all("origin");
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let page = std::str::from_utf8(origin).ok().and_then(Page::parse);
        let is_welcome = page.is_some_and(|page| {
            let authority = request.authority().and_then(Authority::parse);
            allowed.contains(&page) || authority.is_some_and(|host| page.is_of(&host))
        });
        // With two origins, one program might check the first and another the last.
        match is_welcome && origins.next().is_none() {
            true => Ok(()),
            false => Err(Unwelcome::Origin(shown(origin))),
        }
    }
}

/// Why a request is refused, with the origin or host that it contains, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// The page is from another host, and its origin is not allowed.
    Origin(String),
    /// The host is not allowed.
    Host(String),
}

impl Unwelcome {
    /// Returns the HTTP status of the response.
    ///
    /// 421 for a host: the request was "directed at a server that is unable or unwilling to produce
    /// an authoritative response for the target URI" (RFC 9110, 15.5.20). 403 for an origin: this
    /// is the right server, but it refuses (15.5.4).
    pub const fn status(&self) -> u16 {
        match self {
            Self::Origin(_) => 403,
            Self::Host(_) => 421,
        }
    }

    /// Returns the body of the response. It does not contain what the client sent.
    pub const fn body(&self) -> &'static str {
        match self {
            Self::Origin(_) => "pages of this origin may not connect",
            Self::Host(_) => "this is no host of ours",
        }
    }
}

impl fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => write!(f, "origin '{origin}' is not allowed"),
            Self::Host(host) => write!(f, "host '{host}' is not allowed"),
        }
    }
}

impl StdError for Unwelcome {}

/// The origin of a page (RFC 6454, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    /// An origin without a name, for example of a file or a sandboxed frame.
    Opaque,
    /// In lower case. A missing port is replaced by the default port of the scheme.
    Of {
        scheme: String,
        host: String,
        port: Option<u16>,
    },
}

impl Page {
    /// Parses an origin as browsers send it; `None` if this is not one.
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Opaque);
        }
        let (scheme, authority) = text.split_once("://")?;
        let authority = Authority::parse(authority).filter(|_| is_scheme(scheme))?;
        let scheme = scheme.to_ascii_lowercase();
        Some(Self::Of {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port().or_else(|| default_port(&scheme)),
            scheme,
        })
    }

    /// Returns whether this authority is the host of the page itself.
    fn is_of(&self, authority: &Authority<'_>) -> bool {
        match self {
            Self::Opaque => false,
            Self::Of { scheme, host, port } => {
                host.eq_ignore_ascii_case(authority.host())
                    && *port == authority.port().or_else(|| default_port(scheme))
            }
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Escapes bytes from a peer, and cuts them to a limited length.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN)];
    cut.escape_ascii().to_string()
}

/// The largest number of bytes shown of what a peer sent.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::HeadLimits;

    fn visitors(config: &WebConfig) -> Visitors {
        Visitors::try_from(config).expect("it makes sense")
    }

    /// Parses a request with that target and these header lines, and asks about it.
    fn ask<T>(target: &str, lines: &str, question: impl FnOnce(&Request<'_>) -> T) -> T {
        let head = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
        let parsed = Request::parse(head.as_bytes(), &HeadLimits::default());
        let (request, _) = parsed.expect("it is sound").expect("it is whole");
        question(&request)
    }

    fn lets_page_in(config: &WebConfig, host: &str, origin: &str) -> bool {
        let lines = format!("Host: {host}\r\nOrigin: {origin}\r\n");
        ask("/", &lines, |request| {
            visitors(config).check_origin(request).is_ok()
        })
    }

    fn lets_host_in(config: &WebConfig, host: &str) -> bool {
        ask("/", &format!("Host: {host}\r\n"), |request| {
            visitors(config).check_host(request).is_ok()
        })
    }

    #[test]
    fn a_page_of_the_same_host_and_port_may_connect() {
        let default = WebConfig::default();
        for (host, origin) in [
            ("example.com", "https://example.com"),
            ("example.com", "http://EXAMPLE.com"),
            ("Example.com:8080", "http://example.com:8080"),
            ("127.0.0.1:9001", "http://127.0.0.1:9001"),
            ("[::1]:9001", "http://[::1]:9001"),
            // Default ports may be left out on either side.
            ("example.com:443", "https://example.com"),
            ("example.com", "https://example.com:443"),
            ("example.com:80", "http://example.com"),
            ("abcdef", "chrome-extension://abcdef"),
        ] {
            assert!(lets_page_in(&default, host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("example.com", "https://evil.example"),
            ("example.com", "https://example.com.evil.example"),
            ("example.com", "https://www.example.com"),
            ("example.com:9001", "http://example.com"),
            ("example.com", "http://example.com:9001"),
            ("example.com:443", "http://example.com"),
            ("example.com", "https://example.com:80"),
            ("127.0.0.1:9001", "http://localhost:9001"),
            ("127.0.0.1:9001", "http://127.0.0.1:8080"),
            ("example.com", "null"),
            ("null", "null"),
            ("example.com", "file://"),
            ("example.com", "example.com"),
            ("example.com", "https://example.com/"),
            ("example.com", "https://user@example.com"),
            ("example.com", "https://example.com https://evil.example"),
            ("example.com", ""),
            ("example.com", "://example.com"),
            ("example.com", "1://example.com"),
            ("example.com", "\u{e9}://example.com"),
        ] {
            assert!(!lets_page_in(&default, host, origin), "{host} {origin}");
        }
    }

    #[test]
    fn a_request_without_origin_is_of_no_page_and_two_are_refused() {
        let check = |lines| {
            ask("/", lines, |request| {
                visitors(&WebConfig::default()).check_origin(request)
            })
        };
        assert_eq!(check("Host: a\r\n"), Ok(()));
        let two = "Host: a\r\nOrigin: http://a\r\nOrigin: http://a\r\n";
        assert_eq!(check(two), Err(Unwelcome::Origin("http://a".into())));
    }

    #[test]
    fn an_absolute_target_says_which_host_it_is() {
        let lines = "Host: evil.example\r\nOrigin: http://evil.example\r\n";
        let config = WebConfig {
            hosts: vec!["evil.example".into()],
            ..WebConfig::default()
        };
        let visitors = visitors(&config);
        ask("http://chat.example/", lines, |request| {
            let host = visitors.check_host(request);
            assert_eq!(host, Err(Unwelcome::Host("chat.example".into())));
            assert!(visitors.check_origin(request).is_err());
        });
    }

    #[test]
    fn other_origins_may_be_allowed_by_name_or_all_of_them() {
        let some = WebConfig {
            origins: vec!["https://App.example".into(), "null".into()],
            ..WebConfig::default()
        };
        for origin in [
            "https://app.example",
            "https://app.example:443",
            "null",
            "http://a",
        ] {
            assert!(lets_page_in(&some, "a", origin), "{origin}");
        }
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://b",
        ] {
            assert!(!lets_page_in(&some, "a", origin), "{origin}");
        }
        let any = WebConfig {
            any_origin: true,
            ..WebConfig::default()
        };
        for origin in ["null", "https://evil.example", "nonsense"] {
            assert!(lets_page_in(&any, "a", origin), "{origin}");
        }
    }

    #[test]
    fn hosts_are_those_listed_with_any_port_unless_one_is_named() {
        let config = WebConfig {
            hosts: vec![
                "example.com".into(),
                "a:8080".into(),
                "[2001:db8::1]".into(),
            ],
            ..WebConfig::default()
        };
        for host in [
            "example.com",
            "EXAMPLE.com:9001",
            "example.com.",
            "a:8080",
            "[2001:DB8::1]:9001",
        ] {
            assert!(lets_host_in(&config, host), "{host}");
        }
        for host in [
            "a",
            "a:80",
            "www.example.com",
            "localhost",
            "127.0.0.1:9001",
            "evil.example:9001",
        ] {
            assert!(!lets_host_in(&config, host), "{host}");
        }
        assert!(lets_host_in(&WebConfig::default(), "evil.example"));
    }

    #[test]
    fn the_names_of_loopback_are_known() {
        let config = WebConfig {
            loopback_hosts: true,
            ..WebConfig::default()
        };
        for host in [
            "localhost",
            "LOCALHOST:9001",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:9001",
            "127.8.9.10",
            "[::1]:9001",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(lets_host_in(&config, host), "{host}");
        }
        for host in [
            "evil.example:9001",
            "localhost.evil.example",
            "notlocalhost",
            "128.0.0.1",
            "127.0.0.1.evil.example",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!lets_host_in(&config, host), "{host}");
        }
    }

    #[test]
    fn a_request_that_names_no_host_is_of_no_browser() {
        let config = WebConfig {
            loopback_hosts: true,
            ..WebConfig::default()
        };
        let head = b"GET /health HTTP/1.0\r\n\r\n";
        let parsed = Request::parse(head, &HeadLimits::default());
        let (request, _) = parsed.expect("it is sound").expect("it is whole");
        assert_eq!(visitors(&config).check_host(&request), Ok(()));
        // But one whose target names nothing that could be a host is of nobody we know.
        let odd = ask("http://a@localhost/", "Host: localhost\r\n", |request| {
            visitors(&config).check_host(request)
        });
        assert_eq!(odd, Err(Unwelcome::Host("localhost".into())));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        for origin in [
            "",
            "example.com",
            "https://example.com/",
            "https://",
            "*",
            "any",
        ] {
            let config = WebConfig {
                origins: vec![origin.into()],
                ..WebConfig::default()
            };
            let error = Visitors::try_from(&config).expect_err("nonsense");
            assert_eq!(error.field(), "origins", "{origin}");
        }
        for host in ["", "https://example.com", "a/b", "a:x", "::1"] {
            let config = WebConfig {
                hosts: vec![host.into()],
                ..WebConfig::default()
            };
            let error = Visitors::try_from(&config).expect_err("nonsense");
            assert_eq!(error.field(), "hosts", "{host}");
        }
    }

    #[test]
    fn what_a_peer_named_is_shown_escaped_and_cut() {
        let unwelcome = ask("/", "Host: a\r\nOrigin: \u{9b}31m\r\n", |request| {
            visitors(&WebConfig::default()).check_origin(request)
        });
        let text = unwelcome.expect_err("no origin").to_string();
        assert_eq!(text, r"origin '\xc2\x9b31m' is not allowed");
        assert_eq!(shown(&[b'a'; 999]).len(), SHOWN);
    }
}
