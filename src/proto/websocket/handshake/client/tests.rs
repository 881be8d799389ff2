//! Every rule of RFC 6455, section 4.1, broken once.

use proptest::prelude::*;

use super::*;
use crate::proto::http::samples::{RESPONSE as LINES, head, replaced};
use crate::proto::http::{HttpDate, Request};
use crate::proto::websocket::handshake::{Upgrade, accept_response};

const NO_NAMES: [&str; 0] = [];
const NO_HEADERS: [(&str, &str); 0] = [];
const KEY: [u8; 16] = *b"the sample nonce";

/// The sample response with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> Vec<u8> {
    replaced(&LINES, old, new)
}

fn and(line: &str) -> Vec<u8> {
    head(&[LINES.as_slice(), &[line]].concat())
}

fn parse(input: &[u8]) -> Result<Option<(Acceptance<'_>, usize)>, ResponseError> {
    parse_response(
        input,
        &accept_for(KEY),
        &["chat", "superchat"],
        &HeadLimits::default(),
    )
}

/// Parses a whole response and returns the chosen subprotocol.
fn judge(input: &[u8]) -> Result<Option<String>, ResponseError> {
    let (response, len) = parse(input)?.expect("a whole head");
    assert_eq!(len, input.len());
    Ok(response.subprotocol().map(str::to_owned))
}

fn chat() -> Result<Option<String>, ResponseError> {
    Ok(Some("chat".to_owned()))
}

#[test]
fn the_request_has_what_rfc_6455_section_4_1_demands() {
    let headers = [("Origin".to_owned(), "http://example.com".to_owned())];
    let head = request(
        "server.example.com",
        "/chat",
        KEY,
        &["chat", "superchat"],
        &headers,
    );
    let expected = "GET /chat HTTP/1.1\r\n\
        Host: server.example.com\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\n\
        Origin: http://example.com\r\n\r\n";
    assert_eq!(String::from_utf8(head.unwrap()).unwrap(), expected);
    let plain = request("h", "/", KEY, &NO_NAMES, &NO_HEADERS).unwrap();
    assert!(!String::from_utf8(plain).unwrap().contains("Protocol"));
}

#[test]
fn nothing_in_a_request_can_forge_a_line() {
    let build = |host: &str, path: &str| request(host, path, KEY, &NO_NAMES, &NO_HEADERS);
    for host in ["h", "h:80", "[::1]:9001", "10.0.0.1"] {
        assert!(build(host, "/").is_ok(), "{host}");
    }
    for host in [
        "",
        "h\r\nX: y",
        "h h",
        "u@h",
        "h/",
        "h,i",
        "a/b",
        "é",
        "h\0",
        "::1",
        "h:x",
    ] {
        assert_eq!(
            build(host, "/"),
            Err(InvalidHead::Host(host.to_owned()).into())
        );
    }
    for path in [
        "",
        "a",
        "/a b",
        "/\r\n",
        "/é",
        "/#a",
        "/\x7f",
        "*",
        "/<",
        "/%",
        "/\"",
        "/\r\nX: y",
    ] {
        assert_eq!(
            build("h", path),
            Err(InvalidHead::Path(path.to_owned()).into())
        );
    }
    for name in ["", "a b", "a,b", "a\r\n", "é"] {
        let invalid = Err(InvalidHandshake::Subprotocol(name.to_owned()));
        assert_eq!(request("h", "/", KEY, &[name], &NO_HEADERS), invalid);
    }
    let repeated = Err(InvalidHandshake::Subprotocol("a".to_owned()));
    assert_eq!(
        request("h", "/", KEY, &["a", "b", "a"], &NO_HEADERS),
        repeated
    );
    let forged = request("h", "/", KEY, &NO_NAMES, &[("A", "b\nX: y")]);
    assert_eq!(forged, Err(InvalidHead::HeaderValue("A".to_owned()).into()));
    for name in RESERVED {
        let reserved = Err(InvalidHead::ReservedHeader(name.to_owned()).into());
        assert_eq!(request("h", "/", KEY, &NO_NAMES, &[(name, "x")]), reserved);
    }
}

#[test]
fn s3_a_number_sign_must_be_escaped() {
    let builds = |path| request("h", path, KEY, &NO_NAMES, &NO_HEADERS).is_ok();
    assert!(builds("/a%23b?c=%23"));
    assert!(!builds("/a?c=#"));
}

#[test]
fn the_sample_of_rfc_6455_section_1_2_is_accepted() {
    let input = head(&LINES);
    let (response, _) = parse(&input).unwrap().unwrap();
    assert_eq!(response.subprotocol(), Some("chat"));
    assert_eq!(response.response().status(), 101);
}

#[test]
fn s4_1_the_sample_response_is_taken_however_its_case_and_blanks() {
    assert_eq!(judge(&head(&LINES)), chat());
    for (old, new) in [
        ("HTTP", "HTTP/1.1 101 "),
        ("HTTP", "HTTP/1.1 101"),
        ("HTTP", "HTTP/1.1 101 Web Socket Protocol Handshake"),
        ("Upgrade", "UPGRADE:WebSocket"),
        ("Connection", "connection:\t keep-alive, ,uPgRaDe , "),
        (
            "Sec-WebSocket-Accept",
            "SEC-WEBSOCKET-ACCEPT:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\t",
        ),
        ("Sec-WebSocket-Protocol", "sec-websocket-protocol: chat"),
        (
            "Sec-WebSocket-Protocol",
            "Set-Cookie: a=b\r\nSec-WebSocket-Protocol: chat\r\nX: y",
        ),
    ] {
        assert_eq!(judge(&with(old, new)), chat(), "{new}");
    }
}

#[test]
fn another_status_is_reported_with_its_retry_after() {
    let status = |line: &str, more: &str| judge(&head(&[line, more, "Content-Length: 0"]));
    let expected = |code, retry_after| {
        Err(ResponseError::Status {
            code,
            retry_after,
            location: None,
        })
    };
    let unauthorized = "HTTP/1.1 401 Unauthorized";
    assert_eq!(
        status(unauthorized, "WWW-Authenticate: Basic"),
        expected(401, None)
    );
    let full = "HTTP/1.1 503 Service Unavailable";
    let after = |seconds| expected(503, Some(RetryAfter::Seconds(seconds)));
    assert_eq!(status(full, "Retry-After: 120"), after(120));
    assert_eq!(status(full, "retry-after:0"), after(0));
    let date = HttpDate::parse(b"Fri, 31 Dec 1999 23:59:59 GMT").unwrap();
    for form in [
        "Fri, 31 Dec 1999 23:59:59 GMT",
        "Friday, 31-Dec-99 23:59:59 GMT",
        "Fri Dec 31 23:59:59 1999",
    ] {
        assert_eq!(
            status(full, &format!("Retry-After: {form}")),
            expected(503, Some(RetryAfter::Date(date)))
        );
    }
    for unknown in [
        "-1",
        "+1",
        "1.5",
        "",
        "Sat, 31 Dec 1999 23:59:59 GMT",
        "1\r\nRetry-After: 1",
    ] {
        assert_eq!(
            status(full, &format!("Retry-After: {unknown}")),
            expected(503, None)
        );
    }
    assert_eq!(judge(&with("HTTP", "HTTP/1.1 200 OK")), expected(200, None));
    assert_eq!(status("HTTP/1.0 404 ", "A: b"), expected(404, None));
    let created = status("HTTP/1.1 201", "Location: /x");
    assert_eq!(created, expected(201, None), "of 3xx only");
    for (code, value) in [(300, "/x"), (301, "http://a/b#c"), (304, ""), (399, "a b")] {
        let answer = status(&format!("HTTP/1.1 {code}"), &format!("Location: {value}"));
        let expected = ResponseError::Status {
            code,
            retry_after: None,
            location: Some(value.into()),
        };
        assert_eq!(answer, Err(expected));
    }
    assert_eq!(status("HTTP/1.1 302", "A: b"), expected(302, None));
}

#[test]
fn switching_protocols_needs_http_1_1() {
    let old = judge(&with("HTTP", "HTTP/1.0 101 Switching Protocols"));
    assert_eq!(old, Err(ResponseError::HttpVersion));
}

#[test]
fn interim_responses_are_skipped() {
    // RFC 9110, 15.2
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let input = [interim.as_slice(), &head(&LINES)].concat();
    assert_eq!(judge(&input), chat());
    for cut in 0..input.len() {
        assert!(parse(&input[..cut]).unwrap().is_none(), "cut at {cut}");
    }
    let refused = [interim.as_slice(), b"HTTP/1.1 403 Forbidden\r\n\r\n"].concat();
    let status = ResponseError::Status {
        code: 403,
        retry_after: None,
        location: None,
    };
    assert_eq!(judge(&refused), Err(status));
    let endless = interim.repeat(200);
    let too_large = ResponseError::from(HeadError::HeadTooLarge { limit: 8192 });
    assert_eq!(parse(&endless).map(drop), Err(too_large));
}

#[test]
fn upgrade_is_websocket() {
    assert_eq!(judge(&with("Upgrade", "upgrade:WEBSOCKET")), chat());
    for line in [
        "",
        "Upgrade: h2c",
        "Upgrade: websocket, h2c",
        "Upgrade: websockets",
    ] {
        assert_eq!(
            judge(&with("Upgrade", line)),
            Err(ResponseError::Upgrade),
            "{line}"
        );
    }
}

#[test]
fn connection_names_upgrade() {
    assert_eq!(
        judge(&with("Connection", "connection: keep-alive, UPGRADE")),
        chat()
    );
    for line in [
        "",
        "Connection: close",
        "Connection: upgrades",
        "Connection: Upgrade, @",
    ] {
        assert_eq!(
            judge(&with("Connection", line)),
            Err(ResponseError::Connection),
            "{line}"
        );
    }
}

#[test]
fn the_accept_value_answers_our_key_exactly_once() {
    let spaced = "sec-websocket-accept:   s3pPLMBiTxaQ9kYGzzhZRbK+xOo= ";
    assert_eq!(judge(&with("Sec-WebSocket-Accept", spaced)), chat());
    for line in [
        "",
        "Sec-WebSocket-Accept:",
        "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
    ] {
        let input = with("Sec-WebSocket-Accept", line);
        assert_eq!(judge(&input), Err(ResponseError::Accept), "{line}");
    }
    assert_eq!(judge(&and(LINES[3])), Err(ResponseError::Accept), "twice");
}

#[test]
fn s10_8_only_the_hash_of_the_very_key_is_taken() {
    let answer = |key| {
        let accept = String::from_utf8(accept_for(key).to_vec()).unwrap();
        with(
            "Sec-WebSocket-Accept",
            &format!("Sec-WebSocket-Accept: {accept}"),
        )
    };
    assert_eq!(judge(&answer(KEY)), chat());
    for bit in 0..128 {
        let mut other = KEY;
        other[bit / 8] ^= 1 << (bit % 8);
        let judged = judge(&answer(other));
        assert_eq!(judged, Err(ResponseError::Accept), "bit {bit}");
    }
}

#[test]
fn extensions_were_not_offered() {
    for value in ["permessage-deflate", "", ","] {
        let chosen = and(&format!("Sec-WebSocket-Extensions: {value}"));
        assert_eq!(judge(&chosen), Err(ResponseError::Extension), "{value}");
    }
}

#[test]
fn an_announced_body_is_none() {
    for line in [
        "Content-Length: 0",
        "Content-Length: 5",
        "Content-Length: five",
        "Transfer-Encoding: chunked",
    ] {
        assert_eq!(judge(&and(line)), chat(), "{line}");
    }
}

#[test]
fn a_folded_field_stands_on_one_line() {
    let folded = with("Upgrade", "Upgrade:\r\n websocket");
    assert_eq!(judge(&folded), chat());
    let limits = HeadLimits::default();
    let input = and("X-Note: one\r\n\t two\r\n \r\n  three");
    let (response, len) = parse_response(&input, &accept_for(KEY), &["chat"], &limits)
        .unwrap()
        .unwrap();
    assert_eq!(len, input.len());
    assert_eq!(
        response.response().header("x-note"),
        Some(&b"one  \t two       three"[..])
    );
    // The value is judged as a whole.
    let two = with(
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Protocol: chat,\r\n x",
    );
    assert_eq!(judge(&two), Err(ResponseError::Subprotocol));
}

#[test]
fn the_subprotocol_is_one_of_those_offered_or_none() {
    assert_eq!(judge(&with("Sec-WebSocket-Protocol", "")), Ok(None));
    for value in ["other", "Chat", "", "chat, superchat", "\u{e9}"] {
        let input = with(
            "Sec-WebSocket-Protocol",
            &format!("Sec-WebSocket-Protocol: {value}"),
        );
        assert_eq!(judge(&input), Err(ResponseError::Subprotocol), "{value}");
    }
    let twice = and("Sec-WebSocket-Protocol: superchat");
    assert_eq!(judge(&twice), Err(ResponseError::Subprotocol));
    let unasked = head(&LINES);
    let limits = HeadLimits::default();
    let judged = parse_response(&unasked, &accept_for(KEY), &NO_NAMES, &limits);
    assert_eq!(judged.map(drop), Err(ResponseError::Subprotocol));
}

#[test]
fn our_server_and_our_client_agree() {
    let sent = request("h:1", "/p?q", [9; 16], &["b", "a"], &[("X", "y")]).unwrap();
    let limits = HeadLimits::default();
    let (received, _) = Request::parse(&sent, &limits).unwrap().unwrap();
    let upgrade = Upgrade::of(&received).unwrap();
    assert_eq!(upgrade.subprotocols(), ["b", "a"]);
    let answer = accept_response(&upgrade, Some("a"), None, &NO_HEADERS).unwrap();
    let accept = accept_for([9; 16]);
    let (response, len) = parse_response(&answer, &accept, &["b", "a"], &limits)
        .unwrap()
        .unwrap();
    assert_eq!((response.subprotocol(), len), (Some("a"), answer.len()));
    let other = parse_response(&answer, &accept_for(KEY), &["a"], &limits);
    assert_eq!(
        other.map(drop),
        Err(ResponseError::Accept),
        "an answer to another key"
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, len))) = parse(&input) {
            prop_assert!(len <= input.len());
        }
    }

    #[test]
    fn every_request_that_is_built_is_one_a_server_accepts(
        key in any::<[u8; 16]>(),
        path in "/[ -~]{0,20}",
        value in "\\PC{0,20}",
    ) {
        let Ok(sent) = request("h", &path, key, &NO_NAMES, &[("X", value.as_str())]) else {
            return Ok(());
        };
        let (received, len) = Request::parse(&sent, &HeadLimits::default()).unwrap().unwrap();
        prop_assert_eq!((received.target(), len), (path.as_str(), sent.len()));
        prop_assert_eq!(Upgrade::of(&received).map(drop), Ok(()));
        let received = received.header("x").unwrap();
        prop_assert_eq!(received.trim_ascii(), value.as_bytes().trim_ascii());
    }
}

/// A client was let send two origins, which our own server refuses.
#[test]
fn a_request_has_fields_with_a_single_value_once() {
    for (first, second) in [
        ("Origin", "origin"),
        ("Authorization", "Authorization"),
        ("User-Agent", "User-Agent"),
    ] {
        let headers = [(first, "http://a"), ("X", "y"), (second, "http://b")];
        assert!(request("a", "/", KEY, &NO_NAMES, &headers[..2]).is_ok());
        let repeated = InvalidHead::RepeatedHeader(second.to_owned());
        let built = request("a", "/", KEY, &NO_NAMES, &headers);
        assert_eq!(built, Err(repeated.into()));
    }
}
