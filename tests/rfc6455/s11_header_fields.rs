//! Section 11.3: how often each field may stand in a request and in a response.

use std::io::Write;

use crate::support::bytes::upgrade_request;
use crate::support::head::{headers, response};
use crate::support::sides::{Acceptor, Dialer};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[track_caller]
fn assert_request(more: &str, is_accepted: bool) {
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    peer.write_all(&upgrade_request("/", more)).unwrap();
    let answer = server.turning.read_head(&mut peer);
    let line = if is_accepted {
        "HTTP/1.1 101 "
    } else {
        "HTTP/1.1 4"
    };
    assert!(answer.starts_with(line), "{more}{answer}");
}

#[track_caller]
fn assert_response(more: impl Fn(&str) -> String, is_accepted: bool) {
    let mut dialer = Dialer::with(crate::support::recorder::Recorder::default(), |config| {
        config.subprotocols = vec!["a".into(), "b".into()];
    });
    let (mut peer, request) = dialer.accept();
    let accept = crate::support::head::accept_value(&request);
    let more = more(&format!("Sec-WebSocket-Accept: {accept}\r\n"));
    peer.write_all(&response(&request, &more)).unwrap();
    dialer
        .turning
        .drive(|seen| seen.opened().len() + seen.rejected().len() == 1);
    assert_eq!(
        dialer.turning.recorder.opened().len() == 1,
        is_accepted,
        "{more}"
    );
}

#[test]
fn s11_3_1_the_key_stands_once_in_a_request() {
    assert_request("", true);
    assert_request(KEY, false);
    assert_request("sec-websocket-key:\r\n", false);
}

#[test]
fn s11_3_2_extensions_may_stand_often_in_a_request_and_once_in_a_response() {
    let line = "Sec-WebSocket-Extensions: foo\r\n";
    assert_request(&line.repeat(3), true);
    // We ask for none, so that even once is too often.
    assert_response(|_| line.into(), false);
    assert_response(|_| line.repeat(2), false);
}

#[test]
fn s11_3_3_the_accept_value_stands_once_in_a_response() {
    assert_response(|_| String::new(), true);
    assert_response(str::to_owned, false);
    assert_response(|_| "Sec-WebSocket-Accept:\r\n".into(), false);
}

#[test]
fn s11_3_4_subprotocols_may_stand_often_in_a_request_and_once_in_a_response() {
    assert_request(
        "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b, c\r\n",
        true,
    );
    assert_response(|_| "Sec-WebSocket-Protocol: a\r\n".into(), true);
    for twice in [
        "a\r\nSec-WebSocket-Protocol: a",
        "a\r\nSec-WebSocket-Protocol: b",
        "a, b",
    ] {
        assert_response(|_| format!("Sec-WebSocket-Protocol: {twice}\r\n"), false);
    }
}

#[test]
fn s11_3_5_the_version_stands_once_in_a_request_and_in_a_refusal() {
    for line in [
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Version: 8\r\n",
    ] {
        assert_request(line, false);
    }
    let mut server = Acceptor::new();
    let answer = server.ask(&upgrade_request("/", "Sec-WebSocket-Version: 8\r\n"));
    assert_eq!(headers(&answer, "Sec-WebSocket-Version"), ["13"]);
}
