//! Heads of requests, sound ones and every kind of unsound one.

use proptest::prelude::*;

use super::*;
use crate::proto::http::samples::{REQUEST as LINES, head, replaced};

/// The sample request with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> Vec<u8> {
    replaced(&LINES, old, new)
}

/// The sample request with one more line.
fn and(line: &str) -> Vec<u8> {
    head(&[LINES.as_slice(), &[line]].concat())
}

fn parse(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, HeadError> {
    Request::parse(input, &HeadLimits::default())
}

/// Parses a whole head and says whether it is sound.
fn judge(input: &[u8]) -> Result<(), HeadError> {
    let (_, len) = parse(input)?.expect("a whole head");
    assert_eq!(len, input.len());
    Ok(())
}

/// Feeds bytes one by one, each look taking away what is done with; returns what came of it, and how many
/// bytes were needed.
fn drip(input: &[u8], limits: &HeadLimits) -> (Option<Result<String, HeadError>>, usize) {
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
            matches!(found, Some(Err(HeadError::Foreign(_)))),
            "{found:?}"
        );
        assert_eq!(needed, len);
    }
    let version = Err(HeadError::Malformed("http version"));
    assert_eq!(drip(b"GET / SIP/2.0\r\n", &limits), (Some(version), 15));
    let bare = Err(HeadError::Malformed("end of line"));
    assert_eq!(drip(b"GET / HTTP/1.1\nA: b\n\n", &limits).0, Some(bare));
    for (fill, error) in [
        ("\r\n", HeadError::HeadTooLarge { limit: 8192 }),
        ("G", HeadError::HeadTooLarge { limit: 8192 }),
        ("GET /x", HeadError::TargetTooLong { limit: 8192 }),
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
        assert_eq!(host(value), Err(HeadError::Host), "{value}");
    }
    for input in [with("Host", ""), and("host: other"), and(LINES[1])] {
        assert_eq!(judge(&input), Err(HeadError::Host));
    }
}

#[test]
fn a_plain_request_needs_a_host_since_http_1_1() {
    let error = |lines: &[&str]| parse(&head(lines)).err();
    assert_eq!(error(&["GET / HTTP/1.0"]), None);
    let host = Some(HeadError::Host);
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
        let malformed = HeadError::Malformed("content-length");
        assert_eq!(error(line), Some(malformed), "{line}");
    }
    for line in [
        "Transfer-Encoding:",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 7",
    ] {
        let malformed = HeadError::Malformed("transfer-encoding");
        assert_eq!(error(line), Some(malformed), "{line}");
    }
    let old = parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err();
    assert_eq!(old, Some(HeadError::Malformed("transfer-encoding")));
}

#[test]
fn a_plain_request_is_no_upgrade_but_is_read() {
    let input = b"HEAD /status?full HTTP/1.0\r\nX-One: 1\r\nx-one: 2\r\nBlob: \xff\xfe\r\n\r\n";
    let (request, len) = parse(input).unwrap().unwrap();
    assert_eq!(
        (request.method(), request.target(), len),
        ("HEAD", "/status?full", input.len())
    );
    assert!(!request.wants_upgrade_to("websocket"));
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
            (head_len, request.target()),
            (len, "/chat"),
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
        assert_eq!(error, Some(HeadError::Foreign(protocol)));
    }
    assert!(
        matches!(
            parse(b"\x16\x03\x01\x02\x00"),
            Err(HeadError::Foreign(Foreign::Tls))
        ),
        "tls"
    );
    assert!(matches!(
        parse(b"GET  / HTTP/1.1\r\n"),
        Err(HeadError::Malformed(_))
    ));
    let malformed = |line: &str| matches!(judge(&and(line)), Err(HeadError::Malformed(_)));
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
        let refusal = Err(HeadError::Malformed("end of line"));
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
        let malformed = Some(HeadError::Malformed("end of line"));
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
    let too_large = HeadError::HeadTooLarge {
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
    let too_long = HeadError::TargetTooLong { limit: 8192 };
    assert_eq!(parse(long.as_bytes()).map(drop), Err(too_long));
    let method = "G".repeat(8192);
    let too_large = HeadError::HeadTooLarge { limit: 8192 };
    assert_eq!(parse(method.as_bytes()).map(drop), Err(too_large));
    assert_eq!(
        Request::parse(b"", &limits(0)).map(drop),
        Err(HeadError::HeadTooLarge { limit: 0 })
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
    let too_many = HeadError::TooManyHeaders { limit: 6 };
    assert_eq!(Request::parse(&input, &limits(6)).map(drop), Err(too_many));
    let bare = b"GET / HTTP/1.0\r\n\r\n";
    assert!(Request::parse(bare, &limits(0)).unwrap().is_some());
}

#[test]
fn only_http_1_0_and_1_1_are_spoken() {
    for line in [
        "GET /chat HTTP/2.0",
        "GET /chat HTTP/1.2",
        "GET /chat http/1.1",
    ] {
        let malformed = Err(HeadError::Malformed("http version"));
        assert_eq!(judge(&with("GET", line)), malformed);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, len))) = parse(&input) {
            prop_assert!(len <= input.len());
        }
    }

    #[test]
    fn a_damaged_head_never_panics(at in 0_usize..240, byte in any::<u8>()) {
        let mut input = head(&LINES);
        let at = at % input.len();
        input[at] = byte;
        if let Ok(Some((request, _))) = parse(&input) {
            let (_, _, _) = (request.path(), request.query(), request.authority());
        }
    }
}
