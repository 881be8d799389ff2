//! Section 4.2: which requests a server takes, and what it answers.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use heartwheel::config::LimitsConfig;
use heartwheel::proto::message::Message;
use heartwheel::proto::wire::Role;
use heartwheel::reactor::{Rejection, Welcome};

use crate::samples::{self, REQUEST as LINES};
use crate::support::head::{accept_value, header, headers};
use crate::support::recorder::{Recorder, Seen};
use crate::support::sides::Acceptor;
use crate::wire::{FIN, PING, TEXT, frame};

fn head(lines: &[&str]) -> String {
    String::from_utf8(samples::head(lines)).unwrap()
}

/// The sample with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> String {
    String::from_utf8(samples::replaced(&LINES, old, new)).unwrap()
}

fn and(line: &str) -> String {
    head(&[&LINES[..], &[line]].concat())
}

/// A server that tells how often its handler was asked.
fn server() -> (Acceptor, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let counter = Rc::clone(&asked);
    let recorder = Recorder {
        judge: Some(Box::new(move |_| {
            counter.set(counter.get() + 1);
            Ok(Welcome::with(7))
        })),
        ..Recorder::default()
    };
    (Acceptor::with(recorder, |_| {}), asked)
}

/// Claims that each request is answered by this status, without the handler, and by the end of the
/// connection.
#[track_caller]
fn assert_refused(requests: &[String], status: u16) {
    let (mut server, asked) = server();
    for request in requests {
        let frame = frame(Role::Server, FIN | TEXT, b"not read");
        let answer = server.ask(&[request.as_bytes(), &frame].concat());
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{request:?}\n{answer}");
        assert!(header(&answer, "Connection").starts_with("close"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(header(&answer, "Content-Length"), body.len().to_string());
    }
    assert_eq!(asked.get(), 0);
    assert!(server.turning.recorder.opened().is_empty());
    assert!(server.turning.recorder.messages().is_empty());
}

/// Claims that each request is none to upgrade: it is answered as any plain one, and what follows is read as
/// another request, which a frame is not.
#[track_caller]
fn assert_plain(requests: &[String]) {
    let (mut server, asked) = server();
    for request in requests {
        let frame = frame(Role::Server, FIN | TEXT, b"not read");
        let answer = server.ask(&[request.as_bytes(), &frame].concat());
        assert!(answer.starts_with("HTTP/1.1 426 "), "{request:?}\n{answer}");
        let (_, second) = answer.split_once("HTTP/1.1 400 ").unwrap();
        assert_eq!(header(second, "Connection"), "close");
    }
    assert_eq!(asked.get(), 0);
    assert!(server.turning.recorder.opened().is_empty());
    assert!(server.turning.recorder.messages().is_empty());
}

/// Claims that each request is accepted, with one answer.
#[track_caller]
fn assert_accepted(requests: &[String]) {
    let (mut server, asked) = server();
    for request in requests {
        let mut peer = server.dial();
        peer.write_all(request.as_bytes()).unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{request}\n{answer}");
        let accept = header(&answer, "Sec-WebSocket-Accept");
        assert_eq!(accept, accept_value(request), "{request}");
    }
    assert_eq!(asked.get(), requests.len());
}

#[test]
fn s4_2_1_the_sample_of_section_1_2_is_accepted() {
    assert_accepted(&[head(&LINES)]);
}

#[test]
fn s4_2_1_the_method_is_get() {
    let methods = ["POST", "PUT", "OPTIONS", "DELETE", "get", "X-GET"];
    let requests = methods.map(|method| with("GET", &format!("{method} /chat HTTP/1.1")));
    assert_refused(&requests, 405);
    let (mut server, _) = server();
    let answer = server.ask(requests[0].as_bytes());
    assert_eq!(header(&answer, "Allow"), "GET");
}

#[test]
fn s4_2_1_the_version_is_http_1_1() {
    // RFC 9110, 7.8, has the Upgrade field of an HTTP/1.0 request ignored: a plain request, of which only the
    // answer says that WebSocket is spoken here.
    assert_refused(&[with("GET", "GET /chat HTTP/1.0")], 426);
    let versions = [
        "HTTP/0.9",
        "HTTP/2.0",
        "http/1.1",
        "HTTP/1.1x",
        "HTP/1.1",
        "",
    ];
    let requests = versions.map(|version| with("GET", &format!("GET /chat {version}")));
    assert_refused(&requests, 400);
}

#[test]
fn s4_2_1_the_target_is_a_resource_name_or_an_absolute_uri() {
    let get = |target: &str| with("GET", &format!("GET {target} HTTP/1.1"));
    assert_accepted(
        &[
            "/",
            "/a/../b//c?d=e?f",
            "/%00%ff?100%",
            "/|^`{}[]?\\|^`{}[]'",
            "http://server.example.com/chat",
            "HTTP://Server.Example.COM:80/chat?x",
            "ws://server.example.com",
            "https://server.example.com:443?x",
            // Refused once. RFC 9112, 3.2.2: the Host field does not count beside an absolute target.
            "http://server.example.com:81/",
            "http://other.example.com/",
        ]
        .map(get),
    );
    assert_refused(
        &[
            "*",
            "chat",
            "?x",
            "server.example.com:80",
            "/a#b",
            "/a?b#c",
            "/<a>",
            "/\"",
            "/a\\b",
            "/%4x",
            "/é",
            "ftp://server.example.com/",
            "http:/server.example.com/",
            "http:///chat",
            "http://u@server.example.com/",
            "http://server.example.com/#a",
        ]
        .map(get),
        400,
    );
}

#[test]
fn s4_2_1_host_is_there_once_and_is_an_authority() {
    let host = |value: &str| with("Host", &format!("Host: {value}"));
    assert_accepted(&["h", "h:9001", "h:", "10.0.0.1:80", "[::1]:9001", "a_b.c-d"].map(host));
    assert_refused(
        &[
            "", "a b", "a, b", "a,b", "a/b", "a?b", "a#b", "u@h", "u:p@h", "h:x", "h:65536",
            "h:1:2", "[::1", "[::1]x", "[h]", "::1", "http://h", "é", "a\\b", "\"a\"", "a\tb",
            "%zz",
        ]
        .map(host),
        400,
    );
    let others = [
        with("Host", ""),
        and(LINES[1]),
        and("HOST: other.example.com"),
        and("host:"),
    ];
    assert_refused(&others, 400);
}

#[test]
fn s4_2_1_a_plain_request_needs_its_host_too() {
    let (mut server, _) = server();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            426,
        ),
        ("GET / HTTP/1.0\r\n\r\n", 426),
    ] {
        let answer = server.ask(request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}{answer}"
        );
    }
}

#[test]
fn s4_2_1_upgrade_names_websocket() {
    let upgrade = |value: &str| with("Upgrade", value);
    assert_accepted(
        &[
            "Upgrade: WebSocket",
            "UPGRADE:\twEBSOCKET\t",
            "Upgrade: h2c, websocket",
            "Upgrade: ,websocket, ,HTTP/2.0",
            "Upgrade: h2c\r\nX: y\r\nupgrade: websocket",
        ]
        .map(upgrade),
    );
    assert_plain(
        &[
            "",
            "Upgrade:",
            "Upgrade: ,",
            "Upgrade: h2c",
            "Upgrade: websockets",
            "Upgrade: web socket",
            "Upgrade: \"websocket\"",
            "Upgrade: websocket/13",
            "Upgrade: websocket;q=1",
        ]
        .map(upgrade),
    );
    let malformed = [
        "Upgrade: websocket, @",
        "Upgrade: a b, websocket",
        "Upgrade: websocket, a/",
    ];
    assert_refused(&malformed.map(upgrade), 400);
}

#[test]
fn s4_2_1_connection_names_upgrade() {
    let connection = |value: &str| with("Connection", value);
    assert_accepted(
        &[
            "Connection: upgrade",
            "CONNECTION:UPGRADE",
            "Connection: keep-alive, Upgrade",
            "Connection: ,, Upgrade ,",
            "Connection: keep-alive\r\nX: y\r\nconnection: Upgrade",
            "Connection:\r\nConnection: Upgrade",
        ]
        .map(connection),
    );
    assert_refused(
        &[
            "",
            "Connection:",
            "Connection: ,",
            "Connection: keep-alive",
            "Connection: upgrades",
            "Connection: Up grade",
            "Connection: \"Upgrade\"",
            "Connection: Upgrade; a",
            "Connection: Upgrade, (close)",
            "Connection: close, @\r\nConnection: Upgrade",
        ]
        .map(connection),
        400,
    );
}

#[test]
fn s4_2_1_the_key_is_16_bytes_in_base64() {
    let key = |value: &str| with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {value}"));
    assert_accepted(
        &[
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "//////////////////////==",
            // The example of section 4.1, whose last symbol has unused bits set.
            "AQIDBAUGBwgJCgsMDQ4PEC==",
        ]
        .map(key),
    );
    assert_refused(
        &[
            "",
            "AAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAA===",
            "AAAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAA AAAAAAAAAAAA==",
            "AAAAAAAAAAAAAAAAAAAA-_==",
            "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==",
            "\"AAAAAAAAAAAAAAAAAAAAAA==\"",
        ]
        .map(key),
        400,
    );
    assert_refused(&[with("Sec-WebSocket-Key", "")], 400);
}

#[test]
fn s4_2_1_an_origin_is_no_must_and_is_shown_to_the_handler() {
    for (line, origin) in [
        ("", None),
        ("Origin: null", Some(&b"null"[..])),
        ("ORIGIN: https://a:1", Some(b"https://a:1")),
    ] {
        let recorder = Recorder {
            judge: Some(Box::new(move |offer| {
                assert_eq!(offer.upgrade().unwrap().origin(), origin);
                Ok(Welcome::with(7))
            })),
            ..Recorder::default()
        };
        let mut server = Acceptor::with(recorder, |_| {});
        let mut peer = server.dial();
        peer.write_all(with("Origin", line).as_bytes()).unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
}

#[test]
fn s4_2_1_two_origins_are_none() {
    assert_refused(
        &[and("Origin: http://example.com"), and("origin: null")],
        400,
    );
}

#[test]
fn s4_2_1_subprotocols_are_unique_tokens() {
    let offer = |value: &str| {
        with(
            "Sec-WebSocket-Protocol",
            &format!("Sec-WebSocket-Protocol:{value}"),
        )
    };
    assert_accepted(&["a", " a,b ", "a,,b,", "!#$%&'*+-.^_`|~a", "A, a"].map(offer));
    assert_refused(
        &[
            "", " ", ",", "a b", "a/b", "a;b", "(a)", "\"a\"", "a,b,a", "é", "a=b",
        ]
        .map(offer),
        400,
    );
    assert_accepted(&[
        and("Sec-WebSocket-Protocol: third"),
        with("Sec-WebSocket-Protocol", ""),
    ]);
    assert_refused(&[and("Sec-WebSocket-Protocol: chat")], 400);
}

#[test]
fn s4_2_1_other_fields_are_ignored_in_whatever_order() {
    let (first, rest) = LINES.split_first().unwrap();
    let requests: Vec<_> = (0..rest.len())
        .map(|turn| {
            let mut lines = rest.to_vec();
            lines.rotate_left(turn);
            lines.insert(turn / 2, "Sec-WebSocket-Future: whatever; \"it\", is");
            lines.push("Cookie: a=b; c=\"d\"");
            head(&[&[*first], &lines[..]].concat())
        })
        .collect();
    assert_accepted(&requests);
}

#[test]
fn s4_2_1_whatever_violates_the_grammar_of_http_is_answered_with_400() {
    assert_refused(
        &[
            "X : y",
            "X\t: y",
            " X: y",
            "X: y\r\n folded",
            "X: y\r\n\tfolded",
            "no colon",
            ": no name",
            "(X): y",
            "X\0: y",
            "X: \0",
            "X: a\rb",
            "X: a\u{7f}",
            "X: a\u{1b}[0m",
            "é: y",
            "X: a\nY: b",
            "X: a\r\r\nY: b",
        ]
        .map(and),
        400,
    );
    assert_refused(
        &[
            "GET  /chat HTTP/1.1",
            "GET /chat  HTTP/1.1",
            "GET\t/chat HTTP/1.1",
            "GET /chat HTTP/1.1 ",
            "GET /a b HTTP/1.1",
            "GET /chat\0 HTTP/1.1",
            " GET /chat HTTP/1.1",
            "G@T /chat HTTP/1.1",
            "GET /chat HTTP/1.1\nX: y",
            "GET /chat\r HTTP/1.1",
        ]
        .map(|line| with("GET", line)),
        400,
    );
    let bare = head(&LINES).replace("\r\n", "\n");
    assert_refused(&[bare, "\n".to_owned() + &head(&LINES)], 400);
}

#[test]
fn s4_2_1_a_request_that_could_smuggle_another_is_answered_with_400() {
    assert_refused(
        &[
            "Content-Length: 1",
            "Content-Length: +0",
            "Content-Length: 0x0",
            "Content-Length:",
            "Content-Length: 0, 0",
            "Content-Length: 0\r\nContent-Length: 1",
            "Content-Length: 0\r\nContent-Length: 00",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding:",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
        ]
        .map(and),
        400,
    );
    assert_accepted(&["Content-Length: 0", "content-length:0\r\nContent-Length: 0"].map(and));
}

#[test]
fn s4_2_1_a_head_beyond_its_limits_is_answered_with_431() {
    let limits = LimitsConfig::default();
    let filler = limits.max_head - and("X: ").len();
    assert_accepted(&[and(&format!("X: {}", "y".repeat(filler)))]);
    let lines = |count: usize| "X: y\r\n".repeat(count - (LINES.len() - 1));
    assert_accepted(&[and(lines(limits.max_headers).trim_end())]);
    assert_refused(
        &[
            and(&format!("X: {}", "y".repeat(filler + 1))),
            and(lines(limits.max_headers + 1).trim_end()),
            // Neither of these comes to an end.
            "G".repeat(limits.max_head + 1),
            format!("{}\r\nX: {}", LINES[0], "y".repeat(limits.max_head)),
            "\r\n".repeat(limits.max_head),
        ],
        431,
    );
    // RFC 9112, section 3, has a status of its own for this.
    let target = "x".repeat(limits.max_head);
    assert_refused(
        &[
            format!("GET /{target}"),
            with("GET", &format!("GET /{target} HTTP/1.1")),
        ],
        414,
    );
}

#[test]
fn s4_2_1_a_request_may_arrive_in_any_two_pieces() {
    let (mut server, _) = server();
    let mut bytes = head(&LINES).into_bytes();
    let request = bytes.len();
    bytes.extend(frame(Role::Server, FIN | TEXT, b"first"));
    for cut in 1..bytes.len() {
        let mut peer = server.dial();
        peer.write_all(&bytes[..cut]).unwrap();
        let read = server.turning.reactor.stats().bytes_in + cut as u64;
        for _ in 0..1_000 {
            if server.turning.reactor.stats().bytes_in >= read {
                break;
            }
            server.turning.turn();
        }
        assert_eq!(
            server.turning.reactor.stats().bytes_in,
            read,
            "cut at {cut}"
        );
        assert_eq!(
            server.turning.recorder.opened().len(),
            cut - 1 + usize::from(cut >= request)
        );
        peer.write_all(&bytes[cut..]).unwrap();
        server.turning.drive(|seen| seen.messages().len() == cut);
    }
    let messages = server.turning.recorder.messages();
    assert!(messages.iter().all(|message| message == b"first"));
}

#[test]
fn s4_2_1_frames_in_the_segment_of_the_request_are_read() {
    let mut server = Acceptor::with(Recorder::echoing(), |_| {});
    let mut peer = server.dial();
    let mut bytes = head(&LINES).into_bytes();
    bytes.extend(frame(Role::Server, FIN | TEXT, b"one"));
    bytes.extend(frame(Role::Server, FIN | PING, b"two"));
    bytes.extend(frame(Role::Server, FIN | TEXT, b"three"));
    peer.write_all(&bytes).unwrap();
    let answer = server.turning.read_head(&mut peer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let frames = server.turning.read(&mut peer, 5 + 5 + 7);
    let mut frames = crate::wire::frames(&frames);
    // A pong may overtake data.
    frames.sort_by_key(|frame| frame.first);
    let payloads: Vec<_> = frames.iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(payloads, [&b"one"[..], b"three", b"two"]);
}

#[test]
fn s4_2_2_the_response_is_101_with_upgrade_connection_and_accept() {
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    let request = with(
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
    );
    peer.write_all(request.as_bytes()).unwrap();
    let answer = server.turning.read_head(&mut peer);
    // What answers the key as it was sent, not what would if it were decoded and encoded again.
    let accept = accept_value(&request);
    // Which date it is, tests/http has a look at.
    let date = header(&answer, "Date");
    let expected = format!(
        "HTTP/1.1 101 Switching Protocols\r\nDate: {date}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    assert_eq!(answer, expected);
}

#[test]
fn s4_2_2_the_subprotocol_is_one_of_those_offered_or_none() {
    for (offered, chosen, status) in [
        ("Sec-WebSocket-Protocol: chat, superchat", None, 101),
        (
            "Sec-WebSocket-Protocol: chat, superchat",
            Some("superchat"),
            101,
        ),
        ("Sec-WebSocket-Protocol: chat, superchat", Some("Chat"), 500),
        ("Sec-WebSocket-Protocol: chat, superchat", Some(""), 500),
        (
            "Sec-WebSocket-Protocol: chat, superchat",
            Some("chat, superchat"),
            500,
        ),
        ("", Some("chat"), 500),
        ("", None, 101),
    ] {
        let recorder = Recorder {
            judge: Some(Box::new(move |_| {
                Ok(Welcome {
                    subprotocol: chosen.map(str::to_owned),
                    ..Welcome::with(7)
                })
            })),
            ..Recorder::default()
        };
        let mut server = Acceptor::with(recorder, |_| {});
        let mut peer = server.dial();
        peer.write_all(with("Sec-WebSocket-Protocol", offered).as_bytes())
            .unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let named = headers(&answer, "Sec-WebSocket-Protocol");
        let expected = chosen.filter(|_| status == 101);
        assert_eq!(named, Vec::from_iter(expected), "{offered}");
    }
}

#[test]
fn s4_2_2_extensions_are_declined_by_leaving_the_field_out() {
    for line in [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Sec-WebSocket-Extensions: foo, bar; baz=2\r\nSec-WebSocket-Extensions: x; y=\"z\"",
    ] {
        let mut server = Acceptor::new();
        let mut peer = server.dial();
        peer.write_all(and(line).as_bytes()).unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(headers(&answer, "Sec-WebSocket-Extensions").is_empty());
    }
}

#[test]
fn s4_2_2_who_is_not_welcome_is_answered_with_the_status_that_fits() {
    for (status, why) in [
        (401, "who are you?"),
        (403, "not from this origin"),
        (404, "no such service"),
    ] {
        let recorder = Recorder {
            judge: Some(Box::new(move |_| Err(Rejection::new(status, why)))),
            ..Recorder::default()
        };
        let mut server = Acceptor::with(recorder, |_| {});
        let answer = server.ask(head(&LINES).as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{why}")), "{answer}");
        assert!(server.turning.recorder.opened().is_empty());
    }
}

#[test]
fn s4_2_2_the_server_may_speak_right_behind_its_response() {
    let recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            cx.send(*id, Message::text("welcome")).unwrap();
        }
    });
    let mut server = Acceptor::with(recorder, |_| {});
    let mut peer = server.open();
    assert_eq!(server.turning.read(&mut peer, 9), b"\x81\x07welcome");
}
