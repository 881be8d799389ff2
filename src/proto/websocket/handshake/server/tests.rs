//! Every rule of RFC 6455, section 4.2.1, broken once.

use proptest::prelude::*;

use super::*;

const NO_HEADERS: [(&str, &str); 0] = [];

/// The lines of the handshake in RFC 6455, section 1.2.
const LINES: [&str; 8] = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Version: 13",
];

fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// The sample handshake with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> Vec<u8> {
    let mut lines = LINES.to_vec();
    let at = lines.iter().position(|line| line.starts_with(old)).unwrap();
    match new.is_empty() {
        true => drop(lines.remove(at)),
        false => lines[at] = new,
    }
    head(&lines)
}

/// The sample handshake with one more line.
fn and(line: &str) -> Vec<u8> {
    head(&[LINES.as_slice(), &[line]].concat())
}

fn parse(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, HandshakeError> {
    Request::parse(input, &HeadLimits::default())
}

/// Parses a whole head and says whether it may be upgraded.
fn judge(input: &[u8]) -> Result<(), HandshakeError> {
    let (request, len) = parse(input)?.expect("a whole head");
    assert_eq!(len, input.len());
    request.upgrade().map(drop)
}

#[test]
fn the_sample_of_rfc_6455_section_1_2_is_accepted() {
    let input = head(&LINES);
    let (request, _) = parse(&input).unwrap().unwrap();
    assert!(request.wants_upgrade());
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.subprotocols(), ["chat", "superchat"]);
    assert_eq!(upgrade.origin(), Some(b"http://example.com".as_slice()));
    assert_eq!(upgrade.request().path(), "/chat");
    let response = accept_response(&upgrade, Some("chat"), None, &NO_HEADERS).unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(String::from_utf8(response).unwrap(), expected);
}

#[test]
fn the_method_is_get() {
    for line in [
        "POST /chat HTTP/1.1",
        "HEAD /chat HTTP/1.1",
        "get /chat HTTP/1.1",
    ] {
        assert_eq!(judge(&with("GET", line)), Err(HandshakeError::Method));
    }
}

#[test]
fn the_version_is_http_1_1() {
    assert_eq!(
        judge(&with("GET", "GET /chat HTTP/1.0")),
        Err(HandshakeError::HttpVersion)
    );
    for line in [
        "GET /chat HTTP/2.0",
        "GET /chat HTTP/1.2",
        "GET /chat http/1.1",
    ] {
        let malformed = Err(HandshakeError::Malformed("http version"));
        assert_eq!(judge(&with("GET", line)), malformed);
    }
}

#[test]
fn the_target_is_a_path_or_absolute_and_has_no_fragment() {
    for target in [
        "/",
        "/a?b=c",
        "/a//b/../c",
        "http://server.example.com/x",
        "WS://server.example.com",
        "https://SERVER.example.com:443?x",
        "http://other/x",
        "http://server.example.com:81/x",
        "wss://server.example.com:80/x",
        "/%00?q=%0d%0a",
    ] {
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!(judge(&with("GET", &line)), Ok(()), "{target}");
    }
    for target in [
        "*",
        "chat",
        "/chat#top",
        "/\"",
        "/%zz",
        "ftp://server.example.com/x",
        "server.example.com:443",
        "/é",
        "ws:",
        "ws:///x",
        "http://:80/x",
        "http://user@server.example.com/x",
        "http://server.example.com/x#y",
    ] {
        let line = format!("GET {target} HTTP/1.1");
        let judged = judge(&with("GET", &line));
        assert_eq!(judged, Err(HandshakeError::Target), "{target}");
    }
}

/// Feeds bytes one by one, each look taking away what is done with; returns what came of it, and how many
/// bytes were needed.
fn drip(input: &[u8], limits: &HeadLimits) -> (Option<Result<String, HandshakeError>>, usize) {
    let (mut progress, mut held) = (HeadProgress::default(), Vec::new());
    for (at, byte) in input.iter().enumerate() {
        held.push(*byte);
        let found = Request::parse_more(&mut progress, &held, limits);
        match found.map(|found| found.map(|(request, _)| request.target().to_owned())) {
            Ok(None) => drop(held.drain(..progress.take_done())),
            Ok(Some(target)) => return (Some(Ok(target)), at + 1),
            Err(error) => return (Some(Err(error)), at + 1),
        }
    }
    (None, input.len())
}

#[test]
fn a_request_that_drips_is_judged_as_one_that_does_not() {
    let limits = HeadLimits::default();
    let head = head(&LINES);
    assert_eq!(drip(&head, &limits), (Some(Ok("/chat".into())), head.len()));
    let late = [b"\r\n\r\n".as_slice(), &head].concat();
    assert_eq!(drip(&late, &limits), (Some(Ok("/chat".into())), late.len()));
    for (foreign, len) in [
        (b"\x16\x03\x01\0\x05".as_slice(), 3),
        (b"\r\n\r\n\0\r\nQUIT\n", 5),
    ] {
        let (found, needed) = drip(foreign, &limits);
        assert!(
            matches!(found, Some(Err(HandshakeError::Foreign(_)))),
            "{found:?}"
        );
        assert_eq!(needed, len);
    }
    let version = Err(HandshakeError::Malformed("http version"));
    assert_eq!(drip(b"GET / SIP/2.0\r\n", &limits), (Some(version), 15));
    let bare = Err(HandshakeError::Malformed("end of line"));
    assert_eq!(drip(b"GET / HTTP/1.1\nA: b\n\n", &limits).0, Some(bare));
    for (fill, error) in [
        ("\r\n", HandshakeError::HeadTooLarge { limit: 8192 }),
        ("G", HandshakeError::HeadTooLarge { limit: 8192 }),
        ("GET /x", HandshakeError::TargetTooLong { limit: 8192 }),
    ] {
        let mut endless = fill.as_bytes().to_vec();
        endless.resize(8_192, b'x');
        if fill == "\r\n" {
            endless = fill.repeat(4_096).into();
        }
        assert_eq!(
            drip(&endless, &limits),
            (Some(Err(error)), 8_192),
            "{fill:?}"
        );
    }
}

#[test]
fn every_response_bears_the_date_that_it_is_given() {
    let date = HttpDate::from_unix(784_111_777);
    let input = head(&LINES);
    let (request, _) = Request::parse(&input, &HeadLimits::default())
        .unwrap()
        .unwrap();
    let upgrade = request.upgrade().unwrap();
    let dates = |response: Vec<u8>| {
        let text = String::from_utf8(response).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("Date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let responses = |date| {
        [
            accept_response(&upgrade, None, date, &NO_HEADERS).unwrap(),
            http_response(200, date, &NO_HEADERS, b"").unwrap(),
            http_response(503, date, &[("Retry-After", "1")], b"").unwrap(),
            error_response(&HandshakeError::Key, date),
            error_response(&HandshakeError::Version, date),
        ]
    };
    for response in responses(date.as_ref()) {
        assert_eq!(dates(response), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    }
    for response in responses(None) {
        assert!(dates(response).is_empty(), "without a clock");
    }
    let given = [("date", "Sat, 05 Nov 1994 08:49:37 GMT")];
    let own = http_response(200, date.as_ref(), &given, b"").unwrap();
    assert!(dates(own).is_empty(), "who names a date needs none");
}

#[test]
fn a_field_with_a_single_value_stands_once() {
    let twice = |name: &str| {
        let headers = [(name, "a"), ("X", "b"), (&name.to_uppercase(), "c")];
        http_response(302, None, &headers, b"")
    };
    for name in ["Location", "Date", "Retry-After", "Content-Type"] {
        let repeated = InvalidHead::RepeatedHeader(name.to_uppercase());
        assert_eq!(twice(name), Err(repeated));
    }
    assert!(twice("Set-Cookie").is_ok());
}

#[test]
fn an_absolute_target_says_which_host_is_meant() {
    for (target, host, authority) in [
        ("/", "a:81", Some("a:81")),
        ("/?x=http://b", "a", Some("a")),
        ("http://b:82/x", "a", Some("b:82")),
        ("WS://[::1]", "a", Some("[::1]")),
        ("http://u@b/", "a", None),
        ("http:///", "a", None),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (request, _) = Request::parse(input.as_bytes(), &HeadLimits::default())
            .unwrap()
            .unwrap();
        assert_eq!(request.authority(), authority, "{target}");
    }
    let old = b"GET / HTTP/1.0\r\n\r\n";
    let (request, _) = Request::parse(old, &HeadLimits::default())
        .unwrap()
        .unwrap();
    assert_eq!(request.authority(), None);
}

#[test]
fn the_path_is_what_stands_before_the_query() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a/b?c=d?e", "/a/b", Some("c=d?e")),
        ("/?", "/", Some("")),
        ("?x", "/", Some("x")),
        ("http://host", "/", None),
        ("http://host/a?b", "/a", Some("b")),
        ("ws://host?b", "/", Some("b")),
        (
            "/redirect?to=http://host/a",
            "/redirect",
            Some("to=http://host/a"),
        ),
        ("/x://y/z", "/x://y/z", None),
        ("*", "*", None),
    ] {
        let input = with("GET", &format!("GET {target} HTTP/1.1"));
        let (request, _) = parse(&input).unwrap().unwrap();
        assert_eq!((request.path(), request.query()), (path, query), "{target}");
        assert_eq!(request.target(), target);
    }
}

#[test]
fn host_stands_exactly_once_and_is_an_authority() {
    let host = |value: &str| judge(&with("Host", &format!("Host:{value}")));
    for value in ["h", " h:9001 ", "\t[::1]:80", "10.0.0.1", "h:"] {
        assert_eq!(host(value), Ok(()), "{value}");
    }
    for value in [
        "", " ", "a b", "a, b", "a/b", "u@h", "h:x", "http://h", "é", "[::1",
    ] {
        assert_eq!(host(value), Err(HandshakeError::Host), "{value}");
    }
    for input in [with("Host", ""), and("host: other"), and(LINES[1])] {
        assert_eq!(judge(&input), Err(HandshakeError::Host));
    }
}

#[test]
fn a_plain_request_needs_a_host_since_http_1_1() {
    let error = |lines: &[&str]| parse(&head(lines)).err();
    assert_eq!(error(&["GET / HTTP/1.0"]), None);
    let host = Some(HandshakeError::Host);
    for lines in [
        &["GET / HTTP/1.1"][..],
        &["GET / HTTP/1.1", "Host: a b"],
        &["GET / HTTP/1.1", "Host: a", "Host: a"],
        &["GET / HTTP/1.0", "Host: a/b"],
    ] {
        assert_eq!(error(lines), host, "{lines:?}");
    }
}

#[test]
fn a_body_has_one_length() {
    let error = |line: &str| parse(&head(&["POST / HTTP/1.1", "Host: a", line])).err();
    for line in [
        "Content-Length: 7",
        "Content-Length: 7\r\nContent-Length: 7",
        "Transfer-Encoding: gzip, Chunked",
    ] {
        assert_eq!(error(line), None, "{line}");
    }
    for line in [
        "Content-Length:",
        "Content-Length: +7",
        "Content-Length: 7, 7",
        "Content-Length: 7\r\nContent-Length: 8",
    ] {
        let malformed = HandshakeError::Malformed("content-length");
        assert_eq!(error(line), Some(malformed), "{line}");
    }
    for line in [
        "Transfer-Encoding:",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 7",
    ] {
        let malformed = HandshakeError::Malformed("transfer-encoding");
        assert_eq!(error(line), Some(malformed), "{line}");
    }
    let old = parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err();
    assert_eq!(old, Some(HandshakeError::Malformed("transfer-encoding")));
}

#[test]
fn upgrade_names_websocket() {
    for line in [
        "Upgrade: WebSocket",
        "UPGRADE:h2c,\twebsocket ,x",
        "upgrade:websocket",
    ] {
        assert_eq!(judge(&with("Upgrade", line)), Ok(()), "{line}");
    }
    for line in [
        "",
        "Upgrade:",
        "Upgrade: websockets",
        "Upgrade: h2c",
        "Upgrade: web socket",
        "Upgrade: websocket/13",
    ] {
        assert_eq!(
            judge(&with("Upgrade", line)),
            Err(HandshakeError::NoUpgrade),
            "{line}"
        );
    }
    for line in ["Upgrade: websocket, @", "Upgrade: a b, websocket"] {
        let malformed = HandshakeError::Malformed("upgrade");
        assert_eq!(judge(&with("Upgrade", line)), Err(malformed), "{line}");
    }
    let input = [
        LINES[0],
        LINES[1],
        "Upgrade: h2c",
        LINES[3],
        LINES[4],
        LINES[7],
    ];
    let second_line = head(&[input.as_slice(), &["upgrade: websocket"]].concat());
    assert_eq!(judge(&second_line), Ok(()));
}

#[test]
fn connection_names_upgrade() {
    for line in [
        "Connection: keep-alive, upgrade",
        "connection:UPGRADE",
        "Connection: , Upgrade,",
    ] {
        assert_eq!(judge(&with("Connection", line)), Ok(()), "{line}");
    }
    for line in [
        "",
        "Connection: keep-alive",
        "Connection: upgraded",
        "Connection: no upgrade",
        "Connection: Upgrade, @",
        "Connection: Upgrade, \"close\"",
    ] {
        assert_eq!(
            judge(&with("Connection", line)),
            Err(HandshakeError::Connection),
            "{line}"
        );
    }
}

#[test]
fn the_key_is_16_bytes_in_base64_exactly_once() {
    // The second is the example of section 4.1, whose last symbol has unused bits set.
    for key in [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AQIDBAUGBwgJCgsMDQ4PEC==",
        "//////////////////////==",
    ] {
        let line = format!("Sec-WebSocket-Key:  {key} ");
        assert_eq!(judge(&with("Sec-WebSocket-Key", &line)), Ok(()), "{key}");
    }
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAA==AA==",
        "AAAAAAAAAA AAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA-_==",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let line = format!("Sec-WebSocket-Key: {key}");
        assert_eq!(
            judge(&with("Sec-WebSocket-Key", &line)),
            Err(HandshakeError::Key),
            "{key}"
        );
    }
    assert_eq!(
        judge(&with("Sec-WebSocket-Key", "")),
        Err(HandshakeError::Key)
    );
    assert_eq!(judge(&and(LINES[4])), Err(HandshakeError::Key));
}

#[test]
fn the_accept_value_answers_the_key_as_it_was_sent() {
    // Decoded and encoded again, this key would end in "A==" and give another accept value.
    let input = with(
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
    );
    let (request, _) = parse(&input).unwrap().unwrap();
    assert_eq!(
        request.upgrade().unwrap().accept,
        accept_of(b"AQIDBAUGBwgJCgsMDQ4PEC==")
    );
}

#[test]
fn the_version_of_websocket_is_13() {
    for line in [
        "",
        "Sec-WebSocket-Version: 8",
        "Sec-WebSocket-Version: 13, 8",
    ] {
        let input = with("Sec-WebSocket-Version", line);
        assert_eq!(judge(&input), Err(HandshakeError::Version), "{line}");
    }
    assert_eq!(judge(&and(LINES[7])), Err(HandshakeError::Version), "twice");
}

#[test]
fn an_upgrade_has_no_body() {
    for line in ["Content-Length: 0", "content-length: 000"] {
        assert_eq!(judge(&and(line)), Ok(()), "{line}");
    }
    for line in [
        "Content-Length: 1",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked",
    ] {
        assert_eq!(judge(&and(line)), Err(HandshakeError::Body), "{line}");
    }
}

#[test]
fn subprotocols_are_tokens_each_once() {
    for line in ["", "Sec-WebSocket-Protocol: a , b!#$%&'*+-.^_`|~,"] {
        assert_eq!(
            judge(&with("Sec-WebSocket-Protocol", line)),
            Ok(()),
            "{line}"
        );
    }
    for value in ["", " , ", "a b", "a,b,a", "a/b", "a\"", "é"] {
        let line = format!("Sec-WebSocket-Protocol: {value}");
        let input = with("Sec-WebSocket-Protocol", &line);
        assert_eq!(judge(&input), Err(HandshakeError::Subprotocol), "{value}");
    }
    let repeated = judge(&and("sec-websocket-protocol: chat"));
    assert_eq!(
        repeated,
        Err(HandshakeError::Subprotocol),
        "over several lines"
    );
    let input = and("sec-websocket-protocol: third");
    let (request, _) = parse(&input).unwrap().unwrap();
    assert_eq!(
        request.upgrade().unwrap().subprotocols(),
        ["chat", "superchat", "third"]
    );
}

#[test]
fn extensions_are_declined_by_silence() {
    // 9.1: the server may leave out what it does not accept.
    let input = and("Sec-WebSocket-Extensions: permessage-deflate");
    let (request, _) = parse(&input).unwrap().unwrap();
    let response = accept_response(&request.upgrade().unwrap(), None, None, &NO_HEADERS).unwrap();
    assert!(!String::from_utf8(response).unwrap().contains("Extensions"));
}

#[test]
fn an_origin_stands_once_or_not_at_all() {
    assert_eq!(judge(&with("Origin", "")), Ok(()));
    let two = and("origin: http://other.example");
    assert_eq!(judge(&two), Err(HandshakeError::Malformed("origin")));
}

#[test]
fn malformed_extensions_fail_the_handshake() {
    // 9.1
    for value in ["", ",", "a;", "a b", "a; b=\"c d\"", "a, b=1"] {
        let judged = judge(&and(&format!("Sec-WebSocket-Extensions: {value}")));
        assert_eq!(judged, Err(HandshakeError::Extensions), "{value}");
    }
    let two = "Sec-WebSocket-Extensions: a; b\r\nSec-WebSocket-Extensions: c; d=\"e\",";
    assert_eq!(judge(&and(two)), Ok(()));
}

#[test]
fn a_plain_request_is_no_upgrade_but_is_read() {
    let input = b"HEAD /status?full HTTP/1.0\r\nX-One: 1\r\nx-one: 2\r\nBlob: \xff\xfe\r\n\r\n";
    let (request, len) = parse(input).unwrap().unwrap();
    assert_eq!(
        (request.method(), request.target(), len),
        ("HEAD", "/status?full", input.len())
    );
    assert!(!request.wants_upgrade());
    assert_eq!(request.header("X-ONE"), Some(b"1".as_slice()));
    assert_eq!(request.header("blob"), Some(b"\xff\xfe".as_slice()));
    assert_eq!(request.header("host"), None);
    let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["X-One", "x-one", "Blob"]);
}

#[test]
fn a_head_fed_byte_by_byte_is_whole_at_its_last_byte() {
    let mut input = head(&LINES);
    let len = input.len();
    input.extend_from_slice(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n");
    for cut in 0..len {
        assert!(parse(&input[..cut]).unwrap().is_none(), "cut at {cut}");
    }
    for cut in len..=input.len() {
        let (request, head_len) = parse(&input[..cut]).unwrap().unwrap();
        assert_eq!(
            (head_len, request.upgrade().map(drop)),
            (len, Ok(())),
            "frames stay behind"
        );
    }
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    for (request, protocol) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Foreign::Http2),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Foreign::Proxy),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Foreign::Proxy),
    ] {
        let error = parse(request).err();
        assert_eq!(error, Some(HandshakeError::Foreign(protocol)));
    }
    assert!(
        matches!(
            parse(b"\x16\x03\x01\x02\x00"),
            Err(HandshakeError::Foreign(Foreign::Tls))
        ),
        "tls"
    );
    assert!(matches!(
        parse(b"GET  / HTTP/1.1\r\n"),
        Err(HandshakeError::Malformed(_))
    ));
    let malformed = |line: &str| matches!(judge(&and(line)), Err(HandshakeError::Malformed(_)));
    assert!(malformed("no colon"));
    assert!(
        malformed("Name : value"),
        "a blank before the colon smuggles"
    );
    assert!(malformed(" Folded: value"));
    assert!(malformed("A: b\r\n folded"));
    assert!(malformed("A: \0"));
    assert!(malformed("A: b\rc"));
    assert!(malformed(": no name"));
    assert!(
        malformed("A: b\nC: d"),
        "a proxy may see one line where we see two"
    );
    for bare in [
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\n\n",
        "\nGET / HTTP/1.1\r\n\r\n",
    ] {
        let refusal = Err(HandshakeError::Malformed("end of line"));
        assert_eq!(parse(bare.as_bytes()).map(drop), refusal);
    }
}

#[test]
fn a_line_feed_alone_ends_no_line() {
    let input = head(&LINES);
    let feeds = (0..input.len()).filter(|&at| input[at] == b'\n');
    for at in feeds {
        let mut bare = input.clone();
        bare.remove(at - 1);
        let malformed = Some(HandshakeError::Malformed("end of line"));
        for cut in 0..=bare.len() {
            let error = parse(&bare[..cut]).err();
            assert_eq!(error, malformed.filter(|_| cut >= at), "{at} at {cut}");
        }
    }
    let behind = [&input[..], b"\n\n"].concat();
    assert!(parse(&behind).unwrap().is_some(), "frames are no lines");
}

#[test]
fn a_head_may_have_as_many_bytes_as_the_limit_and_no_more() {
    let input = head(&LINES);
    let limits = |max_bytes| HeadLimits {
        max_bytes,
        ..HeadLimits::default()
    };
    assert!(
        Request::parse(&input, &limits(input.len()))
            .unwrap()
            .is_some()
    );
    let short = limits(input.len() - 1);
    let too_large = HandshakeError::HeadTooLarge {
        limit: input.len() - 1,
    };
    assert_eq!(Request::parse(&input, &short).map(drop), Err(too_large));
    for cut in 0..input.len() - 1 {
        assert!(
            Request::parse(&input[..cut], &short).unwrap().is_none(),
            "cut at {cut}"
        );
    }
    let unfinished = &input[..input.len() - 1];
    assert_eq!(Request::parse(unfinished, &short).map(drop), Err(too_large));
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(8192));
    let too_long = HandshakeError::TargetTooLong { limit: 8192 };
    assert_eq!(parse(long.as_bytes()).map(drop), Err(too_long));
    let method = "G".repeat(8192);
    let too_large = HandshakeError::HeadTooLarge { limit: 8192 };
    assert_eq!(parse(method.as_bytes()).map(drop), Err(too_large));
    assert_eq!(
        Request::parse(b"", &limits(0)).map(drop),
        Err(HandshakeError::HeadTooLarge { limit: 0 })
    );
}

#[test]
fn a_head_may_have_as_many_lines_as_the_limit_and_no_more() {
    let input = head(&LINES);
    let limits = |max_headers| HeadLimits {
        max_headers,
        ..HeadLimits::default()
    };
    assert!(Request::parse(&input, &limits(7)).unwrap().is_some());
    let too_many = HandshakeError::TooManyHeaders { limit: 6 };
    assert_eq!(Request::parse(&input, &limits(6)).map(drop), Err(too_many));
    let bare = b"GET / HTTP/1.0\r\n\r\n";
    assert!(Request::parse(bare, &limits(0)).unwrap().is_some());
}

#[test]
fn accepting_takes_only_what_was_offered_and_sound_headers() {
    let input = head(&LINES);
    let (request, _) = parse(&input).unwrap().unwrap();
    let upgrade = request.upgrade().unwrap();
    let not_offered = InvalidHead::Subprotocol("Chat".to_owned());
    assert_eq!(
        accept_response(&upgrade, Some("Chat"), None, &NO_HEADERS),
        Err(not_offered)
    );
    for name in RESERVED_IN_ACCEPT {
        let reserved = InvalidHead::ReservedHeader(name.to_owned());
        assert_eq!(
            accept_response(&upgrade, None, None, &[(name, "x")]),
            Err(reserved)
        );
    }
    let forged = accept_response(&upgrade, None, None, &[("Set-Cookie", "a=b\r\nX: y")]);
    assert_eq!(
        forged,
        Err(InvalidHead::HeaderValue("Set-Cookie".to_owned()))
    );
    let response = accept_response(&upgrade, None, None, &[("Set-Cookie", "a=b")]).unwrap();
    assert!(response.ends_with(b"=\r\nSet-Cookie: a=b\r\n\r\n"));
}

#[test]
fn every_error_is_answered_by_its_status_and_names_its_rule() {
    let limit = 7;
    for (error, first_line) in [
        (HandshakeError::Malformed("request line"), "400 Bad Request"),
        (HandshakeError::TargetTooLong { limit }, "414 URI Too Long"),
        (
            HandshakeError::HeadTooLarge { limit },
            "431 Request Header Fields Too Large",
        ),
        (
            HandshakeError::TooManyHeaders { limit },
            "431 Request Header Fields Too Large",
        ),
        (HandshakeError::Method, "405 Method Not Allowed"),
        (HandshakeError::HttpVersion, "400 Bad Request"),
        (HandshakeError::Target, "400 Bad Request"),
        (HandshakeError::Body, "400 Bad Request"),
        (HandshakeError::Host, "400 Bad Request"),
        (HandshakeError::NoUpgrade, "426 Upgrade Required"),
        (HandshakeError::Connection, "400 Bad Request"),
        (HandshakeError::Key, "400 Bad Request"),
        (HandshakeError::Version, "426 Upgrade Required"),
        (HandshakeError::Subprotocol, "400 Bad Request"),
        (HandshakeError::Extensions, "400 Bad Request"),
    ] {
        let response = String::from_utf8(error_response(&error, None)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {first_line}\r\n")),
            "{head}"
        );
        assert_eq!(body, format!("{error}\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        let upgrades = error.status() == 426;
        let options = if upgrades { "close, Upgrade" } else { "close" };
        assert!(head.contains(&format!("\r\nConnection: {options}\r\n")));
        assert_eq!(head.contains("\r\nAllow: GET"), error.status() == 405);
        assert_eq!(
            head.contains("\r\nUpgrade: websocket"),
            error.status() == 426
        );
        assert_eq!(
            head.contains("\r\nSec-WebSocket-Version: 13"),
            error.status() == 426
        );
    }
}

#[test]
fn a_plain_response_is_final_and_cannot_be_split() {
    let response = http_response(200, None, &[("Content-Type", "text/plain")], b"fine").unwrap();
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\
        Content-Type: text/plain\r\n\r\nfine";
    assert_eq!(String::from_utf8(response).unwrap(), expected);
    let upgrade = http_response(426, None, &[("upgrade", "websocket")], b"").unwrap();
    let expected = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\
        Connection: close, Upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(String::from_utf8(upgrade).unwrap(), expected);
    for status in [204, 304] {
        let response =
            String::from_utf8(http_response(status, None, &NO_HEADERS, b"x").unwrap()).unwrap();
        assert!(!response.contains("Content-Length") && response.ends_with("close\r\n\r\n"));
    }
    let unnamed = http_response(599, None, &NO_HEADERS, b"").unwrap();
    assert!(unnamed.starts_with(b"HTTP/1.1 599 \r\n"));
    for status in [0, 101, 199, 600] {
        assert_eq!(
            http_response(status, None, &NO_HEADERS, b""),
            Err(InvalidHead::Status(status))
        );
    }
    let split = http_response(200, None, &[("Location", "/\r\n\r\n<script>")], b"");
    assert_eq!(split, Err(InvalidHead::HeaderValue("Location".to_owned())));
    for name in RESERVED_IN_FINAL {
        let reserved = InvalidHead::ReservedHeader(name.to_lowercase());
        assert_eq!(
            http_response(200, None, &[(name.to_lowercase(), "x")], b""),
            Err(reserved)
        );
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((request, len))) = parse(&input) {
            prop_assert!(len <= input.len());
            let _ = request.upgrade().map(drop);
        }
    }

    #[test]
    fn a_damaged_handshake_never_panics(at in 0_usize..240, byte in any::<u8>()) {
        let mut input = head(&LINES);
        let at = at % input.len();
        input[at] = byte;
        if let Ok(Some((request, _))) = parse(&input) {
            let (_, _, _) = (request.path(), request.query(), request.upgrade().map(drop));
        }
    }
}
