//! RFC 9110, section 7: hosts, connection options and upgrades.

use std::io::Write;

use crate::support::head::{header, headers};
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Dialer};
use crate::upgrade;

#[test]
fn s9110_7_2_the_host_is_what_is_dialed_or_what_is_asked_for() {
    let mut dialer = Dialer::new();
    let addr = dialer.addr().to_string();
    let (_peer, request) = dialer.accept();
    assert_eq!(header(&request, "Host"), addr);
    assert!(
        request.lines().nth(1).unwrap().starts_with("Host: "),
        "it comes first"
    );
    let mut dialer = Dialer::with(Recorder::default(), |config| {
        config.host_header = Some("virtual.example".into());
    });
    let (_peer, request) = dialer.accept();
    assert_eq!(header(&request, "Host"), "virtual.example");
}

#[test]
fn s9110_7_8_upgrade_comes_with_its_connection_option() {
    let mut dialer = Dialer::new();
    let (_peer, request) = dialer.accept();
    assert_eq!(headers(&request, "Upgrade"), ["websocket"]);
    assert_eq!(headers(&request, "Connection"), ["Upgrade"]);
    let mut server = Acceptor::new();
    let mut peer = server.dial();
    peer.write_all(&upgrade("")).unwrap();
    let accepted = server.turning.read_head(&mut peer);
    assert_eq!(headers(&accepted, "Upgrade"), ["websocket"]);
    assert_eq!(headers(&accepted, "Connection"), ["Upgrade"]);
    for request in [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        upgrade("Sec-WebSocket-Version: 8\r\n"),
    ] {
        let refused = server.ask(&request);
        assert!(refused.starts_with("HTTP/1.1 426 "), "{refused}");
        assert_eq!(headers(&refused, "Upgrade"), ["websocket"]);
        assert_eq!(headers(&refused, "Connection"), ["close, Upgrade"]);
    }
}

#[test]
fn s9110_7_8_upgrade_is_ignored_in_http_1_0() {
    let recorder = Recorder {
        http: Some(heartwheel::reactor::HttpAnswer::text(200, "plain\n")),
        ..Recorder::default()
    };
    let mut server = Acceptor::with(recorder, |_| {});
    let request = String::from_utf8(upgrade("")).unwrap();
    let answer = server.ask(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("plain\n"),
        "{answer}"
    );
    assert!(headers(&answer, "Upgrade").is_empty());
}

#[test]
fn s9110_7_8_only_what_was_asked_for_is_switched_to() {
    let mut server = Acceptor::new();
    for (asked, status) in [("h2c", 426), ("h2c, websocket", 101), ("websocket/13", 426)] {
        let request = String::from_utf8(upgrade("")).unwrap();
        let request = request.replace("Upgrade: websocket", &format!("Upgrade: {asked}"));
        let mut peer = server.dial();
        peer.write_all(request.as_bytes()).unwrap();
        let answer = server.turning.read_head(&mut peer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}: {answer}"
        );
        if status == 101 {
            assert_eq!(header(&answer, "Upgrade"), "websocket");
        }
    }
}
