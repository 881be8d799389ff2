//! The opening handshake as the handler sees it, and the limits before it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode, Phase};
use heartwheel::config::ReactorConfig;
use heartwheel::reactor::{HttpAnswer, ListenerConfig, Reactor, Rejection, Welcome, WireFactory};

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

#[test]
fn the_handler_sees_the_request_and_chooses_the_subprotocol() {
    let mut recorder = Recorder {
        judge: Some(Box::new(|offer| {
            let upgrade = offer.upgrade().unwrap();
            assert_eq!(upgrade.request().path(), "/chat");
            assert_eq!(upgrade.request().query(), Some("room=1"));
            assert_eq!(upgrade.request().header("X-User"), Some(&b"ada"[..]));
            assert_eq!(upgrade.subprotocols(), ["v2", "v1"]);
            Ok(Welcome {
                subprotocol: Some("v1".into()),
                headers: vec![("X-Hello".into(), "there".into())],
                ..Welcome::with(3)
            })
        })),
        ..Recorder::default()
    };
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    let extra = "X-User: ada\r\nSec-WebSocket-Protocol: v2, v1\r\n";
    peer.write_all(&upgrade_request("/chat?room=1", extra))
        .unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    assert!(head.contains("Sec-WebSocket-Protocol: v1\r\n"), "{head}");
    assert!(head.contains("X-Hello: there\r\n"), "{head}");
}

#[test]
fn a_rejection_at_the_upgrade_is_answered_with_its_status() {
    let mut recorder = Recorder {
        judge: Some(Box::new(|_| Err(Rejection::new(401, "who are you?\n")))),
        ..Recorder::default()
    };
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    peer.write_all(&upgrade_request("/", "")).unwrap();
    let answer = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    let evidence = recorder.rejected()[0];
    assert_eq!(
        (evidence.cause, evidence.phase),
        (Cause::Refused, Phase::Handshaking)
    );
    assert!(recorder.opened().is_empty());
}

#[test]
fn a_subprotocol_that_was_not_offered_is_the_handlers_error() {
    let mut recorder = Recorder {
        judge: Some(Box::new(|_| {
            Ok(Welcome {
                subprotocol: Some("v9".into()),
                ..Welcome::with(0)
            })
        })),
        ..Recorder::default()
    };
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    peer.write_all(&upgrade_request("/", "")).unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
}

#[test]
fn a_plain_request_is_answered_by_the_handler_and_by_426_without_one() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut peer = connect_peer(addr);
    peer.write_all(request).unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(head.contains("Upgrade: websocket\r\n"), "{head}");

    recorder.http = Some(HttpAnswer::text(200, "all is well\n"));
    let mut peer = connect_peer(addr);
    peer.write_all(request).unwrap();
    let answer = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nall is well\n"), "{answer}");
}

/// A health check every few seconds counted as a rejected connection each time.
#[test]
fn a_plain_request_that_was_answered_is_not_rejected() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    for (answer, status) in [
        (None, 426),
        (Some(HttpAnswer::text(200, "fine\n")), 200),
        (Some(HttpAnswer::text(503, "not yet\n")), 503),
    ] {
        recorder.http = answer;
        let mut peer = connect_peer(addr);
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        peer.write_all(request).unwrap();
        read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
        drop(peer);
        let before = recorder.seen.len();
        drive(&mut reactor, &mut recorder, |seen| seen.seen.len() > before);
        let Some(Seen::Answered(told, 1, evidence, _)) = recorder.seen.last() else {
            panic!("{:?}", recorder.seen);
        };
        assert_eq!(*told, status);
        assert_eq!((evidence.cause, evidence.clean), (Cause::LocalClose, true));
    }
    let stats = reactor.stats();
    assert_eq!((stats.answered, stats.rejected), (3, 0));
    let statuses: Vec<_> = reactor.history().map(|ended| ended.status).collect();
    assert_eq!(statuses, [Some(503), Some(200), Some(426)]);
}

#[test]
fn frames_sent_right_behind_the_request_are_not_lost() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    let mut bytes = upgrade_request("/", "");
    bytes.extend(masked_frame(0x81, b"eager"));
    peer.write_all(&bytes).unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let echoed = read_at_least(&mut reactor, &mut recorder, &mut peer, 7);
    assert_eq!(echoed, b"\x81\x05eager");
}

#[test]
fn f11_a_dripped_handshake_ends_at_the_total_limit_with_408() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.heartbeat.handshake_timeout = Duration::from_millis(300);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    let began = Instant::now();
    let mut answer = Vec::new();
    let mut drip = upgrade_request("/", "").into_iter();
    drive(&mut reactor, &mut recorder, |_| {
        if answer.is_empty()
            && let Some(byte) = drip.next()
            && peer.write_all(&[byte]).is_err()
        {
            return true;
        }
        let mut chunk = [0; 1024];
        match std::io::Read::read(&mut peer, &mut chunk) {
            Ok(0) => true,
            Ok(count) => {
                answer.extend_from_slice(&chunk[..count]);
                false
            }
            Err(_) => false,
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(300));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::HandshakeTimeout);
    assert!(recorder.opened().is_empty());
}

#[test]
fn a_connection_beyond_the_limit_is_refused_with_503_and_the_rest_stay() {
    let mut recorder = Recorder::echoing();
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 2,
        ..ReactorConfig::default()
    });
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut first = open_websocket(&mut reactor, &mut recorder, addr);
    let _second = open_websocket(&mut reactor, &mut recorder, addr);
    let mut third = connect_peer(addr);
    let head = read_head(&mut reactor, &mut recorder, &mut third);
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: "),
        "{head}"
    );
    assert_eq!(recorder.rejected()[0].cause, Cause::Refused);
    first.write_all(&masked_frame(0x81, b"ok")).unwrap();
    assert_eq!(
        read_at_least(&mut reactor, &mut recorder, &mut first, 4),
        b"\x81\x02ok"
    );
}

#[test]
fn f12_half_open_connections_of_one_address_are_limited_and_forgotten() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.admission.half_open_per_address = Some(3);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut half: Vec<_> = (0..3).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |_| true);
    half.push(connect_peer(addr));
    // The oldest makes way.
    let head = read_head(&mut reactor, &mut recorder, &mut half[0]);
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(reactor.len(), 3);
    let evidence = recorder.rejected()[0];
    assert_eq!(
        (evidence.cause, evidence.phase),
        (Cause::Refused, Phase::Handshaking)
    );
    drop(half);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 4
    });
    open_websocket(&mut reactor, &mut recorder, addr);
}

/// 256 silent ones from loopback, where proxies come from, kept all others of it out.
#[test]
fn f12_silent_handshakes_keep_no_honest_one_of_their_address_out() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.admission.half_open_per_address = Some(10);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut silent = Vec::new();
    let mut open = Vec::new();
    for _ in 0..40 {
        // Renewed faster than they run out.
        silent.extend((0..8).map(|_| connect_peer(addr)));
        open.push(open_websocket(&mut reactor, &mut recorder, addr));
        assert!(reactor.len() <= open.len() + 10);
    }
    assert!(recorder.closed().is_empty());
    drop(silent);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 320
    });
    assert_eq!(reactor.len(), open.len());
}

/// Asks once on a connection that is kept behind the answer.
fn ask_once(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    addr: SocketAddr,
) -> TcpStream {
    let mut peer = connect_peer(addr);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"endpoint\n") {
        answer.extend(read_at_least(reactor, recorder, &mut peer, 1));
    }
    peer
}

#[test]
fn a_bad_request_behind_a_good_one_is_told_with_its_rule() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = ask_once(&mut reactor, &mut recorder, addr);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        .unwrap();
    let answer = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.answered().is_empty()
    });
    let Some(Seen::Answered(426, 1, evidence, reason)) = recorder.seen.last() else {
        panic!("{:?}", recorder.seen);
    };
    assert_eq!(
        (evidence.cause, evidence.clean),
        (Cause::ProtocolError, false)
    );
    assert_eq!(
        reason,
        "host must be given exactly once and be an authority"
    );
    assert_eq!(reactor.stats().rejected, 0);
}

/// What is said without being asked could be taken for the answer to what is just about to be.
#[test]
fn a_kept_connection_that_has_to_go_is_told_nothing() {
    for by_drain in [true, false] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
        config.admission.half_open_per_address = Some(1);
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = ask_once(&mut reactor, &mut recorder, addr);
        let newer = (!by_drain).then(|| connect_peer(addr));
        if by_drain {
            reactor.context().drain(PATIENCE);
        }
        let rest = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
        assert_eq!(rest.escape_ascii().to_string(), "");
        drop(peer);
        drive(&mut reactor, &mut recorder, |seen| {
            !seen.answered().is_empty()
        });
        let (status, answers, evidence) = recorder.answered()[0];
        assert_eq!((status, answers), (426, 1));
        let (cause, is_clean) = match by_drain {
            true => (Cause::Drain, true),
            false => (Cause::Refused, false),
        };
        assert_eq!((evidence.cause, evidence.clean), (cause, is_clean));
        assert!(recorder.rejected().is_empty());
        drop(newer);
    }
}

/// Others of its address took its place while it was reading.
#[test]
fn f12_an_answer_that_is_leaving_makes_no_way() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    recorder.http = Some(HttpAnswer {
        status: 200,
        headers: Vec::new(),
        body: vec![b'x'; LONG],
    });
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.admission.half_open_per_address = Some(3);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut reader = connect_peer(addr);
    reader
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    read_head(&mut reactor, &mut recorder, &mut reader);
    // The three that it leaves the limit to, and then as many again.
    let silent: Vec<_> = (0..6).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 3
    });
    let rest = read_at_least(&mut reactor, &mut recorder, &mut reader, LONG);
    assert_eq!(rest.len(), LONG);
    assert_eq!(reactor.len(), 4, "the newest three, and the reader");
    drop(silent);
}

/// More than socket buffers hold.
const LONG: usize = 16 * 1024 * 1024;

#[test]
fn a_peers_close_is_echoed_and_its_reason_reported() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    peer.write_all(&masked_frame(0x88, b"\x0f\xa0done here"))
        .unwrap();
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    assert_eq!(read, b"\x88\x02\x0f\xa0");
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let Some(Seen::Closed(_, evidence, _, reason)) = recorder.seen.last() else {
        panic!("{:?}", recorder.seen);
    };
    assert_eq!((evidence.cause, evidence.clean), (Cause::PeerClosed, true));
    assert_eq!(evidence.close_code, Some(CloseCode::new(4000)));
    assert_eq!(reason, "done here");
}
