//! The head of a request, received.

use httparse::Status;

use super::error::HeadError;
use super::head::{HeadLimits, Headers, before_bare_line_feed};
use super::progress::{HeadProgress, spent_lines};
use crate::error::Foreign;
use crate::proto::authority::Authority;

/// A received HTTP/1 request head.
///
/// It borrows from the bytes it was parsed from. Only its form has been checked: names are tokens, no
/// value contains a control character, the target is UTF-8 without blanks, an HTTP/1.1 request names
/// one host, and there are not two opinions on the length of its body. Whether it may be upgraded to
/// WebSocket, [`Upgrade::of`](crate::proto::websocket::handshake::Upgrade::of) says.
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
    /// Empty until it is there as a whole.
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

    /// Says whether the client asks for this protocol, perhaps among others. RFC 9110, section 7.8:
    /// "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
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

    /// Returns the body, where it was read: see [`Exchange::complete`](super::Exchange::complete).
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    pub(super) fn set_body(&mut self, body: &'a [u8]) {
        self.body = body;
    }

    /// Returns the header fields, to be read as lists or single values.
    pub(crate) fn fields(&self) -> &Headers<'a> {
        &self.headers
    }

    /// Splits an absolute target behind its authority; one that is not absolute has none.
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

    /// Returns the host that the request is for, with its port where one is named: what an absolute
    /// target says, else what the Host field says. `None` for a target of HTTP/1.0 without either, and
    /// for an absolute one that names no host.
    ///
    /// RFC 9112, section 3.2.2: a server that is sent an absolute target "MUST ignore the received Host
    /// header field (if any) and instead use the host information of the request-target". So this, and not
    /// the field, is what a check of the host must look at.
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

    /// RFC 9112, 6.1 and 6.3: a length of the body that is unsound, or given twice, is answered by 400.
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

/// Says whether a head has not come further than its target, which only the blank behind it ends.
fn is_within_target(head: &[u8]) -> bool {
    let line = head.trim_ascii_start();
    line.contains(&b' ') && !line.contains(&b'\n')
}

#[cfg(test)]
mod tests;
