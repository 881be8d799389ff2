//! The client's side: sends the request, reads the response (RFC 6455, section 4.1).

use std::error::Error as StdError;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::accept::accept_of;
#[cfg(feature = "deflate")]
use super::deflate::DeflateAgreement;
use super::invalid::InvalidHandshake;
#[cfg(feature = "deflate")]
use crate::config::DeflateConfig;
use crate::proto::authority::Authority;
use crate::proto::http::head::{HeadWriter, Headers, is_token};
use crate::proto::http::uri::is_resource_name;
use crate::proto::http::{HeadError, HeadLimits, HeadProgress, InvalidHead, Response, RetryAfter};

/// Builds the request that starts the handshake (RFC 6455, section 4.1).
///
/// `host` is the host, with its port unless that is the default. `path` is path and query. `key`
/// must be random, and new for each connection. `headers` are added, such as credentials or an
/// origin.
///
/// # Errors
///
/// [`InvalidHandshake`] if a part is invalid, could start another header line, or is a header that
/// the handshake writes itself.
///
/// ```
/// use heartwheel::proto::websocket::handshake::request;
///
/// let headers = [("Authorization", "Bearer token")];
/// let head = request("example.com:9001", "/chat?room=1", [7; 16], &["v2", "v1"], &headers)?;
/// assert!(head.starts_with(b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com:9001\r\n"));
/// assert!(request("example.com\r\nX: forged", "/", [7; 16], &["v1"], &headers).is_err());
/// # Ok::<(), heartwheel::proto::websocket::handshake::InvalidHandshake>(())
/// ```
pub fn request(
    host: &str,
    path: &str,
    key: [u8; 16],
    subprotocols: &[impl AsRef<str>],
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHandshake> {
    build(host, path, key, subprotocols, None, headers)
}

/// Does the same as [`request`], and offers compression (RFC 7692, section 7.1) if it is asked for.
///
/// # Errors
///
/// The same as [`request`].
#[cfg(feature = "deflate")]
pub fn request_with(
    host: &str,
    path: &str,
    key: [u8; 16],
    subprotocols: &[impl AsRef<str>],
    deflate: Option<&DeflateConfig>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHandshake> {
    let offer = deflate.map(DeflateAgreement::offer);
    build(host, path, key, subprotocols, offer.as_deref(), headers)
}

fn build(
    host: &str,
    path: &str,
    key: [u8; 16],
    subprotocols: &[impl AsRef<str>],
    extensions: Option<&str>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHandshake> {
    if Authority::parse(host).is_none() {
        return Err(InvalidHead::Host(host.to_owned()).into());
    }
    if !is_resource_name(path) {
        return Err(InvalidHead::Path(path.to_owned()).into());
    }
    let mut head = HeadWriter::new(format_args!("GET {path} HTTP/1.1"));
    head.own("Host", host.as_bytes());
    head.own("Upgrade", b"websocket");
    head.own("Connection", b"Upgrade");
    head.own("Sec-WebSocket-Key", &encode_key(key));
    head.own("Sec-WebSocket-Version", b"13");
    if !subprotocols.is_empty() {
        head.own("Sec-WebSocket-Protocol", offer(subprotocols)?.as_bytes());
    }
    if let Some(extensions) = extensions {
        head.own("Sec-WebSocket-Extensions", extensions.as_bytes());
    }
    head.foreign(headers, &RESERVED)?;
    Ok(head.finish())
}

/// Returns the `Sec-WebSocket-Accept` that proves a server has read `key` (RFC 6455, section 4.2.2).
///
/// ```
/// use heartwheel::proto::websocket::handshake::accept_for;
///
/// // The sample of RFC 6455, section 1.3.
/// assert_eq!(&accept_for(*b"the sample nonce"), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_for(key: [u8; 16]) -> [u8; 28] {
    accept_of(&encode_key(key))
}

/// Parses and checks the response head at the start of `input`, and returns it with its length in
/// bytes; `None` if it is incomplete. The bytes after it, the server's first frames, are ignored.
///
/// `expected_accept` is from [`accept_for`]. `offered` are the subprotocols in the request. Interim
/// responses (100, 103) are skipped, but count towards the length and the limit.
///
/// # Errors
///
/// [`ResponseError::Status`] if the final response is not 101. Otherwise the first rule of RFC
/// 6455, section 4.1, that the response breaks.
pub fn parse_response<'a>(
    input: &'a [u8],
    expected_accept: &[u8; 28],
    offered: &[impl AsRef<str>],
    limits: &HeadLimits,
) -> Result<Option<(Acceptance<'a>, usize)>, ResponseError> {
    let Some((response, len)) = Response::parse(input, limits)? else {
        return Ok(None);
    };
    judge(&response, expected_accept, offered)?;
    check_no_extension(response.fields())?;
    Ok(Some((Acceptance::of(response), len)))
}

/// Does the same as [`parse_response`], if you call it again each time more bytes arrive. If the
/// head is incomplete, [`HeadProgress::take_done`] says which bytes to remove before the next call:
/// interim responses, which are read only once.
///
/// # Errors
///
/// The same as [`parse_response`], but perhaps later: at the latest when the head is complete.
pub fn parse_more_response<'a>(
    progress: &mut HeadProgress,
    input: &'a [u8],
    expected_accept: &[u8; 28],
    offered: &[impl AsRef<str>],
    limits: &HeadLimits,
) -> Result<Option<(Acceptance<'a>, usize)>, ResponseError> {
    let Some((response, len)) = Response::parse_more(progress, input, limits)? else {
        return Ok(None);
    };
    judge(&response, expected_accept, offered)?;
    check_no_extension(response.fields())?;
    Ok(Some((Acceptance::of(response), len)))
}

/// Does the same as [`parse_more_response`] for a [request](request_with) that offered compression,
/// if `deflate` says so.
///
/// # Errors
///
/// The same as [`parse_more_response`].
#[cfg(feature = "deflate")]
pub fn parse_more_response_with<'a>(
    progress: &mut HeadProgress,
    input: &'a [u8],
    expected_accept: &[u8; 28],
    offered: &[impl AsRef<str>],
    deflate: Option<&DeflateConfig>,
    limits: &HeadLimits,
) -> Result<Option<(Acceptance<'a>, usize)>, ResponseError> {
    let Some((response, len)) = Response::parse_more(progress, input, limits)? else {
        return Ok(None);
    };
    judge(&response, expected_accept, offered)?;
    let deflate = match deflate {
        Some(config) => check_deflate(config, response.fields())?,
        None => check_no_extension(response.fields()).map(|()| None)?,
    };
    let acceptance = Acceptance { response, deflate };
    Ok(Some((acceptance, len)))
}

/// A response that completes the opening handshake. It obeys every rule of RFC 6455, section 4.1.
#[derive(Clone, Debug)]
pub struct Acceptance<'a> {
    response: Response<'a>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateAgreement>,
}

impl<'a> Acceptance<'a> {
    fn of(response: Response<'a>) -> Self {
        Self {
            response,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Returns what the server has agreed to about compression. `None`: no message is compressed.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<DeflateAgreement> {
        self.deflate
    }

    /// Returns the subprotocol that the server chose: one of those offered.
    pub fn subprotocol(&self) -> Option<&str> {
        let chosen = self.response.fields().only("sec-websocket-protocol")?;
        std::str::from_utf8(chosen).ok()
    }

    /// Returns the whole response.
    pub fn response(&self) -> &Response<'a> {
        &self.response
    }
}

/// Why a response does not complete the opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// The head is not valid HTTP, or exceeds a limit.
    Head(HeadError),
    /// The server answered with a status other than 101 (RFC 6455, 4.1, item 1).
    Status {
        /// The HTTP status.
        code: u16,
        /// When the server wants to get the next request.
        retry_after: Option<RetryAfter>,
        /// Where the client should go: the `Location` of a response with a status of 3xx, as it was
        /// sent (RFC 9110, section 10.2.2). The server chose it, so escape it before you print it.
        location: Option<String>,
    },
    /// The version is below HTTP/1.1.
    HttpVersion,
    /// The Upgrade header is not websocket (RFC 6455, 4.1, item 2).
    Upgrade,
    /// The Connection header is not a list of tokens, or does not contain upgrade (RFC 6455, 4.1,
    /// item 3).
    Connection,
    /// The accept value is missing, repeated or not the answer to our key (RFC 6455, 4.1, item 4).
    Accept,
    /// The server chose an extension that was not offered (RFC 6455, 4.1, item 5).
    Extension,
    /// The server agreed to compress messages in a way that does not fit our offer (RFC 7692, 7.1).
    Deflate,
    /// The server chose a subprotocol that was not offered, or more than one (RFC 6455, 4.1, item
    /// 6).
    Subprotocol,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Status {
                code,
                retry_after,
                location,
            } => {
                write!(f, "server answered {code}")?;
                if let Some(location) = location {
                    write!(f, ", see {}", location.escape_debug())?;
                }
                if let Some(retry) = retry_after {
                    write!(f, ", retry {retry}")?;
                }
                Ok(())
            }
            Self::HttpVersion => f.write_str("version must be HTTP/1.1"),
            Self::Upgrade => f.write_str("upgrade must be websocket"),
            Self::Connection => f.write_str("connection must be tokens and name upgrade"),
            Self::Accept => f.write_str("sec-websocket-accept does not answer our key"),
            Self::Extension => f.write_str("server chose an extension that was not offered"),
            Self::Deflate => f.write_str("server's permessage-deflate does not fit our offer"),
            Self::Subprotocol => f.write_str("server chose a subprotocol that was not offered"),
        }
    }
}

impl StdError for ResponseError {}

impl From<HeadError> for ResponseError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// Checks a response against RFC 6455, section 4.1.
fn judge(
    response: &Response<'_>,
    expected_accept: &[u8; 28],
    offered: &[impl AsRef<str>],
) -> Result<(), ResponseError> {
    let (code, headers) = (response.status(), response.fields());
    // 1: "If the status code received from the server is not 101, the client handles the response
    // per HTTP procedures."
    if code != 101 {
        return Err(ResponseError::Status {
            code,
            retry_after: headers.only("retry-after").and_then(RetryAfter::parse),
            location: location(code, headers),
        });
    }
    if response.minor_version() < 1 {
        return Err(ResponseError::HttpVersion);
    }
    // 2: lacks Upgrade, or it "contains a value that is not an ASCII case-insensitive match for the
    // value "websocket""
    let is_websocket = |value: &[u8]| value.eq_ignore_ascii_case(b"websocket");
    if !headers.only("upgrade").is_some_and(is_websocket) {
        return Err(ResponseError::Upgrade);
    }
    // 3: lacks Connection, or it "doesn't contain a token that is an ASCII case-insensitive match
    // for the value "Upgrade""
    if !headers.list_has("connection", "upgrade") || !headers.is_list_of("connection", is_token) {
        return Err(ResponseError::Connection);
    }
    // 4: "a value other than the base64-encoded SHA-1 of the concatenation"; 11.3.3: not twice
    if headers.only("sec-websocket-accept") != Some(expected_accept) {
        return Err(ResponseError::Accept);
    }
    // Content-Length and Transfer-Encoding mean nothing here. RFC 9112, 6.3, item 1: a response of
    // 1xx "is always terminated by the first empty line after the header fields, regardless of the
    // header fields present in the message".
    check_subprotocol(headers, offered)
}

/// 5: "the use of an extension that was not present in the client's handshake"; 9.1: an empty field is
/// malformed.
fn check_no_extension(headers: &Headers<'_>) -> Result<(), ResponseError> {
    match headers.all(EXTENSIONS).next() {
        None => Ok(()),
        Some(_) => Err(ResponseError::Extension),
    }
}

/// Checks what the server says to our offer of compression; it may have declined.
#[cfg(feature = "deflate")]
fn check_deflate(
    config: &DeflateConfig,
    headers: &Headers<'_>,
) -> Result<Option<DeflateAgreement>, ResponseError> {
    if headers.all(EXTENSIONS).next().is_none() {
        return Ok(None);
    }
    let agreed = DeflateAgreement::check(config, headers.list(EXTENSIONS));
    agreed.map(Some).ok_or(ResponseError::Deflate)
}

/// 6: "the use of a subprotocol that was not present in the client's handshake"; 11.3.4: the field
/// "MUST NOT appear more than once in an HTTP response"
fn check_subprotocol(
    headers: &Headers<'_>,
    offered: &[impl AsRef<str>],
) -> Result<(), ResponseError> {
    let mut values = headers.all("sec-websocket-protocol");
    let Some(value) = values.next() else {
        return Ok(());
    };
    let is_offered = offered.iter().any(|name| name.as_ref().as_bytes() == value);
    match is_offered && values.next().is_none() {
        true => Ok(()),
        false => Err(ResponseError::Subprotocol),
    }
}

/// Returns the `Location` of a response with a status of 3xx.
fn location(code: u16, headers: &Headers<'_>) -> Option<String> {
    let value = headers
        .only("location")
        .filter(|_| (300..400).contains(&code));
    Some(std::str::from_utf8(value?).ok()?.to_owned())
}

/// Builds the list of subprotocols: tokens, "and MUST all be unique strings" (section 4.1, item
/// 10).
fn offer(subprotocols: &[impl AsRef<str>]) -> Result<String, InvalidHandshake> {
    let mut names: Vec<&str> = Vec::with_capacity(subprotocols.len());
    for name in subprotocols.iter().map(AsRef::as_ref) {
        if !is_token(name.as_bytes()) || names.contains(&name) {
            return Err(InvalidHandshake::Subprotocol(name.to_owned()));
        }
        names.push(name);
    }
    Ok(names.join(", "))
}

/// Encodes a key in base64 (section 4.1, item 7).
fn encode_key(key: [u8; 16]) -> [u8; 24] {
    let mut text = [0; 24];
    let len = STANDARD.encode_slice(key, &mut text);
    debug_assert_eq!(len, Ok(text.len()), "16 bytes are 24 characters of base64");
    text
}

const EXTENSIONS: &str = "sec-websocket-extensions";

const RESERVED: [&str; 10] = [
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
    "Content-Length",
    "Transfer-Encoding",
];

#[cfg(test)]
mod tests;
