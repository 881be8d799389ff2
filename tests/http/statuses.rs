//! RFC 9110, sections 8.6, 9.3 and 15: statuses and what belongs to them.

use std::io::Write;

use heartwheel::config::LimitsConfig;
use heartwheel::proto::http::HeadError;
use heartwheel::reactor::{DialError, HttpAnswer};

use crate::support::head::{header, headers, response};
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Dialer};
use crate::{failure_at, upgrade};

/// What a server answers whose handler has this for plain requests.
#[track_caller]
fn answer(status: u16, body: &str, request: &[u8]) -> String {
    let recorder = Recorder {
        http: Some(HttpAnswer::text(status, body)),
        ..Recorder::default()
    };
    Acceptor::with(recorder, |_| {}).ask(request)
}

#[test]
fn s9110_8_6_responses_without_content_announce_none() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for status in [204, 304] {
        let answer = answer(status, "none of this", get);
        assert!(headers(&answer, "Content-Length").is_empty(), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    peer.write_all(&upgrade("")).unwrap();
    let accepted = server.turning.read_head(&mut peer);
    for name in ["Content-Length", "Transfer-Encoding"] {
        assert!(headers(&accepted, name).is_empty(), "{accepted}");
    }
}

#[test]
fn s9110_9_3_2_the_answer_to_head_is_a_head() {
    for request in [
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
        String::from_utf8(upgrade(""))
            .unwrap()
            .replace("GET", "HEAD"),
    ] {
        let answer = answer(200, "left out\n", request.as_bytes());
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let length: usize = header(&answer, "Content-Length").parse().unwrap();
        assert!(length > 0, "what GET would have got");
    }
}

#[test]
fn s9110_15_5_6_405_names_the_methods() {
    let mut server = Acceptor::new();
    let request = String::from_utf8(upgrade(""))
        .unwrap()
        .replace("GET", "PUT");
    let answer = server.ask(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(header(&answer, "Allow"), "GET");
}

#[test]
fn s9110_15_2_interim_responses_are_read_and_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 \r\n\r\n";
    let mut dialer = Dialer::new();
    let (mut peer, request) = dialer.accept();
    let bytes = [interim.repeat(20).as_bytes(), &response(&request, "")].concat();
    for byte in bytes {
        peer.write_all(&[byte]).unwrap();
        dialer.turning.turn();
    }
    dialer.turning.drive(|seen| seen.opened().len() == 1);
}

#[test]
fn s9110_15_2_endless_interim_responses_end_at_the_limit_of_a_head() {
    let interim = b"HTTP/1.1 102 Processing\r\n\r\n";
    let limit = LimitsConfig::default().max_head;
    let endless = interim.repeat(limit / interim.len() + 1);
    let error = DialError::Handshake(HeadError::HeadTooLarge { limit }.into());
    assert_eq!(failure_at(&endless), error);
    // In pieces, of which each is over and done with, it is the same.
    let mut dialer = Dialer::new();
    let (mut peer, _) = dialer.accept();
    let mut sent = 0;
    while dialer.turning.recorder.rejected().is_empty() && sent < 2 * limit {
        let _may_be_closed = peer.write_all(interim);
        sent += interim.len();
        dialer.turning.turn();
    }
    assert!(sent >= limit, "ended after {sent} bytes");
    dialer.turning.drive(|seen| seen.rejected().len() == 1);
}

#[test]
fn s9110_15_3_6_205_has_no_content() {
    let answer = answer(
        205,
        "none of this",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(header(&answer, "Content-Length"), "0");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn s9110_15_5_22_426_names_the_protocol() {
    let mut server = Acceptor::new();
    let answer = server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{answer}"
    );
    assert_eq!(header(&answer, "Upgrade"), "websocket");
}
