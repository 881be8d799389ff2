//! The server's side: requests in, responses out (RFC 6455, section 4.2).

use std::error::Error as StdError;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use httparse::Status;

use crate::error::Foreign;
use crate::proto::http::head::{HeadWriter, Headers, before_bare_line_feed, is_protocol, is_token};
use crate::proto::http::progress::spent_lines;
use crate::proto::http::uri::{Authority, is_resource_name};
use crate::proto::http::{HeadLimits, HeadProgress, HttpDate, InvalidHead};
use crate::proto::websocket::handshake::accept::accept_of;
use crate::proto::websocket::handshake::extension::is_extension;

/// A received HTTP/1 request head, one that wants an upgrade or a plain one.
///
/// It borrows from the bytes it was parsed from. Only its form has been checked: names are tokens, no
/// value contains a control character, the target is UTF-8 without blanks, an HTTP/1.1 request names
/// one host, and there are not two opinions on the length of its body. Whether it may be upgraded,
/// [`upgrade`](Self::upgrade) says.
///
/// ```
/// use heartwheel::proto::http::HeadLimits;
/// use heartwheel::proto::websocket::handshake::Request;
///
/// let input = b"GET /health?verbose HTTP/1.0\r\nhost: a\r\n\r\nrest";
/// let (request, len) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
/// assert_eq!(&input[len..], b"rest");
/// assert_eq!((request.method(), request.path()), ("GET", "/health"));
/// assert_eq!(request.header("Host"), Some(b"a".as_slice()));
/// assert!(!request.wants_upgrade());
/// # Ok::<(), heartwheel::proto::websocket::handshake::HandshakeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    /// The minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    version: u8,
    headers: Headers<'a>,
}

impl<'a> Request<'a> {
    /// Parses the head at the front of `input`, and returns it with its length in bytes; `None` if it
    /// has not arrived completely. What lies behind it is not looked at.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Malformed`] as soon as the bytes cannot be the beginning of a head,
    /// [`HandshakeError::HeadTooLarge`], [`HandshakeError::TargetTooLong`] and
    /// [`HandshakeError::TooManyHeaders`] beyond the limits,
    /// [`HandshakeError::Host`] where HTTP/1.1 has none, or no sound one.
    pub fn parse(
        input: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Self, usize)>, HandshakeError> {
        let mut headers = limits.header_storage();
        let mut parsed = httparse::Request::new(&mut headers);
        let (head, is_cut) = before_bare_line_feed(limits.cut(input));
        let foreign = || Foreign::of(input).map(HandshakeError::Foreign);
        let parsed_head = parsed.parse(head);
        if parsed_head.is_err() && Foreign::is_undecided(input) {
            return Ok(None);
        }
        let status = parsed_head.map_err(|error| match error {
            httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders {
                limit: limits.max_headers,
            },
            httparse::Error::HeaderName => HandshakeError::Malformed("header name"),
            httparse::Error::HeaderValue => HandshakeError::Malformed("header value"),
            httparse::Error::NewLine => HandshakeError::Malformed("end of line"),
            httparse::Error::Version => {
                foreign().unwrap_or(HandshakeError::Malformed("http version"))
            }
            httparse::Error::Status | httparse::Error::Token => {
                foreign().unwrap_or(HandshakeError::Malformed("request line"))
            }
        })?;
        let len = match status {
            Status::Complete(len) => len,
            Status::Partial if is_cut => return Err(HandshakeError::Malformed("end of line")),
            Status::Partial if limits.is_reached_by(input) => {
                let limit = limits.max_bytes;
                return Err(match is_within_target(head) {
                    true => HandshakeError::TargetTooLong { limit },
                    false => HandshakeError::HeadTooLarge { limit },
                });
            }
            Status::Partial => return Ok(None),
        };
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HandshakeError::Malformed("request line"));
        };
        let count = parsed.headers.len();
        headers.truncate(count);
        let request = Self {
            method,
            target,
            version,
            headers: Headers::new(headers),
        };
        request.check_host()?;
        request.check_body()?;
        Ok(Some((request, len)))
    }

    /// Parses a head as [`parse`](Self::parse) does, of which more has come since the last call. Where it is not
    /// whole, [`HeadProgress::take_done`] says which bytes are to go before the next one.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), at the latest when the head is whole.
    pub fn parse_more(
        progress: &mut HeadProgress,
        input: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Self, usize)>, HandshakeError> {
        let empty = spent_lines(input);
        progress.pass(empty);
        let input = &input[empty..];
        if !progress.is_due(input, limits) {
            return Ok(None);
        }
        let parsed = Self::parse(input, &progress.left(limits));
        let limit = limits.max_bytes;
        match parsed {
            Ok(Some((request, len))) => Ok(Some((request, empty + len))),
            Ok(None) => {
                if Foreign::is_undecided(input) {
                    progress.look_again();
                }
                Ok(None)
            }
            Err(HandshakeError::HeadTooLarge { .. }) => Err(HandshakeError::HeadTooLarge { limit }),
            Err(HandshakeError::TargetTooLong { .. }) => {
                Err(HandshakeError::TargetTooLong { limit })
            }
            Err(error) => Err(error),
        }
    }

    /// Checks everything that RFC 6455, section 4.2.1, demands of an opening handshake.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks; [`error_response`] tells the client.
    pub fn upgrade(&self) -> Result<Upgrade<'_>, HandshakeError> {
        // 4.2.1, 1: "An HTTP/1.1 or higher GET request"
        if self.method != "GET" {
            return Err(HandshakeError::Method);
        }
        if self.version < 1 {
            return Err(HandshakeError::HttpVersion);
        }
        self.check_target()?;
        self.check_no_body()?;
        // 2, "A |Host| header field", was checked when the request was parsed. 3: "An |Upgrade| header field containing the value "websocket""
        if !self.wants_upgrade() {
            return Err(HandshakeError::NoUpgrade);
        }
        if !self.headers.is_list_of("upgrade", is_protocol) {
            return Err(HandshakeError::Malformed("upgrade"));
        }
        // 4: "A |Connection| header field that includes the token "Upgrade""
        if !self.headers.list_has("connection", "upgrade")
            || !self.headers.is_list_of("connection", is_token)
        {
            return Err(HandshakeError::Connection);
        }
        // 6, and 4.4: another version is answered by the one we speak
        if self.headers.only("sec-websocket-version") != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        let key = self.key()?;
        // 7: who checks the first of two origins, and who checks the last, would both be content (RFC 6454,
        // 7.3: a client MUST NOT send more than one).
        if self.headers.all("origin").count() > 1 {
            return Err(HandshakeError::Malformed("origin"));
        }
        let subprotocols = self.subprotocols()?;
        // 9.1: a value "that does not conform to the ABNF below" MUST fail the connection. What conforms
        // is declined by silence.
        if self.header("sec-websocket-extensions").is_some()
            && !self
                .headers
                .is_list_of("sec-websocket-extensions", is_extension)
        {
            return Err(HandshakeError::Extensions);
        }
        Ok(Upgrade {
            request: self,
            accept: accept_of(key),
            subprotocols,
        })
    }

    /// Says whether the client asks for WebSocket at all. If not, this is a plain HTTP request. RFC 9110,
    /// section 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
    pub fn wants_upgrade(&self) -> bool {
        self.version > 0 && self.headers.list_has("upgrade", "websocket")
    }

    /// Returns the method, such as `GET`.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// Returns the target as sent: path and query, or an absolute URI. It may contain characters
    /// beyond ASCII, but no control characters.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// Returns the path of the target, without query; `/` for an absolute URI that has none.
    pub fn path(&self) -> &'a str {
        let (_, local) = self.split_target();
        let path = local.split_once('?').map_or(local, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// Returns what follows the first question mark of the target.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Returns the value of the first header line of that name, ASCII case aside.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.all(name).next()
    }

    /// Returns all header lines, name and value, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &[u8])> {
        self.headers.iter()
    }

    /// Returns all values of a header field, one for each line.
    pub(super) fn values<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b [u8]> {
        self.headers.all(name)
    }

    /// Splits an absolute target behind its authority; one that is not absolute has none.
    fn split_target(&self) -> (Option<(&'a str, &'a str)>, &'a str) {
        match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some((scheme, authority)), local)
            }
            Some(_) | None => (None, self.target),
        }
    }

    /// RFC 9112, 3.2: a server MUST answer 400 to a request of HTTP/1.1 without Host, with more than one,
    /// or with one that is not an authority.
    fn check_host(&self) -> Result<(), HandshakeError> {
        let is_optional = self.version < 1 && self.header("host").is_none();
        match is_optional || self.has_sound_host() {
            true => Ok(()),
            false => Err(HandshakeError::Host),
        }
    }

    /// Returns the host that the request is for, with its port where one is named: what an absolute
    /// target says, else what the Host field says. `None` for a target of HTTP/1.0 without either, and
    /// for an absolute one that names no host.
    ///
    /// RFC 9112, section 3.2.2: a server that is sent an absolute target "MUST ignore the received Host
    /// header field (if any) and instead use the host information of the request-target". So this, and not
    /// the field, is what a check of the host must look at.
    ///
    /// ```
    /// use heartwheel::proto::http::HeadLimits;
    /// use heartwheel::proto::websocket::handshake::Request;
    ///
    /// let input = b"GET http://example.com/chat HTTP/1.1\r\nHost: other.example\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// assert_eq!(request.authority(), Some("example.com"));
    /// # Ok::<(), heartwheel::proto::websocket::handshake::HandshakeError>(())
    /// ```
    pub fn authority(&self) -> Option<&str> {
        let authority = match self.split_target() {
            (Some((_, authority)), _) => authority,
            (None, _) => std::str::from_utf8(self.headers.only("host")?).ok()?,
        };
        Authority::parse(authority).map(|_| authority)
    }

    fn has_sound_host(&self) -> bool {
        let value = self.headers.only("host");
        let value = value.and_then(|value| std::str::from_utf8(value).ok());
        value.and_then(Authority::parse).is_some()
    }

    /// 4.2.1, 1: the target is a resource name, or an absolute URI, whose path may be missing. Which host
    /// that names is not held against the Host field: see [`authority`](Self::authority).
    fn check_target(&self) -> Result<(), HandshakeError> {
        let is_sound = match self.split_target() {
            (None, local) => is_resource_name(local),
            (Some((scheme, authority)), local) => {
                let is_web = ["http", "https", "ws", "wss"]
                    .iter()
                    .any(|other| scheme.eq_ignore_ascii_case(other));
                // Nothing is written where the path is the root.
                is_web
                    && Authority::parse(authority).is_some()
                    && is_resource_name(&format!("/{local}"))
            }
        };
        match is_sound {
            true => Ok(()),
            false => Err(HandshakeError::Target),
        }
    }

    /// RFC 9112, 6.1 and 6.3: a length of the body that is unsound, or given twice, is answered by 400.
    fn check_body(&self) -> Result<(), HandshakeError> {
        let mut lengths = self.headers.all("content-length");
        let first = lengths.next();
        let is_length = |len: &[u8]| !len.is_empty() && len.iter().all(u8::is_ascii_digit);
        if !first.is_none_or(is_length) || !lengths.all(|len| Some(len) == first) {
            return Err(HandshakeError::Malformed("content-length"));
        }
        if self.header("transfer-encoding").is_none() {
            return Ok(());
        }
        let last = self.headers.list("transfer-encoding").last();
        let is_chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        match is_chunked && first.is_none() && self.version > 0 {
            true => Ok(()),
            false => Err(HandshakeError::Malformed("transfer-encoding")),
        }
    }

    /// A body would lie where the frames begin, and a proxy that counts it otherwise than we do could
    /// be made to smuggle a request.
    fn check_no_body(&self) -> Result<(), HandshakeError> {
        let has_coding = self.header("transfer-encoding").is_some();
        let is_empty = |len: &[u8]| len.iter().all(|&digit| digit == b'0');
        match has_coding || !self.headers.all("content-length").all(is_empty) {
            true => Err(HandshakeError::Body),
            false => Ok(()),
        }
    }

    /// 4.2.1, 5: "a base64-encoded value that, when decoded, is 16 bytes in length"; 11.3.1: it "MUST
    /// NOT appear more than once".
    fn key(&self) -> Result<&[u8], HandshakeError> {
        let key = self
            .headers
            .only("sec-websocket-key")
            .ok_or(HandshakeError::Key)?;
        let mut nonce = [0; 18];
        match KEY_ENGINE.decode_slice(key, &mut nonce) {
            Ok(16) => Ok(key),
            Ok(_) | Err(_) => Err(HandshakeError::Key),
        }
    }

    /// 4.1, 10: the elements are tokens "and MUST all be unique strings"; 4.3: there is at least one.
    fn subprotocols(&self) -> Result<Vec<&str>, HandshakeError> {
        let name = "sec-websocket-protocol";
        if self.header(name).is_none() {
            return Ok(Vec::new());
        }
        let names = self.headers.list(name).map(std::str::from_utf8);
        let offered: Vec<_> = names
            .collect::<Result<_, _>>()
            .map_err(|_| HandshakeError::Subprotocol)?;
        // Sorted, since to compare each with each would be the work of milliseconds for one head.
        let mut sorted = offered.clone();
        sorted.sort_unstable();
        let is_repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        match self.headers.is_list_of(name, is_token) && !is_repeated {
            true => Ok(offered),
            false => Err(HandshakeError::Subprotocol),
        }
    }
}

/// A request that may become a WebSocket: every rule of RFC 6455, section 4.2.1, is kept.
///
/// Whether it is welcome (path, origin, credentials) is for the embedder to say.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    request: &'a Request<'a>,
    accept: [u8; 28],
    subprotocols: Vec<&'a str>,
}

impl<'a> Upgrade<'a> {
    /// Returns the whole request.
    pub fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// Returns the subprotocols that the client offers, the one it likes best first.
    pub fn subprotocols(&self) -> &[&'a str] {
        &self.subprotocols
    }

    /// Returns the origin that a browser names (RFC 6455, section 10.2).
    pub fn origin(&self) -> Option<&'a [u8]> {
        self.request.header("origin")
    }
}

/// Builds the response that completes the handshake (RFC 6455, section 4.2.2).
///
/// `subprotocol` is one of those offered, or `None`. `date` is what the wall clock says, where there is
/// one, and is left out where `headers` name one. `headers` are added, such as cookies.
///
/// # Errors
///
/// [`InvalidHead`] if the subprotocol was not offered, or a header is unsound or written by the
/// handshake itself.
pub fn accept_response(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    date: Option<&HttpDate>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHead> {
    let mut head = HeadWriter::new(format_args!("HTTP/1.1 101 Switching Protocols"));
    head.date(date, headers);
    head.own("Upgrade", b"websocket");
    head.own("Connection", b"Upgrade");
    head.own("Sec-WebSocket-Accept", &upgrade.accept);
    if let Some(chosen) = subprotocol {
        if !upgrade.subprotocols.contains(&chosen) {
            return Err(InvalidHead::Subprotocol(chosen.to_owned()));
        }
        head.own("Sec-WebSocket-Protocol", chosen.as_bytes());
    }
    head.foreign(headers, &RESERVED_IN_ACCEPT)?;
    Ok(head.finish())
}

/// Builds a plain HTTP response that ends the connection: with `Content-Length` and
/// `Connection: close`, which also names an `Upgrade` header where one is given.
///
/// `date` is what the wall clock says: RFC 9110, section 6.6.1, has a server with a clock send it, one
/// without a clock not. It is left out where `headers` name one.
///
/// Statuses 204 and 304 have neither length nor body, and 205 an empty one, whatever is given. The answer to a `HEAD` request
/// is the same without its body: cut it behind the empty line.
///
/// # Errors
///
/// [`InvalidHead`] if the status is not within 200 to 599, or a header is unsound or one that this
/// function writes itself.
///
/// ```
/// use heartwheel::proto::websocket::handshake::http_response;
///
/// let response = http_response(503, None, &[("Retry-After", "5")], b"full\n")?;
/// assert_eq!(
///     response,
///     b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\n\
///       Retry-After: 5\r\n\r\nfull\n"
/// );
/// assert!(http_response(200, None, &[("X", "a\r\nSet-Cookie: forged")], b"").is_err());
/// # Ok::<(), heartwheel::proto::http::InvalidHead>(())
/// ```
pub fn http_response(
    status: u16,
    date: Option<&HttpDate>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
    body: &[u8],
) -> Result<Vec<u8>, InvalidHead> {
    if !(200..600).contains(&status) {
        return Err(InvalidHead::Status(status));
    }
    let body = match status {
        // RFC 9112, 6.3: responses that end with their head
        204 | 304 => None,
        // RFC 9110, 15.3.6: "a server MUST NOT generate content in a 205 response"
        205 => Some(&b""[..]),
        _ => Some(body),
    };
    let mut names = headers.iter().map(|(name, _)| name.as_ref());
    let upgrades = names.any(|name| name.eq_ignore_ascii_case("upgrade"));
    let mut head = final_head(status, body.map(<[u8]>::len), upgrades);
    head.date(date, headers);
    head.foreign(headers, &RESERVED_IN_FINAL)?;
    Ok(with_body(head, body.unwrap_or_default()))
}

/// Builds the response that tells a client why its handshake failed; the body names the rule. `date` is
/// as for [`http_response`].
pub fn error_response(error: &HandshakeError, date: Option<&HttpDate>) -> Vec<u8> {
    let body = format!("{error}\n");
    let mut head = final_head(error.status(), Some(body.len()), error.status() == 426);
    let none: [(&str, &str); 0] = [];
    head.date(date, &none);
    head.own("Content-Type", b"text/plain; charset=utf-8");
    match error.status() {
        // RFC 9110, 15.5.6: "MUST generate an Allow header field in a 405 response"
        405 => head.own("Allow", b"GET"),
        // RFC 9110, 15.5.22: "MUST send an Upgrade header field in a 426 response"; RFC 6455, 4.2.2: "a
        // |Sec-WebSocket-Version| header field indicating the version(s) the server is capable of
        // understanding"
        426 => {
            head.own("Upgrade", b"websocket");
            head.own("Sec-WebSocket-Version", b"13");
        }
        _ => {}
    }
    with_body(head, body.as_bytes())
}

/// The rule of the opening handshake that a request broke. Each has the status of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not well-formed HTTP/1; names the part that is at fault.
    Malformed(&'static str),
    /// Not HTTP/1 at all, but most likely another protocol.
    Foreign(Foreign),
    /// The head is larger than the limit.
    HeadTooLarge {
        /// The limit in force, bytes.
        limit: usize,
    },
    /// The target alone goes beyond the limit of a head (RFC 9112, section 3).
    TargetTooLong {
        /// The limit in force, bytes.
        limit: usize,
    },
    /// The head has more header lines than the limit.
    TooManyHeaders {
        /// The limit in force, lines.
        limit: usize,
    },
    /// The method is not GET (RFC 6455, 4.2.1, item 1).
    Method,
    /// The version is below HTTP/1.1 (RFC 6455, 4.2.1, item 1).
    HttpVersion,
    /// The target is no path and no URI with a host, or has a fragment or a character that must be
    /// escaped (RFC 6455, section 3).
    Target,
    /// The request announces a body.
    Body,
    /// The Host header is not there exactly once, or is no authority (RFC 6455, 4.2.1, item 2).
    Host,
    /// The Upgrade header does not name websocket (RFC 6455, 4.2.1, item 3).
    NoUpgrade,
    /// The Connection header is no list of tokens that names upgrade (RFC 6455, 4.2.1, item 4).
    Connection,
    /// The key is not there exactly once or is not 16 bytes in base64 (RFC 6455, 4.2.1, item 5).
    Key,
    /// The version is not 13, exactly once (RFC 6455, 4.2.1, item 6).
    Version,
    /// An offered subprotocol is no token or repeated, or none is named (RFC 6455, 4.1, item 10).
    Subprotocol,
    /// The extensions offered are not a list of such (RFC 6455, 9.1).
    Extensions,
}

impl HandshakeError {
    /// Returns the HTTP status that answers the request: 400, 405, 414, 426 or 431.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::Foreign(_)
            | Self::HttpVersion
            | Self::Target
            | Self::Body
            | Self::Host
            | Self::Connection
            | Self::Key
            | Self::Subprotocol
            | Self::Extensions => 400,
            Self::Method => 405,
            Self::TargetTooLong { .. } => 414,
            Self::NoUpgrade | Self::Version => 426,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(part) => write!(f, "malformed {part}"),
            Self::Foreign(protocol) => write!(f, "not a request of http/1: {protocol}"),
            Self::HeadTooLarge { limit } => write!(f, "request head exceeds {limit} bytes"),
            Self::TargetTooLong { limit } => write!(f, "target exceeds {limit} bytes"),
            Self::TooManyHeaders { limit } => write!(f, "more than {limit} header lines"),
            Self::Method => f.write_str("method must be GET"),
            Self::HttpVersion => f.write_str("version must be HTTP/1.1"),
            Self::Target => {
                f.write_str("target must be a path, or a uri with a host, without fragment")
            }
            Self::Body => f.write_str("an upgrade must not have a body"),
            Self::Host => f.write_str("host must be given exactly once and be an authority"),
            Self::NoUpgrade => f.write_str("upgrade must name websocket"),
            Self::Connection => f.write_str("connection must be tokens and name upgrade"),
            Self::Key => f.write_str("sec-websocket-key must be 16 bytes in base64, once"),
            Self::Version => f.write_str("sec-websocket-version must be 13, once"),
            Self::Subprotocol => f.write_str("subprotocols must be tokens, each once"),
            Self::Extensions => f.write_str("extensions must be tokens with parameters"),
        }
    }
}

impl StdError for HandshakeError {}

/// Says whether a head has not come further than its target, which only the blank behind it ends.
fn is_within_target(head: &[u8]) -> bool {
    let line = head.trim_ascii_start();
    line.contains(&b' ') && !line.contains(&b'\n')
}

/// Begins a response that ends the connection.
fn final_head(status: u16, body_len: Option<usize>, upgrades: bool) -> HeadWriter {
    let mut head = HeadWriter::new(format_args!("HTTP/1.1 {status} {}", reason_phrase(status)));
    if let Some(len) = body_len {
        head.own("Content-Length", len.to_string().as_bytes());
    }
    // RFC 9110, 7.8: who sends Upgrade "MUST also send an "Upgrade" connection option"
    let options: &[u8] = if upgrades {
        b"close, Upgrade"
    } else {
        b"close"
    };
    head.own("Connection", options);
    head
}

fn with_body(head: HeadWriter, body: &[u8]) -> Vec<u8> {
    let mut response = head.finish();
    response.extend_from_slice(body);
    response
}

/// Returns the words beside the statuses that a server of ours sends; an unknown one goes without
/// (RFC 9112, section 4, allows that).
const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// Reads keys. The last symbol's unused bits may be set: the example of RFC 6455, section 4.1, sets
/// them itself (`AQIDBAUGBwgJCgsMDQ4PEC==`).
const KEY_ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const RESERVED_IN_ACCEPT: [&str; 7] = [
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Content-Length",
    "Transfer-Encoding",
];

const RESERVED_IN_FINAL: [&str; 3] = ["Content-Length", "Transfer-Encoding", "Connection"];

#[cfg(test)]
mod tests;
