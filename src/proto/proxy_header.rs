//! The header of the PROXY protocol, with which a load balancer says whose connection it passes on.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, sections 2.1 (version 1, a line)
//! and 2.2 (version 2, a binary block). The header stands before everything else, and is believed only
//! where the caller trusts the proxy: whoever may send one may claim any address.

use crate::error::ProxyFault;
use crate::peer::{IpAddr, Ipv4Addr, Ipv6Addr, PeerAddr, SocketAddr};

/// Reads one header, in whatever pieces it comes.
///
/// It never takes bytes behind the header, and keeps at most 232 bytes of it: what follows the addresses
/// is passed over. Memory grows with the bytes received, never with a length that they claim.
///
/// ```
/// use heartwheel::proto::proxy_header::{ProxyHeader, Reported};
///
/// let mut header = ProxyHeader::default();
/// assert_eq!(header.receive(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 90")?, (40, None));
/// let (used, reported) = header.receive(b"01\r\nGET / HTTP/1.1\r\n")?;
/// assert_eq!(used, 4);
/// let Some(Reported::Client(client)) = reported else {
///     unreachable!("the line names a client");
/// };
/// assert_eq!(client.to_string(), "203.0.113.7:4711");
/// # Ok::<(), heartwheel::error::ProxyFault>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProxyHeader {
    /// What has come, up to the end of the addresses.
    bytes: Vec<u8>,
    /// The addresses are read, and so many bytes behind them are still to be passed over.
    passing: Option<(usize, Reported)>,
}

/// Whose connection it is, by the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// This client's, which the proxy passes on.
    Client(PeerAddr),
    /// The proxy's own, such as that of a health check (`LOCAL`). The address of the socket stands.
    Proxy,
    /// That of a client whose address the proxy does not know or cannot tell (`UNKNOWN`, `UNSPEC`). The address of
    /// the socket stands, but what comes is not the proxy's word.
    Unknown,
}

/// What is to be done next.
enum Want {
    /// Add a byte.
    More,
    /// Pass over so many bytes; then the header is whole.
    Rest(usize, Reported),
}

impl ProxyHeader {
    /// Most bytes of a line of version 1, with its end (section 2.1).
    pub const MOST_IN_LINE: usize = 107;

    /// Most bytes of a block of version 2. The specification asks for 536 at least, what the smallest
    /// segment takes (section 2); a block with the certificate of a client may have more.
    pub const MOST_IN_BLOCK: usize = 4_096;

    /// Takes bytes at the front of `input`. Returns how many, and whose connection it is if the header is
    /// whole. After that, do not call it again. A header that is not whole has taken all of the input.
    ///
    /// # Errors
    ///
    /// The rule that the header breaks, as soon as that is known. The specification asks to abort the
    /// connection then.
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, Option<Reported>), ProxyFault> {
        let mut used = 0;
        loop {
            if let Some((left, reported)) = &mut self.passing {
                let passed = (*left).min(input.len() - used);
                *left -= passed;
                let reported = (*left == 0).then(|| reported.clone());
                return Ok((used + passed, reported));
            }
            let Some(&byte) = input.get(used) else {
                return Ok((used, None));
            };
            self.bytes.push(byte);
            used += 1;
            match self.judge()? {
                Want::More => {}
                Want::Rest(left, reported) => {
                    self.bytes = Vec::new();
                    self.passing = Some((left, reported));
                }
            }
        }
    }

    /// Says whether nothing of a header has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.passing.is_none()
    }

    fn judge(&self) -> Result<Want, ProxyFault> {
        match self.bytes.first() {
            Some(b'P') => judge_line(&self.bytes),
            Some(b'\r') => judge_block(&self.bytes),
            Some(_) => Err(ProxyFault::Missing),
            None => Ok(Want::More),
        }
    }
}

/// Looks at a line of version 1 (section 2.1).
fn judge_line(bytes: &[u8]) -> Result<Want, ProxyFault> {
    if !begins_like(bytes, LINE_START) {
        return Err(ProxyFault::Missing);
    }
    match bytes {
        [line @ .., b'\r', b'\n'] => Ok(Want::Rest(0, parse_line(line)?)),
        // "The receiver must not tolerate a single CR or LF character to end the line".
        [.., b'\n'] | [.., b'\r', _] => Err(ProxyFault::LineEnd),
        // "If the CRLF sequence is not found in the first 107 characters, the receiver should declare the
        // line invalid."
        _ if bytes.len() >= ProxyHeader::MOST_IN_LINE => Err(ProxyFault::LineTooLong),
        _ => Ok(Want::More),
    }
}

/// Parses a line without its end.
fn parse_line(line: &[u8]) -> Result<Reported, ProxyFault> {
    let Some(line) = line.strip_prefix(LINE_START) else {
        return Err(ProxyFault::Missing);
    };
    let protocol = line.split(|&byte| byte == b' ').next();
    match protocol {
        // "The receiver must ignore anything presented before the CRLF is found."
        Some(b"UNKNOWN") => return Ok(Reported::Unknown),
        Some(b"TCP4" | b"TCP6") => {}
        Some(_) | None => return Err(ProxyFault::Protocol),
    }
    let text = std::str::from_utf8(line).map_err(|_| ProxyFault::Address)?;
    let parts: Vec<_> = text.split(' ').collect();
    let &[protocol, source, destination, source_port, destination_port] = &parts[..] else {
        return Err(ProxyFault::Address);
    };
    let ip = |text: &str| match protocol {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        _ => text.parse().ok().map(IpAddr::V6),
    };
    let client = ip(source).zip(port(source_port));
    let server = ip(destination).zip(port(destination_port));
    match (client, server) {
        (Some((ip, port)), Some(_)) => Ok(Reported::client(ip, port)),
        _ => Err(ProxyFault::Address),
    }
}

/// Parses a port: "Heading zeroes are not permitted in front of numbers".
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_led = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && !is_led)
}

/// Looks at a block of version 2 (section 2.2).
fn judge_block(bytes: &[u8]) -> Result<Want, ProxyFault> {
    if !begins_like(bytes, SIGNATURE) {
        return Err(ProxyFault::Missing);
    }
    let Some((&version, rest)) = bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first) else {
        return Ok(Want::More);
    };
    let command = Command::of(version)?;
    let Some((&family, rest)) = rest.split_first() else {
        return Ok(Want::More);
    };
    let family = command.family(family)?;
    let Some((&len, rest)) = rest.split_first_chunk() else {
        return Ok(Want::More);
    };
    let len = usize::from(u16::from_be_bytes(len));
    let size = BLOCK_START + len;
    if size > ProxyHeader::MOST_IN_BLOCK {
        return Err(ProxyFault::BlockTooLong { size });
    }
    let addresses = family.len();
    if len < addresses {
        return Err(ProxyFault::BlockTooShort { len });
    }
    match rest.len() < addresses {
        true => Ok(Want::More),
        false => Ok(Want::Rest(len - addresses, family.client(rest))),
    }
}

/// What a block is for.
#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

impl Command {
    /// Reads the byte of version and command: the version "must always be sent as \x2 and the receiver must
    /// only accept this value", and "Receivers must drop connections presenting unexpected values" of the
    /// command.
    fn of(byte: u8) -> Result<Self, ProxyFault> {
        match (byte >> 4, byte & 0xF) {
            (2, 0) => Ok(Self::Local),
            (2, 1) => Ok(Self::Proxy),
            (2, command) => Err(ProxyFault::Command(command)),
            (version, _) => Err(ProxyFault::Version(version)),
        }
    }

    /// Reads the byte of family and transport. `LOCAL`: "discard the protocol block including the family
    /// which is ignored". Other values than those listed "must be rejected as invalid by receivers".
    fn family(self, byte: u8) -> Result<Family, ProxyFault> {
        let Self::Proxy = self else {
            return Ok(Family::Ignored);
        };
        match (byte >> 4, byte & 0xF) {
            // "The receiver should ignore address information."
            (0, 0..=2) | (1..=3, 0) => Ok(Family::Unspecified),
            // A client may reach the proxy over UDP (QUIC).
            (1, 1 | 2) => Ok(Family::Inet),
            (2, 1 | 2) => Ok(Family::Inet6),
            (3, 1 | 2) => Ok(Family::Unix),
            _ => Err(ProxyFault::Family(byte)),
        }
    }
}

/// The kind of addresses in a block.
#[derive(Clone, Copy)]
enum Family {
    Ignored,
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

impl Family {
    /// Returns how many bytes the addresses take.
    const fn len(self) -> usize {
        match self {
            Self::Ignored | Self::Unspecified => 0,
            Self::Inet => 4 + 4 + 2 + 2,
            Self::Inet6 => 16 + 16 + 2 + 2,
            Self::Unix => 108 + 108,
        }
    }

    /// Reads the client's address: both addresses come before both ports.
    fn client(self, bytes: &[u8]) -> Reported {
        match (self, bytes) {
            (Self::Inet, &[a, b, c, d, _, _, _, _, high, low, ..]) => {
                let ip = Ipv4Addr::new(a, b, c, d);
                Reported::client(ip.into(), u16::from_be_bytes([high, low]))
            }
            (Self::Inet6, bytes) => match (bytes.first_chunk::<16>(), bytes.get(32..34)) {
                (Some(&ip), Some(&[high, low])) => {
                    let ip = Ipv6Addr::from(ip);
                    Reported::client(ip.into(), u16::from_be_bytes([high, low]))
                }
                _ => Reported::Unknown,
            },
            (Self::Unix, bytes) => match bytes.first_chunk::<108>() {
                Some(path) => Reported::Client(PeerAddr::of_unix_bytes(path)),
                None => Reported::Unknown,
            },
            (Self::Ignored, _) => Reported::Proxy,
            (Self::Inet | Self::Unspecified, _) => Reported::Unknown,
        }
    }
}

impl Reported {
    /// An IPv4 address counts as one however it is written.
    fn client(ip: IpAddr, port: u16) -> Self {
        Self::Client(SocketAddr::new(ip.to_canonical(), port).into())
    }
}

/// Writes a line of version 1 for a connection from `client` to `server`. Addresses of two families are
/// `UNKNOWN`.
pub fn encode_line(client: SocketAddr, server: SocketAddr, out: &mut Vec<u8>) {
    let protocol = match (client.ip(), server.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        }
    };
    let (from, to) = (client.ip(), server.ip());
    let ports = format!("{} {}", client.port(), server.port());
    out.extend_from_slice(format!("PROXY {protocol} {from} {to} {ports}\r\n").as_bytes());
}

/// Writes a block of version 2 for a connection from `client` to `server`, without anything behind the
/// addresses. Without a client it is a `LOCAL` one; addresses of two families are unspecified.
pub fn encode_block(client: Option<SocketAddr>, server: SocketAddr, out: &mut Vec<u8>) {
    let Some(client) = client else {
        out.extend_from_slice(SIGNATURE);
        return out.extend_from_slice(&[0x20, 0, 0, 0]);
    };
    let (family, addresses) = match (client.ip(), server.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x21, [from.octets(), to.octets()].concat()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => (0, Vec::new()),
    };
    let ports = match family {
        0 => Vec::new(),
        _ => [client.port().to_be_bytes(), server.port().to_be_bytes()].concat(),
    };
    // 36 at most.
    let len = u16::try_from(addresses.len() + ports.len()).unwrap_or_default();
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0x21, family]);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&addresses);
    out.extend_from_slice(&ports);
}

/// Says whether bytes are like this start, as far as they go.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

const LINE_START: &[u8] = b"PROXY ";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a block before the addresses: signature, version and command, family, length.
const BLOCK_START: usize = SIGNATURE.len() + 4;

#[cfg(test)]
mod tests;
