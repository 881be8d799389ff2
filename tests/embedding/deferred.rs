//! Answers that come later: a connection waits to be accepted, a plain request to be answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::AnswerError;
use heartwheel::close::{Cause, CloseCode, Phase};
use heartwheel::config::{AdmissionConfig, ReactorConfig, WireKind};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{
    ClientConfig, ConnId, HandleError, HttpAnswer, ListenerConfig, LoopHandle, Reactor, Rejection,
    Welcome, WireFactory,
};
use socket2::SockRef;

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

const PLAIN: &[u8] = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
const TOO_LATE: &str = "the application did not answer in time";

/// Puts every answer off.
fn deferring() -> Recorder {
    Recorder {
        defers: true,
        ..Recorder::default()
    }
}

/// A loop that puts every answer off, and somebody who waits.
struct Waiting {
    reactor: Reactor<u32, u64>,
    recorder: Recorder,
    addr: SocketAddr,
    peer: TcpStream,
    id: ConnId,
}

impl Waiting {
    /// Has a peer say this, and wait.
    fn with(wire: WireFactory, says: &[u8], change: impl FnOnce(&mut ListenerConfig)) -> Self {
        Self::in_loop(ReactorConfig::default(), wire, says, change)
    }

    fn in_loop(
        config: ReactorConfig,
        wire: WireFactory,
        says: &[u8],
        change: impl FnOnce(&mut ListenerConfig),
    ) -> Self {
        let (mut reactor, mut recorder) = (reactor_with(config), deferring());
        let mut config = on_loopback(wire, None, None);
        change(&mut config);
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = connect_peer(addr);
        peer.write_all(says).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.deferred().len() == 1
        });
        let id = recorder.deferred()[0];
        Self {
            reactor,
            recorder,
            addr,
            peer,
            id,
        }
    }

    fn accept(&mut self) {
        let accepted = self.reactor.context().accept(self.id, Welcome::with(5));
        accepted.unwrap();
    }

    /// Answers a plain request: the first one is 0.
    fn answer(&mut self, request: usize, text: &str) -> Result<(), AnswerError> {
        let id = self.recorder.asked[request];
        let answer = HttpAnswer::text(200, text);
        self.reactor.context().answer(id, answer)
    }

    /// Turns until so many answers of other threads came too late.
    fn await_missed(&mut self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.reactor.stats().answers_missed < count {
            assert!(Instant::now() < deadline, "{:?}", self.reactor.stats());
            let tick = Some(Duration::from_millis(20));
            self.reactor.turn(&mut self.recorder, tick).unwrap();
        }
        assert_eq!(self.reactor.stats().answers_missed, count);
    }

    fn drive(&mut self, until: impl FnMut(&Recorder) -> bool) {
        drive(&mut self.reactor, &mut self.recorder, until);
    }

    fn read_head(&mut self) -> String {
        read_head(&mut self.reactor, &mut self.recorder, &mut self.peer)
    }

    /// Reads all that comes until the end.
    fn read_all(&mut self) -> String {
        let (reactor, recorder) = (&mut self.reactor, &mut self.recorder);
        let read = read_at_least(reactor, recorder, &mut self.peer, usize::MAX);
        String::from_utf8(read).unwrap()
    }

    /// Waits until the handler hears that it ended before it opened, and why.
    fn rejected(&mut self) -> (Cause, String) {
        self.drive(|seen| !seen.rejected().is_empty());
        assert_eq!(self.recorder.left, [Some(self.id)]);
        let ended = self.recorder.seen.iter().find_map(|seen| match seen {
            Seen::Rejected(evidence, reason) => Some((evidence.cause, reason.clone())),
            _ => None,
        });
        assert_eq!(self.reactor.context().deferred(), 0);
        ended.unwrap()
    }

    /// Says that nothing comes of an answer any more.
    fn assert_gone(&mut self) {
        let accepted = self.reactor.context().accept(self.id, Welcome::with(5));
        assert_eq!(accepted, Err(AnswerError::Gone));
        let rejected = Rejection::new(401, "no");
        let rejected = self.reactor.context().reject(self.id, rejected);
        assert_eq!(rejected, Err(AnswerError::Gone));
        assert!(self.recorder.opened().is_empty());
    }
}

/// What each wire has its client say first.
fn first_words() -> [(WireFactory, Vec<u8>); 4] {
    [
        (WireFactory::WebSocket, upgrade_request("/", "")),
        (WireFactory::Line, Vec::new()),
        (WireFactory::Binary, Vec::new()),
        (WireFactory::Raw, Vec::new()),
    ]
}

#[test]
fn a_connection_opens_when_it_is_accepted_and_its_early_frames_follow_in_order() {
    let mut says = upgrade_request("/", "");
    says.extend(masked_frame(0x81, b"one"));
    says.extend(&masked_frame(0x81, b"two")[..4]);
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let rest = [
        &masked_frame(0x81, b"two")[4..],
        &masked_frame(0x81, b"three"),
    ]
    .concat();
    waiting.peer.write_all(&rest).unwrap();
    let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
    drive_for(reactor, recorder, Duration::from_millis(50));
    assert_eq!(recorder.seen, [Seen::Deferred(waiting.id)]);
    let cx = reactor.context();
    assert_eq!(cx.info(waiting.id).unwrap().phase, Phase::Handshaking);
    assert_eq!((cx.deferred(), cx.data(waiting.id)), (1, None));
    assert!(
        cx.info(waiting.id).unwrap().memory > 0,
        "it holds its request"
    );

    waiting.accept();
    let head = waiting.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    waiting.drive(|seen| seen.messages().len() == 3);
    let id = waiting.id;
    let message = |text: &str| Seen::Message(id, text.into());
    let expected = [
        Seen::Deferred(id),
        Seen::Open(id),
        message("one"),
        message("two"),
        message("three"),
    ];
    assert_eq!(waiting.recorder.seen, expected);
    let cx = waiting.reactor.context();
    assert_eq!((cx.deferred(), cx.data(id)), (0, Some(&5)));
    assert_eq!(waiting.reactor.stats().deferred, 1);
}

#[test]
fn wires_without_a_handshake_wait_too() {
    for (wire, says, early) in [
        (
            WireFactory::Line,
            &b"one\ntwo\n"[..],
            vec![b"one".to_vec(), b"two".to_vec()],
        ),
        (WireFactory::Binary, b"\0\0\0\0\x02hi", vec![b"hi".to_vec()]),
        (WireFactory::Raw, b"raw", vec![b"raw".to_vec()]),
    ] {
        let mut waiting = Waiting::with(wire, says, |config| {
            config.heartbeat = heartbeat(Some(20), Some(60));
            config.heartbeat.handshake_timeout = Duration::from_secs(60);
            if config.wire.kind() == WireKind::Raw {
                config.heartbeat.interval = None;
            }
        });
        let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
        // Neither a ping is sent meanwhile, nor is its silence judged.
        drive_for(reactor, recorder, Duration::from_millis(150));
        assert_eq!(reactor.stats().pings_due, 0);
        assert_eq!(recorder.seen, [Seen::Deferred(waiting.id)]);
        waiting.accept();
        waiting.drive(|seen| seen.messages().len() == early.len());
        assert_eq!(waiting.recorder.seen[1], Seen::Open(waiting.id));
        assert_eq!(waiting.recorder.messages(), early);
    }
}

#[test]
fn a_connection_may_be_rejected_later() {
    let says = upgrade_request("/", "");
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let rejection = Rejection::new(401, "who are you?\n");
    let rejected = waiting.reactor.context().reject(waiting.id, rejection);
    assert_eq!(rejected, Ok(()));
    let answer = waiting.read_all();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
    waiting.peer.shutdown(Shutdown::Both).unwrap();
    let ended = waiting.rejected();
    assert_eq!(ended, (Cause::Refused, "who are you?".into()));
    waiting.assert_gone();

    let mut waiting = Waiting::with(WireFactory::Line, b"", |_| {});
    let rejection = Rejection::new(401, "who are you?\n");
    let rejected = waiting.reactor.context().reject(waiting.id, rejection);
    assert_eq!(rejected, Ok(()));
    assert_eq!(waiting.rejected().0, Cause::Refused);
    assert_eq!(waiting.read_all(), "");
}

#[test]
fn an_answer_counts_once_and_only_where_one_is_awaited() {
    let says = upgrade_request("/", "");
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let (id, mut cx) = (waiting.id, waiting.reactor.context());
    assert_eq!(cx.accept(id, Welcome::with(1)), Ok(()));
    assert_eq!(
        cx.accept(id, Welcome::with(2)),
        Err(AnswerError::NotWaiting)
    );
    let rejection = Rejection::new(401, "no");
    assert_eq!(cx.reject(id, rejection), Err(AnswerError::NotWaiting));
    waiting.drive(|seen| seen.opened().len() == 1);
    let mut cx = waiting.reactor.context();
    assert_eq!(cx.data(id), Some(&1));
    assert_eq!(
        cx.accept(id, Welcome::with(3)),
        Err(AnswerError::NotWaiting)
    );
}

#[test]
fn who_waits_for_too_long_is_told_that_it_is_our_fault() {
    for (wire, says) in first_words() {
        let is_websocket = !says.is_empty();
        let mut waiting = Waiting::with(wire, &says, |config| {
            config.heartbeat.handshake_timeout = Duration::from_millis(50);
        });
        let answer = waiting.read_all();
        if is_websocket {
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            assert!(
                answer.ends_with(&format!("\r\n\r\n{TOO_LATE}\n")),
                "{answer}"
            );
        } else {
            assert_eq!(answer, "", "an orderly end");
        }
        waiting.peer.shutdown(Shutdown::Both).unwrap();
        let ended = waiting.rejected();
        assert_eq!(ended, (Cause::HandshakeTimeout, TOO_LATE.into()));
        waiting.assert_gone();
    }
}

#[test]
fn who_leaves_while_it_waits_is_told_of_at_once() {
    for early in [&b""[..], b"first words"] {
        for is_reset in [false, true] {
            for (wire, says) in first_words() {
                if !is_reset && wire.kind() != WireKind::WebSocket {
                    continue;
                }
                let mut waiting = Waiting::with(wire, &says, |config| {
                    config.heartbeat.handshake_timeout = Duration::from_secs(300);
                });
                waiting.peer.write_all(early).unwrap();
                if is_reset {
                    let linger = Some(Duration::ZERO);
                    SockRef::from(&waiting.peer).set_linger(linger).unwrap();
                    waiting.peer = connect_peer(waiting.addr);
                } else {
                    waiting.peer.shutdown(Shutdown::Write).unwrap();
                }
                let (cause, _) = {
                    let id = waiting.id;
                    waiting.drive(|seen| seen.left.contains(&Some(id)));
                    let seen = waiting.recorder.rejected();
                    (seen[0].cause, ())
                };
                let expected = match is_reset {
                    true => Cause::PeerReset,
                    false => Cause::PeerEof,
                };
                assert_eq!(cause, expected);
                waiting.assert_gone();
            }
        }
    }
}

/// A client that had said all it had to say counted as gone, and was not answered.
#[test]
fn who_ended_its_direction_is_answered_on_wires_where_that_may_be() {
    for (wire, says, early, answer) in [
        (
            WireFactory::Line,
            &b"one\nrest"[..],
            &["one", "rest"][..],
            &b"one\nrest\n"[..],
        ),
        (
            WireFactory::Binary,
            b"\0\0\0\0\x02hi",
            &["hi"],
            b"\0\0\0\0\x02hi",
        ),
        (WireFactory::Raw, b"raw", &["raw"], b"raw"),
        (WireFactory::Line, b"", &[], b""),
    ] {
        for is_read_before in [true, false] {
            let mut waiting = Waiting::with(wire.clone(), says, |config| {
                config.heartbeat = heartbeat(None, None);
                config.heartbeat.handshake_timeout = Duration::from_secs(300);
            });
            waiting.recorder.echo = true;
            waiting.peer.shutdown(Shutdown::Write).unwrap();
            if is_read_before {
                let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
                drive_for(reactor, recorder, Duration::from_millis(30));
                assert_eq!(recorder.seen, [Seen::Deferred(waiting.id)]);
                assert_ne!(
                    reactor.next_timeout(),
                    Some(Duration::ZERO),
                    "it is at rest"
                );
            }
            waiting.accept();
            assert_eq!(waiting.read_all().as_bytes(), answer);
            waiting.drive(|seen| seen.closed().len() == 1);
            assert_eq!(waiting.recorder.seen[1], Seen::Open(waiting.id));
            let early: Vec<_> = early.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(waiting.recorder.messages(), early);
            let (_, end) = waiting.recorder.closed()[0];
            assert_eq!((end.cause, end.clean), (Cause::PeerEof, true));
        }
    }
}

#[test]
fn who_ended_its_direction_may_be_rejected_and_waits_no_longer_than_others() {
    for is_rejected in [true, false] {
        let mut waiting = Waiting::with(WireFactory::Line, b"hello\n", |config| {
            if !is_rejected {
                config.heartbeat.handshake_timeout = Duration::from_millis(100);
            }
        });
        waiting.peer.shutdown(Shutdown::Write).unwrap();
        let expected = match is_rejected {
            true => (Cause::Refused, String::new()),
            false => (Cause::HandshakeTimeout, TOO_LATE.to_owned()),
        };
        if is_rejected {
            let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
            drive_for(reactor, recorder, Duration::from_millis(30));
            let rejection = Rejection::new(401, "no");
            assert_eq!(reactor.context().reject(waiting.id, rejection), Ok(()));
        }
        assert_eq!(waiting.rejected(), expected);
        assert_eq!(waiting.read_all(), "");
        waiting.assert_gone();
    }
}

/// What comes early stays in the socket, as far as it is not read with the request.
#[test]
fn what_comes_early_is_bounded() {
    let mut says = upgrade_request("/", "");
    let message = masked_frame(0x82, &[7; 200_000]);
    says.extend(&message[..60_000]);
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    waiting.peer.write_all(&message[60_000..]).unwrap();
    waiting.peer.shutdown(Shutdown::Write).unwrap();
    let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
    drive_for(reactor, recorder, Duration::from_millis(50));
    let held = reactor.context().info(waiting.id).unwrap().memory;
    assert!(held < 32 * 1024, "{held}");
    waiting.accept();
    waiting.drive(|seen| seen.messages().len() == 1 && seen.closed().len() == 1);
    assert_eq!(waiting.recorder.messages()[0], vec![7; 200_000]);
    assert_eq!(waiting.recorder.closed()[0].1.cause, Cause::PeerEof);
}

#[test]
fn who_would_be_too_many_is_refused() {
    let config = || ReactorConfig {
        max_deferred: 1,
        ..ReactorConfig::default()
    };
    for (wire, says) in first_words() {
        let is_websocket = !says.is_empty();
        let mut first = Waiting::in_loop(config(), wire, &says, |_| {});
        let mut second = connect_peer(first.addr);
        second.write_all(&says).unwrap();
        let (reactor, recorder) = (&mut first.reactor, &mut first.recorder);
        let answer = read_at_least(reactor, recorder, &mut second, usize::MAX);
        let answer = String::from_utf8(answer).unwrap();
        if is_websocket {
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\ntoo many wait for an answer\n"));
        } else {
            assert_eq!(answer, "");
        }
        drop(second);
        drive(reactor, recorder, |seen| seen.rejected().len() == 1);
        assert_eq!(recorder.rejected()[0].cause, Cause::Refused);
        assert!(matches!(recorder.seen.last(), Some(Seen::Rejected(_, why))
            if why == "too many wait for an answer"));
        assert_eq!(recorder.left, [Some(recorder.deferred()[1])]);
        let stats = reactor.stats();
        assert_eq!((stats.deferred, stats.deferrals_refused), (1, 1));
        // The first one has its place, and leaves it to the next.
        first.accept();
        first.drive(|seen| seen.opened().len() == 1);
        let mut third = connect_peer(first.addr);
        third.write_all(&says).unwrap();
        first.drive(|seen| seen.deferred().len() == 3);
        assert_eq!(first.reactor.context().deferred(), 1);
    }
}

#[test]
fn a_plain_request_beyond_the_limit_is_answered_503_and_its_connection_goes_on() {
    let config = ReactorConfig {
        max_deferred: 1,
        ..ReactorConfig::default()
    };
    let mut first = Waiting::in_loop(config, WireFactory::WebSocket, PLAIN, |_| {});
    let mut second = connect_peer(first.addr);
    for _ in 0..2 {
        second.write_all(PLAIN).unwrap();
        let (reactor, recorder) = (&mut first.reactor, &mut first.recorder);
        let head = read_head(reactor, recorder, &mut second);
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
        read_at_least(
            reactor,
            recorder,
            &mut second,
            b"too many wait for an answer\n".len(),
        );
    }
    assert_eq!(first.reactor.stats().deferrals_refused, 2);
}

#[test]
fn a_drain_and_a_stop_send_who_waits_away() {
    for is_drain in [true, false] {
        for (wire, says) in first_words() {
            let is_websocket = !says.is_empty();
            let mut waiting = Waiting::with(wire, &says, |config| {
                config.heartbeat.handshake_timeout = Duration::from_secs(300);
            });
            let mut cx = waiting.reactor.context();
            let cause = match is_drain {
                true => {
                    cx.drain(Duration::from_secs(300));
                    Cause::Drain
                }
                false => {
                    cx.stop();
                    Cause::LocalClose
                }
            };
            let answer = waiting.read_all();
            if is_websocket {
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            } else {
                assert_eq!(answer, "");
            }
            waiting.peer.shutdown(Shutdown::Both).ok();
            assert_eq!(waiting.rejected().0, cause);
            waiting.assert_gone();
        }
    }
}

#[test]
fn who_waits_stays_when_its_listener_is_closed() {
    for (wire, says) in first_words() {
        let mut waiting = Waiting::with(wire, &says, |_| {});
        let endpoint = waiting.reactor.context().info(waiting.id).unwrap().endpoint;
        let heartwheel::Endpoint::Listener(listener) = endpoint else {
            panic!("{endpoint:?}");
        };
        assert!(waiting.reactor.context().close_listener(listener));
        waiting.accept();
        waiting.drive(|seen| seen.opened() == seen.deferred());
    }
}

#[test]
fn who_waits_counts_as_half_open_and_makes_way() {
    for (wire, says) in first_words() {
        let is_websocket = !says.is_empty();
        let mut first = Waiting::with(wire, &says, |config| {
            config.admission = AdmissionConfig {
                half_open_per_address: Some(1),
                ..AdmissionConfig::default()
            };
        });
        let mut second = connect_peer(first.addr);
        second.write_all(&says).unwrap();
        let answer = first.read_all();
        assert_eq!(
            answer.starts_with("HTTP/1.1 429 "),
            is_websocket,
            "{answer}"
        );
        first.drive(|seen| seen.deferred().len() == 2 && seen.left.len() == 1);
        assert_eq!(first.recorder.left, [Some(first.id)]);
        assert_eq!(first.recorder.rejected()[0].cause, Cause::Refused);
        // Who is accepted does not count any more.
        first.id = first.recorder.deferred()[1];
        first.accept();
        first.drive(|seen| seen.opened().len() == 1);
        let mut third = connect_peer(first.addr);
        third.write_all(&says).unwrap();
        first.drive(|seen| seen.deferred().len() == 3);
        assert_eq!(first.recorder.left.len(), 1);
    }
}

/// A proxy that checks whether we live speaks for nobody.
#[test]
fn a_proxy_that_waits_for_itself_counts_for_no_address() {
    let header = b"PROXY UNKNOWN\r\n";
    let mut first = Waiting::with(WireFactory::Line, header, |config| {
        config.proxy.protocol = true;
        config.admission.half_open_per_address = Some(1);
    });
    let mut second = connect_peer(first.addr);
    second.write_all(header).unwrap();
    first.drive(|seen| seen.deferred().len() == 2);
    assert_eq!(first.reactor.context().deferred(), 2);
    // But the clients behind it do.
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.2 4711 1\r\n";
    let mut clients = [(); 2].map(|()| connect_peer(first.addr));
    for client in &mut clients {
        client.write_all(header).unwrap();
    }
    first.drive(|seen| seen.deferred().len() == 4 && seen.left.len() == 1);
    assert_eq!(first.reactor.context().deferred(), 3);
}

/// Their requests count against the limit of memory as what others hold.
#[test]
fn who_waits_holds_its_request_and_is_counted() {
    let big = format!("X-Token: {}\r\n", "t".repeat(6_000));
    let says = upgrade_request("/", &big);
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
    reactor.turn(recorder, Some(Duration::ZERO)).unwrap();
    assert!(reactor.stats().memory >= 6_000, "{:?}", reactor.stats());
    waiting.accept();
    waiting.drive(|seen| seen.opened().len() == 1);
    let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
    reactor.turn(recorder, Some(Duration::ZERO)).unwrap();
    assert_eq!(reactor.stats().memory, 0);
}

#[test]
fn a_limit_of_zero_is_refused_by_name() {
    let config = ReactorConfig {
        max_deferred: 0,
        ..ReactorConfig::default()
    };
    assert_eq!(config.check().unwrap_err().field(), "max_deferred");
}

#[test]
fn a_plain_request_is_answered_later_and_the_next_one_behind_it() {
    let says = [
        &b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"[..],
        b"HEAD /second HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    .concat();
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let answers = [("first\n", true), ("second\n", false), ("third\n", true)];
    for (count, (text, has_body)) in answers.into_iter().enumerate() {
        waiting.drive(|seen| seen.deferred().len() == count + 1);
        let mut cx = waiting.reactor.context();
        let accepted = cx.accept(waiting.id, Welcome::with(1));
        assert_eq!(accepted, Err(AnswerError::NotWaiting), "it asks plainly");
        assert_eq!(waiting.recorder.asked[count].conn(), waiting.id);
        assert_eq!(waiting.answer(count, text), Ok(()));
        assert_eq!(waiting.answer(count, text), Err(AnswerError::NotWaiting));
        let head = waiting.read_head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", text.len())));
        if has_body {
            let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
            let body = read_at_least(reactor, recorder, &mut waiting.peer, text.len());
            assert_eq!(body, text.as_bytes());
        }
    }
    let asked: Vec<_> = waiting
        .recorder
        .requests
        .iter()
        .map(|(line, body)| (&line[..], &body[..]))
        .collect();
    let expected = [
        ("POST /first", &b"body"[..]),
        ("HEAD /second", b""),
        ("GET /third", b""),
    ];
    assert_eq!(asked, expected);
    // And an upgrade at last.
    waiting.peer.write_all(&upgrade_request("/", "")).unwrap();
    waiting.drive(|seen| seen.deferred().len() == 4);
    for request in 0..3 {
        let answered = waiting.answer(request, "");
        assert_eq!(answered, Err(AnswerError::NotWaiting), "it wants to open");
    }
    waiting.accept();
    waiting.drive(|seen| seen.opened().len() == 1);
    assert_eq!(waiting.reactor.stats().answered, 3);
}

/// The second answer to a request was once that of the next one on the same connection.
#[test]
fn a_second_answer_to_a_request_does_not_answer_the_next_one() {
    let says = [PLAIN, PLAIN].concat();
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let handle = waiting.reactor.handle();
    waiting.answer(0, "first\n").unwrap();
    waiting.drive(|seen| seen.deferred().len() == 2);
    let again = waiting.answer(0, "again\n");
    assert_eq!(again, Err(AnswerError::NotWaiting));
    let first = waiting.recorder.asked[0];
    handle
        .answer(first, HttpAnswer::text(200, "again\n"))
        .unwrap();
    waiting.await_missed(1);
    waiting.answer(1, "second\n").unwrap();
    waiting.peer.shutdown(Shutdown::Write).unwrap();
    let answers = waiting.read_all();
    let texts = ["first\n", "again\n", "second\n"].map(|text| answers.matches(text).count());
    assert_eq!(texts, [1, 0, 1], "{answers}");
}

#[test]
fn a_client_that_ended_its_direction_still_gets_its_answers() {
    let says = [PLAIN, PLAIN].concat();
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    waiting.peer.shutdown(Shutdown::Write).unwrap();
    for count in 1..=2 {
        waiting.drive(|seen| seen.deferred().len() == count);
        let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
        drive_for(reactor, recorder, Duration::from_millis(30));
        assert_eq!(waiting.answer(count - 1, "fine\n"), Ok(()));
    }
    let answers = waiting.read_all();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
    waiting.drive(|seen| seen.answered().len() == 1);
    let (status, count, evidence) = waiting.recorder.answered()[0];
    assert_eq!((status, count, evidence.cause), (200, 2, Cause::PeerEof));
    assert!(evidence.clean);
}

#[test]
fn a_plain_request_that_nobody_answers_is_told_so_and_a_head_gets_no_body() {
    for (says, has_body) in [
        (PLAIN, true),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ] {
        let mut waiting = Waiting::with(WireFactory::WebSocket, says, |config| {
            config.heartbeat.handshake_timeout = Duration::from_millis(50);
        });
        let answer = waiting.read_all();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), !has_body, "{answer}");
        waiting.peer.shutdown(Shutdown::Both).unwrap();
        assert_eq!(
            waiting.rejected(),
            (Cause::HandshakeTimeout, TOO_LATE.into())
        );
        assert_eq!(waiting.answer(0, "fine\n"), Err(AnswerError::Gone));
    }
}

/// Both sides are in one loop: the server's is accepted first, and then the client's.
#[test]
fn a_dialed_connection_may_wait_too() {
    for wire in [WireFactory::WebSocket, WireFactory::Line] {
        let (mut reactor, mut recorder) = (reactor(), deferring());
        let make = |wire: &WireFactory| match wire {
            WireFactory::WebSocket => WireFactory::WebSocket,
            _ => WireFactory::Line,
        };
        let (_, addr) = listen(&mut reactor, make(&wire));
        let mut config = ClientConfig::new("127.0.0.1", addr.port(), wire);
        config.reconnect = None;
        reactor.connect(config).unwrap();
        while recorder.opened().len() < 2 {
            drive(&mut reactor, &mut recorder, |seen| {
                seen.deferred().len() > seen.opened().len()
            });
            for id in recorder.deferred() {
                // Those that are open already wait for nothing.
                reactor.context().accept(id, Welcome::with(4)).ok();
            }
            let opened = recorder.opened().len();
            drive(&mut reactor, &mut recorder, |seen| {
                seen.opened().len() > opened
            });
        }
        assert_eq!(reactor.stats().deferred, 2);
    }
}

#[test]
fn a_dialed_connection_that_nobody_accepts_fails_in_time() {
    for is_late in [true, false] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut reactor, mut recorder) = (reactor(), deferring());
        let mut config = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        config.reconnect = None;
        if is_late {
            config.heartbeat.handshake_timeout = Duration::from_millis(50);
        }
        reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.deferred().len() == 1
        });
        let (mut peer, _) = listener.accept().unwrap();
        if !is_late {
            let id = recorder.deferred()[0];
            let rejection = Rejection::new(401, "no");
            assert_eq!(reactor.context().reject(id, rejection), Ok(()));
        }
        drive(&mut reactor, &mut recorder, |seen| {
            seen.rejected().len() == 1
        });
        let (cause, why) = match is_late {
            true => (Cause::HandshakeTimeout, TOO_LATE),
            false => (Cause::Refused, ""),
        };
        assert_eq!(recorder.rejected()[0].cause, cause);
        assert!(
            recorder
                .seen
                .iter()
                .any(|seen| matches!(seen, Seen::Rejected(_, reason) if reason == why))
        );
        let end = peer.read(&mut [0]);
        assert!(
            matches!(&end, Ok(0))
                || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        );
    }
}

/// Says yes to good tokens, no to others, and answers plain requests.
fn check_tokens(handle: &LoopHandle<u32, u64>, tokens: &Receiver<(Due, String)>) {
    for (due, token) in tokens {
        match due {
            Due::Verdict(id) if token == "/good" => handle.accept(id, Welcome::with(9)).unwrap(),
            Due::Verdict(id) => handle.reject(id, Rejection::new(403, "no\n")).unwrap(),
            Due::Answer(id) => handle.answer(id, HttpAnswer::text(200, "page\n")).unwrap(),
        }
    }
}

#[test]
fn another_thread_decides() {
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let (ask, tokens) = channel();
    let handle = reactor.handle();
    let clerk = thread::spawn(move || check_tokens(&handle, &tokens));
    let mut recorder = Recorder {
        checks: Some(ask),
        ..deferring()
    };
    let mut peers = Vec::new();
    for (path, status) in [("/good", 101), ("/bad", 403), ("/page", 200)] {
        let mut peer = connect_peer(addr);
        let request = match status {
            200 => format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
            _ => upgrade_request(path, ""),
        };
        peer.write_all(&request).unwrap();
        let head = read_head(&mut reactor, &mut recorder, &mut peer);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        peers.push(peer);
    }
    let good = recorder.deferred()[0];
    assert_eq!(recorder.opened(), [good]);
    assert_eq!(reactor.context().data(good), Some(&9));
    recorder.checks = None;
    clerk.join().unwrap();
}

#[test]
fn what_a_thread_asks_for_next_comes_behind_its_answer() {
    for wire in [WireFactory::WebSocket, WireFactory::Line] {
        let says = match wire.kind() {
            WireKind::WebSocket => upgrade_request("/", ""),
            _ => Vec::new(),
        };
        let mut waiting = Waiting::with(wire, &says, |_| {});
        let handle = waiting.reactor.handle();
        let hello = SharedMessage::new(Message::text("hello"));
        handle.accept(waiting.id, Welcome::with(1)).unwrap();
        handle.send(waiting.id, hello).unwrap();
        handle.close(waiting.id, CloseCode::NORMAL, "").unwrap();
        let (reactor, recorder) = (&mut waiting.reactor, &mut waiting.recorder);
        let heard = read_at_least(reactor, recorder, &mut waiting.peer, usize::MAX);
        let is_there = heard.windows(5).any(|piece| piece == b"hello");
        assert!(is_there, "{heard:?}");
        assert_eq!(recorder.opened(), [waiting.id]);
        assert_eq!(reactor.stats().undelivered, 0);
    }
}

#[test]
fn an_answer_of_another_thread_that_comes_too_late_is_counted() {
    let says = upgrade_request("/", "");
    let mut waiting = Waiting::with(WireFactory::WebSocket, &says, |_| {});
    let handle = waiting.reactor.handle();
    waiting.peer.shutdown(Shutdown::Both).unwrap();
    assert_eq!(waiting.rejected().0, Cause::PeerEof);
    handle.accept(waiting.id, Welcome::with(1)).unwrap();
    handle
        .reject(waiting.id, Rejection::new(403, "no"))
        .unwrap();
    waiting.await_missed(2);
    let id = waiting.id;
    drop(waiting);
    let refused = handle.accept(id, Welcome::with(3)).unwrap_err();
    assert_eq!(
        (refused.error, refused.command.data),
        (HandleError::Gone, 3)
    );
}
