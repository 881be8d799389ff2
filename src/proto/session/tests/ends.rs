//! What becomes of messages under way when a connection ends: every cause, on every wire, whatever is
//! queued and however the peer reads.

use super::*;

/// How the peer takes output once the cause has arisen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// All of it, at once.
    Reads,
    /// So many bytes a second.
    Steady(usize),
    /// None of it.
    Stuck,
}

/// What a cause does with queued output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Law {
    /// All leaves while it makes progress.
    Patient,
    /// The message begun leaves, the rest is dropped at the first refusal, with the same patience.
    Answer,
    /// The frame begun leaves, the rest is dropped at the first refusal, within the close timeout.
    Blame,
}

const WRITE: u64 = 10;
const CLOSE: u64 = 3;
const TOTAL: u64 = 60;

/// When the cause arises.
const START: u64 = 20;

/// Two messages of two fragments on the wires that cut them.
const MESSAGE: usize = 100;

const KINDS: [WireKind; 5] = [
    WireKind::WebSocket,
    WireKind::Line,
    WireKind::Binary,
    WireKind::Raw,
    WireKind::Own,
];

fn wire(kind: WireKind) -> Wire {
    match kind {
        WireKind::WebSocket => Wire::WebSocket,
        WireKind::Line => Wire::Line,
        WireKind::Binary => Wire::Binary,
        WireKind::Raw => Wire::Raw,
        WireKind::Own => Wire::Own(Box::new(Quads::default())),
    }
}

fn begin(bench: &mut Bench, cause: Cause) {
    let now = secs(START);
    match cause {
        Cause::PeerEof => bench.session.handle_eof(&bench.env, now),
        Cause::PeerClosed if bench.session.wire() == WireKind::Own => {
            bench.feed(now, b"bye.");
        }
        Cause::PeerClosed => {
            bench.feed(now, &close_frame(1000));
        }
        Cause::ProtocolError => {
            let error = ProtocolError::Custom("a test");
            bench.session.fail(&mut bench.env, now, error);
        }
        cause => bench.close(now, cause),
    }
}

/// What came of an end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    cause: Cause,
    is_clean: bool,
    has_reset: bool,
    /// Bytes of data that the peer has, the goodbye aside.
    taken: usize,
    dropped: usize,
    /// Seconds from the cause to the end.
    took: u64,
}

/// Queues two messages, of which a byte has left, has the cause arise, and drives the session to its end.
/// The peer answers as soon as it has all there is to read.
fn drive(kind: WireKind, cause: Cause, is_queued: bool, peer: Peer) -> Outcome {
    let mut bench = Bench::with(wire(kind), |heartbeat, limits| {
        heartbeat.interval = None;
        heartbeat.timeout = None;
        heartbeat.write_timeout = Some(Duration::from_secs(WRITE));
        heartbeat.close_timeout = Duration::from_secs(CLOSE);
        heartbeat.close_total = Duration::from_secs(TOTAL);
        limits.max_fragment = MESSAGE / 2;
    });
    let mut taken = 0;
    if is_queued {
        let message = "x".repeat(MESSAGE);
        for _ in 0..2 {
            bench.send(secs(START), Message::text(&message)).unwrap();
        }
        taken = bench.flush_some(secs(START), 1).len();
        bench.session.handle_blocked();
    }
    let data = bench.session.queued() + taken;
    begin(&mut bench, cause);
    let queued = bench.evidence(secs(START)).bytes_queued;
    assert_eq!(queued, (data - taken) as u64);
    let mut has_answered = false;
    for took in 0.. {
        let now = secs(START + took);
        if took > 0 && bench.due(now) == Due::Stalled {
            bench.session.stall(&bench.env, now);
        }
        let most = match peer {
            Peer::Reads => usize::MAX,
            Peer::Steady(rate) if took > 0 => rate,
            Peer::Steady(_) | Peer::Stuck => 0,
        };
        if bench.session.phase() != Phase::Closed {
            let before = bench.session.queued();
            bench.flush_some(now, most);
            taken += before - bench.session.queued();
            if bench.session.has_output() {
                bench.session.handle_blocked();
            }
        }
        if !bench.session.has_output() && peer != Peer::Stuck && !has_answered {
            has_answered = true;
            if kind == WireKind::WebSocket && cause != Cause::PeerClosed {
                bench.feed(now, &close_frame(1000));
            }
            bench.session.handle_eof(&bench.env, now);
        }
        match bench.session.socket_action() {
            SocketAction::Keep | SocketAction::ShutdownWrite => {}
            action => {
                let evidence = bench.evidence(now);
                assert_eq!(evidence.bytes_queued, queued, "as of the cause");
                return Outcome {
                    cause: evidence.cause,
                    is_clean: evidence.clean,
                    has_reset: action == SocketAction::Reset,
                    taken,
                    dropped: usize::try_from(evidence.bytes_dropped).unwrap(),
                    took,
                };
            }
        }
    }
    unreachable!("it ends")
}

fn causes(kind: WireKind) -> Vec<(Cause, Law)> {
    let mut causes = vec![
        (Cause::LocalClose, Law::Patient),
        (Cause::Drain, Law::Patient),
        (Cause::MaxLifetime, Law::Patient),
        (Cause::AppIdle, Law::Patient),
        (Cause::Replaced, Law::Patient),
        (Cause::SlowPeer, Law::Blame),
        (Cause::PingFlood, Law::Blame),
        (Cause::RateLimited, Law::Blame),
        (Cause::PongFlood, Law::Blame),
        (Cause::SendQueueFull, Law::Blame),
        (Cause::ProtocolError, Law::Blame),
        (Cause::InvalidUtf8, Law::Blame),
        (Cause::MessageTooBig, Law::Blame),
        (Cause::MemoryLimit, Law::Blame),
    ];
    if matches!(kind, WireKind::WebSocket | WireKind::Own) {
        causes.push((Cause::PeerClosed, Law::Answer));
    }
    if kind != WireKind::WebSocket {
        causes.push((Cause::PeerEof, Law::Patient));
    }
    causes
}

/// What the chapter on ends in the guide says.
fn expected(kind: WireKind, (cause, law): (Cause, Law), is_queued: bool, peer: Peer) -> Outcome {
    // Header, or line end, of a message, and how it is cut.
    let (frame, frames) = match kind {
        WireKind::WebSocket => (MESSAGE / 2 + 2, 2),
        WireKind::Line => (MESSAGE + 1, 1),
        WireKind::Binary => (MESSAGE + 5, 1),
        WireKind::Raw | WireKind::Own => (MESSAGE, 1),
    };
    let all = if is_queued { 2 * frame * frames } else { 0 };
    let (kept, patience) = match law {
        Law::Patient => (all, TOTAL),
        Law::Answer => (frame * frames, TOTAL),
        Law::Blame => (frame, CLOSE),
    };
    let kept = kept.min(all);
    let begun = usize::from(is_queued);
    let goodbye = match (kind, cause) {
        (WireKind::WebSocket, Cause::PeerClosed) => 4,
        (WireKind::WebSocket, Cause::ProtocolError) => 4 + "a test".len(),
        (WireKind::WebSocket, _) => 4 + "bye".len(),
        (WireKind::Own, Cause::PeerEof) => 0,
        (WireKind::Own, _) => 4,
        _ => 0,
    };
    let is_fault = law == Law::Blame;
    let timeout = match cause {
        Cause::LocalClose | Cause::PeerClosed => Cause::CloseTimeout,
        cause => cause,
    };
    let is_blocked = is_queued || goodbye > 0;
    let cut = |took, taken: usize| Outcome {
        cause: timeout,
        is_clean: false,
        has_reset: true,
        taken,
        dropped: all - taken,
        took,
    };
    let done = |took, taken| Outcome {
        cause,
        is_clean: !is_fault && taken == all,
        has_reset: false,
        taken,
        dropped: all - taken,
        took,
    };
    match peer {
        // The socket takes all there is; only a refusal before makes anything obsolete.
        Peer::Reads => done(0, kept),
        Peer::Stuck if is_blocked => {
            let took = if is_fault { CLOSE } else { WRITE };
            cut(took, begun)
        }
        // Nothing to wait for but the answer, which does not come.
        Peer::Stuck => match cause {
            Cause::PeerEof => done(0, 0),
            _ => Outcome {
                is_clean: !is_fault,
                ..done(CLOSE, 0)
            },
        },
        Peer::Steady(rate) => {
            let left = kept - begun + goodbye;
            let took = left.div_ceil(rate) as u64;
            if took >= patience {
                // In the second in which time is over nothing is read any more.
                let taken = begun + rate * (usize::try_from(patience).unwrap() - 1);
                return cut(patience, taken.min(kept));
            }
            done(took, kept)
        }
    }
}

#[test]
fn every_end_treats_what_is_queued_as_its_cause_says() {
    let peers = [
        Peer::Reads,
        Peer::Steady(60),
        Peer::Steady(20),
        Peer::Steady(1),
        Peer::Stuck,
    ];
    for kind in KINDS {
        for row in causes(kind) {
            for is_queued in [false, true] {
                for peer in peers {
                    let found = drive(kind, row.0, is_queued, peer);
                    let wanted = expected(kind, row, is_queued, peer);
                    assert_eq!(
                        found, wanted,
                        "{kind:?} {row:?}, queued: {is_queued}, {peer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn f20_the_close_timeout_runs_from_when_the_last_byte_was_accepted() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.send(secs(1), Message::binary(&[0; 100])).unwrap();
    bench.session.handle_blocked();
    bench.close(secs(1), Cause::LocalClose);
    assert!(bench.session.take_rearm());
    for at in 2..9 {
        assert_eq!(bench.flush_some(secs(at), 10).len(), 10);
        assert_eq!(bench.due(secs(at)), wait(at + WRITE));
    }
    assert!(!bench.session.take_rearm(), "nothing has moved to earlier");
    bench.flush(secs(9));
    assert!(bench.session.take_rearm());
    assert_eq!(bench.due(secs(11)), wait(9 + CLOSE));
    assert_eq!(bench.due(secs(12)), Due::Changed);
    let end = (Cause::CloseTimeout, false);
    assert_eq!(bench.end(secs(12), SocketAction::Reset), end);
}

#[test]
fn close_total_bounds_the_wait_for_the_answer_too() {
    let mut bench = Bench::with(Wire::WebSocket, |heartbeat, _| {
        heartbeat.close_total = Duration::from_secs(5);
    });
    bench.send(secs(1), Message::binary(&[0; 100])).unwrap();
    bench.session.handle_blocked();
    bench.close(secs(1), Cause::Drain);
    bench.flush(secs(5));
    assert_eq!(bench.due(secs(5)), wait(6));
    assert_eq!(bench.due(secs(6)), Due::Changed);
    assert_eq!(
        bench.end(secs(6), SocketAction::Close),
        (Cause::Drain, false)
    );
}

#[test]
fn without_a_write_timeout_only_the_total_bounds_a_goodbye() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.write_timeout = None;
    });
    bench.send(secs(1), Message::text("unread")).unwrap();
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(bench.due(secs(200)), wait(301));
    assert_eq!(bench.due(secs(301)), Due::Changed);
    assert_eq!(
        bench.end(secs(301), SocketAction::Reset),
        (Cause::PeerEof, false)
    );
}

#[test]
fn a_close_of_the_peers_that_crosses_ours_drops_nothing() {
    let mut bench = Bench::with(Wire::WebSocket, |_, limits| limits.max_fragment = 10);
    for _ in 0..2 {
        bench.send(secs(1), Message::binary(&[7; 20])).unwrap();
    }
    bench.flush_some(secs(1), 1);
    bench.session.handle_blocked();
    bench.close(secs(1), Cause::Drain);
    bench.feed(secs(2), &close_frame(1000));
    assert_eq!(bench.flush(secs(2)).len(), 47 + 7);
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::Drain, true)
    );
}

#[test]
fn the_answer_to_a_close_waits_for_what_the_socket_has_not_refused() {
    let mut bench = Bench::new(Wire::WebSocket);
    for _ in 0..2 {
        bench.send(secs(1), Message::binary(&[7; 20])).unwrap();
    }
    bench.feed(secs(1), &close_frame(1000));
    bench.flush_some(secs(1), 1);
    bench.session.handle_blocked();
    assert_eq!(bench.flush(secs(2)).len(), 43 + 4);
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::PeerClosed, true)
    );
}

#[test]
fn an_end_within_a_message_of_the_peers_is_not_clean_and_tells_its_bytes() {
    let text = masked(Opcode::Text, b"unfinished");
    let first = fragment(false, Opcode::Text, b"half ");
    for (kind, bytes, expected) in [
        (WireKind::WebSocket, &text[..11], Some(5)),
        (WireKind::WebSocket, &text[..6], Some(0)),
        (WireKind::WebSocket, &text[..1], Some(1)),
        (WireKind::WebSocket, &first, Some(5)),
        (WireKind::WebSocket, &text, None),
        // Of a heartbeat nobody will miss the rest.
        (
            WireKind::WebSocket,
            &masked(Opcode::Ping, b"1234")[..8],
            None,
        ),
        (WireKind::Line, b"unfin", Some(5)),
        (WireKind::Line, b"PIN", None),
        (WireKind::Line, b"whole\n", None),
        (WireKind::Binary, b"\0\0\0\0\x10begin", Some(5)),
        (WireKind::Binary, b"\0\0", Some(2)),
        (WireKind::Binary, b"\x01", None),
        (WireKind::Raw, b"anything", None),
        (WireKind::Own, b"unf", Some(3)),
    ] {
        let mut bench = Bench::new(wire(kind));
        bench.feed(secs(1), bytes);
        bench.flush(secs(1));
        bench.close(secs(2), Cause::Drain);
        bench.flush(secs(2));
        if kind == WireKind::WebSocket {
            let rest = if expected == Some(5) {
                &text[11..]
            } else {
                &[]
            };
            if bytes == &text[..11] {
                assert_eq!(bench.feed(secs(2), rest), [], "too late");
            }
        }
        let evidence = bench.evidence(secs(3));
        assert_eq!(evidence.bytes_unfinished, expected, "{kind:?} {bytes:?}");
        assert_eq!(evidence.is_cut(), expected.is_some());
        if kind == WireKind::WebSocket && !matches!(bytes.len(), 1 | 6 | 8) {
            bench.feed(secs(3), &close_frame(1001));
        }
        bench.session.handle_eof(&bench.env, secs(3));
        let is_answered = kind != WireKind::WebSocket || bytes == text;
        let is_clean = expected.is_none() && is_answered;
        assert_eq!(
            bench.end(secs(3), SocketAction::Close),
            (Cause::Drain, is_clean),
            "{kind:?} {bytes:?}"
        );
    }
}

#[test]
fn a_last_line_without_its_end_is_delivered_and_not_cut() {
    let mut bench = Bench::new(Wire::Line);
    bench.feed(secs(1), b"last");
    let (session, env) = (&mut bench.session, &mut bench.env);
    assert!(session.decode_rest(env, secs(1)).is_some());
    session.take_assembled();
    session.handle_eof(env, secs(1));
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerEof, true)
    );
    let mut bench = Bench::new(Wire::Binary);
    bench.feed(secs(1), b"\0\0\0\0\x10begin");
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerEof, false)
    );
}

#[test]
fn the_evidence_of_a_full_queue_tells_what_was_queued() {
    let mut bench = Bench::with(Wire::WebSocket, |_, limits| {
        limits.send_queue = Some(1_000);
        limits.overflow = Overflow::Close;
    });
    bench.send(secs(1), Message::binary(&[0; 500])).unwrap();
    bench.session.handle_blocked();
    bench.send(secs(1), Message::binary(&[0; 900])).unwrap_err();
    bench.flush(secs(1));
    let evidence = bench.evidence(secs(1));
    assert_eq!(evidence.cause, Cause::SendQueueFull);
    assert_eq!((evidence.bytes_queued, evidence.bytes_dropped), (504, 504));
}

#[test]
fn what_comes_after_the_cause_does_not_change_its_evidence() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.feed(secs(3), &masked(Opcode::Text, b"hello"));
    let ping = bench.ping(secs(10));
    bench.close(secs(12), Cause::LocalClose);
    let before = bench.evidence(secs(12));
    assert_eq!(before.last_in, Some(Duration::from_secs(9)));
    assert_eq!(before.last_out, Some(Duration::from_secs(2)));
    bench.flush(secs(13));
    bench.feed(secs(14), &masked(Opcode::Pong, &ping[2..]));
    bench.feed(secs(14), &close_frame(4_000));
    let expected = Evidence {
        clean: true,
        close_code: Some(CloseCode::new(4_000)),
        ..before
    };
    assert_eq!(bench.evidence(secs(15)), expected);
}

/// A session that may be idle for five seconds, without heartbeats.
fn idle_after_five(kind: WireKind) -> Bench {
    Bench::with(wire(kind), |heartbeat, limits| {
        limits.slow_floor = 0;
        heartbeat.interval = None;
        heartbeat.timeout = None;
        heartbeat.app_idle = Some(Duration::from_secs(5));
    })
}

#[test]
fn f53_a_message_that_comes_in_pieces_is_not_idle() {
    let header = |size: usize| {
        let whole = masked(Opcode::Binary, &vec![0; size]);
        whole[..whole.len() - size].to_vec()
    };
    for (kind, begin, end) in [
        (WireKind::WebSocket, header(10), &b""[..]),
        (WireKind::Line, b"begin ".to_vec(), b"\n"),
        (WireKind::Binary, b"\0\0\0\0\x0a".to_vec(), b""),
        (WireKind::Raw, Vec::new(), b""),
    ] {
        let mut bench = idle_after_five(kind);
        bench.feed(secs(1), &begin);
        for second in 0..10 {
            let now = secs(4 + 4 * second);
            bench.feed(now, b"x");
            assert!(matches!(bench.due(now), Due::Wait(_)), "{kind:?} {now:?}");
        }
        bench.feed(secs(40), end);
        assert_eq!(bench.due(secs(44)), wait(45), "{kind:?}");
        assert_eq!(bench.due(secs(45)), Due::Changed);
        assert_eq!(bench.session.cause(), Some(Cause::AppIdle), "{kind:?}");
    }
}

#[test]
fn f53_a_message_that_leaves_in_pieces_is_not_idle() {
    for kind in KINDS {
        let mut bench = idle_after_five(kind);
        bench.send(secs(1), Message::text(&"x".repeat(40))).unwrap();
        for second in 0..10 {
            let now = secs(4 + 4 * second);
            assert_eq!(bench.flush_some(now, 1).len(), 1);
            bench.session.handle_blocked();
            assert!(matches!(bench.due(now), Due::Wait(_)), "{kind:?} {now:?}");
        }
        assert_eq!(bench.due(secs(45)), Due::Changed);
        assert_eq!(bench.session.cause(), Some(Cause::AppIdle), "{kind:?}");
        let evidence = bench.evidence(secs(45));
        assert!(evidence.bytes_queued >= 30, "{evidence}");
    }
}

#[test]
fn f53_heartbeats_are_idle_even_in_pieces() {
    for (kind, ping) in [
        (WireKind::WebSocket, masked(Opcode::Ping, b"1234")),
        (WireKind::WebSocket, masked(Opcode::Pong, b"1234")),
        (WireKind::Line, b"PING\n".to_vec()),
        (WireKind::Line, b"PONG\n".to_vec()),
        (WireKind::Binary, b"\x01".to_vec()),
    ] {
        let mut bench = idle_after_five(kind);
        for (place, &byte) in ping.iter().enumerate() {
            bench.feed(ms(400 * place as u64), &[byte]);
            bench.flush(ms(400 * place as u64));
        }
        assert_eq!(bench.due(ms(4_990)), wait(5), "{kind:?} {ping:?}");
        assert_eq!(bench.due(secs(5)), Due::Changed);
        assert_eq!(bench.session.cause(), Some(Cause::AppIdle), "{kind:?}");
    }
}

#[test]
fn f53_a_message_that_has_stopped_is_idle() {
    let mut bench = idle_after_five(WireKind::WebSocket);
    bench.feed(secs(2), &fragment(false, Opcode::Text, b"half "));
    // A ping between the fragments is no progress of theirs, whole or not.
    let ping = masked(Opcode::Ping, b"1234");
    bench.feed(secs(4), &ping[..4]);
    bench.feed(secs(5), &ping[4..]);
    bench.flush(secs(6));
    assert_eq!(bench.due(secs(6)), wait(7));
    assert_eq!(bench.due(secs(7)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::AppIdle));
    assert_eq!(bench.evidence(secs(7)).bytes_unfinished, Some(5));
}
