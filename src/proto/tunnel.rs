//! The way through a proxy: what a client says to it and hears from it before the bytes of the tunnel.
//!
//! HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929). A tunnel never asks for a byte
//! behind the proxy's own answer: that one is already the peer's.

use std::error::Error as StdError;
use std::fmt;

use super::authority::{self, Authority};
use crate::error::ConfigError;

/// A proxy: how it is spoken to, where it is, and who we are.
///
/// ```
/// use heartwheel::proto::tunnel::Proxy;
///
/// let proxy = Proxy::from_url("socks5h://127.0.0.1")?;
/// assert_eq!((proxy.host(), proxy.port()), ("127.0.0.1", 1080));
/// assert!(Proxy::from_url("https://proxy.example").is_err());
/// # Ok::<(), heartwheel::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    user: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks,
}

impl Proxy {
    /// Parses the URL of a proxy: `http://` (port 80 by default), `socks5h://` or `socks5://` (port
    /// 1080), each with `USER:PASSWORD@` before the host if the proxy wants that. Both may be percent
    /// encoded. The proxy looks the name of the target up, with both schemes of SOCKS.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with field `proxy` and the reason.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let error = |reason: &str| ConfigError::new("proxy", reason);
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| error("needs a scheme: http://, socks5h:// or socks5://"))?;
        let (kind, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks5h" => (Kind::Socks, 1080),
            "https" => return Err(error("with https:// needs TLS, which is not supported yet")),
            _ => return Err(error("must be http://, socks5h:// or socks5://")),
        };
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(credentials(user)?), place),
            None => (None, place),
        };
        let place = Authority::parse_local(place)
            .ok_or_else(|| error("needs a valid host, and nothing behind host and port"))?;
        let host = match place.zone() {
            Some(zone) => format!("{}%{zone}", place.name()),
            None => place.name().to_owned(),
        };
        let port = place.port().unwrap_or(default_port);
        if port == 0 {
            return Err(error("needs a port other than 0"));
        }
        if kind == Kind::Http && user.is_some() && !cfg!(feature = "websocket") {
            return Err(error("with a user needs the feature `websocket`"));
        }
        Ok(Self {
            kind,
            host,
            port,
            user,
        })
    }

    /// Returns the name or address of the proxy.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Checks that a target can be named to this proxy.
    pub(crate) fn check_target(&self, host: &str, port: u16) -> Result<(), ConfigError> {
        let host = bare(host);
        if Authority::parse(&authority::join(host, Some(port))).is_none() {
            return Err(ConfigError::new("host", "cannot be named to a proxy"));
        }
        if host.len() > LONGEST {
            return Err(ConfigError::new("host", "must be at most 255 bytes long"));
        }
        Ok(())
    }
}

/// Without user and password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_user", &self.user.is_some())
            .finish()
    }
}

/// A tunnel that is being opened.
///
/// Write [`output`](Self::output) first, and then read [`wants`](Self::wants) bytes, until it is
/// [open](Self::is_open).
pub struct Tunnel {
    state: State,
    output: Vec<u8>,
    /// What the proxy has said since our last words.
    input: Vec<u8>,
    user: Option<(Vec<u8>, Vec<u8>)>,
    /// The request for SOCKS, until it is sent.
    request: Vec<u8>,
    /// The proxy has been told something.
    has_begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the answer to CONNECT.
    Http,
    /// Waits for the choice of a method.
    Method,
    /// Waits for the verdict on user and password.
    Login,
    /// Waits for the answer to the request.
    Reply,
    Open,
}

/// Without what may be a password.
impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Begins a tunnel through a proxy to this host and port. If the host is an IP address, `octets` are
    /// its 4 or 16 bytes; if it is a name, which the proxy looks up, they are empty.
    pub fn new(proxy: &Proxy, host: &str, octets: &[u8], port: u16) -> Self {
        let host = bare(host);
        let (state, output, request) = match proxy.kind {
            Kind::Http => {
                let output = connect(host, port, proxy.user.as_ref());
                (State::Http, output, Vec::new())
            }
            Kind::Socks => {
                let methods: &[u8] = match proxy.user {
                    Some(_) => &[5, 2, NO_LOGIN, LOGIN],
                    None => &[5, 1, NO_LOGIN],
                };
                (
                    State::Method,
                    methods.to_vec(),
                    socks_request(host, octets, port),
                )
            }
        };
        Self {
            state,
            output,
            input: Vec::new(),
            user: proxy.user.clone(),
            request,
            has_begun: false,
        }
    }

    /// Returns what is to be written next.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Notes that so many bytes of the output were written.
    pub fn handle_written(&mut self, count: usize) {
        self.has_begun |= count > 0;
        self.output.drain(..count.min(self.output.len()));
    }

    /// Says whether the proxy has been told something.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Says whether the tunnel is open: all further bytes are those of the peer.
    pub fn is_open(&self) -> bool {
        self.state == State::Open && self.output.is_empty()
    }

    /// Returns how many bytes may be read at most: none of them is the peer's. Zero if something must be
    /// written first, or the tunnel is open.
    pub fn wants(&self) -> usize {
        if !self.output.is_empty() {
            return 0;
        }
        let have = self.input.len();
        match self.state {
            State::Http => head_wants(&self.input).min(LONGEST_HEAD - have),
            State::Method | State::Login => 2 - have,
            State::Reply => reply_len(&self.input) - have,
            State::Open => 0,
        }
    }

    /// Takes what was read: at most as many bytes as it [wants](Self::wants).
    ///
    /// # Errors
    ///
    /// There will be no tunnel.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), TunnelError> {
        let most = self.wants().min(bytes.len());
        self.input.extend_from_slice(&bytes[..most]);
        match self.state {
            State::Http => self.handle_head(),
            State::Method => self.handle_method(),
            State::Login => self.handle_login(),
            State::Reply => self.handle_reply(),
            State::Open => Ok(()),
        }
    }

    fn handle_head(&mut self) -> Result<(), TunnelError> {
        let start = self.input.len().min(HTTP.len());
        if self.input[..start] != HTTP[..start] {
            return Err(TunnelError::Malformed);
        }
        if !self.input.ends_with(b"\r\n\r\n") {
            return match self.input.len() < LONGEST_HEAD {
                true => Ok(()),
                false => Err(TunnelError::TooLong),
            };
        }
        // 9.3.6: "Any 2xx (Successful) response indicates that the sender [..] will switch to tunnel mode
        // immediately after the response header section", whatever length it names.
        match status(&self.input).ok_or(TunnelError::Malformed)? {
            200..=299 => self.enter(State::Open, Vec::new()),
            code => return Err(TunnelError::Status(code)),
        }
        Ok(())
    }

    fn handle_method(&mut self) -> Result<(), TunnelError> {
        let &[version, method] = &self.input[..] else {
            return self.check_version(5);
        };
        if version != 5 {
            return Err(TunnelError::Malformed);
        }
        match (method, self.user.take()) {
            (NO_LOGIN, _) => {
                let request = std::mem::take(&mut self.request);
                self.enter(State::Reply, request);
            }
            (LOGIN, Some((user, password))) => {
                let mut login = vec![1];
                for part in [user, password] {
                    login.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                    login.extend_from_slice(&part);
                }
                self.enter(State::Login, login);
            }
            (NO_METHOD, _) => return Err(TunnelError::NoMethod),
            _ => return Err(TunnelError::Malformed),
        }
        Ok(())
    }

    fn handle_login(&mut self) -> Result<(), TunnelError> {
        let &[version, status] = &self.input[..] else {
            return self.check_version(1);
        };
        // RFC 1929, 2: "If the server returns a `failure' (STATUS value other than X'00') status, it MUST
        // close the connection."
        match (version, status) {
            (1, 0) => {
                let request = std::mem::take(&mut self.request);
                self.enter(State::Reply, request);
                Ok(())
            }
            (1, _) => Err(TunnelError::Denied),
            _ => Err(TunnelError::Malformed),
        }
    }

    fn handle_reply(&mut self) -> Result<(), TunnelError> {
        self.check_version(5)?;
        if let Some(&code @ 1..) = self.input.get(1) {
            return Err(TunnelError::Reply(code));
        }
        if let Some(kind) = self.input.get(3)
            && ![IPV4, NAME, IPV6].contains(kind)
        {
            return Err(TunnelError::Malformed);
        }
        if self.input.len() >= LEAST_REPLY && self.input.len() == reply_len(&self.input) {
            self.enter(State::Open, Vec::new());
        }
        Ok(())
    }

    fn check_version(&self, version: u8) -> Result<(), TunnelError> {
        match self.input.first() {
            Some(&other) if other != version => Err(TunnelError::Malformed),
            Some(_) | None => Ok(()),
        }
    }

    fn enter(&mut self, state: State, output: Vec<u8>) {
        self.state = state;
        self.output = output;
        self.input.clear();
    }
}

/// Why there is no way through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelError {
    /// The proxy answered CONNECT with this status, which is not 2xx.
    Status(u16),
    /// The SOCKS proxy accepts none of our methods: it wants a user, or another method.
    NoMethod,
    /// The SOCKS proxy does not accept user and password.
    Denied,
    /// The SOCKS proxy answered the request with this code, which is not 0 (RFC 1928, section 6).
    Reply(u8),
    /// What came is not the answer of such a proxy.
    Malformed,
    /// The head of the answer to CONNECT is longer than 8 KiB.
    TooLong,
    /// The proxy ended the connection before it answered.
    Closed,
}

impl TunnelError {
    /// Says whether the proxy has refused, in words of its protocol.
    pub(crate) fn is_answer(self) -> bool {
        match self {
            Self::Status(_) | Self::NoMethod | Self::Denied | Self::Reply(_) => true,
            Self::Malformed | Self::TooLong | Self::Closed => false,
        }
    }

    /// Says whether another attempt may succeed.
    pub(crate) fn is_retryable(self) -> bool {
        match self {
            Self::Status(code) => !(300..500).contains(&code) || matches!(code, 408 | 425 | 429),
            // Not allowed by its rules; a command or a kind of address that it does not know.
            Self::Reply(code) => !matches!(code, 2 | 7 | 8),
            Self::NoMethod | Self::Denied => false,
            Self::Malformed | Self::TooLong | Self::Closed => true,
        }
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "proxy answered {code}"),
            Self::NoMethod => f.write_str("proxy wants another method of authentication"),
            Self::Denied => f.write_str("proxy does not accept user and password"),
            Self::Reply(code) => {
                let reason = match code {
                    1 => "general failure",
                    2 => "not allowed by its rules",
                    3 => "network unreachable",
                    4 => "host unreachable",
                    5 => "connection refused",
                    6 => "TTL expired",
                    7 => "command not supported",
                    8 => "address type not supported",
                    _ => "unknown reason",
                };
                write!(f, "proxy answered {code}: {reason}")
            }
            Self::Malformed => f.write_str("what answered is no such proxy"),
            Self::TooLong => f.write_str("the proxy's answer is longer than 8 KiB"),
            Self::Closed => f.write_str("proxy ended the connection before it answered"),
        }
    }
}

impl StdError for TunnelError {}

/// Splits and decodes user and password.
fn credentials(typed: &str) -> Result<(Vec<u8>, Vec<u8>), ConfigError> {
    let error = |reason| ConfigError::new("proxy", reason);
    let (user, password) = typed.split_once(':').unwrap_or((typed, ""));
    let broken = || error("has a % in user or password that is no percent encoding");
    let user = decode(user).ok_or_else(broken)?;
    let password = decode(password).ok_or_else(broken)?;
    // RFC 1929, 2: each has 1 to 255 bytes. RFC 7617, 2: a user has no colon.
    if user.is_empty() || user.len() > LONGEST || password.len() > LONGEST {
        return Err(error(
            "needs a user of 1 to 255 bytes, and a password of at most 255",
        ));
    }
    if user.contains(&b':') || user.iter().chain(&password).any(u8::is_ascii_control) {
        return Err(error(
            "must have no colon in the user, and no control characters",
        ));
    }
    Ok((user, password))
}

/// Undoes percent encoding.
fn decode(typed: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(typed.len());
    let mut rest = typed.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (code, tail) = tail.split_at_checked(2)?;
        let code = str::from_utf8(code).ok()?;
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

/// Returns the host without the interface of a link-local address, which is this machine's business.
fn bare(host: &str) -> &str {
    authority::split_zone(host).map_or(host, |(ip, _)| ip)
}

/// Builds the request for a tunnel.
fn connect(host: &str, port: u16, user: Option<&(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let target = authority::join(host, Some(port));
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    #[cfg(feature = "websocket")]
    if let Some((user, password)) = user {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;

        let both = [user, &b":"[..], password].concat();
        let line = format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(both));
        head.extend_from_slice(line.as_bytes());
    }
    #[cfg(not(feature = "websocket"))]
    let _ = user;
    head.extend_from_slice(b"\r\n");
    head
}

/// Builds a SOCKS request: connect to an address, or to a name that the proxy looks up.
fn socks_request(host: &str, octets: &[u8], port: u16) -> Vec<u8> {
    let mut request = vec![5, 1, 0];
    match octets.len() {
        4 => {
            request.push(IPV4);
            request.extend_from_slice(octets);
        }
        16 => {
            request.push(IPV6);
            request.extend_from_slice(octets);
        }
        _ => {
            // One that is too long, which only a redirect can have brought, is refused as none by the proxy.
            let len = u8::try_from(host.len()).unwrap_or(0);
            request.push(NAME);
            request.push(len);
            request.extend_from_slice(&host.as_bytes()[..usize::from(len)]);
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    request
}

/// Returns how many bytes of a head are missing at least: its end may be as near as that.
fn head_wants(input: &[u8]) -> usize {
    match input {
        [.., b'\r', b'\n', b'\r', b'\n'] => 0,
        [.., b'\r', b'\n', b'\r'] => 1,
        [.., b'\r', b'\n'] => 2,
        [.., b'\r'] => 3,
        _ => 4,
    }
}

/// Returns the status of a head that begins with a version of HTTP/1.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(HTTP)?;
    let [minor, b' ', code @ ..] = rest else {
        return None;
    };
    let (code, [b' ' | b'\r', ..]) = code.split_at_checked(3)? else {
        return None;
    };
    let is_number = minor.is_ascii_digit() && code.iter().all(u8::is_ascii_digit);
    let code = str::from_utf8(code).ok().filter(|_| is_number)?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

/// Returns the length of a SOCKS reply, as far as what came says it.
fn reply_len(input: &[u8]) -> usize {
    match *input {
        [_, _, _, IPV4, ..] => 4 + 4 + 2,
        [_, _, _, IPV6, ..] => 4 + 16 + 2,
        [_, _, _, NAME, len, ..] => 4 + 1 + usize::from(len) + 2,
        _ => LEAST_REPLY,
    }
}

const HTTP: &[u8] = b"HTTP/1.";

/// The longest head of an answer to CONNECT.
const LONGEST_HEAD: usize = 8 * 1024;

/// The longest name, user or password: one byte says how long it is.
const LONGEST: usize = 255;

/// Bytes of a SOCKS reply of which the length can be told.
const LEAST_REPLY: usize = 5;

/// Methods of authentication (RFC 1928, section 3), and kinds of addresses (section 5).
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn tunnel(proxy: &str, host: &str) -> Tunnel {
        let octets: &[u8] = match host {
            "1.2.3.4" => &[1, 2, 3, 4],
            "fe80::1%eth0" => &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            _ => &[],
        };
        Tunnel::new(
            &Proxy::from_url(proxy).expect("a sound url"),
            host,
            octets,
            9001,
        )
    }

    /// Writes all output, and feeds the input as the tunnel wants it. Returns the output and what of the
    /// input was not asked for.
    fn talk(tunnel: &mut Tunnel, input: &[u8]) -> Result<(Vec<u8>, Vec<u8>), TunnelError> {
        let (mut said, mut rest) = (Vec::new(), input);
        loop {
            said.extend_from_slice(tunnel.output());
            tunnel.handle_written(tunnel.output().len());
            let wanted = tunnel.wants();
            assert_eq!(wanted == 0, tunnel.is_open());
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            if now.is_empty() {
                return Ok((said, rest.to_vec()));
            }
            tunnel.handle_input(now)?;
            rest = later;
        }
    }

    #[test]
    fn a_2xx_opens_the_tunnel_and_what_follows_is_the_peers() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n",
            "HTTP/1.1 299\r\nContent-Length: 5\r\n\r\n",
        ] {
            let mut open = tunnel("http://proxy", "example.com");
            let input = format!("{answer}hello\r\n\r\n");
            let (said, rest) = talk(&mut open, input.as_bytes()).expect("it opens");
            assert!(open.is_open());
            assert_eq!(rest, b"hello\r\n\r\n", "{answer}");
            let said = String::from_utf8(said).expect("it is ASCII");
            let head = "CONNECT example.com:9001 HTTP/1.1\r\nHost: example.com:9001\r\n\r\n";
            assert_eq!(said, head);
        }
        let said = talk(&mut tunnel("http://proxy", "::1"), b"").map(|(said, _)| said);
        assert!(said.is_ok_and(|said| said.starts_with(b"CONNECT [::1]:9001 ")));
        #[cfg(feature = "websocket")]
        {
            let mut with_user = tunnel("http://Aladdin:open%20sesame@proxy", "a");
            let (said, _) = talk(&mut with_user, b"").expect("nothing came");
            let said = String::from_utf8(said).expect("it is ASCII");
            // The sample of RFC 7617, section 2.
            let line = "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
            assert!(said.ends_with(line), "{said}");
        }
    }

    #[test]
    fn what_is_no_2xx_of_http_is_told() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST_HEAD));
        for (answer, error) in [
            ("HTTP/1.1 407 Who?\r\n\r\n", TunnelError::Status(407)),
            ("HTTP/1.1 502 Bad\r\nA: b\r\n\r\n", TunnelError::Status(502)),
            ("HTTP/1.1 101 No\r\n\r\n", TunnelError::Status(101)),
            ("HTTP/2.0 200 OK\r\n\r\n", TunnelError::Malformed),
            ("HTTP/1.1  200 OK\r\n\r\n", TunnelError::Malformed),
            ("HTTP/1.1 20 OK\r\n\r\n", TunnelError::Malformed),
            ("HTTP/1.1 2000 OK\r\n\r\n", TunnelError::Malformed),
            ("HTTP/1.1 +20 OK\r\n\r\n", TunnelError::Malformed),
            ("SSH-2.0-x\r\n", TunnelError::Malformed),
            ("\u{5}\u{0}", TunnelError::Malformed),
            (&long, TunnelError::TooLong),
        ] {
            let talked = talk(&mut tunnel("http://proxy", "a"), answer.as_bytes());
            assert_eq!(talked.expect_err("no tunnel"), error, "{answer:.30}");
        }
    }

    #[test]
    fn a_head_is_at_most_so_long_however_it_is_cut() {
        let start = "HTTP/1.1 200 OK\r\nX: ";
        let fitting = LONGEST_HEAD - start.len() - 4;
        for (filling, expected) in [
            (fitting, Ok(true)),
            (fitting + 1, Err(TunnelError::TooLong)),
            (fitting + 2, Err(TunnelError::TooLong)),
        ] {
            let head = format!("{start}{}\r\n\r\n", "x".repeat(filling));
            for most in 1..=4 {
                let mut tunnel = tunnel("http://proxy", "a");
                tunnel.handle_written(tunnel.output().len());
                let mut rest = head.as_bytes();
                let mut came = Ok(());
                while came.is_ok() && !tunnel.is_open() && !rest.is_empty() {
                    let piece;
                    (piece, rest) = rest.split_at(tunnel.wants().min(most).min(rest.len()));
                    came = tunnel.handle_input(piece);
                }
                assert_eq!(came.map(|()| tunnel.is_open()), expected, "{most}");
            }
        }
    }

    #[test]
    fn socks_sends_the_name_to_the_proxy_and_reads_its_reply_to_the_byte() {
        let replies: [&[u8]; 3] = [
            &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80],
            &[5, 0, 0, 3, 2, b'h', b'i', 0, 80],
            &[
                5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80,
            ],
        ];
        for reply in replies {
            let mut open = tunnel("socks5h://proxy", "example.com");
            let input = [&[5, 0], reply, b"hello"].concat();
            let (said, rest) = talk(&mut open, &input).expect("it opens");
            assert!(open.is_open());
            assert_eq!(rest, b"hello");
            let name = [&[5, 1, 0, 5, 1, 0, 3, 11], &b"example.com"[..], &[35, 41]].concat();
            assert_eq!(said, name);
        }
        let said = |host| talk(&mut tunnel("socks5://proxy", host), &[5, 0]).map(|(said, _)| said);
        assert_eq!(
            said("1.2.3.4"),
            Ok(vec![5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 35, 41])
        );
        let v6 = said("fe80::1%eth0").expect("nothing came");
        assert_eq!(v6[3..8], [5, 1, 0, 4, 0xfe]);
        assert_eq!(v6.len(), 3 + 4 + 16 + 2);
    }

    #[test]
    fn socks_logs_in_only_if_it_is_asked_to() {
        let user = "socks5h://me:secret@proxy";
        let ok = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let input = [&[5, 2, 1, 0][..], &ok].concat();
        let (said, _) = talk(&mut tunnel(user, "a"), &input).expect("it opens");
        assert_eq!(said[..4], [5, 2, 0, 2]);
        assert_eq!(said[4..15], *b"\x01\x02me\x06secret");
        let input = [&[5, 0][..], &ok].concat();
        let (said, _) = talk(&mut tunnel(user, "a"), &input).expect("it opens");
        assert!(!said.windows(6).any(|part| part == b"secret"));
        let none = "socks5h://proxy";
        for (proxy, input, error) in [
            (user, &[5, 2, 1, 1][..], TunnelError::Denied),
            (user, &[5, 2, 5, 0], TunnelError::Malformed),
            (none, &[5, 2], TunnelError::Malformed),
            (none, &[5, 0xff], TunnelError::NoMethod),
            (none, &[5, 1], TunnelError::Malformed),
            (none, &[4], TunnelError::Malformed),
            (none, b"HTTP/1.1 400 Bad", TunnelError::Malformed),
            (none, &[5, 0, 5, 5], TunnelError::Reply(5)),
            (none, &[5, 0, 5, 0, 0, 2, 0], TunnelError::Malformed),
            (none, &[5, 0, 4], TunnelError::Malformed),
        ] {
            let talked = talk(&mut tunnel(proxy, "a"), input);
            assert_eq!(talked.expect_err("no tunnel"), error, "{input:?}");
        }
    }

    #[test]
    fn a_hostile_proxy_opens_nothing_by_noise_and_is_never_read_beyond_its_answer() {
        let mut dice = Dice::new(7);
        let starts: [&[u8]; 6] = [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.",
            &[5, 0],
            &[5, 2, 1, 0, 5, 0, 0],
            &[5, 0, 5, 0, 0, 3],
        ];
        for round in 0..20_000 {
            let url = ["http://proxy", "socks5h://a:b@proxy"][round % 2];
            let mut tunnel = tunnel(url, "example.com");
            let mut input = starts[round / 2 % starts.len()].to_vec();
            while input.len() < 300 {
                let word = dice.next_u64().to_ne_bytes();
                // Often what means something.
                let picked = b"\r\n 0125\x00\x01\x03\x04\x05\xff"[usize::from(word[0]) % 13];
                input.push(if word[1] < 128 { picked } else { word[2] });
            }
            if let Ok((_, rest)) = talk(&mut tunnel, &input) {
                assert!(tunnel.is_open() || rest.is_empty());
                assert!(tunnel.input.len() <= LONGEST_HEAD);
            }
        }
    }

    #[test]
    fn a_url_of_a_proxy_is_split_or_refused_with_the_reason() {
        let place = |url| {
            let proxy = Proxy::from_url(url);
            proxy.map(|proxy| format!("{:?} {} {}", proxy.kind, proxy.host, proxy.port))
        };
        for (url, expected) in [
            ("http://proxy", "Http proxy 80"),
            ("HTTP://proxy:3128/", "Http proxy 3128"),
            ("socks5://[::1]:9", "Socks ::1 9"),
            ("socks5h://a:b@10.0.0.1", "Socks 10.0.0.1 1080"),
            ("socks5h://a@b:c@h", "Socks h 1080"),
        ] {
            assert_eq!(place(url).as_deref(), Ok(expected), "{url}");
        }
        for url in [
            "proxy:80",
            "https://proxy",
            "socks4://proxy",
            "http://",
            "http://proxy/path",
            "http://proxy:0",
            "http://a b",
            "http://:password@proxy",
            "http://%zz@proxy",
            "http://%+1@proxy",
            "http://%0d%0a:x@proxy",
            "http://a%3Ab@proxy",
        ] {
            let error = place(url).expect_err(url);
            assert_eq!(error.field(), "proxy", "{url}");
        }
        let hidden = Proxy::from_url("socks5h://me:secret@proxy").expect("a sound url");
        assert!(!format!("{hidden:?} {:?}", Tunnel::new(&hidden, "a", &[], 1)).contains("secret"));
        let (long, forged) = ("a".repeat(300), "a\r\nX: y");
        for host in [long.as_str(), forged] {
            let error = hidden
                .check_target(host, 1)
                .expect_err("it cannot be named");
            assert_eq!(error.field(), "host");
        }
    }
}
