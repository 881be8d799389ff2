//! What requests and responses have in common: their header fields, and how to write a head so that
//! no value can add lines to it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;

use httparse::Header;

use super::date::HttpDate;

/// How large a received HTTP head may be.
///
/// ```
/// use heartwheel::proto::http::HeadLimits;
///
/// let limits = HeadLimits { max_headers: 32, ..HeadLimits::default() };
/// assert_eq!(limits.max_bytes, 8192);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The largest head in bytes, with its empty last line. Default 8192 (8 KiB). A connection in
    /// its handshake can use this much memory.
    pub max_bytes: usize,
    /// The largest number of header lines. Default 64. Each takes 32 bytes while a head is parsed.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 8 * 1024,
            max_headers: 64,
        }
    }
}

impl HeadLimits {
    /// Returns the start of `input` that may belong to a head.
    pub(crate) fn cut<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[..input.len().min(self.max_bytes)]
    }

    /// Returns whether an unfinished head has reached the limit of bytes.
    pub(crate) fn is_reached_by(&self, input: &[u8]) -> bool {
        input.len() >= self.max_bytes
    }

    /// Makes room for the header lines. A line has at least two bytes.
    pub(crate) fn header_storage<'a>(&self) -> Vec<Header<'a>> {
        vec![httparse::EMPTY_HEADER; self.max_headers.min(self.max_bytes / 2)]
    }
}

/// The received header fields, in the order in which they were sent.
#[derive(Clone, Debug)]
pub(crate) struct Headers<'a> {
    fields: Vec<Header<'a>>,
    /// Values that were split over several lines, joined into one, by the index of their field.
    unfolded: BTreeMap<usize, Vec<u8>>,
}

impl<'a> Headers<'a> {
    /// Takes fields whose values are not split over several lines.
    pub(crate) fn new(fields: Vec<Header<'a>>) -> Self {
        let unfolded = BTreeMap::new();
        Self { fields, unfolded }
    }

    /// Takes fields whose values may continue on the next line. RFC 9112, section 5.2: "A user
    /// agent that receives an obs-fold in a response message ... MUST replace each received
    /// obs-fold with one or more SP octets prior to interpreting the field value."
    pub(crate) fn unfold(fields: Vec<Header<'a>>) -> Self {
        let folded = fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.value.contains(&b'\n'));
        let blank = |&byte: &u8| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                byte
            }
        };
        let unfolded = folded.map(|(at, field)| (at, field.value.iter().map(blank).collect()));
        let unfolded = unfolded.collect();
        Self { fields, unfolded }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &[u8])> {
        self.fields.iter().enumerate().map(|(at, field)| {
            let unfolded = self.unfolded.get(&at).map(Vec::as_slice);
            (field.name, unfolded.unwrap_or(field.value))
        })
    }

    /// Returns the values of all fields with this name, ignoring ASCII case.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_ascii())
    }

    /// Returns the value of the field with this name, if there is exactly one.
    pub(crate) fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns the elements of a comma-separated list, which may be split over several fields.
    /// Empty elements are allowed and ignored (RFC 9110, section 5.6.1.2).
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// Returns whether such a list has at least one element and all are valid (`1#element`).
    pub(crate) fn is_list_of(&self, name: &str, is_sound: impl Fn(&[u8]) -> bool) -> bool {
        self.list(name).next().is_some() && self.list(name).all(is_sound)
    }

    /// Returns whether such a list contains this element, ignoring ASCII case.
    pub(crate) fn list_has(&self, name: &str, element: &str) -> bool {
        self.list(name)
            .any(|other| other.eq_ignore_ascii_case(element.as_bytes()))
    }
}

/// Why a head to send was not built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHead {
    /// A header name that is not a token (RFC 9110, section 5.1).
    HeaderName(String),
    /// The value of this header contains a control character: it could end its line and add others.
    HeaderValue(String),
    /// A header that the library writes itself.
    ReservedHeader(String),
    /// A header that may occur only once.
    RepeatedHeader(String),
    /// A status that a final response cannot have: below 200 or above 599.
    Status(u16),
    /// A host that is not an authority: a name or address, with or without a port.
    Host(String),
    /// A path that does not start with a slash, has a fragment, or has a character that must be
    /// escaped.
    Path(String),
}

impl fmt::Display for InvalidHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderName(name) => write!(f, "header name {name:?} is not a token"),
            Self::HeaderValue(name) => {
                write!(f, "value of header {name:?} contains a control character")
            }
            Self::ReservedHeader(name) => {
                write!(f, "header {name:?} is written by the handshake itself")
            }
            Self::RepeatedHeader(name) => write!(f, "header {name:?} is given twice"),
            Self::Status(status) => write!(f, "status {status} is not within 200 to 599"),
            Self::Host(host) => write!(f, "host {host:?} is not a name or address with a port"),
            Self::Path(path) => {
                write!(
                    f,
                    "path {path:?} has no leading slash or a forbidden character"
                )
            }
        }
    }
}

impl StdError for InvalidHead {}

/// A head that is being written.
pub(crate) struct HeadWriter(Vec<u8>);

impl HeadWriter {
    /// Begins with the first line.
    pub(crate) fn new(first_line: fmt::Arguments<'_>) -> Self {
        Self(format!("{first_line}\r\n").into_bytes())
    }

    /// Adds a header of our own, known to be valid.
    pub(crate) fn own(&mut self, name: &str, value: &[u8]) {
        debug_assert!(
            is_token(name.as_bytes()) && is_value(value),
            "own header is sound"
        );
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Adds the date, unless the caller's headers contain one.
    pub(crate) fn date(
        &mut self,
        date: Option<&HttpDate>,
        headers: &[(impl AsRef<str>, impl AsRef<str>)],
    ) {
        let mut names = headers.iter().map(|(name, _)| name.as_ref());
        let is_given = names.any(|name| name.eq_ignore_ascii_case("date"));
        if let Some(date) = date.filter(|_| !is_given) {
            self.own("Date", date.as_str().as_bytes());
        }
    }

    /// Checks and adds headers of the caller. A line break in one would add headers (response
    /// splitting). A second copy of one of `reserved` would contradict ours. A repeated header that
    /// may occur only once would contradict the first (RFC 9110, section 5.3).
    pub(crate) fn foreign(
        &mut self,
        headers: &[(impl AsRef<str>, impl AsRef<str>)],
        reserved: &[&str],
    ) -> Result<(), InvalidHead> {
        let is_same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        for (at, (name, value)) in headers.iter().enumerate() {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !is_token(name.as_bytes()) {
                return Err(InvalidHead::HeaderName(name.to_owned()));
            }
            if reserved
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
            {
                return Err(InvalidHead::ReservedHeader(name.to_owned()));
            }
            if !is_value(value.as_bytes()) {
                return Err(InvalidHead::HeaderValue(name.to_owned()));
            }
            let is_single = SINGLE.iter().any(|other| is_same(name, other));
            let mut before = headers[..at].iter().map(|(other, _)| other.as_ref());
            if is_single && before.any(|other| is_same(name, other)) {
                return Err(InvalidHead::RepeatedHeader(name.to_owned()));
            }
            self.own(name, value.as_bytes());
        }
        Ok(())
    }

    /// Ends the head.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

/// Fields that callers may give only once. RFC 9110, section 5.3: "a sender MUST NOT generate
/// multiple field lines with the same name" for them; RFC 6454, section 7.3, says the same for
/// Origin.
const SINGLE: [&str; 11] = [
    "Authorization",
    "Content-Type",
    "Date",
    "ETag",
    "Last-Modified",
    "Location",
    "Origin",
    "Referer",
    "Retry-After",
    "Server",
    "User-Agent",
];

/// Cuts a head before the first line feed without a carriage return. Returns whether there is one.
/// RFC 9112, section 2.2, lets a recipient accept it as the end of a line. But if two recipients do
/// not agree on it, a request can be hidden from one of them.
///
/// The head is cut so that an error before the line feed is reported first, even if all of the head
/// has arrived.
pub(crate) fn before_bare_line_feed(head: &[u8]) -> (&[u8], bool) {
    let before = std::iter::once(&0).chain(head);
    let mut pairs = before.zip(head);
    match pairs.position(|(&before, &byte)| byte == b'\n' && before != b'\r') {
        Some(at) => (&head[..at], true),
        None => (head, false),
    }
}

/// Returns whether these bytes are a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Returns whether these bytes name a protocol, with or without a version (RFC 9110, section 7.8).
pub(crate) fn is_protocol(bytes: &[u8]) -> bool {
    match bytes.iter().position(|&byte| byte == b'/') {
        Some(slash) => is_token(&bytes[..slash]) && is_token(&bytes[slash + 1..]),
        None => is_token(bytes),
    }
}

/// Returns whether these bytes may be a header's value (RFC 9110, section 5.5): the only control
/// character allowed is the tab.
fn is_value(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers<'static> {
        let line = |&(name, value): &(&'static str, &'static str)| Header {
            name,
            value: value.as_bytes(),
        };
        Headers::new(lines.iter().map(line).collect())
    }

    #[test]
    fn a_folded_value_is_told_on_one_line() {
        let field = |value| Header { name: "a", value };
        let fields = vec![field(b"x\r\n\ty\r\n z"), field(b"w")];
        let headers = Headers::unfold(fields);
        let values: Vec<_> = headers.all("a").collect();
        assert_eq!(values, [&b"x  \ty   z"[..], b"w"]);
    }

    #[test]
    fn a_list_spans_lines_and_skips_empty_elements() {
        let headers = headers(&[("A", "x, ,y,"), ("b", "no"), ("a", " z ")]);
        assert_eq!(headers.list("a").collect::<Vec<_>>(), [b"x", b"y", b"z"]);
        assert!(headers.list_has("a", "Z"));
        assert!(!headers.list_has("a", ""));
        assert!(!headers.list_has("a", "x, ,y,"));
    }

    #[test]
    fn a_list_of_something_names_at_least_one() {
        let headers = headers(&[("a", ""), ("A", "x,"), ("b", " , "), ("c", "x, (")]);
        assert!(headers.is_list_of("a", is_token));
        for name in ["b", "c", "d"] {
            assert!(!headers.is_list_of(name, is_token), "{name}");
        }
    }

    #[test]
    fn a_protocol_is_a_token_with_perhaps_a_version() {
        for text in ["websocket", "HTTP/2.0", "h2c"] {
            assert!(is_protocol(text.as_bytes()), "{text}");
        }
        for text in ["", "/", "a/", "/a", "a/b/c", "a b", "a@"] {
            assert!(!is_protocol(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn only_wants_exactly_one_line() {
        let headers = headers(&[("a", "1"), ("b", "2"), ("B", "2")]);
        assert_eq!(headers.only("A"), Some(b"1".as_slice()));
        assert_eq!(headers.only("b"), None);
        assert_eq!(headers.only("c"), None);
    }

    #[test]
    fn a_foreign_header_cannot_forge_another() {
        let write = |name: &str, value: &str| {
            let mut head = HeadWriter::new(format_args!("HTTP/1.1 200 OK"));
            head.foreign(&[(name, value)], &["Mine"])?;
            Ok(head.finish())
        };
        let fine = b"HTTP/1.1 200 OK\r\nX-A: caf\xc3\xa9\tok\r\n\r\n".to_vec();
        assert_eq!(write("X-A", "café\tok"), Ok(fine));
        for value in ["a\r\nX: y", "a\nX: y", "a\r", "a\0", "\x7f", "\x1b[0m"] {
            assert_eq!(
                write("X-A", value),
                Err(InvalidHead::HeaderValue("X-A".to_owned()))
            );
        }
        for name in ["", "a b", "a:", "a\r\n", "é", "a("] {
            assert_eq!(
                write(name, "v"),
                Err(InvalidHead::HeaderName(name.to_owned()))
            );
        }
        assert_eq!(
            write("mINE", "v"),
            Err(InvalidHead::ReservedHeader("mINE".to_owned()))
        );
    }

    #[test]
    fn header_storage_is_bounded_by_the_bytes_of_a_head() {
        let limits = HeadLimits {
            max_bytes: 100,
            max_headers: usize::MAX,
        };
        assert_eq!(limits.header_storage().len(), 50);
        assert_eq!(HeadLimits::default().header_storage().len(), 64);
    }
}
