//! Section 9: extensions, of which none is on unless it is asked for.

use std::io::Write;

use crate::support::bytes::upgrade_request;
use crate::support::head::{headers, response};
use crate::support::sides::{Acceptor, Dialer};

/// Values that keep to the grammar of section 9.1, its examples among them.
const SOUND: [&str; 10] = [
    "deflate-stream",
    "mux; max-channels=4; flow-control, deflate-stream",
    "private-extension",
    "foo, bar; baz=2",
    "permessage-deflate; client_max_window_bits; server_no_context_takeover",
    "a;b=\"c\"",
    "a ; b = c",
    ", a, ,b;c",
    "a; b=\"\\c\\d\"",
    "a, a, a",
];

const MALFORMED: [&str; 18] = [
    "",
    ",",
    ";",
    "a;",
    "a;;b",
    "a b",
    "a=b",
    "a; b=",
    "a; =b",
    "a; b=c d",
    "a; b=\"\"",
    "a; b=\"c",
    "a; b=\"c d\"",
    "a; b=\"c,d\"",
    "a; b=\"c;d\"",
    "(a)",
    "a; b@",
    "a, b;",
];

fn request(value: &str) -> Vec<u8> {
    upgrade_request("/", &format!("Sec-WebSocket-Extensions: {value}\r\n"))
}

#[test]
fn s9_1_a_server_fails_at_extensions_that_do_not_conform() {
    let mut server = Acceptor::new();
    for value in MALFORMED {
        let answer = server.ask(&request(value));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{value:?}: {answer}");
    }
    let lines = "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b c\r\n";
    let answer = server.ask(&upgrade_request("/", lines));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(server.turning.recorder.opened().is_empty());
}

#[test]
fn s9_1_a_server_accepts_none_of_those_that_do() {
    let mut server = Acceptor::new();
    for value in SOUND {
        let mut peer = server.dial();
        peer.write_all(&request(value)).unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{value}: {answer}");
        assert!(headers(&answer, "Sec-WebSocket-Extensions").is_empty());
    }
}

#[test]
fn s9_1_a_client_asks_for_none_and_fails_at_any() {
    for value in SOUND.iter().chain(&MALFORMED) {
        let mut dialer = Dialer::new();
        let (mut peer, request) = dialer.accept();
        assert!(headers(&request, "Sec-WebSocket-Extensions").is_empty());
        let line = format!("Sec-WebSocket-Extensions: {value}\r\n");
        peer.write_all(&response(&request, &line)).unwrap();
        let (bytes, _) = dialer.turning.read_to_end(&mut peer);
        assert_eq!(bytes, b"", "{value}");
        dialer.turning.drive(|seen| seen.rejected().len() == 1);
        assert!(dialer.turning.recorder.opened().is_empty(), "{value}");
    }
}
