//! The head of a received request.

use httparse::Status;

use super::error::HeadError;
use super::head::{HeadLimits, Headers, before_bare_line_feed};
use super::progress::{HeadProgress, spent_lines};
use crate::error::Foreign;
use crate::proto::authority::Authority;

/// A received HTTP/1 request head.
///
/// It borrows from the bytes it was parsed from; [`owned`](Self::owned) copies it. Only its form has been checked: names are tokens,
/// no value contains a control character, the target is UTF-8 without blanks, an HTTP/1.1 request
/// has one host, and the lengths of its body do not contradict each other.
/// [`Upgrade::of`](crate::proto::websocket::handshake::Upgrade::of) checks whether it may be
/// upgraded to WebSocket.
///
/// ```
/// use heartwheel::proto::http::{HeadLimits, Request};
///
/// let input = b"GET /health?verbose HTTP/1.0\r\nhost: a\r\n\r\nrest";
/// let (request, len) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
/// assert_eq!(&input[len..], b"rest");
/// assert_eq!((request.method(), request.path()), ("GET", "/health"));
/// assert_eq!(request.header("Host"), Some(b"a".as_slice()));
/// assert!(!request.wants_upgrade_to("websocket"));
/// # Ok::<(), heartwheel::proto::http::HeadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    /// The minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    version: u8,
    headers: Headers<'a>,
    /// Empty until all of it has arrived.
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Parses the head at the front of `input`, and returns it with its length in bytes. `None` if
    /// it is incomplete. Bytes after the head are ignored.
    ///
    /// # Errors
    ///
    /// [`HeadError::Malformed`] as soon as the bytes cannot be the start of a head.
    /// [`HeadError::HeadTooLarge`], [`HeadError::TargetTooLong`] and [`HeadError::TooManyHeaders`]
    /// beyond the limits. [`HeadError::Host`] if an HTTP/1.1 request has no host or an invalid one.
    pub fn parse(input: &'a [u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = limits.header_storage();
        let mut parsed = httparse::Request::new(&mut headers);
        let (head, is_cut) = before_bare_line_feed(limits.cut(input));
        let parsed_head = parsed.parse(head);
        if parsed_head.is_err() && Foreign::is_undecided(input) {
            return Ok(None);
        }
        let status = parsed_head.map_err(|error| {
            HeadError::of(
                error,
                "request line",
                Foreign::of(input),
                limits.max_headers,
            )
        })?;
        let len = match status {
            Status::Complete(len) => len,
            Status::Partial if is_cut => return Err(HeadError::Malformed("end of line")),
            Status::Partial if limits.is_reached_by(input) => {
                let limit = limits.max_bytes;
                return Err(match is_within_target(head) {
                    true => HeadError::TargetTooLong { limit },
                    false => HeadError::HeadTooLarge { limit },
                });
            }
            Status::Partial => return Ok(None),
        };
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HeadError::Malformed("request line"));
        };
        let count = parsed.headers.len();
        headers.truncate(count);
        let request = Self {
            method,
            target,
            version,
            headers: Headers::new(headers),
            body: &[],
        };
        request.check_host()?;
        request.check_body()?;
        Ok(Some((request, len)))
    }

    /// Does the same as [`parse`](Self::parse), if you call it again each time more bytes arrive.
    /// If the head is incomplete, [`HeadProgress::take_done`] says which bytes to remove before the
    /// next call.
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
        let empty = spent_lines(input);
        progress.pass(empty);
        let input = &input[empty..];
        if !progress.is_due(input, limits) {
            return Ok(None);
        }
        let parsed = Self::parse(input, &progress.left(limits));
        match parsed.map_err(|error| error.with_limit(limits.max_bytes))? {
            Some((request, len)) => Ok(Some((request, empty + len))),
            None => {
                if Foreign::is_undecided(input) {
                    progress.look_again();
                }
                Ok(None)
            }
        }
    }

    /// Returns whether the client asks for this protocol; it may ask for others, too. RFC 9110,
    /// section 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0
    /// request."
    pub fn wants_upgrade_to(&self, protocol: &str) -> bool {
        self.version > 0 && self.headers.list_has("upgrade", protocol)
    }

    /// Returns the minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub fn minor_version(&self) -> u8 {
        self.version
    }

    /// Returns the method, such as `GET`.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// Returns the target as it was sent: path and query, or an absolute URI. It may contain
    /// characters that are not ASCII, but no control characters.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// Returns the path of the target, without query; `/` for an absolute URI without a path.
    pub fn path(&self) -> &'a str {
        let (_, local) = self.split_target();
        let path = local.split_once('?').map_or(local, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// Returns the part of the target after the first question mark, as it was sent. See
    /// [`query_pairs`](Self::query_pairs).
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Returns the value of the first header line with this name, ignoring ASCII case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.all(name).next()
    }

    /// Returns all header lines, name and value, in the order in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &[u8])> {
        self.headers.iter()
    }

    /// Returns the body, if it was read: see [`Exchange::complete`](super::Exchange::complete).
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Puts a request together again.
    pub(super) fn from_parts(
        method: &'a str,
        target: &'a str,
        version: u8,
        headers: Headers<'a>,
        body: &'a [u8],
    ) -> Self {
        Self {
            method,
            target,
            version,
            headers,
            body,
        }
    }

    pub(super) fn set_body(&mut self, body: &'a [u8]) {
        self.body = body;
    }

    /// Returns the header fields, which can be read as lists or single values.
    pub(crate) fn fields(&self) -> &Headers<'a> {
        &self.headers
    }

    /// Splits an absolute target after its authority. Another target has no authority.
    pub(crate) fn split_target(&self) -> (Option<(&'a str, &'a str)>, &'a str) {
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
    fn check_host(&self) -> Result<(), HeadError> {
        let is_optional = self.version < 1 && self.header("host").is_none();
        match is_optional || self.has_sound_host() {
            true => Ok(()),
            false => Err(HeadError::Host),
        }
    }

    /// Returns the host that the request is for, with its port if there is one: from an absolute
    /// target, otherwise from the Host field. `None` if neither has one (HTTP/1.0), or if an
    /// absolute target has no host.
    ///
    /// RFC 9112, section 3.2.2: a server that receives an absolute target "MUST ignore the received
    /// Host header field (if any) and instead use the host information of the request-target". So a
    /// check of the host must use this function, not the Host field.
    ///
    /// ```
    /// use heartwheel::proto::http::{HeadLimits, Request};
    ///
    /// let input = b"GET http://example.com/chat HTTP/1.1\r\nHost: other.example\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// assert_eq!(request.authority(), Some("example.com"));
    /// # Ok::<(), heartwheel::proto::http::HeadError>(())
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

    /// RFC 9112, 6.1 and 6.3: if the length of the body is invalid or given twice, the response is
    /// 400.
    fn check_body(&self) -> Result<(), HeadError> {
        let mut lengths = self.headers.all("content-length");
        let first = lengths.next();
        let is_length = |len: &[u8]| !len.is_empty() && len.iter().all(u8::is_ascii_digit);
        if !first.is_none_or(is_length) || !lengths.all(|len| Some(len) == first) {
            return Err(HeadError::Malformed("content-length"));
        }
        if self.header("transfer-encoding").is_none() {
            return Ok(());
        }
        let last = self.headers.list("transfer-encoding").last();
        let is_chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        match is_chunked && first.is_none() && self.version > 0 {
            true => Ok(()),
            false => Err(HeadError::Malformed("transfer-encoding")),
        }
    }
}

/// Returns whether the head ends within its target. Only the blank after the target ends it.
fn is_within_target(head: &[u8]) -> bool {
    let line = head.trim_ascii_start();
    line.contains(&b' ') && !line.contains(&b'\n')
}

#[cfg(test)]
mod tests;
