//! How connections end on real sockets: the right cause, never early, each once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::proto::message::Message;
use heartwheel::reactor::WireFactory;
use socket2::SockRef;

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::silence::silence_cause;
use crate::support::turning::*;

/// Late by at most a tick and the reported delay, and what a loaded machine adds.
const SPARE: Duration = Duration::from_millis(250);

#[test]
fn a_silent_peer_is_closed_never_early_and_told_by_a_reset() {
    for (wire, interval) in [
        (WireFactory::Line, Some(200)),
        (WireFactory::Binary, Some(200)),
        (WireFactory::Line, None),
        (WireFactory::Raw, None),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let timeout = Duration::from_millis(500);
        let (_, addr) = listen_with(&mut reactor, on_loopback(wire, interval, Some(500)));
        let mut peer = connect_peer(addr);
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        // A byte that every wire takes for the beginning of something.
        let wrote = Instant::now();
        peer.write_all(&[0]).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        let took = wrote.elapsed();
        let evidence = recorder.closed()[0].1;
        let cause = match interval {
            Some(_) => silence_cause(&evidence),
            None => Cause::Silent,
        };
        assert_eq!(evidence.cause, cause);
        assert!(took >= timeout, "early: {took:?}");
        let delay = evidence.loop_delay + evidence.forgiveness;
        let latest = timeout + Duration::from_millis(10) + delay + SPARE;
        assert!(took <= latest, "late: {took:?} of {latest:?}");
        assert!(evidence.last_proof.unwrap() >= timeout);
        assert!(read_end(&mut reactor, &mut recorder, &mut peer), "a reset");
        if interval.is_some() {
            assert!(evidence.pings_written >= 2, "{evidence:?}");
            assert_eq!(evidence.pings_answered, 0);
        }
    }
}

#[test]
fn f48_a_client_that_pings_and_then_falls_silent_is_silent_at_t() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen_with(
        &mut reactor,
        on_loopback(WireFactory::Line, None, Some(400)),
    );
    let mut peer = connect_peer(addr);
    let mut last = Instant::now();
    for _ in 0..5 {
        peer.write_all(b"PING\n").unwrap();
        last = Instant::now();
        assert_eq!(
            read_at_least(&mut reactor, &mut recorder, &mut peer, 5),
            b"PONG\n"
        );
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(100));
    }
    assert!(recorder.closed().is_empty());
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(last.elapsed() >= Duration::from_millis(400));
    assert_eq!(recorder.closed()[0].1.cause, Cause::Silent);
}

#[test]
fn a_peer_whose_bytes_we_are_behind_with_is_not_silent() {
    let mut recorder = Recorder::reacting(|_, seen| {
        // As when each message goes to thousands.
        if let Seen::Message(..) = seen {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(
        &mut reactor,
        on_loopback(WireFactory::Line, Some(40), Some(100)),
    );
    let mut peer = connect_peer(addr);
    // More than a buffer holds: the rest waits in the socket while what has been read is handled.
    peer.write_all(&b"x\n".repeat(100_000)).unwrap();
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(1_500));
    assert!(recorder.closed().is_empty(), "{:#?}", recorder.closed());
    let messages = |seen: &&Seen| matches!(seen, Seen::Message(..));
    let handled = recorder.seen.iter().filter(messages).count();
    assert!((1..10_000).contains(&handled), "{handled} of 100000");
}

#[test]
fn f5_a_slow_handler_is_not_blamed_on_peers_that_answer() {
    let mut recorder = Recorder::reacting(|_, seen| {
        if let Seen::Timer(..) = seen {
            std::thread::sleep(Duration::from_millis(900));
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(
        &mut reactor,
        on_loopback(WireFactory::Line, Some(100), Some(300)),
    );
    let peers: Vec<_> = (0..4)
        .map(|_| {
            let mut peer = connect_peer(addr);
            std::thread::spawn(move || {
                let mut chunk = [0; 64];
                loop {
                    match peer.read(&mut chunk) {
                        Ok(0) => return,
                        Ok(count) => {
                            for _ in 0..count / 5 {
                                if peer.write_all(b"PONG\n").is_err() {
                                    return;
                                }
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
    for _ in 0..2 {
        reactor.context().set_timer(Duration::ZERO, 1);
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1_300));
    }
    assert!(recorder.closed().is_empty(), "{:#?}", recorder.closed());
    assert!(
        reactor.stats().late >= Duration::from_millis(1_770),
        "{:?}",
        reactor.stats().late
    );
    drop(reactor);
    peers.into_iter().for_each(|peer| peer.join().unwrap());
}

#[test]
fn f50_data_and_fin_before_the_wait_are_delivered_and_then_the_end() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    peer.write_all(b"last\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let began = Instant::now();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "at once, not at the timeout"
    );
    assert_eq!(recorder.messages(), [b"last"]);
    assert_eq!(recorder.closed()[0].1.cause, Cause::PeerEof);
}

#[test]
fn f50_the_whole_life_of_a_peer_before_the_first_turn_is_seen() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    peer.write_all(b"one\ntwo\nthree").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.messages(), [&b"one"[..], b"two", b"three"]);
    let evidence = recorder.closed()[0].1;
    assert_eq!((evidence.cause, evidence.clean), (Cause::PeerEof, true));
    let echoed = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    assert_eq!(
        echoed, b"one\ntwo\nthree\n",
        "queued output is flushed before the end"
    );
}

#[test]
fn f22_f50_data_and_reset_before_the_wait_are_data_and_then_the_reset() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    peer.write_all(b"last\n").unwrap();
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.messages(), [b"last"]);
    assert_eq!(recorder.closed()[0].1.cause, Cause::PeerReset);
    assert_eq!(
        recorder.seen.len(),
        3,
        "no second close: {:?}",
        recorder.seen
    );
}

#[test]
fn f21_the_end_of_input_without_a_close_frame_is_peer_eof() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let peer = open_websocket(&mut reactor, &mut recorder, addr);
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let evidence = recorder.closed()[0].1;
    assert_eq!((evidence.cause, evidence.clean), (Cause::PeerEof, false));
}

#[test]
fn f20_a_close_that_is_never_answered_times_out_though_the_peer_talks() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.heartbeat.close_timeout = Duration::from_millis(300);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    let id = recorder.opened()[0];
    reactor.context().close(id, CloseCode::GOING_AWAY, "");
    let began = Instant::now();
    drive(&mut reactor, &mut recorder, |seen| {
        let _ = peer.write_all(&masked_frame(0x81, b"still talking"));
        seen.closed().len() == 1
    });
    assert!(began.elapsed() >= Duration::from_millis(300));
    let evidence = recorder.closed()[0].1;
    assert_eq!(
        (evidence.cause, evidence.clean),
        (Cause::CloseTimeout, false)
    );
    assert!(
        recorder.messages().is_empty(),
        "nothing is delivered after our Close"
    );
}

#[test]
fn a_broken_rule_is_told_by_its_close_code_and_the_peer_can_read_it() {
    for (frame, cause, code) in [
        (&b"\x81\x02hi"[..], Cause::ProtocolError, 1002),
        (b"\xc1\x80\0\0\0\0", Cause::ProtocolError, 1002),
        (b"\x89\xfe\0\x7e\0\0\0\0", Cause::ProtocolError, 1002),
        (b"\x81\x81\0\0\0\0\xff", Cause::InvalidUtf8, 1007),
        (
            b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
            Cause::MessageTooBig,
            1009,
        ),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
        let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
        peer.write_all(frame).unwrap();
        // More behind it: a close with bytes unread would be a reset that swallows our answer.
        peer.write_all(&[0x55; 4096]).unwrap();
        let read = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
        assert_eq!(read[0], 0x88, "{read:?}");
        assert_eq!(u16::from_be_bytes([read[2], read[3]]), code);
        drop(peer);
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(recorder.closed()[0].1.cause, cause);
    }
}

#[test]
fn a_drain_says_1001_to_everyone_refuses_the_late_and_ends_the_run() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peers: Vec<_> = (0..3)
        .map(|_| open_websocket(&mut reactor, &mut recorder, addr))
        .collect();
    reactor.context().drain(Duration::from_secs(8));
    let mut late = connect_peer(addr);
    let began = Instant::now();
    let head = read_head(&mut reactor, &mut recorder, &mut late);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    for peer in &mut peers {
        let read = read_at_least(&mut reactor, &mut recorder, peer, 4);
        assert_eq!(read[..4], [0x88, 12, 0x03, 0xe9], "{read:?}");
        peer.write_all(&masked_frame(0x88, b"\x03\xe9")).unwrap();
    }
    reactor.run(&mut recorder).unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "a few connections need no window"
    );
    assert_eq!(recorder.closed().len(), 3);
    assert!(
        recorder
            .closed()
            .iter()
            .all(|(_, end)| end.cause == Cause::Drain && end.clean)
    );
}

#[test]
fn an_unanswered_drain_ends_with_its_window_and_is_not_clean() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let _peer = open_websocket(&mut reactor, &mut recorder, addr);
    reactor.context().drain(Duration::from_millis(400));
    let began = Instant::now();
    reactor.run(&mut recorder).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(390));
    assert!(began.elapsed() < Duration::from_secs(3));
    let evidence = recorder.closed()[0].1;
    assert_eq!((evidence.cause, evidence.clean), (Cause::Drain, false));
}

#[test]
fn a_drain_answers_a_handshake_under_way_with_503() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while reactor.is_empty() {
        assert!(Instant::now() < deadline);
        reactor
            .turn(&mut recorder, Some(Duration::from_millis(10)))
            .unwrap();
    }
    reactor.context().drain(Duration::from_secs(2));
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::Drain);
}

/// What was open when the loop was stopped without a drain was never told of.
#[test]
fn a_stop_reports_every_connection_once_however_it_is_asked_for() {
    /// Stops the loop, as somebody may.
    type Stop = fn(&mut heartwheel::reactor::Reactor<u32, u64>, &mut Recorder);
    let in_a_callback: Stop = |reactor, recorder| {
        recorder.react = Some(Box::new(|cx, _| cx.stop()));
        reactor.handle().command(1).unwrap();
    };
    let between_turns: Stop = |reactor, _| reactor.context().stop();
    let from_elsewhere: Stop = |reactor, _| reactor.handle().stop().unwrap();
    for stop in [in_a_callback, between_turns, from_elsewhere] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let (_, line) = listen(&mut reactor, WireFactory::Line);
        let (_, websocket) = listen(&mut reactor, WireFactory::WebSocket);
        let peers = [
            connect_peer(line),
            connect_peer(line),
            connect_peer(websocket),
        ];
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
        let open = open_websocket(&mut reactor, &mut recorder, websocket);
        stop(&mut reactor, &mut recorder);
        let deadline = Instant::now() + PATIENCE;
        while !reactor.is_stopped() {
            assert!(Instant::now() < deadline, "it does not end");
            let limit = Some(Duration::from_millis(20));
            reactor.turn(&mut recorder, limit).unwrap();
        }
        reactor.run(&mut recorder).unwrap();

        let mut opened = recorder.opened();
        let mut closed: Vec<_> = recorder.closed().into_iter().map(|(id, _)| id).collect();
        opened.sort();
        closed.sort();
        assert_eq!(opened, closed);
        assert!(
            recorder
                .closed()
                .iter()
                .all(|(_, end)| end.cause == Cause::LocalClose)
        );
        assert_eq!(recorder.rejected().len(), 1, "the one that shook hands");
        assert!(reactor.is_empty());
        drop((peers, open));
    }
}

/// After the peer's end of input a failed write was waited out until the close timeout.
#[test]
fn output_that_can_never_leave_is_not_waited_for() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            cx.send(*id, Message::binary(&vec![0; 8_000_000])).unwrap();
        }
    });
    let mut reactor = reactor();
    let mut config = on_loopback(WireFactory::Binary, None, None);
    config.heartbeat.close_timeout = PATIENCE * 2;
    config.heartbeat.write_timeout = None;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    let mut chunk = [0; 1_000];
    drive(&mut reactor, &mut recorder, |_| {
        peer.read(&mut chunk).is_ok()
    });
    peer.shutdown(Shutdown::Write).unwrap();
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let (_, evidence) = recorder.closed()[0];
    assert_eq!((evidence.cause, evidence.clean), (Cause::PeerEof, false));
}

/// A connection whose reading was paused did not read the peer's waiting goodbye when a drain, or a
/// deadline, closed it.
#[test]
fn a_paused_connection_hears_the_goodbye_when_it_closes() {
    for by_drain in [true, false] {
        let mut recorder = Recorder::reacting(|cx, seen| {
            if let Seen::Open(id) = seen {
                cx.pause(*id);
            }
        });
        let mut reactor = reactor();
        let mut config = on_loopback(WireFactory::WebSocket, None, None);
        config.heartbeat.close_timeout = PATIENCE * 2;
        config.heartbeat.max_lifetime = (!by_drain).then_some(Duration::from_millis(200));
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
        peer.write_all(&masked_frame(0x88, &1001u16.to_be_bytes()))
            .unwrap();
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
        if by_drain {
            reactor.context().drain(PATIENCE * 2);
        }
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert!(recorder.closed()[0].1.clean);
    }
}

/// A handler that closed in `on_open` lost the frames that had come with the request.
#[test]
fn frames_behind_the_request_count_though_it_closes_at_once() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            cx.close(*id, CloseCode::NORMAL, "");
        }
    });
    let mut reactor = reactor();
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.heartbeat.close_timeout = PATIENCE * 2;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    let mut bytes = upgrade_request("/", "");
    bytes.extend(masked_frame(0x88, &1001u16.to_be_bytes()));
    peer.write_all(&bytes).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(recorder.closed()[0].1.clean);
}

/// A ping and a Close that came in one read were answered by the Close alone.
#[test]
fn a_ping_right_before_a_goodbye_has_its_pong() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let config = on_loopback(WireFactory::WebSocket, None, None);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    let mut bytes = masked_frame(0x89, b"last");
    bytes.extend(masked_frame(0x88, &1000u16.to_be_bytes()));
    peer.write_all(&bytes).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"\x8a\x04last\x88\x02\x03\xe8");
}

/// A socket that had just made room no longer counted as full, so that a close in the same turn went
/// behind all the megabytes that waited. It was a close of our own once; those wait for what is queued now.
#[test]
fn a_close_goes_before_what_waits_though_the_socket_has_just_made_room() {
    const WAITING: usize = 8 << 20;
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            cx.send(*id, Message::binary(&vec![0; WAITING])).unwrap();
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(
        &mut reactor,
        on_loopback(WireFactory::WebSocket, None, None),
    );
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    let mut chunk = vec![0; 1 << 20];
    let mut arrived = 0;
    // What the kernel has, and nothing beyond: the loop stands still.
    while let Ok(count) = peer.read(&mut chunk) {
        arrived += count;
    }
    // Opcode 3 is reserved.
    peer.write_all(&masked_frame(0x83, b"")).unwrap();
    arrived += read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX).len();
    assert!(arrived < WAITING / 2, "{arrived} bytes before the end");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let evidence = recorder.closed()[0].1;
    assert_eq!(evidence.cause, Cause::ProtocolError);
    assert!(!evidence.clean && evidence.bytes_dropped > 0, "{evidence}");
}

/// The record of a peer that broke a rule did not say which one: only the peer was told.
#[test]
fn the_rule_that_a_peer_broke_is_told() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.heartbeat.close_timeout = Duration::from_millis(300);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    peer.write_all(b"\x81\x02hi").unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let told = recorder.seen.iter().any(
        |seen| matches!(seen, Seen::Closed(.., reason) if reason == "client frame without a mask"),
    );
    assert!(told, "{:?}", recorder.seen);
}

/// A list of those who are present must not keep for seconds who can no longer be reached.
#[test]
fn a_handler_hears_that_a_connection_is_no_longer_open_before_its_goodbye_is_answered() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peers: Vec<_> = (0..4)
        .map(|_| open_websocket(&mut reactor, &mut recorder, addr))
        .collect();
    let ids = recorder.opened();
    // By us, without an answer; by the peer; for a broken rule; and by a reset, which is no goodbye.
    reactor.context().close(ids[0], CloseCode::NORMAL, "");
    peers[1].write_all(&masked_frame(0x88, &[])).unwrap();
    peers[2].write_all(&masked_frame(0x83, b"")).unwrap();
    let lingering = SockRef::from(&peers[3]).set_linger(Some(Duration::ZERO));
    lingering.unwrap();
    drop(peers.pop());
    drive(&mut reactor, &mut recorder, |seen| seen.closing.len() == 4);
    let is_over = |seen: &Recorder, id| seen.closed().iter().any(|(ended, _)| *ended == id);
    assert!(!is_over(&recorder, ids[0]), "its peer has not answered");
    peers[0].write_all(&masked_frame(0x88, &[])).unwrap();
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 4);
    assert!(ids.iter().all(|id| is_over(&recorder, *id)));
    let mut told = recorder.closing;
    told.sort_by_key(|(id, _)| *id);
    let causes = [
        Cause::LocalClose,
        Cause::PeerClosed,
        Cause::ProtocolError,
        Cause::PeerReset,
    ];
    assert_eq!(told, ids.into_iter().zip(causes).collect::<Vec<_>>());
}

#[test]
fn who_never_opened_does_not_begin_to_close() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.heartbeat.close_timeout = Duration::from_millis(300);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.closing, []);
}
