//! Which client a proxy passes a request on for: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy adds the address that it got the request from at the right end. What stands left of that it
//! has from whoever sent the request, and may be made up. So the list is read from the right, for as long as
//! it is known that a proxy of ours has written the entry.

use std::error::Error as StdError;
use std::fmt;

use super::request::Request;
use crate::peer::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns the client of a request that came from a trusted proxy: the rightmost address that is not
/// itself `trusted`. If all are, it is the leftmost. The port is 0 if it is not told.
///
/// `None` if the request names nobody, or if a proxy of ours hides the client: `unknown`, or an identifier
/// such as `_hidden` (RFC 7239, section 6.3).
///
/// # Errors
///
/// An entry that a proxy of ours has written, or that it passes on as if it had, is malformed; or both fields
/// are there and disagree. A proxy writes one of the two fields as a rule, and passes the other one on as
/// the client sent it: to believe either would let clients choose their addresses. What stands left of
/// the client's address does not matter.
///
/// ```
/// use heartwheel::proto::http::{HeadLimits, Request, client_of};
///
/// let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.2\r\n\r\n";
/// let (request, _) = Request::parse(head, &HeadLimits::default())?.expect("a whole head");
/// let trusted = |ip: std::net::IpAddr| ip.to_string().starts_with("10.");
/// let client = client_of(&request, trusted)?.expect("it names one");
/// assert_eq!(client.to_string(), "203.0.113.7:0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn client_of(
    request: &Request<'_>,
    trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, ForwardedError> {
    let forwarded = last_of(request, "forwarded", parse_forwarded, &trusted)?;
    let x_forwarded_for = last_of(request, "x-forwarded-for", parse_list, &trusted)?;
    match (forwarded, x_forwarded_for) {
        (Some(one), Some(other)) => match one.ip() == other.ip() {
            true => Ok([one, other].into_iter().find_map(Node::addr)),
            false => Err(ForwardedError::Contradiction),
        },
        (one, other) => Ok(one.or(other).and_then(Node::addr)),
    }
}

/// Why it cannot be told which client a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedError {
    /// The field of this name is malformed.
    Malformed(&'static str),
    /// `Forwarded` and `X-Forwarded-For` name different clients.
    Contradiction,
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(field) => write!(f, "malformed field {field}"),
            Self::Contradiction => {
                f.write_str("forwarded and x-forwarded-for name different clients")
            }
        }
    }
}

impl StdError for ForwardedError {}

/// One entry: an address, or that there is none to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Addr(SocketAddr),
    Hidden,
}

impl Node {
    fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Addr(addr) => Some(addr),
            Self::Hidden => None,
        }
    }

    fn ip(self) -> Option<IpAddr> {
        self.addr().map(|addr| addr.ip())
    }
}

/// Walks the entries of a field from the right, up to the first one that no proxy of ours is at.
fn last_of(
    request: &Request<'_>,
    field: &'static str,
    parse: impl Fn(&str) -> Option<Vec<Option<String>>>,
    trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<Node>, ForwardedError> {
    let malformed = || ForwardedError::Malformed(field);
    let lines: Vec<&[u8]> = request.fields().all(field).collect();
    let mut last = None;
    for line in lines.into_iter().rev() {
        let text = std::str::from_utf8(line).map_err(|_| malformed())?;
        let entries = parse(text).ok_or_else(malformed)?;
        for entry in entries.into_iter().rev() {
            let node = match entry {
                Some(entry) => parse_node(&entry).ok_or_else(malformed)?,
                None => Node::Hidden,
            };
            last = Some(node);
            if !node.ip().is_some_and(&trusted) {
                return Ok(last);
            }
        }
    }
    Ok(last)
}

/// Lists the entries of a line of `X-Forwarded-For`.
fn parse_list(line: &str) -> Option<Vec<Option<String>>> {
    let entries = line.split(',').map(trim).filter(|entry| !entry.is_empty());
    Some(entries.map(|entry| Some(entry.to_owned())).collect())
}

/// Lists the parameters `for` of a line of `Forwarded` (RFC 7239, section 4), one for each of its elements.
/// `None` if it breaks the grammar: a quote without its end would hide what follows it.
fn parse_forwarded(line: &str) -> Option<Vec<Option<String>>> {
    let (mut entries, mut rest) = (Vec::new(), line);
    loop {
        let (entry, behind) = parse_element(rest)?;
        entries.extend(entry);
        match behind {
            Some(behind) => rest = behind,
            None => return Some(entries),
        }
    }
}

/// Parses an element, up to its comma. Returns its `for`, unless the element is empty, and what is behind the
/// comma.
type Element<'a> = (Option<Option<String>>, Option<&'a str>);

fn parse_element(text: &str) -> Option<Element<'_>> {
    let (mut node, mut is_empty, mut rest) = (None, true, trim(text));
    loop {
        if let Some(equals) = rest
            .find(['=', ';', ','])
            .filter(|&at| rest[at..].starts_with('='))
        {
            let name = &rest[..equals];
            let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
            let (value, behind) = parse_value(&rest[equals + 1..]).filter(|_| is_token)?;
            if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                // "Each parameter MUST NOT occur more than once per field-value" element.
                return None;
            }
            (is_empty, rest) = (false, behind);
        }
        rest = trim(rest);
        let entry = || (!is_empty).then(|| node.clone());
        match rest.as_bytes().first() {
            None => return Some((entry(), None)),
            Some(b',') => return Some((entry(), Some(&rest[1..]))),
            Some(b';') => rest = trim(&rest[1..]),
            Some(_) => return None,
        }
    }
}

/// Parses a token or a quoted string, and returns it with what is behind it. Brackets and colons, which would
/// have to be quoted, are taken as they often come.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_more = |byte: u8| is_token_byte(byte) || b"[]:".contains(&byte);
        let len = text.bytes().take_while(|&byte| is_more(byte)).count();
        return (len > 0).then(|| (text[..len].to_owned(), &text[len..]));
    };
    let (mut value, mut letters) = (String::new(), quoted.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// Parses an address, with or without a port, or what stands for one that is not told (RFC 7239, section 6).
fn parse_node(text: &str) -> Option<Node> {
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Some(Node::at(ip.into(), 0));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let ip: Ipv6Addr = ip.parse().ok()?;
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None => port.is_empty().then_some(0)?,
            };
            return Some(Node::at(ip.into(), port));
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (text, 0),
        },
    };
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Node::Hidden);
    }
    Some(Node::at(IpAddr::V4(name.parse().ok()?), port))
}

impl Node {
    fn at(ip: IpAddr, port: u16) -> Self {
        Self::Addr(SocketAddr::new(ip.to_canonical(), port))
    }
}

/// Parses a port; one that is hidden is 0.
fn parse_port(text: &str) -> Option<u16> {
    if is_obfuscated(text) {
        return Some(0);
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// "The identifier MUST start with an underscore" and consists of letters, digits, `.`, `_` and `-` (section
/// 6.3).
fn is_obfuscated(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() > 1 && text.starts_with('_') && text.bytes().all(is_part)
}

/// A byte of a token (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Removes optional whitespace (RFC 9110, section 5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests;
