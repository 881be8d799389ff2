//! RFC 9110, sections 5.6.7, 6.6.1 and 10.2.3: dates.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heartwheel::close::Cause;
use heartwheel::config::{AdmissionConfig, LimitsConfig};
use heartwheel::proto::http::HttpDate;
use heartwheel::reactor::{ClientEvent, HttpAnswer, ReconnectConfig, Rejection};

use crate::support::head::{header, headers};
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Dialer, Ended};
use crate::upgrade;

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// Claims that the answer bears one date, in the form that is sent, and that it is the present one.
#[track_caller]
fn assert_dated(answer: &str, began: u64) {
    let text = header(answer, "Date");
    let date = HttpDate::parse(text.as_bytes()).unwrap();
    assert_eq!(date.as_str(), text, "the preferred form");
    assert!((began..=now()).contains(&date.unix()), "{answer}");
}

#[test]
fn s9110_6_6_1_every_response_bears_the_date() {
    let began = now();
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    peer.write_all(&upgrade("")).unwrap();
    assert_dated(&server.turning.read_head(&mut peer), began);
    let too_long = LimitsConfig::default().max_head;
    for (request, status) in [
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
            426,
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (upgrade("Sec-WebSocket-Key: twice\r\n"), 400),
        (upgrade(&format!("X: {}\r\n", "y".repeat(too_long))), 431),
    ] {
        let answer = server.ask(&request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_dated(&answer, began);
    }
    for status in [200, 301, 404, 503] {
        let recorder = Recorder {
            http: Some(HttpAnswer::text(status, "plain\n")),
            ..Recorder::default()
        };
        let mut server = Acceptor::with(recorder, |_| {});
        let answer = server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_dated(&answer, began);
    }
    let recorder = Recorder {
        judge: Some(Box::new(|_| Err(Rejection::new(403, "no\n")))),
        ..Recorder::default()
    };
    let mut server = Acceptor::with(recorder, |_| {});
    assert_dated(&server.ask(&upgrade("")), began);
}

#[test]
fn s9110_6_6_1_a_refusal_before_the_request_bears_it_too() {
    let began = now();
    let mut server = Acceptor::with(Recorder::default(), |config| {
        config.admission = AdmissionConfig {
            half_open_per_address: Some(1),
            ..AdmissionConfig::default()
        };
    });
    // The oldest makes way.
    let mut first = server.dial();
    let _second = server.dial();
    let (answer, _) = server.turning.read_to_end(&mut first);
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
        "{answer}"
    );
    assert_dated(&answer, began);
    // And a handshake that a drain ends.
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    peer.write_all(b"GET / HT").unwrap();
    let came = server.turning.reactor.stats().bytes_in + 8;
    while server.turning.reactor.stats().bytes_in < came {
        server.turning.turn();
    }
    server
        .turning
        .reactor
        .context()
        .drain(Duration::from_secs(5));
    let (answer, _) = server.turning.read_to_end(&mut peer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_dated(&answer, began);
}

#[test]
fn s9110_6_6_1_a_request_that_came_too_late_is_answered_with_it() {
    let began = now();
    let mut server = Acceptor::with(Recorder::default(), |config| {
        config.heartbeat.handshake_timeout = Duration::from_millis(50);
    });
    let mut peer = server.dial();
    peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let (answer, ended) = server.turning.read_to_end(&mut peer);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(ended, Ended::Fin);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_dated(&answer, began);
    drop(peer);
    assert_eq!(server.turning.evidence().cause, Cause::HandshakeTimeout);
}

#[test]
fn s9110_6_6_1_a_date_of_the_handler_stands_alone() {
    let mut answer = HttpAnswer::text(200, "of yesterday\n");
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    answer.headers.push(("date".into(), date.into()));
    let recorder = Recorder {
        http: Some(answer),
        ..Recorder::default()
    };
    let mut server = Acceptor::with(recorder, |_| {});
    let answer = server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(headers(&answer, "Date"), [date]);
}

#[test]
fn s9110_10_2_3_a_client_comes_back_after_the_seconds_or_at_the_date() {
    let date = |secs| HttpDate::from_unix(now() + secs).unwrap();
    // The other forms of a date are read by the same function; see above.
    for (value, least, most) in [
        ("100".to_owned(), 100, 100),
        (date(200).to_string(), 100, 200),
        (HttpDate::from_unix(784_111_777).unwrap().to_string(), 0, 0),
        ("soon".to_owned(), 0, 0),
    ] {
        let mut dialer = Dialer::with(Recorder::default(), |config| {
            config.reconnect = Some(ReconnectConfig::default());
        });
        let (mut peer, _) = dialer.accept();
        let answer = format!("HTTP/1.1 503 \r\nRetry-After: {value}\r\n\r\n");
        peer.write_all(answer.as_bytes()).unwrap();
        dialer.turning.drive(|seen| seen.rejected().len() == 1);
        let waits = dialer.events().into_iter().find_map(|event| match event {
            ClientEvent::Waiting { delay } => Some(delay),
            _ => None,
        });
        // Beside what is asked for there is the delay of our own, at most half a second.
        let (wait, own) = (waits.unwrap(), Duration::from_millis(500));
        assert!(wait >= Duration::from_secs(least), "{value}: {wait:?}");
        assert!(wait <= Duration::from_secs(most) + own, "{value}: {wait:?}");
    }
}
