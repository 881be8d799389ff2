//! Every rule of RFC 6455, section 4.2.1, broken once.

use proptest::prelude::*;

use super::*;
use crate::proto::http::samples::{REQUEST as LINES, head, replaced};
use crate::proto::http::{HeadLimits, InvalidHead};

const NO_HEADERS: [(&str, &str); 0] = [];

/// The sample handshake with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> Vec<u8> {
    replaced(&LINES, old, new)
}

/// The sample handshake with one more line.
fn and(line: &str) -> Vec<u8> {
    head(&[LINES.as_slice(), &[line]].concat())
}

fn parse(input: &[u8]) -> Request<'_> {
    let parsed = Request::parse(input, &HeadLimits::default());
    let (request, len) = parsed.expect("a sound head").expect("a whole head");
    assert_eq!(len, input.len());
    request
}

/// Parses a whole head and says whether it may be upgraded.
fn judge(input: &[u8]) -> Result<(), HandshakeError> {
    Upgrade::of(&parse(input)).map(drop)
}

#[test]
fn the_sample_of_rfc_6455_section_1_2_is_accepted() {
    let input = head(&LINES);
    let request = parse(&input);
    let upgrade = Upgrade::of(&request).unwrap();
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

#[test]
fn every_response_bears_the_date_that_it_is_given() {
    let date = HttpDate::from_unix(784_111_777);
    let input = head(&LINES);
    let request = parse(&input);
    let upgrade = Upgrade::of(&request).unwrap();
    let dates = |response: Vec<u8>| {
        let text = String::from_utf8(response).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("Date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let responses = |date| {
        [
            accept_response(&upgrade, None, date, &NO_HEADERS).unwrap(),
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
    let request = parse(&input);
    assert_eq!(
        Upgrade::of(&request).unwrap().accept,
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
    let request = parse(&input);
    assert_eq!(
        Upgrade::of(&request).unwrap().subprotocols(),
        ["chat", "superchat", "third"]
    );
}

#[test]
fn extensions_are_declined_by_silence() {
    // 9.1: the server may leave out what it does not accept.
    let input = and("Sec-WebSocket-Extensions: permessage-deflate");
    let request = parse(&input);
    let response =
        accept_response(&Upgrade::of(&request).unwrap(), None, None, &NO_HEADERS).unwrap();
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
fn accepting_takes_only_what_was_offered_and_sound_headers() {
    let input = head(&LINES);
    let request = parse(&input);
    let upgrade = Upgrade::of(&request).unwrap();
    let not_offered = InvalidHandshake::Subprotocol("Chat".to_owned());
    assert_eq!(
        accept_response(&upgrade, Some("Chat"), None, &NO_HEADERS),
        Err(not_offered)
    );
    for name in RESERVED_IN_ACCEPT {
        let reserved = InvalidHead::ReservedHeader(name.to_owned()).into();
        assert_eq!(
            accept_response(&upgrade, None, None, &[(name, "x")]),
            Err(reserved)
        );
    }
    let forged = accept_response(&upgrade, None, None, &[("Set-Cookie", "a=b\r\nX: y")]);
    assert_eq!(
        forged,
        Err(InvalidHead::HeaderValue("Set-Cookie".to_owned()).into())
    );
    let response = accept_response(&upgrade, None, None, &[("Set-Cookie", "a=b")]).unwrap();
    assert!(response.ends_with(b"=\r\nSet-Cookie: a=b\r\n\r\n"));
}

#[test]
fn every_error_is_answered_by_its_status_and_names_its_rule() {
    for (error, first_line) in [
        (HandshakeError::Malformed("upgrade"), "400 Bad Request"),
        (HandshakeError::Method, "405 Method Not Allowed"),
        (HandshakeError::HttpVersion, "400 Bad Request"),
        (HandshakeError::Target, "400 Bad Request"),
        (HandshakeError::Body, "400 Bad Request"),
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

proptest! {
    #[test]
    fn a_damaged_handshake_never_panics(at in 0_usize..240, byte in any::<u8>()) {
        let mut input = head(&LINES);
        let at = at % input.len();
        input[at] = byte;
        if let Ok(Some((request, _))) = Request::parse(&input, &HeadLimits::default()) {
            let _ = Upgrade::of(&request).map(drop);
        }
    }
}

/// Each subprotocol offered was compared with all before it: a head of 8 KiB held the loop up for 20 ms,
/// and this one would take minutes.
#[test]
fn a_head_full_of_subprotocols_costs_no_more_than_its_length() {
    let names: Vec<_> = (0..300_000).map(|number| format!("{number:x}")).collect();
    let input = with(
        "Sec-WebSocket-Protocol",
        &format!("Sec-WebSocket-Protocol: {}", names.join(",")),
    );
    let limits = HeadLimits {
        max_bytes: input.len(),
        ..HeadLimits::default()
    };
    let (request, _) = Request::parse(&input, &limits).unwrap().unwrap();
    assert_eq!(Upgrade::of(&request).unwrap().subprotocols(), names);
}
