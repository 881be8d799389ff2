//! RFC 9112: messages, request lines, status lines, bodies, connections.

use std::io::Write;

use heartwheel::config::LimitsConfig;
use heartwheel::reactor::Welcome;

use crate::support::head::{header, response};
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Dialer};
use crate::upgrade;

#[track_caller]
fn assert_answered(server: &mut Acceptor, request: &[u8], status: u16) {
    let mut peer = server.dial();
    peer.write_all(request).unwrap();
    let answer = server.turning.read_head(&mut peer);
    let line = format!("HTTP/1.1 {status} ");
    assert!(
        answer.starts_with(&line),
        "{}\n{answer}",
        request.escape_ascii()
    );
}

#[test]
fn s9112_2_2_empty_lines_before_a_request_are_ignored() {
    let mut server = Acceptor::new();
    for count in [1, 2, 100] {
        let request = ["\r\n".repeat(count).as_bytes(), &upgrade("")].concat();
        assert_answered(&mut server, &request, 101);
    }
}

#[test]
fn s9112_2_2_bare_line_ends_and_blanks_before_the_first_field_are_refused() {
    let mut server = Acceptor::new();
    let request = String::from_utf8(upgrade("")).unwrap();
    for (old, new) in [
        ("HTTP/1.1\r\nHost", "HTTP/1.1\rHost"),
        ("HTTP/1.1\r\nHost", "HTTP/1.1\nHost"),
        ("HTTP/1.1\r\nHost", "HTTP/1.1\r\n Host"),
        ("HTTP/1.1\r\nHost", "HTTP/1.1\r\n \r\nHost"),
        ("localhost\r\n", "local\rhost\r\n"),
        ("localhost\r\n", "localhost\n"),
    ] {
        assert!(request.contains(old));
        assert_answered(&mut server, request.replacen(old, new, 1).as_bytes(), 400);
    }
}

#[test]
fn s9112_2_2_a_head_of_single_bytes_is_read_and_its_limit_holds() {
    let mut server = Acceptor::new();
    let limit = LimitsConfig::default().max_head;
    let fill = limit - upgrade("X: \r\n").len();
    for (more, status) in [(fill, 101), (fill + 1, 431)] {
        let request = upgrade(&format!("X: {}\r\n", "y".repeat(more)));
        let mut peer = server.dial();
        for byte in request {
            // Behind the limit nobody reads any more.
            let _may_be_closed = peer.write_all(&[byte]);
            server.turning.turn();
        }
        let answer = server.turning.read_head(&mut peer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn s9112_3_a_target_that_is_too_long_is_answered_with_414() {
    let mut server = Acceptor::new();
    let long = "x".repeat(LimitsConfig::default().max_head);
    let request = String::from_utf8(upgrade("")).unwrap();
    let request = request.replacen("GET /", &format!("GET /{long}"), 1);
    assert_answered(&mut server, request.as_bytes(), 414);
}

#[test]
fn s9112_3_2_a_request_names_one_sound_host() {
    let mut server = Acceptor::new();
    for (host, status) in [
        ("Host: a:9001", 101),
        ("", 400),
        ("Host: a\r\nHost: a", 400),
        ("Host: a b", 400),
        ("Host: u@a", 400),
    ] {
        let request = String::from_utf8(upgrade("")).unwrap();
        let request = request.replacen("Host: localhost\r\n", &format!("{host}\r\n"), 1);
        let request = request.replacen("HTTP/1.1\r\n\r\n", "HTTP/1.1\r\n", 1);
        assert_answered(&mut server, request.as_bytes(), status);
    }
}

#[test]
fn s9112_3_2_2_an_absolute_target_is_accepted_whatever_host_says() {
    let recorder = Recorder {
        judge: Some(Box::new(|offer| {
            let request = offer.upgrade().unwrap().request();
            assert_eq!(request.authority(), Some("other.example:81"));
            assert_eq!(request.path(), "/chat");
            Ok(Welcome::with(7))
        })),
        ..Recorder::default()
    };
    let mut server = Acceptor::with(recorder, |_| {});
    let request = String::from_utf8(upgrade("")).unwrap();
    for scheme in ["http", "https", "ws"] {
        let line = format!("GET {scheme}://other.example:81/chat HTTP/1.1");
        let request = request.replacen("GET / HTTP/1.1", &line, 1);
        assert_answered(&mut server, request.as_bytes(), 101);
        let without = request.replacen("Host: localhost\r\n", "", 1);
        assert_answered(&mut server, without.as_bytes(), 400);
    }
}

#[test]
fn s9112_6_3_a_length_that_contradicts_itself_is_refused() {
    let mut server = Acceptor::new();
    for lines in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        let answer = server.ask(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lines}: {answer}");
        assert_eq!(header(&answer, "Connection"), "close");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(server.ask(old).starts_with("HTTP/1.1 400 "));
}

#[test]
fn s9112_6_3_a_101_ends_at_its_empty_line_whatever_it_says_of_a_body() {
    for line in [
        "Content-Length: 0",
        "Content-Length: 100",
        "Transfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
    ] {
        let mut dialer = Dialer::new();
        let (mut peer, request) = dialer.accept();
        let mut bytes = response(&request, &format!("{line}\r\n"));
        bytes.extend(b"\x81\x05hello");
        peer.write_all(&bytes).unwrap();
        dialer.turning.drive(|seen| seen.messages().len() == 1);
        assert_eq!(dialer.turning.recorder.messages(), [b"hello"], "{line}");
    }
}

#[test]
fn s9112_9_6_a_response_says_that_it_is_the_last_and_is() {
    let mut server = Acceptor::new();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = server.ask(&[&get[..], &upgrade("")].concat());
    assert!(
        header(&answer, "Connection").starts_with("close"),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(server.turning.recorder.opened().is_empty());
}
