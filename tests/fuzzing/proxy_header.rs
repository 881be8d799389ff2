//! Headers of the PROXY protocol in: however the bytes are cut, and beside a plain reading of them.

use std::net::{IpAddr, SocketAddr};

use heartwheel::PeerAddr;
use heartwheel::error::ProxyFault;
use heartwheel::proto::proxy_header::{ProxyHeader, Reported, encode_block, encode_line};

use super::dice::Dice;

/// Arbitrary bytes as one header and what follows it: cuts, and the stream.
pub fn proxy_header(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let whole = read(stream, &mut |rest| rest);
    let mut dice = Dice::new(seed.into());
    assert_eq!(read(stream, &mut |rest| 1 + dice.index(rest)), whole);
    if stream.len() <= ProxyHeader::MOST_IN_BLOCK + 1 {
        assert_eq!(read(stream, &mut |_| 1), whole);
    }
    match (&whole, plainly(stream)) {
        (Ok((used, reported)), Some(expected)) => {
            assert_eq!((*used, reported.as_ref()), (expected.0, Some(&expected.1)));
        }
        (Ok((used, reported)), None) => {
            assert_eq!((*used, reported), (stream.len(), &None), "it is not whole");
            assert!(*used < ProxyHeader::MOST_IN_BLOCK);
        }
        (Err(_), expected) => assert_eq!(expected, None),
    }
    if let Ok((_, Some(Reported::Client(client)))) = whole {
        check_encoding(&client);
    }
}

/// Reads pieces, whose length is chosen given how much is left.
fn read(
    stream: &[u8],
    choose: &mut dyn FnMut(usize) -> usize,
) -> Result<(usize, Option<Reported>), ProxyFault> {
    let (mut header, mut at) = (ProxyHeader::default(), 0);
    let mut outcome = None;
    let counted = allocation_counter::measure(|| {
        while at < stream.len() && outcome.is_none() {
            let piece = &stream[at..at + choose(stream.len() - at)];
            match header.receive(piece) {
                Ok((used, None)) => {
                    assert_eq!(used, piece.len());
                    at += used;
                }
                Ok((used, reported)) => {
                    assert!(used <= piece.len());
                    at += used;
                    outcome = Some(Ok((at, reported)));
                }
                Err(fault) => outcome = Some(Err(fault)),
            }
        }
    });
    assert!(counted.bytes_max <= 4_096, "{counted:?}");
    outcome.unwrap_or(Ok((at, None)))
}

/// Reads a sound and whole header at once.
fn plainly(stream: &[u8]) -> Option<(usize, Reported)> {
    match stream {
        [b'P', ..] => {
            let len = stream.iter().position(|&byte| byte == b'\n')? + 1;
            let line = stream[..len].strip_suffix(b"\r\n")?;
            let line = line.strip_prefix(b"PROXY ")?;
            let is_bounded = len <= ProxyHeader::MOST_IN_LINE && !line.contains(&b'\r');
            is_bounded.then_some((len, line_of(line)?))
        }
        _ => {
            let block = stream.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
            let [version, family, high, low, rest @ ..] = block else {
                return None;
            };
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let total = 16 + len;
            let rest = rest.get(..len)?;
            let is_bounded = total <= ProxyHeader::MOST_IN_BLOCK;
            is_bounded.then_some((total, block_of(*version, *family, rest)?))
        }
    }
}

fn line_of(line: &[u8]) -> Option<Reported> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(Reported::Unknown);
    }
    let words: Vec<_> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let [protocol, from, to, from_port, to_port] = words[..] else {
        return None;
    };
    let ips = [from, to].map(|text| text.parse::<IpAddr>().ok());
    let ports = [from_port, to_port].map(|text| text.parse::<u16>().ok());
    let ([Some(from), Some(to)], [Some(port), Some(other)]) = (ips, ports) else {
        return None;
    };
    // As it would be written.
    let is_plain = (port.to_string().as_str(), other.to_string().as_str()) == (from_port, to_port);
    let is_of = match protocol {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    (is_plain && is_of).then(|| client(from, port))
}

fn block_of(version: u8, family: u8, rest: &[u8]) -> Option<Reported> {
    match (version, family) {
        (0x20, _) => Some(Reported::Proxy),
        (0x21, 0x00..=0x02 | 0x10 | 0x20 | 0x30) => Some(Reported::Unknown),
        (0x21, 0x11 | 0x12) => {
            let ip: [u8; 4] = rest[..].first_chunk().copied()?;
            let port = rest.get(8..10)?;
            rest.get(..12)?;
            Some(client(ip.into(), u16::from_be_bytes([port[0], port[1]])))
        }
        (0x21, 0x21 | 0x22) => {
            let ip: [u8; 16] = rest.first_chunk().copied()?;
            let port = rest.get(32..34)?;
            rest.get(..36)?;
            Some(client(ip.into(), u16::from_be_bytes([port[0], port[1]])))
        }
        (0x21, 0x31 | 0x32) => {
            let path: [u8; 108] = rest.first_chunk().copied()?;
            rest.get(..216)?;
            Some(Reported::Client(unix(&path)))
        }
        _ => None,
    }
}

fn client(ip: IpAddr, port: u16) -> Reported {
    Reported::Client(SocketAddr::new(ip.to_canonical(), port).into())
}

fn unix(path: &[u8; 108]) -> PeerAddr {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;

    let addr = match path.iter().rposition(|&byte| byte != 0) {
        Some(last) if path[0] == 0 => SocketAddr::from_abstract_name(&path[1..=last]),
        Some(_) => {
            let len = path.iter().position(|&byte| byte == 0).unwrap_or(108);
            match SocketAddr::from_pathname(OsStr::from_bytes(&path[..len])) {
                Ok(addr) => Ok(addr),
                // The system wants room for the zero.
                Err(_) => return unix_of(path),
            }
        }
        None => SocketAddr::from_pathname(""),
    };
    addr.expect("it fits").into()
}

/// Reads a path that takes all the room, in a header that has nothing else.
fn unix_of(path: &[u8; 108]) -> PeerAddr {
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".to_vec();
    block.extend([path.as_slice(), &[0; 108]].concat());
    match ProxyHeader::default().receive(&block) {
        Ok((_, Some(Reported::Client(client)))) => client,
        other => panic!("{other:?}"),
    }
}

/// A client that was read, written in both versions and read again, is the same.
fn check_encoding(client: &PeerAddr) {
    let Some(addr) = client.socket_addr() else {
        return;
    };
    let (mut line, mut block) = (Vec::new(), Vec::new());
    encode_line(addr, addr, &mut line);
    encode_block(Some(addr), addr, &mut block);
    for header in [line, block] {
        let again = ProxyHeader::default().receive(&header);
        let reported = Some(Reported::Client(client.clone()));
        assert_eq!(again, Ok((header.len(), reported)));
    }
}
