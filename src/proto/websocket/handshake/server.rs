//! The server's side: reads requests for an upgrade, writes the responses (RFC 6455, section 4.2).

use std::error::Error as StdError;
use std::fmt;

use super::accept::accept_of;
#[cfg(feature = "deflate")]
use super::deflate::DeflateAgreement;
use super::extension::is_extension;
use super::invalid::InvalidHandshake;
#[cfg(feature = "deflate")]
use crate::config::DeflateConfig;
use crate::proto::authority::Authority;
use crate::proto::http::head::{HeadWriter, Headers, is_protocol, is_token};
use crate::proto::http::response::refusal;
use crate::proto::http::uri::is_resource_name;
use crate::proto::http::{HttpDate, Request};
use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// A request for an upgrade to WebSocket that obeys every rule of RFC 6455, section 4.2.1.
///
/// The application decides whether to accept it (path, origin, credentials).
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    request: &'a Request<'a>,
    accept: [u8; 28],
    subprotocols: Vec<&'a str>,
}

impl<'a> Upgrade<'a> {
    /// Checks all rules of RFC 6455, section 4.2.1, for an opening handshake.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks. [`error_response`] tells the client.
    pub fn of(request: &'a Request<'a>) -> Result<Self, HandshakeError> {
        let fields = request.fields();
        // 4.2.1, 1: "An HTTP/1.1 or higher GET request"
        if request.method() != "GET" {
            return Err(HandshakeError::Method);
        }
        if request.minor_version() < 1 {
            return Err(HandshakeError::HttpVersion);
        }
        check_target(request)?;
        check_no_body(fields)?;
        // 2, "A |Host| header field", was checked when the request was parsed. 3: "An |Upgrade| header field
        // containing the value "websocket""
        if !request.wants_upgrade_to("websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        if !fields.is_list_of("upgrade", is_protocol) {
            return Err(HandshakeError::Malformed("upgrade"));
        }
        // 4: "A |Connection| header field that includes the token "Upgrade""
        if !fields.list_has("connection", "upgrade") || !fields.is_list_of("connection", is_token) {
            return Err(HandshakeError::Connection);
        }
        // 6, and 4.4: for any other version the response names the one that we support
        if fields.only("sec-websocket-version") != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        let key = key_of(fields)?;
        // 7: with two origins, one program might check the first and another the last (RFC 6454,
        // 7.3: a client MUST NOT send more than one).
        if fields.all("origin").count() > 1 {
            return Err(HandshakeError::Malformed("origin"));
        }
        let subprotocols = subprotocols_of(fields)?;
        // 9.1: a value "that does not conform to the ABNF below" MUST fail the connection. A valid
        // one is declined by leaving it out of the response.
        if request.header("sec-websocket-extensions").is_some()
            && !fields.is_list_of("sec-websocket-extensions", is_extension)
        {
            return Err(HandshakeError::Extensions);
        }
        Ok(Self {
            request,
            accept: accept_of(key),
            subprotocols,
        })
    }

    /// Returns the whole request.
    pub fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// Returns the subprotocols that the client offers, in its order of preference.
    pub fn subprotocols(&self) -> &[&'a str] {
        &self.subprotocols
    }

    /// Returns the `Origin` field, which browsers send (RFC 6455, section 10.2).
    pub fn origin(&self) -> Option<&'a [u8]> {
        self.request.header("origin")
    }
}

/// Builds the response that completes the handshake (RFC 6455, section 4.2.2).
///
/// `subprotocol` is one of those offered, or `None`. `date` is the date for the `Date` field, if
/// there is a wall clock. It is not written if `headers` contain a date. `headers` are added, such
/// as cookies.
///
/// # Errors
///
/// [`InvalidHandshake`] if the subprotocol was not offered, or if a header is invalid or one that
/// the handshake writes itself.
pub fn accept_response(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    date: Option<&HttpDate>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHandshake> {
    build(upgrade, subprotocol, None, date, headers)
}

/// Does the same as [`accept_response`], and agrees to compress messages in the first way offered that
/// `deflate` allows (RFC 7692, section 7.1). Returns what was agreed on; `None` if messages are not
/// compressed.
///
/// # Errors
///
/// The same as [`accept_response`].
#[cfg(feature = "deflate")]
pub fn accept_response_with(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    deflate: Option<&DeflateConfig>,
    date: Option<&HttpDate>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<(Vec<u8>, Option<DeflateAgreement>), InvalidHandshake> {
    let fields = upgrade.request.fields();
    let offers = fields.list("sec-websocket-extensions");
    let answer = deflate.and_then(|config| DeflateAgreement::answer(config, offers));
    let (agreed, extensions) = answer.unzip();
    let response = build(upgrade, subprotocol, extensions.as_deref(), date, headers)?;
    Ok((response, agreed))
}

fn build(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    date: Option<&HttpDate>,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Vec<u8>, InvalidHandshake> {
    let mut head = HeadWriter::new(format_args!("HTTP/1.1 101 Switching Protocols"));
    head.date(date, headers);
    head.own("Upgrade", b"websocket");
    head.own("Connection", b"Upgrade");
    head.own("Sec-WebSocket-Accept", &upgrade.accept);
    if let Some(chosen) = subprotocol {
        if !upgrade.subprotocols.contains(&chosen) {
            return Err(InvalidHandshake::Subprotocol(chosen.to_owned()));
        }
        head.own("Sec-WebSocket-Protocol", chosen.as_bytes());
    }
    if let Some(extensions) = extensions {
        head.own("Sec-WebSocket-Extensions", extensions.as_bytes());
    }
    head.foreign(headers, &RESERVED_IN_ACCEPT)?;
    Ok(head.finish())
}

/// Builds the response that tells a client why its handshake failed. The body names the rule.
/// `date` is the same as for [`response`](crate::proto::http::response).
pub fn error_response(error: &HandshakeError, date: Option<&HttpDate>) -> Vec<u8> {
    let fields: &[(&str, &str)] = match error.status() {
        // RFC 9110, 15.5.6: "MUST generate an Allow header field in a 405 response"
        405 => &[("Allow", "GET")],
        // RFC 9110, 15.5.22: "MUST send an Upgrade header field in a 426 response"; RFC 6455, 4.2.2: "a
        // |Sec-WebSocket-Version| header field indicating the version(s) the server is capable of
        // understanding"
        426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        _ => &[],
    };
    refusal(error.status(), error, fields, date)
}

/// The rule of the opening handshake that a request broke. Each rule has an HTTP status for the
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// This header field does not have the syntax that HTTP requires.
    Malformed(&'static str),
    /// The method is not GET (RFC 6455, 4.2.1, item 1).
    Method,
    /// The version is below HTTP/1.1 (RFC 6455, 4.2.1, item 1).
    HttpVersion,
    /// The target is neither a path nor a URI with a host, or it has a fragment or a character that
    /// must be escaped (RFC 6455, section 3).
    Target,
    /// The request announces a body.
    Body,
    /// The Upgrade header does not name websocket (RFC 6455, 4.2.1, item 3).
    NoUpgrade,
    /// The Connection header is not a list of tokens, or does not contain upgrade (RFC 6455, 4.1,
    /// item 4).
    Connection,
    /// The key is missing, repeated or not 16 bytes in base64 (RFC 6455, 4.2.1, item 5).
    Key,
    /// The version is missing, repeated or not 13 (RFC 6455, 4.2.1, item 6).
    Version,
    /// A subprotocol is not a token, or is repeated, or the list is empty (RFC 6455, 4.1, item 10).
    Subprotocol,
    /// The offered extensions do not have the required syntax (RFC 6455, 9.1).
    Extensions,
}

impl HandshakeError {
    /// Returns the HTTP status of the response: 400, 405 or 426.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::HttpVersion
            | Self::Target
            | Self::Body
            | Self::Connection
            | Self::Key
            | Self::Subprotocol
            | Self::Extensions => 400,
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(part) => write!(f, "malformed {part}"),
            Self::Method => f.write_str("method must be GET"),
            Self::HttpVersion => f.write_str("version must be HTTP/1.1"),
            Self::Target => {
                f.write_str("target must be a path, or a uri with a host, without fragment")
            }
            Self::Body => f.write_str("an upgrade must not have a body"),
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

/// 4.2.1, 1: the target is a resource name, or an absolute URI, whose path may be missing. The host
/// in that URI may differ from the Host field: see [`Request::authority`].
fn check_target(request: &Request<'_>) -> Result<(), HandshakeError> {
    let is_sound = match request.split_target() {
        (None, local) => is_resource_name(local),
        (Some((scheme, authority)), local) => {
            let is_web = ["http", "https", "ws", "wss"]
                .iter()
                .any(|other| scheme.eq_ignore_ascii_case(other));
            // The path may be missing if it is the root.
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

/// A body would stand where the frames begin. A proxy that computes its length differently could
/// then be used for request smuggling.
fn check_no_body(fields: &Headers<'_>) -> Result<(), HandshakeError> {
    let has_coding = fields.all("transfer-encoding").next().is_some();
    let is_empty = |len: &[u8]| len.iter().all(|&digit| digit == b'0');
    match has_coding || !fields.all("content-length").all(is_empty) {
        true => Err(HandshakeError::Body),
        false => Ok(()),
    }
}

/// 4.2.1, 5: "a base64-encoded value that, when decoded, is 16 bytes in length"; 11.3.1: it "MUST
/// NOT appear more than once".
fn key_of<'b>(fields: &'b Headers<'_>) -> Result<&'b [u8], HandshakeError> {
    let key = fields
        .only("sec-websocket-key")
        .ok_or(HandshakeError::Key)?;
    let mut nonce = [0; 18];
    match KEY_ENGINE.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(key),
        Ok(_) | Err(_) => Err(HandshakeError::Key),
    }
}

/// 4.1, 10: the elements are tokens "and MUST all be unique strings"; 4.3: there is at least one.
fn subprotocols_of<'b>(fields: &'b Headers<'_>) -> Result<Vec<&'b str>, HandshakeError> {
    let name = "sec-websocket-protocol";
    if fields.all(name).next().is_none() {
        return Ok(Vec::new());
    }
    let names = fields.list(name).map(std::str::from_utf8);
    let offered: Vec<_> = names
        .collect::<Result<_, _>>()
        .map_err(|_| HandshakeError::Subprotocol)?;
    // Sorted, because comparing each with each could take milliseconds for one head.
    let mut sorted = offered.clone();
    sorted.sort_unstable();
    let is_repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    match fields.is_list_of(name, is_token) && !is_repeated {
        true => Ok(offered),
        false => Err(HandshakeError::Subprotocol),
    }
}

/// Decodes keys. The unused bits of the last symbol may be set, as they are in the example of RFC
/// 6455, section 4.1 (`AQIDBAUGBwgJCgsMDQ4PEC==`).
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

#[cfg(test)]
mod tests;
