//! Section 7: closing the connection.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;
use heartwheel::reactor::{ClientEvent, ReconnectConfig};

use crate::peer::{BOTH, Peer, assert_frames_fail, goodbye};
use crate::support::memory::pipe::Fate;
use crate::support::recorder::{Recorder, Seen};
use crate::support::sides::{Acceptor, Dialer, Ended};
use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, close, frame, frames};

#[test]
fn s7_1_1_the_server_ends_tcp_first() {
    // The peer's Close, then ours: either way the peer reads the end without having ended anything.
    let mut server = Acceptor::new();
    let mut peer = server.open();
    peer.write_all(&close(Role::Server, 1000, "")).unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    assert_eq!((&bytes[..], ended), (&b"\x88\x02\x03\xe8"[..], Ended::Fin));
    assert!(server.turning.evidence().clean);

    let mut server = Acceptor::new();
    let mut peer = server.open();
    server.turning.close(1001, "");
    assert_eq!(server.turning.read(&mut peer, 4), b"\x88\x02\x03\xe9");
    server.turning.idle();
    assert!(
        server.turning.recorder.closed().is_empty(),
        "the answer is to come"
    );
    peer.write_all(&close(Role::Server, 1001, "")).unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    assert_eq!((bytes, ended), (Vec::new(), Ended::Fin));
    assert!(server.turning.evidence().clean);
}

#[test]
fn s7_1_1_a_client_waits_for_the_servers_fin() {
    for is_answer in [true, false] {
        let mut dialer = Dialer::new();
        let mut peer = dialer.open();
        if is_answer {
            peer.write_all(&close(Role::Client, 1000, "")).unwrap();
        } else {
            dialer.turning.close(1000, "");
        }
        let sent = frames(&dialer.turning.read(&mut peer, 8));
        assert_eq!(sent[0].code(), Some(1000));
        if !is_answer {
            peer.write_all(&close(Role::Client, 1000, "")).unwrap();
        }
        dialer.turning.idle();
        assert!(dialer.turning.recorder.closed().is_empty(), "it waits");
        let would_block = std::io::Read::read(&mut peer, &mut [0]).unwrap_err();
        assert_eq!(would_block.kind(), std::io::ErrorKind::WouldBlock);
        peer.shutdown(Shutdown::Write).unwrap();
        let (bytes, ended) = dialer.turning.read_to_end(&mut peer);
        assert_eq!((bytes, ended), (Vec::new(), Ended::Fin));
        assert!(dialer.turning.evidence().clean);
    }
}

#[test]
fn s7_1_1_a_client_does_not_wait_for_ever() {
    let patience = Duration::from_millis(300);
    let mut dialer = Dialer::with(Recorder::default(), |config| {
        config.heartbeat.close_timeout = patience;
    });
    let mut peer = dialer.open();
    let began = Instant::now();
    peer.write_all(&close(Role::Client, 1000, "")).unwrap();
    let (_, _) = dialer.turning.read_to_end(&mut peer);
    assert!(began.elapsed() >= patience);
    assert!(dialer.turning.evidence().clean, "both Closes were there");
}

#[test]
fn s7_1_1_bytes_behind_a_close_are_discarded() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        let mut bytes = close(role, 1000, "");
        bytes.extend(frame(role, FIN | TEXT, b"late"));
        bytes.extend([0xFF; 1_000]);
        peer.feed(&bytes);
        peer.feed(&close(role, 4000, "another"));
        assert_eq!(peer.heard(), []);
        assert_eq!(peer.frames().len(), 1);
        assert_eq!((peer.code(), peer.evidence().clean), (Some(1000), true));
        assert_eq!(peer.evidence().cause, Cause::PeerClosed);
    }
}

#[test]
fn s7_1_1_the_answer_arrives_though_the_peer_talks_on_behind_its_close() {
    for count in [1, 100, 2_000] {
        let mut server = Acceptor::with(Recorder::echoing(), |_| {});
        let mut peer = server.open();
        let message = vec![7; 60_000];
        let mut bytes = frame(Role::Server, FIN | BINARY, &message);
        bytes.extend(close(Role::Server, 1000, ""));
        bytes.extend(frame(Role::Server, FIN | PING, &[1; 100]).repeat(count));
        peer.write_all(&bytes).unwrap();
        let (answer, ended) = server.turning.read_to_end(&mut peer);
        let answer = frames(&answer);
        assert_eq!(answer.len(), 2, "{count} pings behind");
        assert_eq!(answer[0].payload, message);
        assert_eq!(answer[1].code(), Some(1000));
        assert_eq!(ended, Ended::Fin, "{count} pings behind");
        drop(peer);
        assert!(server.turning.evidence().clean);
    }
}

#[test]
fn s7_1_1_a_peer_that_ends_its_direction_behind_its_close_reads_the_answer() {
    let mut server = Acceptor::new();
    let mut peer = server.open();
    peer.write_all(&close(Role::Server, 1000, "")).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    assert_eq!((&bytes[..], ended), (&b"\x88\x02\x03\xe8"[..], Ended::Fin));
    assert!(server.turning.evidence().clean);

    let mut dialer = Dialer::new();
    let mut peer = dialer.open();
    peer.write_all(&close(Role::Client, 1000, "")).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (bytes, ended) = dialer.turning.read_to_end(&mut peer);
    assert_eq!((frames(&bytes)[0].code(), ended), (Some(1000), Ended::Fin));
    assert!(dialer.turning.evidence().clean);
}

#[test]
fn s7_1_2_closing_sends_the_code_and_the_reason() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(3001, "tschüß");
        let frames = peer.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].first, FIN | CLOSE);
        assert_eq!(
            frames[0].payload,
            [b"\x0b\xb9", "tschüß".as_bytes()].concat()
        );

        // Too long, it is cut so that it stays text.
        let mut peer = Peer::new(role);
        peer.close(1000, &"é".repeat(100));
        let body = &peer.frames()[0].payload;
        assert_eq!(std::str::from_utf8(&body[2..]).unwrap(), "é".repeat(61));
    }
}

#[test]
fn s7_1_3_the_closing_handshake_begins_with_the_first_close_either_way() {
    for role in BOTH {
        for is_answer in [true, false] {
            let mut peer = Peer::new(role);
            peer.end.far.set_room(0);
            match is_answer {
                true => peer.feed(&close(role, 1000, "")),
                false => peer.close(1000, ""),
            }
            // The answer does not leave, for with it a server is at its end.
            let session = peer.end.session().unwrap();
            assert_eq!(session.phase(), heartwheel::close::Phase::Closing);
        }
    }
}

#[test]
fn s7_1_4_the_end_is_clean_if_the_closing_handshake_was_completed_and_only_then() {
    for role in BOTH {
        let mut answered = Peer::new(role);
        answered.end.far.set_room(0);
        answered.feed(&close(role, 1000, ""));
        assert!(!answered.evidence().clean, "our answer has not left yet");
        answered.output();
        assert!(answered.evidence().clean);

        let mut unanswered = Peer::new(role);
        unanswered.close(1000, "");
        unanswered.output();
        unanswered.end.end();
        assert!(!unanswered.evidence().clean);

        let mut lost = Peer::new(role);
        lost.end.end();
        assert!(!lost.evidence().clean);
    }
}

#[test]
fn s7_1_5_the_code_is_that_of_the_first_close_received() {
    for role in BOTH {
        for (body, code) in [(&b""[..], None), (b"\x0f\xa0", Some(4000))] {
            let mut peer = Peer::new(role);
            peer.frame(FIN | CLOSE, body);
            peer.feed(&close(role, 4001, ""));
            assert_eq!(peer.code(), code);
        }
        // Without one there is none: 1005 and 1006 are not invented.
        let mut lost = Peer::new(role);
        lost.end.end();
        assert_eq!((lost.evidence().cause, lost.code()), (Cause::PeerEof, None));
    }
}

#[test]
fn s7_1_6_the_reason_is_that_of_the_first_close_received() {
    for role in BOTH {
        for reason in ["", "bye", "日本"] {
            let mut peer = Peer::new(role);
            peer.feed(&close(role, 1000, reason));
            peer.feed(&close(role, 1000, "another"));
            assert_eq!(peer.reason(), reason);
        }
        let mut empty = Peer::new(role);
        empty.frame(FIN | CLOSE, b"");
        assert_eq!(empty.reason(), "");
    }
    let mut server = Acceptor::new();
    let mut peer = server.open();
    peer.write_all(&close(Role::Server, 1000, "bye")).unwrap();
    server.turning.evidence();
    let Some(Seen::Closed(.., reason)) = server.turning.recorder.seen.last() else {
        panic!("{:?}", server.turning.recorder.seen);
    };
    assert_eq!(reason, "bye");
}

#[test]
fn s7_1_7_what_fails_sends_a_close_and_looks_at_nothing_more() {
    // `assert_failed` sends more, an answer to the Close among it.
    assert_frames_fail(&[(FIN | 0xB, b"")], 1002);
    assert_frames_fail(&[(FIN | TEXT, b"\xff")], 1007);
    let mut server = Acceptor::with(Recorder::echoing(), |_| {});
    let mut peer = server.open();
    let mut bytes = frame(Role::Server, FIN | TEXT, b"good");
    bytes.extend(frame(Role::Server, FIN | 0xB, b""));
    bytes.extend(frame(Role::Server, FIN | TEXT, b"not read").repeat(1_000));
    bytes.extend(close(Role::Server, 1000, ""));
    peer.write_all(&bytes).unwrap();
    let (answer, ended) = server.turning.read_to_end(&mut peer);
    let answer = frames(&answer);
    assert_eq!((answer.len(), &answer[0].payload[..]), (2, &b"good"[..]));
    assert_eq!((answer[1].code(), ended), (Some(1002), Ended::Fin));
    drop(peer);
    let evidence = server.turning.evidence();
    assert_eq!(
        (evidence.cause, evidence.clean),
        (Cause::ProtocolError, false)
    );
    assert_eq!(server.turning.recorder.messages(), [b"good"]);
}

#[test]
fn s7_1_7_a_failure_in_the_closing_handshake_ends_it() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(1000, "");
        peer.frame(FIN | 0xB, b"");
        peer.feed(&close(role, 1000, ""));
        let sent = peer.frames();
        assert_eq!((sent.len(), sent[0].code()), (1, Some(1000)));
        assert!(!peer.evidence().clean, "what came behind is not looked at");
        assert_eq!(peer.evidence().cause, Cause::LocalClose);
    }
}

#[test]
fn s7_2_1_a_lost_connection_fails() {
    for (is_reset, cause) in [(false, Cause::PeerEof), (true, Cause::PeerReset)] {
        let mut dialer = Dialer::new();
        let peer = dialer.open();
        if is_reset {
            let socket = socket2::SockRef::from(&peer);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        let evidence = dialer.turning.evidence();
        assert_eq!((evidence.cause, evidence.clean), (cause, false));
        assert_eq!(evidence.close_code, None);
    }
}

#[test]
fn s7_2_1_half_a_frame_and_the_end_is_a_lost_connection() {
    for role in BOTH {
        let bytes = frame(role, FIN | TEXT, b"unfinished");
        for cut in 0..bytes.len() {
            let mut peer = Peer::new(role);
            peer.feed(&bytes[..cut]);
            peer.end.end();
            assert_eq!(peer.heard(), []);
            assert_eq!(peer.evidence().cause, Cause::PeerEof);
            assert_eq!(peer.fate(), Fate::Closed);
        }
    }
}

#[test]
fn s7_2_2_a_server_may_close_whenever_it_wishes() {
    for (code, reason) in [
        (1001, "going away"),
        (1008, ""),
        (1011, "oops"),
        (4999, "ours"),
    ] {
        let mut server = Acceptor::new();
        let mut peer = server.open();
        server.turning.close(code, reason);
        peer.write_all(&close(Role::Server, code, "")).unwrap();
        let (bytes, ended) = server.turning.read_to_end(&mut peer);
        let sent = frames(&bytes);
        assert_eq!(
            (sent.len(), sent[0].code(), ended),
            (1, Some(code), Ended::Fin)
        );
        assert_eq!(&sent[0].payload[2..], reason.as_bytes());
    }
}

#[test]
fn s7_2_3_a_client_comes_back_after_a_random_and_growing_delay() {
    let base = Duration::from_millis(20);
    let mut dialer = Dialer::with(Recorder::default(), |config| {
        config.reconnect = Some(ReconnectConfig {
            min: Duration::from_millis(1),
            base,
            cap: base * 4,
            ..ReconnectConfig::default()
        });
    });
    for _ in 0..12 {
        drop(dialer.open());
    }
    let delays: Vec<Duration> = dialer
        .events()
        .into_iter()
        .filter_map(|event| match event {
            ClientEvent::Waiting { delay } => Some(delay),
            _ => None,
        })
        .collect();
    assert!(delays.len() >= 11);
    assert!(delays[0] <= base, "{delays:?}");
    assert!(delays.iter().any(|&delay| delay > base), "{delays:?}");
    let mut distinct = delays.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > delays.len() / 2, "{delays:?}");
}

/// The codes that may stand in a Close frame: those of section 7.4.1, those that IANA has registered
/// since (1012 to 1014), and the ranges of 7.4.2 that are the libraries' and the applications'.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[test]
fn s7_4_a_code_that_must_not_be_sent_fails_the_connection() {
    for code in [
        0u16,
        1,
        999,
        1004,
        1005,
        1006,
        1015,
        1016,
        1100,
        2000,
        2999,
        5000,
        u16::MAX,
    ] {
        assert!(!may_be_sent(code));
        assert_frames_fail(&[(FIN | CLOSE, &code.to_be_bytes())], 1002);
    }
}

#[test]
fn s7_4_1_codes_1005_1006_and_1015_are_never_sent() {
    for role in BOTH {
        for code in [1004, 1005, 1006, 1015, 0, 999, 1016, 2999, 5000] {
            let mut peer = Peer::new(role);
            peer.close(code, "asked for");
            let sent = peer.frames()[0].code();
            assert_eq!(sent, Some(1000), "{code}");
        }
        for &cause in Cause::ALL {
            let sent = frames(&goodbye(role, cause))[0].code();
            assert!(sent.is_some_and(may_be_sent), "{cause}: {sent:?}");
        }
    }
    let mut server = Acceptor::new();
    let mut peer = server.open();
    server.turning.close(1006, "");
    let sent = frames(&server.turning.read(&mut peer, 4));
    assert_eq!(sent[0].code(), Some(1000));
}

#[test]
fn s7_crossing_closes_end_clean_at_both_ends() {
    let recorder = Recorder::default();
    let mut server = Acceptor::with(recorder, |_| {});
    let mut peer = server.open();
    // Both are on their way before either is read.
    server.turning.close(1001, "ours");
    peer.write_all(&close(Role::Server, 4000, "theirs"))
        .unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    let sent = frames(&bytes);
    assert_eq!((sent.len(), sent[0].code()), (1, Some(1001)), "{sent:?}");
    assert_eq!(ended, Ended::Fin);
    let evidence = server.turning.evidence();
    assert_eq!((evidence.cause, evidence.clean), (Cause::LocalClose, true));
    assert_eq!(evidence.close_code, Some(CloseCode::new(4000)));

    let mut dialer = Dialer::new();
    let mut peer = dialer.open();
    dialer.turning.close(1001, "ours");
    peer.write_all(&close(Role::Client, 4000, "theirs"))
        .unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (bytes, ended) = dialer.turning.read_to_end(&mut peer);
    let sent = frames(&bytes);
    assert_eq!((sent.len(), sent[0].code()), (1, Some(1001)));
    assert_eq!(ended, Ended::Fin);
    assert!(dialer.turning.evidence().clean);
}

#[test]
fn s7_messages_on_their_way_when_we_close_are_not_delivered() {
    // 7.1.3: the connection is closing; what the peer sent meanwhile is read, so that its Close is found.
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(1000, "");
        peer.output();
        peer.frame(FIN | TEXT, b"crossing");
        peer.frame(TEXT, b"in ");
        peer.frame(FIN | CONTINUATION, b"pieces");
        assert_eq!(peer.heard(), []);
        peer.feed(&close(role, 1000, ""));
        assert!(peer.evidence().clean);
    }
}

#[test]
fn s7_a_close_that_is_not_answered_is_given_up_in_time() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(1000, "");
        peer.output();
        peer.end.pass(Micros::from_millis(2_999));
        peer.frame(FIN | TEXT, b"talk does not extend it");
        assert_eq!(peer.fate(), Fate::Held);
        peer.end.pass(Micros::from_millis(11));
        assert_eq!(peer.fate(), Fate::Reset);
        assert_eq!(peer.evidence().cause, Cause::CloseTimeout);
    }
}

#[test]
fn s7_what_was_sent_before_the_close_arrives_before_it() {
    let recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Message(id, _) = seen {
            for number in 0..100u8 {
                cx.send(*id, Message::binary(&[number; 1_000])).unwrap();
            }
            cx.close(*id, CloseCode::NORMAL, "that was all");
        }
    });
    let mut server = Acceptor::with(recorder, |_| {});
    let mut peer = server.open();
    peer.write_all(&frame(Role::Server, FIN | TEXT, b"go"))
        .unwrap();
    peer.write_all(&close(Role::Server, 1000, "")).unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    let sent = frames(&bytes);
    assert_eq!((sent.len(), ended), (101, Ended::Fin));
    let numbers: Vec<_> = sent[..100].iter().map(|frame| frame.payload[0]).collect();
    assert_eq!(numbers, Vec::from_iter(0..100));
    assert_eq!(sent[100].code(), Some(1000));
}
