use super::*;

fn client(text: &str) -> Reported {
    let addr: SocketAddr = text.parse().expect("an address");
    Reported::Client(addr.into())
}

/// Reads a header whole, byte by byte and cut in two at each length: all agree. What stands behind it stays.
#[track_caller]
fn read(header: &[u8]) -> Result<(usize, Option<Reported>), ProxyFault> {
    let whole = ProxyHeader::default().receive(header);
    for cut in 0..=header.len() {
        let (front, back) = header.split_at(cut);
        assert_eq!(in_pieces([front, back]), whole, "cut at {cut}");
    }
    assert_eq!(in_pieces(header.chunks(1)), whole, "byte by byte");
    if let Ok((used, Some(_))) = whole {
        let more = [header, b"PING\n"].concat();
        assert_eq!(ProxyHeader::default().receive(&more), whole, "{used}");
        for len in 0..used {
            let part = in_pieces([&header[..len]]);
            assert_eq!(part, Ok((len, None)), "the first {len} bytes");
        }
    }
    whole
}

fn in_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(usize, Option<Reported>), ProxyFault> {
    let (mut header, mut total) = (ProxyHeader::default(), 0);
    for piece in pieces {
        let (used, reported) = header.receive(piece)?;
        total += used;
        if reported.is_some() {
            return Ok((total, reported));
        }
        assert_eq!(used, piece.len(), "what is not whole has taken everything");
    }
    Ok((total, None))
}

#[track_caller]
fn reported(header: &[u8]) -> Reported {
    let (used, reported) = read(header).expect("a sound header");
    assert_eq!(used, header.len());
    reported.expect("a whole header")
}

fn block(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("it fits").to_be_bytes();
    [SIGNATURE, &[version, family], &len, rest].concat()
}

#[test]
fn a_line_names_the_client() {
    for (line, expected) in [
        ("TCP4 203.0.113.7 192.0.2.1 4711 9001", "203.0.113.7:4711"),
        (
            "TCP4 255.255.255.255 255.255.255.255 65535 65535",
            "255.255.255.255:65535",
        ),
        ("TCP4 0.0.0.0 0.0.0.0 0 0", "0.0.0.0:0"),
        ("TCP6 2001:db8::1 ::1 1 2", "[2001:db8::1]:1"),
        (
            "TCP6 FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
        // As one that comes over a socket for both families.
        ("TCP6 ::ffff:203.0.113.7 ::1 1 2", "203.0.113.7:1"),
    ] {
        let line = format!("PROXY {line}\r\n");
        assert_eq!(reported(line.as_bytes()), client(expected), "{line}");
    }
}

#[test]
fn of_an_unknown_client_the_address_of_the_socket_stands() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "\u{1}".repeat(91));
    assert_eq!(longest.len(), ProxyHeader::MOST_IN_LINE);
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN a b\tc \u{e9}\r\n",
        &longest,
    ] {
        assert_eq!(reported(line.as_bytes()), Reported::Unknown, "{line}");
    }
}

#[test]
fn a_line_that_breaks_a_rule_is_refused_by_that_rule() {
    for (line, fault) in [
        ("GET / HTTP/1.1\r\n", ProxyFault::Missing),
        ("PING\n", ProxyFault::Missing),
        ("PROXY\r\n", ProxyFault::Missing),
        ("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Missing),
        ("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Protocol),
        ("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Protocol),
        ("PROXY UNKNOWNS\r\n", ProxyFault::Protocol),
        ("PROXY \r\n", ProxyFault::Protocol),
        ("PROXY UNKNOWN\n", ProxyFault::LineEnd),
        ("PROXY UNKNOWN\r \n", ProxyFault::LineEnd),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", ProxyFault::LineEnd),
        ("PROXY TCP4\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1  2\r\n", ProxyFault::Address),
        ("PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP6 fe80::1%1 ::1 1 2\r\n", ProxyFault::Address),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", ProxyFault::Address),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
            ProxyFault::Address,
        ),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
            ProxyFault::Address,
        ),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n", ProxyFault::Address),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 \u{662}\r\n",
            ProxyFault::Address,
        ),
    ] {
        assert_eq!(read(line.as_bytes()), Err(fault), "{line}");
    }
    assert_eq!(
        read(b"PROXY TCP4 \xff 2.2.2.2 1 2\r\n"),
        Err(ProxyFault::Address)
    );
}

#[test]
fn a_line_without_an_end_is_refused_at_its_longest() {
    let line = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(line.len(), ProxyHeader::MOST_IN_LINE);
    assert_eq!(read(line.as_bytes()), Err(ProxyFault::LineTooLong));
    assert_eq!(read(&line.as_bytes()[..106]), Ok((106, None)));
}

#[test]
fn a_block_names_the_client_and_the_rest_of_it_is_passed_over() {
    let inet = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x23, 0x29];
    let [mut inet6, mut unix, mut name] = [vec![0; 36], vec![0; 216], vec![0; 216]];
    inet6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    inet6[15] = 1;
    inet6[33] = 9;
    unix[..8].copy_from_slice(b"/run/app");
    name[1..4].copy_from_slice(b"app");
    let long = [&inet[..], &[4; 4_096 - 16 - 12]].concat();
    for (family, rest, expected) in [
        (0x11, &inet[..], "203.0.113.7:4711"),
        (0x12, &inet[..], "203.0.113.7:4711"),
        (
            0x11,
            &[&inet[..], b"\x04\0\x01\0"].concat(),
            "203.0.113.7:4711",
        ),
        (0x11, &long, "203.0.113.7:4711"),
        (0x21, &inet6, "[2001:db8::1]:9"),
        (0x22, &[&inet6[..], &[0; 99]].concat(), "[2001:db8::1]:9"),
        (0x31, &unix, "unix:/run/app"),
        (0x32, &name, "unix:@app"),
        (0x31, &vec![0; 217], "unix:"),
    ] {
        let header = block(0x21, family, rest);
        let Reported::Client(peer) = reported(&header) else {
            panic!("{family:#x} names a client");
        };
        assert_eq!(peer.to_string(), expected);
    }
}

#[test]
fn a_block_without_a_client_leaves_the_address_of_the_socket() {
    for (version, family, len) in [
        (0x20, 0, 0),
        // Its family is ignored, whatever it says.
        (0x20, 0x11, 0),
        (0x20, 0xff, 7),
        (0x20, 0x21, 4_080),
        (0x21, 0, 0),
        (0x21, 0x01, 12),
        (0x21, 0x02, 12),
        (0x21, 0x10, 3),
        (0x21, 0x30, 0),
    ] {
        let header = block(version, family, &vec![7; len]);
        // Only `LOCAL` is the proxy's own.
        let expected = match version {
            0x20 => Reported::Proxy,
            _ => Reported::Unknown,
        };
        assert_eq!(reported(&header), expected, "{version:#x} {family:#x}");
    }
}

#[test]
fn a_block_that_breaks_a_rule_is_refused_by_that_rule() {
    for (version, family, len, fault) in [
        (0x11, 0x11, 12, ProxyFault::Version(1)),
        (0x31, 0x11, 12, ProxyFault::Version(3)),
        (0x22, 0x11, 12, ProxyFault::Command(2)),
        (0x2f, 0x11, 12, ProxyFault::Command(15)),
        (0x21, 0x41, 12, ProxyFault::Family(0x41)),
        (0x21, 0x13, 12, ProxyFault::Family(0x13)),
        (0x21, 0x03, 12, ProxyFault::Family(0x03)),
        (0x21, 0x11, 11, ProxyFault::BlockTooShort { len: 11 }),
        (0x21, 0x21, 35, ProxyFault::BlockTooShort { len: 35 }),
        (0x21, 0x31, 215, ProxyFault::BlockTooShort { len: 215 }),
        (0x21, 0x11, 4_081, ProxyFault::BlockTooLong { size: 4_097 }),
        (
            0x20,
            0x00,
            65_535,
            ProxyFault::BlockTooLong { size: 65_551 },
        ),
    ] {
        let header = block(version, family, &vec![0; len]);
        let short = &header[..header.len().min(300)];
        assert_eq!(read(short), Err(fault), "{version:#x} {family:#x} {len}");
    }
    assert_eq!(read(b"\r\n\r\n\0\r\nQUIT\r"), Err(ProxyFault::Missing));
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_is_claimed() {
    let header = block(0x21, 0x31, &[0; 4_080]);
    let counted = allocation_counter::measure(|| {
        let mut reader = ProxyHeader::default();
        for byte in header.chunks(1) {
            reader.receive(byte).expect("a sound header");
        }
    });
    assert!(counted.bytes_max <= 1_024, "{counted:?}");
}

#[test]
fn what_is_written_is_read() {
    let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let [four, other] = [addr("203.0.113.7:4711"), addr("192.0.2.1:9001")];
    let [six, sixth] = [addr("[2001:db8::1]:1"), addr("[2001:db8::2]:65535")];
    for (from, to, expected) in [
        (four, other, Reported::Client(four.into())),
        (six, sixth, Reported::Client(six.into())),
        (four, six, Reported::Unknown),
        (six, four, Reported::Unknown),
    ] {
        let (mut line, mut block) = (Vec::new(), Vec::new());
        encode_line(from, to, &mut line);
        encode_block(Some(from), to, &mut block);
        assert_eq!(reported(&line), expected);
        assert_eq!(reported(&block), expected);
    }
    let mut local = Vec::new();
    encode_block(None, four, &mut local);
    assert_eq!(reported(&local), Reported::Proxy);
}
