//! Responses: heads that were received, and whole responses to send.

use std::fmt;

use httparse::{ParserConfig, Status};

use super::date::HttpDate;
use super::error::HeadError;
use super::head::{HeadLimits, HeadWriter, Headers, InvalidHead, before_bare_line_feed};
use super::persistence::Persistence;
use super::progress::{HeadProgress, spent_lines};
use super::request::Request;
use crate::error::Foreign;

/// A received response head.
///
/// It borrows from the bytes it was parsed from. Only its form has been checked.
///
/// ```
/// use heartwheel::proto::http::{HeadLimits, Response};
///
/// let input = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nServer: a\r\n\r\nrest";
/// let (response, len) = Response::parse(input, &HeadLimits::default())?.expect("a whole head");
/// assert_eq!(&input[len..], b"rest");
/// assert_eq!((response.status(), response.header("server")), (200, Some(&b"a"[..])));
/// # Ok::<(), heartwheel::proto::http::HeadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Response<'a> {
    status: u16,
    /// The minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    version: u8,
    headers: Headers<'a>,
}

impl<'a> Response<'a> {
    /// Parses the head at the front of `input`, and returns it with its length in bytes. `None` if
    /// it is incomplete. Bytes after the head are ignored.
    ///
    /// Interim responses (100, 103) are skipped, but count towards the length and the limit. A 101
    /// is not an interim response: another protocol follows it.
    ///
    /// # Errors
    ///
    /// [`HeadError::Malformed`] as soon as the bytes cannot be the start of a head.
    /// [`HeadError::HeadTooLarge`] and [`HeadError::TooManyHeaders`] beyond the limits.
    pub fn parse(input: &'a [u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        let mut interim_len = 0;
        loop {
            let Some((head, len)) = Self::parse_one(&limits.cut(input)[interim_len..], limits)?
            else {
                return match limits.is_reached_by(input) {
                    true => Err(HeadError::HeadTooLarge {
                        limit: limits.max_bytes,
                    }),
                    false => Ok(None),
                };
            };
            let total = interim_len + len;
            // RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses received
            // prior to a final response, even if the client does not expect one."
            if !is_interim(head.status) {
                return Ok(Some((head, total)));
            }
            interim_len = total;
        }
    }

    /// Does the same as [`parse`](Self::parse), if you call it again each time more bytes arrive.
    /// If the head is incomplete, [`HeadProgress::take_done`] says which bytes to remove before the
    /// next call: interim responses, which are read only once.
    ///
    /// # Errors
    ///
    /// The same as [`parse`](Self::parse), but perhaps later: at the latest when the head is
    /// complete.
    pub fn parse_more(
        progress: &mut HeadProgress,
        input: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Self, usize)>, HeadError> {
        let too_large = HeadError::HeadTooLarge {
            limit: limits.max_bytes,
        };
        let mut passed = 0;
        // After an interim response comes another head, which is handled like the first one.
        loop {
            let input = &input[passed..];
            let empty = spent_lines(input);
            progress.pass(empty);
            passed += empty;
            let input = &input[empty..];
            let left = progress.left(limits);
            if !progress.is_due(input, limits) {
                return Ok(None);
            }
            match Self::parse_one(left.cut(input), &left)? {
                None if left.is_reached_by(input) => return Err(too_large),
                None => {
                    if Foreign::is_undecided(input) {
                        progress.look_again();
                    }
                    return Ok(None);
                }
                Some((head, len)) if is_interim(head.status) => {
                    progress.pass(len);
                    passed += len;
                }
                Some((head, len)) => return Ok(Some((head, passed + len))),
            }
        }
    }

    /// Parses the head at the start, which may be an interim response.
    fn parse_one(input: &'a [u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = limits.header_storage();
        let mut parsed = httparse::Response::new(&mut headers);
        let (head, is_cut) = before_bare_line_feed(input);
        // RFC 9112, 5.2: values that are split over several lines are accepted from servers.
        let mut parser = ParserConfig::default();
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let parsed_head = parser.parse_response(&mut parsed, head);
        if parsed_head.is_err() && Foreign::is_undecided(input) {
            return Ok(None);
        }
        let status = parsed_head.map_err(|error| {
            // An invalid HTTP response is not another protocol.
            let foreign = Foreign::of(input).filter(|found| *found != Foreign::HttpResponse);
            HeadError::of(error, "status line", foreign, limits.max_headers)
        })?;
        let len = match status {
            Status::Complete(len) => len,
            Status::Partial if is_cut => return Err(HeadError::Malformed("end of line")),
            Status::Partial => return Ok(None),
        };
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err(HeadError::Malformed("status line"));
        };
        let count = parsed.headers.len();
        headers.truncate(count);
        Ok(Some((
            Self {
                status,
                version,
                headers: Headers::unfold(headers),
            },
            len,
        )))
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub fn minor_version(&self) -> u8 {
        self.version
    }

    /// Returns the value of the first header field with this name, ignoring ASCII case. If the
    /// server split the value over several lines, they are joined with blanks (RFC 9112, section
    /// 5.2).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.all(name).next()
    }

    /// Returns all header fields, name and value, in the order in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &[u8])> {
        self.headers.iter()
    }

    /// Returns the header fields, which can be read as lists or single values.
    pub(crate) fn fields(&self) -> &Headers<'a> {
        &self.headers
    }
}

/// Returns whether this is the status of an interim response: another one follows (RFC 9110,
/// section 15.2).
fn is_interim(status: u16) -> bool {
    matches!(status, 100 | 102..200)
}

/// Builds a plain HTTP response with `Content-Length`. It has a `Connection` field if one is
/// needed: to say whether the connection stays open, or to name an `Upgrade` header in `headers`.
///
/// `date` is the date of the wall clock. RFC 9110, section 6.6.1: a server with a clock must send
/// it, a server without one must not. It is left out if `headers` contain a date.
///
/// Whatever `body` is, statuses 204 and 304 have no length and no body, and 205 has an empty body.
/// For the response to a `HEAD` request, cut off everything after the empty line.
///
/// # Errors
///
/// [`InvalidHead`] if the status is not within 200 to 599, or if a header is invalid or one that
/// this function writes itself.
///
/// ```
/// use heartwheel::proto::http::{Persistence, response};
///
/// let close = Persistence::Close;
/// let full = response(503, close, None, &[("Retry-After", "5")], b"full\n")?;
/// assert_eq!(
///     full,
///     b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\n\
///       Retry-After: 5\r\n\r\nfull\n"
/// );
/// assert!(response(200, close, None, &[("X", "a\r\nSet-Cookie: forged")], b"").is_err());
/// # Ok::<(), heartwheel::proto::http::InvalidHead>(())
/// ```
pub fn response(
    status: u16,
    persistence: Persistence,
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
    let mut head = final_head(status, persistence, body.map(<[u8]>::len), upgrades);
    head.date(date, headers);
    head.foreign(headers, &RESERVED_IN_FINAL)?;
    Ok(with_body(head, body.unwrap_or_default()))
}

/// Builds the response that tells a client what is wrong with its request. The body names the rule.
/// `date` is the same as for [`response`].
pub fn error_response(error: &HeadError, date: Option<&HttpDate>) -> Vec<u8> {
    refusal(error.status(), error, &[], date)
}

/// Builds a response that closes the connection and gives the reason as text. `fields` are known to
/// be valid.
pub(crate) fn refusal(
    status: u16,
    reason: impl fmt::Display,
    fields: &[(&str, &str)],
    date: Option<&HttpDate>,
) -> Vec<u8> {
    let body = format!("{reason}\n");
    let upgrades = fields.iter().any(|(name, _)| *name == "Upgrade");
    let mut head = final_head(status, Persistence::Close, Some(body.len()), upgrades);
    head.date(date, fields);
    head.own("Content-Type", b"text/plain; charset=utf-8");
    for (name, value) in fields {
        head.own(name, value.as_bytes());
    }
    with_body(head, body.as_bytes())
}

/// Removes the body if the request is a `HEAD`. The head still gives its length (RFC 9110, section
/// 9.3.2).
pub(crate) fn response_to(request: &Request<'_>, mut response: Vec<u8>) -> Vec<u8> {
    if request.method() == "HEAD" {
        let end = b"\r\n\r\n";
        let head = response.windows(end.len()).position(|line| line == end);
        response.truncate(head.map_or(response.len(), |at| at + end.len()));
    }
    response
}

/// Starts a final response.
fn final_head(
    status: u16,
    persistence: Persistence,
    body_len: Option<usize>,
    upgrades: bool,
) -> HeadWriter {
    let mut head = HeadWriter::new(format_args!("HTTP/1.1 {status} {}", reason_phrase(status)));
    if let Some(len) = body_len {
        head.own("Content-Length", len.to_string().as_bytes());
    }
    if let Some(options) = persistence.options(upgrades) {
        head.own("Connection", options.as_bytes());
    }
    head
}

fn with_body(head: HeadWriter, body: &[u8]) -> Vec<u8> {
    let mut response = head.finish();
    response.extend_from_slice(body);
    response
}

/// Returns the text for a status that the library sends. Another status has no text, which RFC
/// 9112, section 4, allows.
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
        411 => "Length Required",
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

const RESERVED_IN_FINAL: [&str; 3] = ["Content-Length", "Transfer-Encoding", "Connection"];

#[cfg(test)]
mod tests;
