//! RFC 9110, sections 4 and 5; RFC 9112, section 5: fields.

use std::io::Write;

use heartwheel::proto::websocket::handshake::RedirectError;
use heartwheel::reactor::{ClientConfig, DialError};

use crate::support::head::response;
use crate::support::sides::{Acceptor, Dialer};
use crate::{failure_at, upgrade};

#[test]
fn s9110_4_2_4_a_user_in_a_url_is_neither_sent_nor_followed() {
    assert!(ClientConfig::from_url("ws://user:password@a/").is_err());
    let answer = b"HTTP/1.1 302 \r\nLocation: http://user:password@127.0.0.1/\r\n\r\n";
    let DialError::Redirect { reason, .. } = failure_at(answer) else {
        panic!("it is no redirect");
    };
    assert_eq!(reason, RedirectError::UserInfo);
}

#[test]
fn s9110_5_5_a_value_with_a_control_character_is_refused() {
    let mut server = Acceptor::new();
    for value in ["a\rb", "a\0b", "a\u{b}b", "a\u{7f}b"] {
        let answer = server.ask(&upgrade(&format!("X: {value}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{value:?}: {answer}");
    }
}

#[test]
fn s9110_5_6_1_empty_elements_of_lists_mean_nothing() {
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    let lists = "Upgrade: , ,\r\nConnection: ,keep-alive,,\r\nSec-WebSocket-Protocol: ,a, ,b,\r\n";
    peer.write_all(&upgrade(lists)).unwrap();
    let answer = server.turning.read_head(&mut peer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[test]
fn s9112_5_1_a_blank_before_the_colon_is_refused() {
    let mut server = Acceptor::new();
    for line in [
        "X : y",
        "X\t: y",
        "Content-Length : 0",
        "Transfer-Encoding : chunked",
    ] {
        let answer = server.ask(&upgrade(&format!("{line}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line:?}: {answer}");
    }
}

#[test]
fn s9112_5_2_a_folded_field_is_refused_in_a_request() {
    let mut server = Acceptor::new();
    for line in ["X: y\r\n z", "X: y\r\n\tz", "X:\r\n y", "X: y\r\n \r\n z"] {
        let answer = server.ask(&upgrade(&format!("{line}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line:?}: {answer}");
    }
}

#[test]
fn s9112_5_2_a_folded_field_is_unfolded_in_a_response() {
    let mut dialer = Dialer::new();
    let (mut peer, request) = dialer.accept();
    let answer = response(&request, "X-Note: one\r\n two\r\n\t\r\n three\r\n");
    let answer = String::from_utf8(answer).unwrap();
    let answer = answer.replace("Upgrade: websocket", "Upgrade:\r\n \twebsocket");
    let answer = answer.replace("Connection: Upgrade", "Connection: a,\r\n Upgrade");
    peer.write_all(answer.as_bytes()).unwrap();
    dialer.turning.drive(|seen| seen.opened().len() == 1);
}
