//! RFC 9112, sections 6 and 9: bodies, and requests one after the other on one connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::reactor::HttpAnswer;

use crate::support::head::{header, headers};
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Ended};
use crate::upgrade;

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server that answers plain requests with 200.
fn server() -> Acceptor {
    healthy(|_| {})
}

fn healthy(change: impl FnOnce(&mut heartwheel::reactor::ListenerConfig)) -> Acceptor {
    let recorder = Recorder {
        http: Some(HttpAnswer::text(200, "fine\n")),
        ..Recorder::default()
    };
    Acceptor::with(recorder, change)
}

/// Sends a request and reads one answer to it, head and body.
#[track_caller]
fn ask(server: &mut Acceptor, peer: &mut TcpStream, request: &[u8]) -> String {
    peer.write_all(request).unwrap();
    let head = server.turning.read_head(peer);
    let length: usize = header(&head, "Content-Length").parse().unwrap();
    let body = server.turning.read(peer, length);
    assert_eq!(body.len(), length);
    head
}

#[track_caller]
fn assert_fine(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn s9112_9_3_a_connection_goes_on_unless_a_side_says_otherwise() {
    for (request, options, goes_on) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[][..], true),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &[],
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
            &["close"],
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", &["close"], false),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            &["keep-alive"],
            true,
        ),
    ] {
        let mut server = server();
        let mut peer = server.dial();
        for count in 1..=3 {
            let answer = ask(&mut server, &mut peer, request.as_bytes());
            assert_fine(&answer);
            assert_eq!(headers(&answer, "Connection"), options, "{request}");
            assert_eq!(server.turning.reactor.stats().answered, count);
            if !goes_on {
                break;
            }
        }
        if goes_on {
            peer.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(
            server.turning.read_to_end(&mut peer).1,
            Ended::Fin,
            "{request}"
        );
        let cause = if goes_on {
            Cause::PeerEof
        } else {
            Cause::LocalClose
        };
        drop(peer);
        server.turning.drive(|seen| seen.answered().len() == 1);
        let (status, answers, evidence) = server.turning.recorder.answered()[0];
        assert_eq!((status, answers), (200, if goes_on { 3 } else { 1 }));
        assert_eq!((evidence.cause, evidence.clean), (cause, true), "{request}");
        assert_eq!(server.turning.reactor.stats().rejected, 0);
    }
}

#[test]
fn s9112_9_3_an_upgrade_may_follow_a_plain_request() {
    let mut server = server();
    let mut peer = server.dial();
    assert_fine(&ask(&mut server, &mut peer, GET));
    peer.write_all(&upgrade("")).unwrap();
    let head = server.turning.read_head(&mut peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    server.turning.drive(|seen| seen.opened().len() == 1);
    drop(peer);
    server.turning.drive(|seen| seen.closed().len() == 1);
    // It is told of once, and not as plain.
    assert!(server.turning.recorder.answered().is_empty());
    let ended = server.turning.reactor.history().next().unwrap();
    assert_eq!((ended.was_open, ended.status), (true, None));
    let stats = server.turning.reactor.stats();
    assert_eq!((stats.answered, stats.opened, stats.rejected), (1, 1, 0));
}

#[test]
fn s9112_9_3_2_pipelined_requests_are_answered_in_their_order() {
    let mut server = server();
    let mut peer = server.dial();
    let pipeline = [GET, &upgrade("")].concat();
    peer.write_all(&pipeline).unwrap();
    let head = server.turning.read_head(&mut peer);
    assert_fine(&head);
    let head = server.turning.read_head(&mut peer);
    assert!(head.starts_with("fine\nHTTP/1.1 101 "), "{head}");
    // Whatever the pieces, and though the peer has ended its own direction.
    for size in [1, 7, 1_000] {
        let mut peer = server.dial();
        for piece in GET.repeat(3).chunks(size) {
            peer.write_all(piece).unwrap();
            server.turning.turn();
        }
        peer.shutdown(Shutdown::Write).unwrap();
        let (answers, ended) = server.turning.read_to_end(&mut peer);
        let answers = String::from_utf8(answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert_eq!(ended, Ended::Fin);
    }
}

/// More than the buffers of sockets hold.
const LONG: usize = 16 * 1024 * 1024;

/// Reads until the end, in each turn as much as there is.
#[track_caller]
fn read_all(server: &mut Acceptor, peer: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1024 * 1024]);
    server.turning.drive(|_| {
        loop {
            match peer.read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error}"),
            }
        }
    });
    bytes
}

#[test]
fn s9112_9_3_2_who_does_not_take_an_answer_gets_one_more() {
    for (second, line) in [
        (GET.to_vec(), "HTTP/1.1 200 "),
        (upgrade(""), "HTTP/1.1 503 "),
    ] {
        let mut server = server();
        server.turning.recorder.http = Some(HttpAnswer::text(200, "x".repeat(LONG)));
        let mut peer = server.dial();
        peer.write_all(&[GET, &second, GET].concat()).unwrap();
        let mut answers = read_all(&mut server, &mut peer);
        let mut heads = Vec::new();
        while !answers.is_empty() {
            let end = answers.windows(4).position(|end| end == b"\r\n\r\n");
            let body = answers.split_off(end.unwrap() + 4);
            let head = String::from_utf8(answers).unwrap();
            let length: usize = header(&head, "Content-Length").parse().unwrap();
            answers = body[length..].to_vec();
            heads.push(head);
        }
        assert_eq!(heads.len(), 2, "{heads:?}");
        assert!(heads[1].starts_with(line), "{heads:?}");
        assert_eq!(header(&heads[1], "Connection"), "close");
        assert!(server.turning.recorder.opened().is_empty());
    }
}

#[test]
fn s9112_9_3_a_connection_has_only_so_many_requests() {
    let mut server = healthy(|config| config.limits.max_requests = 3);
    let mut peer = server.dial();
    peer.write_all(&GET.repeat(5)).unwrap();
    let (answers, ended) = server.turning.read_to_end(&mut peer);
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    let (_, last) = answers.rsplit_once("HTTP/1.1").unwrap();
    assert_eq!(header(last, "Connection"), "close");
    assert_eq!(answers.matches("Connection:").count(), 1, "{answers}");
    assert_eq!(ended, Ended::Fin);
    assert_eq!(server.turning.recorder.requests.len(), 3);
}

#[test]
fn s9112_9_5_who_asks_for_nothing_more_is_let_go_in_silence() {
    let mut server = healthy(|config| {
        config.heartbeat.handshake_timeout = Duration::from_millis(300);
    });
    let mut peer = server.dial();
    for _ in 0..2 {
        assert_fine(&ask(&mut server, &mut peer, GET));
    }
    let (more, ended) = server.turning.read_to_end(&mut peer);
    assert_eq!(
        (more.escape_ascii().to_string().as_str(), ended),
        ("", Ended::Fin)
    );
    drop(peer);
    server.turning.drive(|seen| seen.answered().len() == 1);
    let (status, answers, evidence) = server.turning.recorder.answered()[0];
    assert_eq!((status, answers, evidence.clean), (200, 2, true));
    assert_eq!(evidence.cause, Cause::LocalClose);
}

#[test]
fn s9112_9_5_half_a_second_request_is_answered_with_408() {
    let mut server = healthy(|config| {
        config.heartbeat.handshake_timeout = Duration::from_millis(300);
    });
    let mut peer = server.dial();
    assert_fine(&ask(&mut server, &mut peer, GET));
    peer.write_all(&GET[..20]).unwrap();
    let (more, ended) = server.turning.read_to_end(&mut peer);
    assert!(
        more.starts_with(b"HTTP/1.1 408 "),
        "{}",
        more.escape_ascii()
    );
    assert_eq!(ended, Ended::Fin);
    drop(peer);
    server.turning.drive(|seen| seen.answered().len() == 1);
    let (status, answers, evidence) = server.turning.recorder.answered()[0];
    assert_eq!((status, answers, evidence.clean), (200, 1, false));
    assert_eq!(evidence.cause, Cause::HandshakeTimeout);
}

#[test]
fn s9112_6_2_a_body_is_as_long_as_its_head_says() {
    let mut server = healthy(|config| {
        config.limits.max_head = 500;
        config.limits.max_body = 100 * 1024;
    });
    let mut peer = server.dial();
    let post = |path: &str, body: &str| {
        let len = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    // A request in it is none.
    let hidden = String::from_utf8(GET.to_vec()).unwrap();
    let most = "x".repeat(100 * 1024);
    for (path, body) in [("/a", "abc"), ("/b", ""), ("/c", &hidden), ("/d", &most)] {
        assert_fine(&ask(&mut server, &mut peer, post(path, body).as_bytes()));
        let (line, read) = server.turning.recorder.requests.last().unwrap();
        assert_eq!(*line, format!("POST {path}"));
        assert_eq!(read, body.as_bytes());
    }
    for piece in post("/e", "abc").as_bytes().chunks(1) {
        peer.write_all(piece).unwrap();
        server.turning.turn();
    }
    assert_fine(&server.turning.read_head(&mut peer));
    let expected = ("POST /e".to_owned(), b"abc".to_vec());
    assert_eq!(server.turning.recorder.requests.last(), Some(&expected));
}

#[test]
fn s9112_6_3_a_body_beyond_its_limit_or_of_unknown_length_is_the_last() {
    let mut server = healthy(|config| config.limits.max_body = 100);
    for (field, status) in [
        ("Content-Length: 101", 413),
        ("Content-Length: 18446744073709551616", 413),
        ("Transfer-Encoding: chunked", 411),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: gzip", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        let answer = server.ask(&[head.as_bytes(), b"0\r\n\r\n", GET].concat());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{field}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert_eq!(header(&answer, "Connection"), "close");
    }
    assert!(server.turning.recorder.requests.is_empty());
    // What is answered with an error of its body is answered; what is no HTTP is refused.
    server
        .turning
        .drive(|seen| seen.answered().len() + seen.rejected().len() == 7);
    let stats = server.turning.reactor.stats();
    assert_eq!((stats.answered, stats.rejected), (4, 3));
}

#[test]
fn s9110_10_1_1_who_waits_for_word_before_a_body_gets_it_once() {
    let mut server = server();
    let mut peer = server.dial();
    let expect = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    for _ in 0..2 {
        peer.write_all(expect.as_bytes()).unwrap();
        let interim = server.turning.read_head(&mut peer);
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
        peer.write_all(b"a").unwrap();
        server.turning.idle();
        assert_fine(&ask(&mut server, &mut peer, b"bc"));
    }
    // Not in HTTP/1.0, not where the body is there, and not where it is not wanted.
    let whole = format!("{expect}abc");
    assert_fine(&ask(&mut server, &mut peer, whole.as_bytes()));
    let large = expect.replace("Length: 3", "Length: 9999");
    let refused = server.ask(large.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}
