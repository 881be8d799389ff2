//! Authorities: a host with or without a port, as in URLs and in the Host field of HTTP.

/// A host, and a port if there is one (RFC 3986, section 3.2, without user information).
///
/// ```
/// use heartwheel::proto::authority::Authority;
///
/// let authority = Authority::parse("[::1]:9001").expect("an address and a port");
/// assert_eq!((authority.host(), authority.port()), ("[::1]", Some(9001)));
/// assert_eq!(authority.name(), "::1");
/// assert!(Authority::parse("a b").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets. Never empty.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses an authority as it is sent to peers; `None` if it is not one.
    ///
    /// A comma is an error, although a name may contain one: if a proxy joins two Host fields, the
    /// result contains a comma.
    pub fn parse(text: &'a str) -> Option<Self> {
        Self::parse_local(text).filter(|authority| authority.zone().is_none())
    }

    /// Parses an authority to dial or to listen on. There a link-local address may have a zone, the
    /// name of the interface: `[fe80::1%eth0]`, or `[fe80::1%25eth0]` as URLs write it (RFC 6874,
    /// section 2). A zone means something only on this machine, so it is not sent to a peer.
    pub fn parse_local(text: &'a str) -> Option<Self> {
        let end_of_host = match text.find(']') {
            Some(bracket) => bracket + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end_of_host);
        let is_host = match literal(host) {
            Some(literal) => split_zone(literal).is_some() || is_v6(literal),
            None => is_name(host),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if rest.is_empty() => None,
            None => return None,
        };
        is_host.then_some(Self { host, port })
    }

    /// Returns the host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// Returns the host without brackets and zone, for a lookup of the name.
    pub fn name(&self) -> &'a str {
        let Some(literal) = literal(self.host) else {
            return self.host;
        };
        split_zone(literal).map_or(literal, |(ip, _)| ip)
    }

    /// Returns the zone of a link-local address: the interface, if there is one.
    pub fn zone(&self) -> Option<&'a str> {
        let (_, zone) = split_zone(literal(self.host)?)?;
        Some(zone)
    }

    /// Returns whether the host is this machine's own loopback name or address (RFC 6761, section
    /// 6.3; RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3).
    pub fn is_loopback(&self) -> bool {
        if literal(self.host).is_some() {
            return match groups(self.name()) {
                [0, 0, 0, 0, 0, 0, 0, 1] => true,
                // An IPv4 address inside an IPv6 address.
                [0, 0, 0, 0, 0, 0xffff, upper, _] => upper >> 8 == 127,
                _ => false,
            };
        }
        let host = without_root(self.host).to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.starts_with("127.") && is_v4(&host)
    }

    /// Returns the port, if there is one.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Joins a host without brackets and a port.
pub(crate) fn join(host: &str, port: Option<u16>) -> String {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Returns the IPv6 address between the brackets.
fn literal(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// Splits a link-local address and its zone: `fe80::1%eth0`, or `fe80::1%25eth0` as URLs write it
/// (RFC 6874, section 2).
pub(crate) fn split_zone(host: &str) -> Option<(&str, &str)> {
    let (ip, zone) = host.split_once('%')?;
    let zone = match zone.strip_prefix("25") {
        // The zone `25` itself is not an escaped percent sign.
        Some(name) if !name.is_empty() => name,
        _ => zone,
    };
    (is_v6(ip) && !zone.is_empty()).then_some((ip, zone))
}

/// Parses a port. It may be missing after the colon; `None` if this is not a port.
fn parse_port(digits: &str) -> Option<Option<u16>> {
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    match digits {
        "" => Some(None),
        digits => digits.parse().ok().filter(|_| is_number).map(Some),
    }
}

/// Returns whether this is a registered name or an IPv4 address (RFC 3986, section 3.2.2).
fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte);
    !host.is_empty() && host.bytes().all(is_plain) && has_whole_escapes(host)
}

/// Returns whether two hexadecimal digits follow each percent sign.
pub(crate) fn has_whole_escapes(text: &str) -> bool {
    let is_escape = |after: &[u8]| {
        after
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let bytes = text.as_bytes();
    (0..bytes.len()).all(|at| bytes[at] != b'%' || is_escape(&bytes[at + 1..]))
}

/// Returns whether this is an IPv6 address: eight groups, or fewer with one gap (`::`). An IPv4
/// address may take the place of the last two groups.
fn is_v6(text: &str) -> bool {
    match text.split_once("::") {
        Some((before, after)) => {
            let (before, after) = (count_groups(before, false), count_groups(after, true));
            before.zip(after).is_some_and(|(a, b)| a + b < 8)
        }
        None => count_groups(text, true) == Some(8),
    }
}

/// Counts the groups of 16 bits between colons; `None` if one is not valid.
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

/// Returns the groups of a valid IPv6 address.
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

/// Removes the final dot, which stands for the root of the name system.
pub(crate) fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Returns whether these are four numbers below 256 without leading zeros.
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
    fn an_interface_is_for_this_machine_alone() {
        for (text, name, zone) in [
            ("[fe80::1%eth0]:1", "fe80::1", Some("eth0")),
            ("[fe80::1%25eth0]", "fe80::1", Some("eth0")),
            ("[fe80::1%25]", "fe80::1", Some("25")),
            ("[fe80::1]", "fe80::1", None),
            ("a%2525", "a%2525", None),
        ] {
            let authority = Authority::parse_local(text).expect(text);
            assert_eq!((authority.name(), authority.zone()), (name, zone), "{text}");
            assert_eq!(Authority::parse(text).is_some(), zone.is_none(), "{text}");
        }
        for text in [
            "[::1%]:1",
            "[a%eth0]:1",
            "::1%eth0",
            "[%eth0]",
            "[fe80::1%eth0",
        ] {
            assert_eq!(Authority::parse_local(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_joined_is_parsed_back() {
        for (host, port, text) in [
            ("a", None, "a"),
            ("a", Some(1), "a:1"),
            ("::1", None, "[::1]"),
            ("fe80::1%eth0", Some(2), "[fe80::1%eth0]:2"),
        ] {
            assert_eq!(join(host, port), text);
            let parsed = Authority::parse_local(text).expect(text);
            assert_eq!(parsed.port(), port, "{text}");
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
