//! The parts of URIs that heads carry: the authority in a Host field, the path and query of a target.

/// Says whether this is a path with perhaps a query, and nothing in it must be escaped.
///
/// The characters are those of RFC 3986 and those that browsers leave as they are. Section 3 of RFC 6455:
/// "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used on these
/// URIs."
pub(crate) fn is_resource_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>".contains(&byte);
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    path.starts_with('/')
        && text.bytes().all(is_plain)
        && !path.contains('\\')
        && has_whole_escapes(path)
}

/// A host, and the port if one is named (RFC 3986, section 3.2, without user information).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// A name, an address, or an address of version 6 with its brackets. Never empty.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads an authority; `None` if this is not one.
    ///
    /// A comma is refused though a name may contain it: it is what two Host fields look like that
    /// something on the way has joined.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let end_of_host = match text.find(']') {
            Some(bracket) => bracket + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end_of_host);
        let is_host = match host.strip_prefix('[') {
            Some(literal) => literal.strip_suffix(']').is_some_and(is_v6),
            None => is_name(host),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if rest.is_empty() => None,
            None => return None,
        };
        is_host.then_some(Self { host, port })
    }

    /// Returns the host: a name, an address, or an address of version 6 with its brackets.
    pub(crate) const fn host(&self) -> &'a str {
        self.host
    }

    /// Says whether the host is a name or address of a machine for itself (RFC 6761, section 6.3; RFC 1122,
    /// section 3.2.1.3; RFC 4291, section 2.5.3).
    pub(crate) fn is_loopback(&self) -> bool {
        if let Some(literal) = self.host.strip_prefix('[') {
            return match groups(literal.trim_end_matches(']')) {
                [0, 0, 0, 0, 0, 0, 0, 1] => true,
                // An address of version 4 in one of version 6.
                [0, 0, 0, 0, 0, 0xffff, upper, _] => upper >> 8 == 127,
                _ => false,
            };
        }
        let host = without_root(self.host).to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.starts_with("127.") && is_v4(&host)
    }

    /// Returns the port, if one is named.
    pub(crate) const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// A URI, or a part of one that means something beside another (RFC 3986, section 4.1), without its fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) scheme: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Reference {
    /// Splits a reference as RFC 3986, appendix B, does. Its parts are not checked.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let (text, query) = match text.split_once('?') {
            Some((text, query)) => (text, Some(query.to_owned())),
            None => (text, None),
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme.to_owned()), rest),
            Some(_) | None => (None, text),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority.to_owned()), path)
            }
            None => (None, rest),
        };
        Self {
            scheme,
            authority,
            path: path.to_owned(),
            query,
        }
    }

    /// Returns what this means beside a base that is a whole URI (RFC 3986, section 5.2.2).
    pub(crate) fn resolve(self, base: &Self) -> Self {
        if self.scheme.is_some() {
            let path = remove_dots(&self.path);
            return Self { path, ..self };
        }
        let scheme = base.scheme.clone();
        if self.authority.is_some() {
            let path = remove_dots(&self.path);
            return Self {
                scheme,
                path,
                ..self
            };
        }
        let authority = base.authority.clone();
        let (path, query) = if self.path.is_empty() {
            (base.path.clone(), self.query.or_else(|| base.query.clone()))
        } else if self.path.starts_with('/') {
            (remove_dots(&self.path), self.query)
        } else {
            // 5.2.3: all but what stands behind the last slash of the base.
            let folder = base.path.rfind('/').map_or("/", |at| &base.path[..=at]);
            (remove_dots(&format!("{folder}{}", self.path)), self.query)
        };
        Self {
            scheme,
            authority,
            path,
            query,
        }
    }
}

/// Says whether this is a scheme (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_plain)
}

/// Goes the way that `.` and `..` in a path describe (RFC 3986, section 5.2.4).
fn remove_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let (root, rest) = match path.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => ("", path),
    };
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                // What it leads to is a folder.
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("{root}{}", kept.join("/"))
}

/// Reads a port, which may be left out behind its colon; `None` if this is none.
fn parse_port(digits: &str) -> Option<Option<u16>> {
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    match digits {
        "" => Some(None),
        digits => digits.parse().ok().filter(|_| is_number).map(Some),
    }
}

/// Says whether this is a registered name or an address of version 4 (RFC 3986, section 3.2.2).
fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte);
    !host.is_empty() && host.bytes().all(is_plain) && has_whole_escapes(host)
}

/// Says whether two hexadecimal digits follow each percent sign.
fn has_whole_escapes(text: &str) -> bool {
    let is_escape = |after: &[u8]| {
        after
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let bytes = text.as_bytes();
    (0..bytes.len()).all(|at| bytes[at] != b'%' || is_escape(&bytes[at + 1..]))
}

/// Says whether this is an address of version 6: eight groups, or fewer around one gap, where an
/// address of version 4 may stand for the last two.
fn is_v6(text: &str) -> bool {
    match text.split_once("::") {
        Some((before, after)) => {
            let (before, after) = (count_groups(before, false), count_groups(after, true));
            before.zip(after).is_some_and(|(a, b)| a + b < 8)
        }
        None => count_groups(text, true) == Some(8),
    }
}

/// Counts the groups of 16 bits between colons; `None` if one is not sound.
fn count_groups(text: &str, is_end: bool) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let mut count = 0;
    let mut groups = text.split(':').peekable();
    while let Some(group) = groups.next() {
        let is_last = is_end && groups.peek().is_none();
        count += match group.len() {
            1..=4 if group.bytes().all(|digit| digit.is_ascii_hexdigit()) => 1,
            _ if is_last && is_v4(group) => 2,
            _ => return None,
        };
    }
    Some(count)
}

/// Returns the groups of an address of version 6 that is known to be one.
fn groups(text: &str) -> [u16; 8] {
    let mut all = [0; 8];
    let (before, after) = text.split_once("::").unwrap_or((text, ""));
    for (group, place) in read_groups(before).into_iter().zip(&mut all) {
        *place = group;
    }
    let after = read_groups(after);
    for (group, place) in after.into_iter().rev().zip(all.iter_mut().rev()) {
        *place = group;
    }
    all
}

fn read_groups(text: &str) -> Vec<u16> {
    let mut groups = Vec::new();
    for group in text.split(':').filter(|group| !group.is_empty()) {
        if group.contains('.') {
            let octets: Vec<u16> = group.split('.').flat_map(str::parse).collect();
            groups.extend(
                octets
                    .chunks(2)
                    .map(|pair| pair.iter().fold(0, |sum, &octet| (sum << 8) | octet)),
            );
        } else {
            groups.extend(u16::from_str_radix(group, 16));
        }
    }
    groups
}

/// Leaves out the dot that stands for the root.
pub(crate) fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Says whether these are four numbers below 256 without leading zeros.
fn is_v4(text: &str) -> bool {
    let is_octet = |part: &str| {
        part.parse::<u8>()
            .is_ok_and(|number| number.to_string() == part)
    };
    text.split('.').count() == 4 && text.split('.').all(is_octet)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_resource_name_is_a_path_without_fragment() {
        for text in [
            "/",
            "/a/../b//c",
            "/%00%fF",
            "/a?b=c?d",
            "/?",
            "/a?100%",
            "/|^`{}[]?\\|^`{}[]'",
            "/:@!$&;=~",
        ] {
            assert!(is_resource_name(text), "{text}");
        }
        for text in [
            "", "a", "*", "?a", "/#", "/a?b#c", "/a b", "/\"", "/<", "/>", "/\\a", "/%", "/%4",
            "/%gg", "/é", "/\x7f", "/\r\n", "/?\t",
        ] {
            assert!(!is_resource_name(text), "{text}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("h", "h", None),
            ("example.com:80", "example.com", Some(80)),
            ("a_b-c.d~e:0", "a_b-c.d~e", Some(0)),
            ("10.0.0.1:65535", "10.0.0.1", Some(65_535)),
            ("h:", "h", None),
            ("h:0080", "h", Some(80)),
            ("%41!$&'()*+;=", "%41!$&'()*+;=", None),
            ("[::1]", "[::1]", None),
            (
                "[2001:db8::192.0.2.1]:9001",
                "[2001:db8::192.0.2.1]",
                Some(9001),
            ),
        ] {
            assert_eq!(
                Authority::parse(text),
                Some(Authority { host, port }),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            ":80",
            "h:x",
            "h:+1",
            "h:65536",
            "h:1:2",
            "a b",
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "u@h",
            "a\\b",
            "é",
            "a\"b",
            "<a>",
            "a\tb",
            "%4",
            "%zz",
            "a[b]",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[::1]]",
            "[h]",
            "]",
            "[",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_reference_is_resolved_as_rfc_3986_section_5_4_shows() {
        let base = Reference::parse("http://a/b/c/d;p?q");
        for (reference, target) in [
            // 5.4.1
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            // 5.4.2
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g#s/../x", "http://a/b/c/g"),
            ("http:g", "http:g"),
        ] {
            let found = Reference::parse(reference).resolve(&base);
            assert_eq!(found, Reference::parse(target), "{reference}");
        }
    }

    proptest! {
        #[test]
        fn an_address_of_version_6_is_what_the_standard_library_takes(
            text in "[0-9a-f:.]{0,20}|([0-9a-f]{1,5}:){0,8}:?(:[0-9a-f]{1,4}){0,8}|::(1?[0-9]{1,2}[.]){2,4}[0-9]{1,3}",
        ) {
            let parsed = text.parse::<Ipv6Addr>();
            prop_assert_eq!(is_v6(&text), parsed.is_ok(), "{}", text);
            if let Ok(ip) = parsed {
                prop_assert_eq!(groups(&text), ip.segments(), "{}", text);
            }
        }
    }
}
