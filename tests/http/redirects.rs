//! RFC 9110, section 15.4: redirects.

use std::io::Write;
use std::time::Duration;

use heartwheel::proto::websocket::handshake::{RedirectError, ResponseError};
use heartwheel::reactor::{ClientEvent, DialError, ReconnectConfig, StopReason};

use crate::failure_at;
use crate::support::head::{header, headers, response};
use crate::support::recorder::{Recorder, Seen};
use crate::support::sides::Dialer;

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

fn moved(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into()
}

/// A client that dials again and again, as it does by default, and may follow as often.
fn dialer(follow: u8) -> Dialer {
    Dialer::with(Recorder::default(), |config| {
        config.reconnect = Some(ReconnectConfig {
            min: Duration::from_millis(1),
            base: Duration::from_millis(1),
            ..ReconnectConfig::default()
        });
        config.follow = follow;
        config.headers = vec![
            ("Authorization".into(), "Bearer secret".into()),
            ("Cookie".into(), "secret=1".into()),
            ("X-Other".into(), "open".into()),
        ];
    })
}

fn stopped(recorder: &Recorder) -> bool {
    let is_stop = |seen: &Seen| matches!(seen, Seen::Client(_, ClientEvent::Stopped { .. }));
    recorder.seen.iter().any(is_stop)
}

#[test]
fn s9110_15_4_a_redirect_stops_a_client_and_names_the_address() {
    for status in STATUSES {
        let mut dialer = dialer(0);
        let addr = dialer.addr();
        let (mut peer, _) = dialer.accept();
        peer.write_all(&moved(status, "/new?x#part")).unwrap();
        dialer.turning.drive(stopped);
        let events = dialer.events();
        let error = DialError::Redirect {
            code: status,
            to: format!("ws://{addr}/new?x"),
            reason: RedirectError::NotAsked,
        };
        let failed = ClientEvent::Failed { error };
        assert_eq!(
            events[1..],
            [
                failed,
                ClientEvent::Stopped {
                    why: StopReason::Final
                }
            ],
            "{events:?}"
        );
        assert!(dialer.try_accept().is_none());
    }
}

#[test]
fn s9110_15_4_a_redirect_is_followed_where_it_is_asked_for() {
    for status in STATUSES {
        let mut dialer = dialer(5);
        let addr = dialer.addr();
        let hops = ["a/b", "../c", &format!("http://{addr}/d"), "?e"];
        let paths = ["/", "/a/b", "/c", "/d", "/d?e"];
        for (location, path) in hops.iter().zip(paths) {
            let (mut peer, request) = dialer.accept();
            assert!(
                request.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
                "{request}"
            );
            peer.write_all(&moved(status, location)).unwrap();
        }
        let (mut peer, request) = dialer.accept();
        assert!(request.starts_with("GET /d?e HTTP/1.1\r\n"), "{request}");
        peer.write_all(&response(&request, "")).unwrap();
        dialer.turning.drive(|seen| seen.opened().len() == 1);
        let to = dialer.events().into_iter().filter_map(|event| match event {
            ClientEvent::Redirected { code, to } => Some((code, to.to_string())),
            ClientEvent::Failed { error } => panic!("{error}"),
            _ => None,
        });
        let expected = paths[1..]
            .iter()
            .map(|path| (status, format!("ws://{addr}{path}")));
        assert!(to.eq(expected), "{:?}", dialer.events());
        // When that connection is lost, it begins again where it was told to.
        drop(peer);
        let (_peer, request) = dialer.accept();
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    }
}

#[test]
fn s9110_15_4_a_circle_of_redirects_comes_to_an_end() {
    let mut dialer = dialer(5);
    for _ in 0..6 {
        let (mut peer, _) = dialer.accept();
        peer.write_all(&moved(302, "/")).unwrap();
    }
    dialer.turning.drive(stopped);
    let is_too_many = |event: &ClientEvent| {
        let ClientEvent::Failed { error } = event else {
            return false;
        };
        let limit = RedirectError::TooMany { limit: 5 };
        matches!(error, DialError::Redirect { reason, .. } if *reason == limit)
    };
    assert!(dialer.events().iter().any(is_too_many));
    assert!(dialer.try_accept().is_none());
}

#[test]
fn s9110_15_4_credentials_go_to_the_origin_they_were_given_for() {
    let mut dialer = dialer(5);
    let elsewhere = Dialer::new();
    let other = elsewhere.addr();
    let (mut peer, request) = dialer.accept();
    assert_eq!(header(&request, "Cookie"), "secret=1");
    peer.write_all(&moved(307, "/same")).unwrap();
    let (mut peer, request) = dialer.accept();
    assert_eq!(header(&request, "Authorization"), "Bearer secret");
    // Another port is another origin.
    peer.write_all(&moved(307, &format!("ws://{other}/there")))
        .unwrap();
    let mut found = None;
    dialer.turning.drive(|_| {
        found = found.take().or_else(|| elsewhere.try_accept());
        found.is_some()
    });
    let mut there = found.unwrap();
    // Its own client, which came first, is none of ours.
    let request = dialer.turning.read_head(&mut there);
    assert!(request.starts_with("GET /there HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Host"), other.to_string());
    assert_eq!(header(&request, "X-Other"), "open");
    for name in ["Authorization", "Cookie"] {
        assert!(headers(&request, name).is_empty(), "{request}");
    }
}

#[test]
fn s9110_15_4_other_statuses_of_3xx_are_final() {
    for status in [300, 304, 305, 306, 399] {
        let mut dialer = dialer(5);
        let (mut peer, _) = dialer.accept();
        peer.write_all(&moved(status, "/new")).unwrap();
        dialer.turning.drive(stopped);
        let error = DialError::Handshake(ResponseError::Status {
            code: status,
            retry_after: None,
            location: Some("/new".into()),
        });
        assert!(dialer.events().contains(&ClientEvent::Failed { error }));
    }
    // Nor is there anywhere to go without an address.
    let nowhere = failure_at(b"HTTP/1.1 302 Found\r\n\r\n");
    assert!(!nowhere.is_retryable(), "{nowhere:?}");
}

#[test]
fn s9110_15_4_who_is_stopped_follows_no_more() {
    let mut dialer = dialer(5);
    dialer.turning.recorder.react = Some(Box::new(|cx, seen| {
        if let Seen::Client(id, ClientEvent::Redirected { .. }) = seen {
            cx.disconnect(*id);
        }
    }));
    let (mut peer, _) = dialer.accept();
    peer.write_all(&moved(302, "/new")).unwrap();
    dialer.turning.drive(stopped);
    dialer.turning.idle();
    assert!(dialer.try_accept().is_none());
}
