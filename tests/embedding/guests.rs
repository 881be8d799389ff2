//! Connections for which there is no place, let in to ask plainly: health checks hear the truth.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::ReactorConfig;
use heartwheel::reactor::{HttpAnswer, Reactor, WireFactory};

use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

const CHECK: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// A loop for two connections, which are both taken, and a recorder that answers checks.
fn full() -> (Reactor<u32, u64>, Recorder, SocketAddr, [TcpStream; 2]) {
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 2,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder {
        http: Some(HttpAnswer::text(200, "ok\n")),
        ..Recorder::default()
    };
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.answer_when_full = true;
    config.heartbeat.close_timeout = Duration::from_secs(600);
    config.heartbeat.handshake_timeout = Duration::from_secs(600);
    let addr = listen_with(&mut reactor, config).1;
    assert!(!reactor.context().is_full());
    let peers = [(); 2].map(|()| open_websocket(&mut reactor, &mut recorder, addr));
    assert!(reactor.context().is_full());
    (reactor, recorder, addr, peers)
}

/// Asks, and returns the whole answer: the server ends the connection.
fn ask(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    addr: SocketAddr,
    request: &[u8],
) -> String {
    let mut peer = connect_peer(addr);
    peer.write_all(request).unwrap();
    let answer = read_at_least(reactor, recorder, &mut peer, usize::MAX);
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn assert_answer(answer: &str, status: u16, parts: &[&str]) {
    let start = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&start), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "no {part:?} in {answer}");
    }
}

fn reasons(recorder: &Recorder) -> Vec<&str> {
    let rejected = recorder.seen.iter().filter_map(|seen| match seen {
        Seen::Rejected(evidence, reason) => {
            assert_eq!(evidence.cause, Cause::Refused);
            Some(reason.as_str())
        }
        _ => None,
    });
    rejected.collect()
}

#[test]
fn who_finds_no_place_may_ask_plainly_and_opens_nothing() {
    let (mut reactor, mut recorder, addr, peers) = full();
    for _ in 0..50 {
        let answer = ask(&mut reactor, &mut recorder, addr, CHECK);
        assert_answer(&answer, 200, &["Connection: close\r\n", "\r\n\r\nok\n"]);
    }
    let head = ask(
        &mut reactor,
        &mut recorder,
        addr,
        b"HEAD / HTTP/1.0\r\n\r\n",
    );
    assert_answer(&head, 200, &["Content-Length: 3\r\n"]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let upgrade = ask(&mut reactor, &mut recorder, addr, &upgrade_request("/", ""));
    let parts = ["Retry-After: 1\r\n", "too many connections"];
    assert_answer(&upgrade, 503, &parts);
    drive(&mut reactor, &mut recorder, |seen| {
        (seen.answered().len(), seen.rejected().len()) == (51, 1)
    });
    assert_eq!(reasons(&recorder), ["too many connections"]);
    assert_eq!(recorder.opened().len(), 2);
    // Whoever leaves makes a place.
    assert!(reactor.context().is_full());
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    assert!(!reactor.context().is_full());
    open_websocket(&mut reactor, &mut recorder, addr);
}

#[test]
fn a_crowd_that_finds_no_place_keeps_no_check_out() {
    let (mut reactor, mut recorder, addr, _peers) = full();
    let mut silent: Vec<_> = (0..100).map(|_| connect_peer(addr)).collect();
    let answer = ask(&mut reactor, &mut recorder, addr, CHECK);
    assert_answer(&answer, 200, &["ok"]);
    assert!(reactor.len() <= 2 + 16, "{}", reactor.len());
    // Most have made way, and were told so.
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() >= 84
    });
    let told = String::from_utf8(read_at_least(
        &mut reactor,
        &mut recorder,
        &mut silent[0],
        usize::MAX,
    ));
    assert_answer(
        &told.unwrap(),
        503,
        &["Retry-After: 1\r\n", "too many connections"],
    );
}

#[test]
fn who_finds_no_place_and_asks_nothing_is_told_so_in_the_end() {
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 1,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder::default();
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.answer_when_full = true;
    config.heartbeat.handshake_timeout = Duration::from_millis(200);
    let addr = listen_with(&mut reactor, config).1;
    let _peer = open_websocket(&mut reactor, &mut recorder, addr);
    let answer = ask(&mut reactor, &mut recorder, addr, b"GET /he");
    assert_answer(&answer, 503, &["Retry-After: 1\r\n"]);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(reasons(&recorder), ["too many connections"]);
}

#[test]
fn a_drain_answers_checks_and_does_not_wait_for_them() {
    let (mut reactor, mut recorder, addr, mut peers) = full();
    reactor.context().drain(Duration::from_secs(600));
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    assert!(reactor.context().is_draining());
    for _ in 0..3 {
        let answer = ask(&mut reactor, &mut recorder, addr, CHECK);
        assert_answer(&answer, 200, &["Connection: close\r\n"]);
    }
    let upgrade = ask(&mut reactor, &mut recorder, addr, &upgrade_request("/", ""));
    assert_answer(&upgrade, 503, &["Retry-After: 1\r\n", "going away"]);
    let mut silent = connect_peer(addr);
    silent.write_all(b"GET /he").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.answered().len() == 3
    });
    while reactor.len() < 3 {
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    // Those for whom the drain lasts say goodbye.
    for peer in &mut peers {
        peer.write_all(&masked_frame(0x88, &1001_u16.to_be_bytes()))
            .unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 2
    });
    while !reactor.is_empty() {
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    assert!(reactor.is_stopped());
    let mut told = String::new();
    silent
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    silent.read_to_string(&mut told).unwrap();
    assert_answer(&told, 503, &["going away"]);
}

#[test]
fn without_the_option_nobody_is_asked() {
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 1,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder {
        http: Some(HttpAnswer::text(200, "ok\n")),
        ..Recorder::default()
    };
    let addr = listen(&mut reactor, WireFactory::WebSocket).1;
    let _peer = open_websocket(&mut reactor, &mut recorder, addr);
    let answer = ask(&mut reactor, &mut recorder, addr, CHECK);
    assert_answer(&answer, 503, &["Retry-After: 1\r\n"]);
}
