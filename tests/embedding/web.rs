//! Which pages may open a WebSocket, and by which names of ours.

use std::io::Write;
use std::net::SocketAddr;

use heartwheel::close::{Cause, Phase};
use heartwheel::config::WebConfig;
use heartwheel::reactor::{HttpAnswer, ListenerConfig, Reactor, Welcome, WireFactory};

use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

fn listen_for(reactor: &mut Reactor<u32, u64>, web: WebConfig) -> SocketAddr {
    let config = ListenerConfig {
        web,
        ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket)
    };
    listen_with(reactor, config).1
}

/// Sends a request, and returns the head of the answer.
fn ask(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    addr: SocketAddr,
    request: &[u8],
) -> String {
    let mut peer = connect_peer(addr);
    peer.write_all(request).unwrap();
    read_head(reactor, recorder, &mut peer)
}

/// Asks for an upgrade with these header lines beside the necessary ones.
fn upgrade(host: &str, extra: &str) -> Vec<u8> {
    let request = String::from_utf8(upgrade_request("/", extra)).unwrap();
    request
        .replace("Host: localhost", &format!("Host: {host}"))
        .into_bytes()
}

#[test]
fn a_page_of_another_host_is_answered_403_before_the_handler_is_asked() {
    let mut reactor = reactor();
    let mut recorder = Recorder {
        judge: Some(Box::new(|offer| panic!("asked about {offer:?}"))),
        ..Recorder::default()
    };
    let addr = listen_for(&mut reactor, WebConfig::default());
    for origin in [
        "https://evil.example",
        "null",
        "http://chat.example:8080",
        "",
    ] {
        let request = upgrade("chat.example", &format!("Origin: {origin}\r\n"));
        let head = ask(&mut reactor, &mut recorder, addr, &request);
        assert!(head.starts_with("HTTP/1.1 403 "), "{origin}: {head}");
    }
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 4
    });
    let evidence = recorder.rejected()[0];
    assert_eq!(
        (evidence.cause, evidence.phase),
        (Cause::Refused, Phase::Handshaking)
    );
    let Some(Seen::Rejected(_, reason)) = recorder.seen.first() else {
        panic!("{:?}", recorder.seen);
    };
    assert_eq!(reason, "origin 'https://evil.example' is not allowed");
}

#[test]
fn a_page_of_the_same_host_and_a_program_without_origin_come_in() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_for(&mut reactor, WebConfig::default());
    for (host, extra) in [
        ("chat.example:8080", "Origin: http://chat.example:8080\r\n"),
        ("chat.example", "Origin: https://Chat.example\r\n"),
        ("chat.example", ""),
    ] {
        let head = ask(&mut reactor, &mut recorder, addr, &upgrade(host, extra));
        assert!(head.starts_with("HTTP/1.1 101 "), "{host} {extra}: {head}");
    }
}

#[test]
fn other_origins_come_in_where_they_are_allowed() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let some = WebConfig {
        origins: vec!["https://app.example".into(), "null".into()],
        ..WebConfig::default()
    };
    let any = WebConfig {
        any_origin: true,
        ..WebConfig::default()
    };
    let some = listen_for(&mut reactor, some);
    let any = listen_for(&mut reactor, any);
    for (addr, origin, status) in [
        (some, "https://app.example", "101"),
        (some, "null", "101"),
        (some, "https://evil.example", "403"),
        (any, "https://evil.example", "101"),
    ] {
        let request = upgrade("chat.example", &format!("Origin: {origin}\r\n"));
        let head = ask(&mut reactor, &mut recorder, addr, &request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {head}"
        );
    }
}

/// A page whose own name leads to loopback has the right origin, and the wrong host.
#[test]
fn a_host_that_is_not_ours_is_answered_421_also_where_nothing_is_upgraded() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    recorder.http = Some(HttpAnswer::text(200, "secret\n"));
    let web = WebConfig {
        loopback_hosts: true,
        hosts: vec!["chat.example".into()],
        ..WebConfig::default()
    };
    let addr = listen_for(&mut reactor, web);
    let rebound = upgrade("evil.example:9001", "Origin: http://evil.example:9001\r\n");
    let plain = b"GET /status HTTP/1.1\r\nHost: evil.example:9001\r\n\r\n".to_vec();
    for request in [rebound, plain] {
        let head = ask(&mut reactor, &mut recorder, addr, &request);
        assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
    }
    for host in [
        "localhost:1",
        "127.0.0.1:9001",
        "[::1]:9001",
        "chat.example",
    ] {
        let head = ask(&mut reactor, &mut recorder, addr, &upgrade(host, ""));
        assert!(head.starts_with("HTTP/1.1 101 "), "{host}: {head}");
    }
    let plain = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = ask(&mut reactor, &mut recorder, addr, plain);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn rules_that_make_no_sense_are_refused_by_name() {
    let mut reactor = reactor();
    for (field, web) in [
        (
            "origins",
            WebConfig {
                origins: vec!["app.example".into()],
                ..WebConfig::default()
            },
        ),
        (
            "hosts",
            WebConfig {
                hosts: vec!["https://app.example".into()],
                ..WebConfig::default()
            },
        ),
    ] {
        let config = ListenerConfig {
            web,
            ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket)
        };
        let error = reactor.listen(config).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

/// A page can post lines of its choice to any port that its visitor reaches.
#[test]
fn a_request_to_a_listener_for_lines_is_a_broken_rule_and_no_message() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    recorder.judge = Some(Box::new(|_| Ok(Welcome::with(0))));
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    peer.write_all(b"POST / HTTP/1.1\r\nHost: a\r\n\r\nsay this\n")
        .unwrap();
    read_end(&mut reactor, &mut recorder, &mut peer);
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.closed()[0].1.cause, Cause::ProtocolError);
    assert_eq!(recorder.messages(), Vec::<Vec<u8>>::new());
}

/// The answer to HEAD claimed to have no body or brought one, and its Upgrade header stood without the
/// connection option that belongs to it.
#[test]
fn the_answer_to_head_is_the_head_of_the_answer_to_get() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen_with(
        &mut reactor,
        on_loopback(WireFactory::WebSocket, None, None),
    );
    let upgrade = String::from_utf8(upgrade_request("/", "")).unwrap();
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (request, method, line, options) in [
        (plain, "GET", "HTTP/1.1 426 ", "close, Upgrade"),
        (upgrade.as_str(), "PUT", "HTTP/1.1 405 ", "close"),
    ] {
        let [whole, head] = [method, "HEAD"].map(|method| {
            let mut peer = connect_peer(addr);
            let request = request.replacen("GET", method, 1);
            peer.write_all(request.as_bytes()).unwrap();
            let answer = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
            let answer = String::from_utf8(answer).unwrap();
            // A second may begin between the two.
            let lines = answer.split_inclusive("\r\n");
            let lines: String = lines.filter(|line| !line.starts_with("Date: ")).collect();
            assert!(lines.len() < answer.len(), "{answer}");
            lines
        });
        assert!(whole.starts_with(line), "{whole}");
        assert!(whole.contains(&format!("\r\nConnection: {options}\r\n")));
        let (begin, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty());
        assert_eq!(head, format!("{begin}\r\n\r\n"));
    }
}
