//! Section 4.1: what a client asks, and which answers it takes.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heartwheel::config::LimitsConfig;
use heartwheel::proto::http::HeadError;
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::handshake::{InvalidHandshake, ResponseError, request};
use heartwheel::proto::wire::Role;
use heartwheel::reactor::{ClientEvent, DialError, ReconnectConfig};

use crate::peer::Peer;
use crate::support::head::{header, headers, response};
use crate::support::memory::opening;
use crate::support::recorder::Recorder;
use crate::support::sides::{Dialer, Ended};
use crate::wire::{FIN, TEXT, plain};

const NO_HEADERS: [(&str, &str); 0] = [];
const KEY: [u8; 16] = *b"the sample nonce";
const OFFERED: [&str; 2] = ["chat", "superchat"];

/// The response of section 1.2, which accepts that key.
const SAMPLE: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

/// The sample response with the line that begins like `old` replaced; an empty `new` leaves it out.
fn with(old: &str, new: &str) -> String {
    let lines = SAMPLE.split_inclusive("\r\n");
    let mut is_found = false;
    let changed = lines
        .map(|line| match line.starts_with(old) {
            true => {
                is_found = true;
                if new.is_empty() {
                    String::new()
                } else {
                    format!("{new}\r\n")
                }
            }
            false => line.to_owned(),
        })
        .collect();
    assert!(is_found, "{old}");
    changed
}

fn and(line: &str) -> String {
    SAMPLE.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
}

/// Claims that a client fails at each of these responses, and goes without having sent anything but its
/// request.
#[track_caller]
fn assert_fails(responses: &[String], error: ResponseError) {
    let recorder = Recorder::default();
    let mut dialer = Dialer::with(recorder, |config| {
        config.subprotocols = OFFERED.map(str::to_owned).into();
    });
    let expected = ClientEvent::Failed {
        error: DialError::Handshake(error.clone()),
    };
    for (at, text) in responses.iter().enumerate() {
        if at > 0 {
            dialer.connect("/", |config| {
                config.subprotocols = OFFERED.map(str::to_owned).into();
            });
        }
        let (mut peer, request) = dialer.accept();
        let accept = crate::support::head::accept_value(&request);
        let text = text.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept);
        peer.write_all(text.as_bytes()).unwrap();
        peer.write_all(&plain(FIN | TEXT, b"not read")).unwrap();
        let (bytes, _) = dialer.turning.read_to_end(&mut peer);
        assert_eq!(bytes, b"", "{text}");
        dialer.turning.drive(|seen| seen.rejected().len() == at + 1);
        let failures = dialer.events();
        let count = failures.iter().filter(|event| **event == expected).count();
        assert_eq!(count, at + 1, "{text}: {failures:?}");
    }
    assert!(dialer.turning.recorder.opened().is_empty());
    assert!(dialer.turning.recorder.messages().is_empty());
}

#[test]
fn s4_1_the_request_is_a_valid_get_of_http_1_1() {
    let headers = [("Origin", "http://example.com")];
    let sent = request("server.example.com", "/chat", KEY, &OFFERED, &headers).unwrap();
    // The handshake of section 1.2, line by line, and nothing else.
    let expected = "GET /chat HTTP/1.1\r\n\
        Host: server.example.com\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\n\
        Origin: http://example.com\r\n\r\n";
    assert_eq!(String::from_utf8(sent).unwrap(), expected);
}

#[test]
fn s4_1_each_field_that_is_demanded_is_sent_once() {
    let mut dialer = Dialer::new();
    let addr = dialer.addr();
    let (_peer, request) = dialer.accept();
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Host"), addr.to_string());
    assert_eq!(header(&request, "Upgrade"), "websocket");
    assert_eq!(header(&request, "Connection"), "Upgrade");
    assert_eq!(header(&request, "Sec-WebSocket-Version"), "13");
    for name in [
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Origin",
    ] {
        assert!(headers(&request, name).is_empty(), "{name}: {request}");
    }
}

#[test]
fn s4_1_the_key_is_16_random_bytes_fresh_for_each_connection() {
    let mut keys = HashSet::new();
    for _ in 0..2 {
        let mut dialer = Dialer::with(Recorder::default(), |config| {
            config.reconnect = Some(ReconnectConfig {
                min: std::time::Duration::from_millis(1),
                base: std::time::Duration::from_millis(1),
                cap: std::time::Duration::from_millis(1),
                ..ReconnectConfig::default()
            });
        });
        for _ in 0..20 {
            let (_peer, request) = dialer.accept();
            let key = header(&request, "Sec-WebSocket-Key").to_owned();
            assert_eq!(STANDARD.decode(&key).unwrap().len(), 16, "{key}");
            assert!(keys.insert(key), "{keys:?}");
        }
    }
}

#[test]
fn s4_1_subprotocols_are_unique_tokens() {
    let offer = |names: &[&str]| request("h", "/", KEY, names, &NO_HEADERS);
    let sent = String::from_utf8(offer(&["a!#$%&'*+-.^_`|~1", "b"]).unwrap()).unwrap();
    assert_eq!(
        header(&sent, "Sec-WebSocket-Protocol"),
        "a!#$%&'*+-.^_`|~1, b"
    );
    for name in [
        "", " ", "a b", "a,b", "a/b", "(a)", "a\"", "a:b", "a=b", "é", "a\r\nb", "\u{7f}",
    ] {
        let invalid = InvalidHandshake::Subprotocol(name.to_owned());
        assert_eq!(offer(&["x", name]), Err(invalid), "{name:?}");
    }
    let repeated = InvalidHandshake::Subprotocol("a".into());
    assert_eq!(offer(&["a", "b", "a"]), Err(repeated));
}

#[test]
fn s4_1_only_one_connection_at_a_time_is_connecting_to_an_address() {
    let mut dialer = Dialer::new();
    for _ in 0..3 {
        dialer.connect("/", |_| {});
    }
    // The first opens, the second is refused, the third goes away: each time the next one comes, and not
    // before.
    for ending in 0..3 {
        let (mut peer, request) = dialer.accept();
        dialer.turning.idle();
        assert!(dialer.try_accept().is_none(), "another one is connecting");
        match ending {
            0 => peer.write_all(&response(&request, "")).unwrap(),
            1 => peer.write_all(b"HTTP/1.1 503 \r\n\r\n").unwrap(),
            _ => drop(peer),
        }
    }
    let _last = dialer.open();
    assert_eq!(dialer.turning.recorder.opened().len(), 2);
    assert_eq!(dialer.turning.recorder.rejected().len(), 2);
}

#[test]
fn s4_1_who_waits_for_its_turn_can_be_stopped() {
    let mut dialer = Dialer::new();
    let (peer, _) = dialer.accept();
    for _ in 0..2 {
        dialer.connect("/", |_| {});
    }
    dialer.turning.idle();
    dialer
        .turning
        .reactor
        .context()
        .drain(std::time::Duration::from_secs(1));
    dialer.turning.drive(|seen| seen.rejected().len() == 1);
    drop(peer);
    dialer.turning.idle();
    assert!(dialer.try_accept().is_none());
    let stopped = dialer.events();
    let stopped = stopped
        .iter()
        .filter(|event| matches!(event, ClientEvent::Stopped { .. }));
    assert_eq!(stopped.count(), 3);
}

#[test]
fn s4_1_a_load_generator_may_connect_all_at_once() {
    let mut dialer = Dialer::with(Recorder::default(), |config| config.takes_turns = false);
    for _ in 0..3 {
        dialer.connect("/", |config| config.takes_turns = false);
    }
    let _peers = [(); 4].map(|()| dialer.accept());
}

#[test]
fn s4_1_a_connection_that_cannot_be_made_fails() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut dialer = Dialer::with(Recorder::default(), |config| config.port = port);
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::Failed { .. });
    dialer.turning.drive(|seen| seen.rejected().len() == 1);
    assert!(dialer.events().iter().any(failed), "{:?}", dialer.events());
    assert!(dialer.turning.recorder.opened().is_empty());
}

#[test]
fn s4_1_nothing_is_sent_between_the_request_and_the_response() {
    let mut peer = Peer::begin(Role::Client, &LimitsConfig::default());
    peer.end.connect();
    let head = peer.output();
    assert_eq!(opening::head_len(&head), Some(head.len()));
    assert!(!peer.send(Message::text("early")));
    peer.ping();
    peer.end.pass(Micros::from_secs(4));
    assert_eq!(peer.output(), b"");
    peer.feed(&opening::answer(&head).unwrap());
    assert!(peer.send(Message::text("in time")));
    assert_eq!(peer.frames().len(), 1);
}

#[test]
fn s4_1_a_status_other_than_101_opens_nothing() {
    for code in [200, 204, 301, 400, 401, 403, 404, 426, 500, 503] {
        let error = ResponseError::Status {
            code,
            retry_after: None,
            location: None,
        };
        assert_fails(&[with("HTTP", &format!("HTTP/1.1 {code} Other"))], error);
    }
}

#[test]
fn s4_1_a_response_that_is_not_http_fails() {
    for (line, part) in [
        ("HTTP/1.1 1O1 Switching", "status line"),
        ("HTTP/2 101 Switching", "http version"),
        ("HTTP/1.1  101 Switching", "status line"),
        ("ICY 101 OK", "http version"),
    ] {
        assert_fails(&[with("HTTP", line)], HeadError::Malformed(part).into());
    }
    let old = with("HTTP", "HTTP/1.0 101 Switching Protocols");
    assert_fails(&[old], ResponseError::HttpVersion);
    let folded = with("Upgrade", " Upgrade: websocket");
    assert_fails(&[folded], HeadError::Malformed("header name").into());
    let names = ["X : y", "X\0: y", "(X): y", ": y", "no colon"];
    assert_fails(&names.map(and), HeadError::Malformed("header name").into());
    let values = ["X: a\rb", "X: a\0b", "X: a\u{7f}b"];
    assert_fails(
        &values.map(and),
        HeadError::Malformed("header value").into(),
    );
    let bare = SAMPLE.replacen("Upgrade\r\n", "Upgrade\n", 1);
    assert_fails(&[bare], HeadError::Malformed("end of line").into());
}

#[test]
fn s4_1_a_response_without_upgrade_to_websocket_fails() {
    let lines = [
        "",
        "Upgrade:",
        "Upgrade: h2c",
        "Upgrade: websocket, h2c",
        "Upgrade: websockets",
    ];
    assert_fails(
        &lines.map(|line| with("Upgrade", line)),
        ResponseError::Upgrade,
    );
    assert_fails(&[and("Upgrade: websocket")], ResponseError::Upgrade);
}

#[test]
fn s4_1_a_response_without_connection_upgrade_fails() {
    let lines = [
        "",
        "Connection:",
        "Connection: close",
        "Connection: upgrades",
        "Connection: \"Upgrade\"",
        "Connection: Upgrade, (close)",
    ];
    assert_fails(
        &lines.map(|line| with("Connection", line)),
        ResponseError::Connection,
    );
}

#[test]
fn s4_1_a_response_that_does_not_answer_the_key_fails() {
    let lines = [
        "",
        "Sec-WebSocket-Accept:",
        "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO=",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
    ];
    let responses = lines.map(|line| with("Sec-WebSocket-Accept", line));
    assert_fails(&responses, ResponseError::Accept);
}

#[test]
fn s4_1_an_extension_that_was_not_asked_for_fails() {
    let values = ["permessage-deflate", "x; y=\"z\"", "", ",", "(x)"];
    let responses = values.map(|value| and(&format!("Sec-WebSocket-Extensions: {value}")));
    assert_fails(&responses, ResponseError::Extension);
}

#[test]
fn s4_1_a_subprotocol_that_was_not_asked_for_fails() {
    let values = ["other", "Chat", "", "chat, superchat", "chat;q=1"];
    let responses = values.map(|value| {
        let line = format!("Sec-WebSocket-Protocol: {value}");
        with("Sec-WebSocket-Protocol", &line)
    });
    assert_fails(&responses, ResponseError::Subprotocol);
}

/// The opposite was claimed here once. RFC 9112, 6.3, item 1, has the response end with its head
/// "regardless of the header fields present in the message", and servers do send them.
#[test]
fn s4_1_a_body_that_the_response_announces_is_none() {
    let lines = [
        "Content-Length: 0",
        "Content-Length: 7",
        "Transfer-Encoding: chunked",
    ];
    for line in lines {
        let mut dialer = Dialer::new();
        let (mut peer, request) = dialer.accept();
        let mut bytes = response(&request, &format!("{line}\r\n"));
        bytes.extend(plain(FIN | TEXT, b"a frame"));
        peer.write_all(&bytes).unwrap();
        dialer.turning.drive(|seen| seen.messages().len() == 1);
        assert_eq!(dialer.turning.recorder.messages(), [b"a frame"]);
    }
}

#[test]
fn s4_1_a_response_beyond_the_limits_fails() {
    let limit = LimitsConfig::default().max_head;
    let long = and(&format!("X: {}", "y".repeat(limit)));
    assert_fails(&[long], HeadError::HeadTooLarge { limit }.into());
    let limit = LimitsConfig::default().max_headers;
    let many = and("X: y\r\n".repeat(limit).trim_end());
    assert_fails(&[many], HeadError::TooManyHeaders { limit }.into());
}

#[test]
fn s4_1_frames_in_the_segment_of_the_response_are_read() {
    let mut dialer = Dialer::new();
    let (mut peer, request) = dialer.accept();
    let mut bytes = response(&request, "");
    bytes.extend(plain(FIN | TEXT, b"one"));
    bytes.extend(plain(FIN | TEXT, b"two"));
    peer.write_all(&bytes).unwrap();
    dialer.turning.drive(|seen| seen.messages().len() == 2);
    assert_eq!(dialer.turning.recorder.messages(), [b"one", b"two"]);
}

#[test]
fn s4_1_a_response_may_arrive_in_any_two_pieces() {
    let mut dialer = Dialer::new();
    let (mut peer, request) = dialer.accept();
    let mut bytes = response(&request, "");
    bytes.extend(plain(FIN | TEXT, b"late"));
    for byte in bytes {
        peer.write_all(&[byte]).unwrap();
        dialer.turning.turn();
    }
    dialer.turning.drive(|seen| seen.messages().len() == 1);
}

#[test]
fn s4_1_the_end_of_tcp_before_the_response_fails() {
    let mut dialer = Dialer::new();
    let (mut peer, request) = dialer.accept();
    let head = response(&request, "");
    peer.write_all(&head[..head.len() - 1]).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let (bytes, ended) = dialer.turning.read_to_end(&mut peer);
    assert_eq!((bytes, ended), (Vec::new(), Ended::Fin));
    dialer.turning.drive(|seen| seen.rejected().len() == 1);
    assert!(dialer.turning.recorder.opened().is_empty());
}
