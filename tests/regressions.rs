//! Every bug that was found becomes a test here, with one line on what went wrong.
#![cfg(all(feature = "websocket", feature = "sockets"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig, WireKind};
use heartwheel::error::{ProtocolError, SendError};
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::http::{HeadLimits, InvalidHead, Request};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Due, Entropy, Env, PolicyId, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::websocket::handshake::{Upgrade, request};
use heartwheel::proto::wire::{EncodeError, MessageKind};
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ConnId, Context, Handler, HttpAnswer, ListenerConfig, Offer,
    Reactor, Rejected, Rejection, Welcome, WireFactory,
};

use support::PATIENCE;
use support::bytes::*;
use support::recorder::*;
use support::turning::*;

fn config(wire: WireFactory, interval: Option<u64>, timeout: Option<u64>) -> ListenerConfig {
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
    config.heartbeat = heartbeat(interval, timeout);
    config
}

/// Keeps the thread busy, as a slow callback does.
fn work_for(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// A turn of more than 10 ms counted as late from its first moment, so that a loop which was busy for
/// good forgave its peers for ever.
#[test]
fn a_loop_that_is_always_busy_still_finds_the_dead() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Timer(..) = seen {
            work_for(Duration::from_millis(15));
            cx.set_timer(Duration::ZERO, 0);
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(
        &mut reactor,
        config(WireFactory::Line, Some(100), Some(300)),
    );
    let _silent = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    reactor.context().set_timer(Duration::ZERO, 0);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(recorder.closed()[0].1.age.as_secs_f64() >= 0.3);
}

/// A turn read 256 KiB from each connection whatever that took: a few peers with many tiny messages
/// held up everybody's heartbeats.
#[test]
fn many_tiny_messages_do_not_make_long_turns() {
    struct Slow;
    impl Handler for Slow {
        type Data = u32;
        fn on_message(&mut self, _: &mut Context<'_, u32>, _: ConnId, _: Message<'_>) {
            work_for(Duration::from_micros(50));
        }
    }
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::Line, None, None));
    let peers: Vec<_> = (0..8)
        .map(|_| {
            let mut peer = connect_peer(addr);
            peer.write_all(&b"a\n".repeat(30_000)).unwrap();
            peer
        })
        .collect();
    for _ in 0..40 {
        let turn = reactor
            .turn(&mut Slow, Some(Duration::from_millis(1)))
            .unwrap();
        let delay = turn.delay;
        assert!(delay < Duration::from_millis(500), "a turn of {delay:?}");
    }
    drop(peers);
}

/// What the time slice left in the ring was forgotten unless more bytes arrived.
#[test]
fn messages_left_over_by_a_turn_arrive_in_the_next_ones() {
    struct Slow(usize);
    impl Handler for Slow {
        type Data = u32;
        fn on_message(&mut self, _: &mut Context<'_, u32>, _: ConnId, _: Message<'_>) {
            self.0 += 1;
            work_for(Duration::from_micros(100));
        }
    }
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::Line, None, None));
    let mut peer = connect_peer(addr);
    peer.write_all(&b"a\n".repeat(1_000)).unwrap();
    let (mut slow, began) = (Slow(0), Instant::now());
    while slow.0 < 1_000 {
        assert!(began.elapsed() < PATIENCE, "{} of 1000", slow.0);
        reactor.turn(&mut slow, None).unwrap();
    }
}

/// A read stops at an urgent byte, however much lies behind it: it was taken for all there is, and the
/// rest lay there until more came. The byte itself was missing from the stream.
#[test]
#[cfg(target_os = "linux")]
fn what_lies_behind_an_urgent_byte_is_read() {
    use rustix::net::{SendFlags, send};

    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::Line, None, None));
    let mut recorder = Recorder::echoing();
    let mut peer = connect_peer(addr);
    for round in 1..=3 {
        peer.write_all(b"hel").unwrap();
        send(&peer, b"l", SendFlags::OOB).unwrap();
        peer.write_all(b"o\nthere\n").unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == 2 * round
        });
    }
    let expected = [&b"hello"[..], b"there"].repeat(3);
    assert_eq!(recorder.messages(), expected);
}

/// An empty message was let into a full queue, which grew without a limit. Later, each message let in
/// took eight bytes of bookkeeping that nobody counted, up to sixty where it was shared.
#[test]
fn messages_that_are_all_bookkeeping_fill_the_queue_too() {
    let shared = SharedMessage::new(Message::text(""));
    for is_shared in [false, true] {
        let shared = shared.clone();
        let mut recorder = Recorder::reacting(move |cx, seen| {
            if let Seen::Open(id) = seen {
                // What finds the queue full has it offered to the kernel.
                let sent = (0..5_000)
                    .take_while(|_| {
                        let sent = match is_shared {
                            true => cx.send_shared(*id, &shared),
                            false => cx.send(*id, Message::text("")),
                        };
                        sent.is_ok() && cx.stats().bytes_out == 0
                    })
                    .count();
                let each = if is_shared { 50 } else { 9 };
                assert!((1..=1_024 / each + 1).contains(&sent), "{sent} messages");
            }
        });
        let mut reactor = reactor();
        let mut config = config(WireFactory::Line, None, None);
        config.limits.send_queue = Some(1_024);
        let (_, addr) = listen_with(&mut reactor, config);
        let _peer = connect_peer(addr);
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    }
}

/// A message larger than the whole queue was promised room at once, in every turn, without end.
#[test]
fn no_room_is_promised_to_a_message_that_never_fits() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) | Seen::Writable(id) = seen {
            let sent = cx.send(*id, Message::binary(&[0; 2_000]));
            assert!(matches!(sent, Err(SendError::Full { queued: 0, .. })));
        }
    });
    let mut reactor = reactor();
    let mut config = config(WireFactory::Binary, None, None);
    config.limits.send_queue = Some(1_024);
    let (_, addr) = listen_with(&mut reactor, config);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    let writable = |seen: &&Seen| matches!(seen, Seen::Writable(_));
    assert_eq!(recorder.seen.iter().filter(writable).count(), 0);
}

/// Closes every connection while it is asked about it.
#[derive(Default)]
struct Closer {
    rejected: Vec<Cause>,
    opened: u32,
}

impl Handler for Closer {
    type Data = u32;

    fn on_accept(
        &mut self,
        cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Welcome<u32>, Rejection> {
        cx.close(offer.id, CloseCode::NORMAL, "");
        Ok(Welcome::default())
    }

    fn on_http(&mut self, cx: &mut Context<'_, u32>, id: ConnId, _: &Request<'_>) -> HttpAnswer {
        cx.close(id, CloseCode::NORMAL, "");
        HttpAnswer::upgrade_required()
    }

    fn on_open(&mut self, _: &mut Context<'_, u32>, _: ConnId) {
        self.opened += 1;
    }

    fn on_rejected(&mut self, _: &mut Context<'_, u32>, rejected: Rejected<'_>) {
        self.rejected.push(rejected.evidence.cause);
    }
}

/// A handler that closed the connection it was being asked about panicked the loop.
#[test]
fn a_connection_may_be_closed_while_it_is_judged() {
    for (wire, request) in [
        (WireFactory::WebSocket, upgrade_request("/", "")),
        (
            WireFactory::WebSocket,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (WireFactory::Line, Vec::new()),
    ] {
        let mut reactor = reactor();
        let mut closer = Closer::default();
        let mut config = config(wire, None, None);
        config.heartbeat.close_timeout = Duration::from_millis(100);
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = connect_peer(addr);
        peer.write_all(&request).unwrap();
        let began = Instant::now();
        while closer.rejected.is_empty() {
            assert!(began.elapsed() < PATIENCE);
            turn(&mut reactor, &mut closer);
        }
        assert_eq!(closer.rejected, [Cause::LocalClose]);
        assert_eq!((closer.opened, reactor.len()), (0, 0));
    }
}

fn turn<H: Handler<Data = u32>>(reactor: &mut Reactor<u32>, handler: &mut H) {
    reactor
        .turn(handler, Some(Duration::from_millis(20)))
        .unwrap();
}

/// Never satisfied.
#[derive(Debug)]
struct Greedy;

impl Codec for Greedy {
    fn decode(&mut self, _: &[u8]) -> Result<Decoded, ProtocolError> {
        Ok(Decoded::NeedMore)
    }

    fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// The input stopped exactly at the limit that it had to pass to be refused, and hung there.
#[test]
fn an_own_codec_that_wants_too_much_is_told_so() {
    for max_message in [1_000, 60 * 1024, 100_000] {
        let mut recorder = Recorder::default();
        let mut reactor = reactor();
        let wire = WireFactory::Own(Box::new(|| Box::new(Greedy)));
        let mut config = config(wire, None, None);
        config.heartbeat.close_timeout = Duration::from_millis(100);
        config.limits.max_message = max_message;
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = connect_peer(addr);
        peer.write_all(&vec![0; 200_000]).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(recorder.closed()[0].1.cause, Cause::MessageTooBig);
    }
}

/// A rate floor of one byte a second and a large message made a span that the stamps cannot hold.
#[test]
fn a_low_floor_does_not_turn_against_a_large_message() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let mut config = config(WireFactory::Binary, None, None);
    config.limits = LimitsConfig {
        slow_floor: 1,
        slow_grace: Duration::from_millis(50),
        message_timeout: None,
        ..LimitsConfig::default()
    };
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    peer.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 5 + 3_000_000];
    bytes[1..5].copy_from_slice(&4_000_000u32.to_be_bytes());
    let mut sent = 0;
    drive(&mut reactor, &mut recorder, |_| {
        sent += peer.write(&bytes[sent..]).unwrap_or(0);
        sent == bytes.len()
    });
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(200));
    assert!(recorder.closed().is_empty(), "{:?}", recorder.closed());
    assert_eq!(reactor.stats().bytes_in, bytes.len() as u64);
}

/// A client stopped in the very callback that says whom it dials was dialed all the same.
#[test]
fn a_client_stopped_while_it_is_about_to_dial_does_not_dial() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Client(id, ClientEvent::Dialing { .. }) = seen {
            cx.disconnect(*id);
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let config = ClientConfig::new(addr.ip().to_string(), addr.port(), WireFactory::Line);
    reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| !seen.seen.is_empty());
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    let [
        Seen::Client(_, ClientEvent::Dialing { .. }),
        Seen::Client(_, ClientEvent::Stopped),
    ] = recorder.seen[..]
    else {
        panic!("{:?}", recorder.seen);
    };
    assert_eq!(reactor.stats().dialed, 0);
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
    let mut config = config(WireFactory::Binary, None, None);
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
        let mut config = config(WireFactory::WebSocket, None, None);
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
    let mut config = config(WireFactory::WebSocket, None, None);
    config.heartbeat.close_timeout = PATIENCE * 2;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    let mut bytes = upgrade_request("/", "");
    bytes.extend(masked_frame(0x88, &1001u16.to_be_bytes()));
    peer.write_all(&bytes).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(recorder.closed()[0].1.clean);
}

/// Commands of other threads were taken until there were none, which a busy thread can put off for
/// ever.
#[test]
fn commands_of_other_threads_are_taken_in_portions() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let handle = reactor.handle();
    for word in 0..5_000 {
        handle.notify(word).unwrap();
    }
    reactor.turn(&mut recorder, None).unwrap();
    assert!((1..5_000).contains(&recorder.seen.len()));
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    drive(&mut reactor, &mut recorder, |seen| seen.seen.len() == 5_000);
    let words = (0..5_000).map(Seen::Notify);
    assert!(recorder.seen.iter().cloned().eq(words));
}

/// A limit of connections in the thousands of millions, or as many events, panicked the start.
#[test]
fn limits_out_of_all_proportion_are_refused() {
    let start = |max_connections, events| {
        let config = ReactorConfig {
            max_connections,
            events,
            ..ReactorConfig::default()
        };
        Reactor::<u32>::new(config).map(drop)
    };
    for (max_connections, events, field) in [
        ((1 << 31) + 1, 1, "max_connections"),
        (usize::MAX, 1, "max_connections"),
        (1, usize::MAX, "events"),
    ] {
        let error = start(max_connections, events).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

/// The answer to HEAD claimed to have no body or brought one, and its Upgrade header stood without the
/// connection option that belongs to it.
#[test]
fn the_answer_to_head_is_the_head_of_the_answer_to_get() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::WebSocket, None, None));
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
            String::from_utf8(answer).unwrap()
        });
        assert!(whole.starts_with(line), "{whole}");
        assert!(whole.contains(&format!("\r\nConnection: {options}\r\n")));
        let (begin, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty());
        assert_eq!(head, format!("{begin}\r\n\r\n"));
    }
}

/// Each subprotocol offered was compared with all before it: a head of 8 KiB held the loop up for 20 ms,
/// a larger one for as long as it liked.
#[test]
fn a_head_full_of_subprotocols_costs_no_more_than_its_length() {
    let names: Vec<_> = (0..300_000).map(|number| format!("{number:x}")).collect();
    let offer = format!("Sec-WebSocket-Protocol: {}\r\n", names.join(","));
    let head = upgrade_request("/", &offer);
    let limits = HeadLimits {
        max_bytes: head.len(),
        ..HeadLimits::default()
    };
    let began = Instant::now();
    let (request, _) = Request::parse(&head, &limits).unwrap().unwrap();
    assert_eq!(
        Upgrade::of(&request).unwrap().subprotocols().len(),
        names.len()
    );
    assert!(began.elapsed() < PATIENCE);
}

/// A ping and a Close that came in one read were answered by the Close alone.
#[test]
fn a_ping_right_before_a_goodbye_has_its_pong() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let config = config(WireFactory::WebSocket, None, None);
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

/// No randomness: masks and tokens matter to none of these.
#[derive(Debug)]
struct Zeros;

impl Entropy for Zeros {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

fn at(millis: u64) -> Moment {
    Moment::on_time(Micros::from_millis(millis))
}

/// What a session of the line wire needs around it.
fn surroundings(heartbeat: &HeartbeatConfig) -> (Env, PolicyId) {
    let tick = Duration::from_millis(10);
    let limits = LimitsConfig::default();
    let policy = Policy::new(heartbeat, &limits, WireKind::Line, tick).unwrap();
    let mut env = Env::new(Box::new(Zeros));
    let policy = env.intern(policy).unwrap();
    (env, policy)
}

/// Writes all that is queued.
fn flush(session: &mut Session, env: &mut Env, now: Moment) {
    let mut slices = [IoSlice::new(&[]); 8];
    let count = session.slices(&mut slices);
    let len = slices[..count].iter().map(|slice| slice.len()).sum();
    session.handle_written(env, now, len);
}

/// A ping by hand, after the timeout and before the grid's next one, began a silence that the timer
/// was not told of: the verdict came as late as that next ping.
#[test]
fn a_ping_by_hand_moves_the_timer_to_its_own_deadline() {
    let heartbeat = HeartbeatConfig {
        interval: Some(Duration::from_millis(100)),
        timeout: Some(Duration::from_millis(101)),
        ping_slack: Some(Duration::from_millis(20)),
        ..HeartbeatConfig::tcp()
    };
    let (mut env, policy) = surroundings(&heartbeat);
    // Pings are due at 62, 162 and 262, which the slack makes 80, 160 and 280.
    let phase = PingPhase::new((0.62 * f64::from(u32::MAX)) as u32);
    let mut session = Session::accepted(&mut env, policy, Wire::Line, phase, at(0));
    for due in [80, 160] {
        assert_eq!(session.handle_timeout(&mut env, at(due)), Due::Changed);
        flush(&mut session, &mut env, at(due));
        session.handle_bytes(&mut env, at(due + 1), 1);
    }
    session.take_rearm();
    assert_eq!(session.poll_deadline(&env, at(265)), at(280).at);
    session.ping(&mut env, at(265));
    flush(&mut session, &mut env, at(265));
    // The timeout is over, and a millisecond is all that a peer has to answer in.
    assert_eq!(session.poll_deadline(&env, at(265)), at(266).at);
    assert!(session.take_rearm(), "the timer is not told");
}

/// A session that nothing but its rare visits disturbs lost count of time after 25 days, since a visit
/// that a timer makes is late: the peer's first ping then was a flood.
#[test]
fn a_first_ping_after_weeks_of_silence_is_no_flood() {
    let heartbeat = HeartbeatConfig {
        interval: None,
        timeout: None,
        ..HeartbeatConfig::tcp()
    };
    let (mut env, policy) = surroundings(&heartbeat);
    let mut session = Session::accepted(&mut env, policy, Wire::Line, PingPhase::ZERO, at(0));
    let mut now = at(0);
    for _ in 0..100 {
        now.at = session.poll_deadline(&env, now) + Micros::from_millis(10);
        session.handle_timeout(&mut env, now);
    }
    session.decode(&mut env, now, &mut b"PING\n".to_vec());
    assert_eq!(session.cause(), None);
    let silence = session.evidence(now).last_proof.unwrap();
    assert!(
        silence > Duration::from_secs(12 * 24 * 60 * 60),
        "{silence:?}"
    );
}

/// A ping that was slow to leave puts the verdict off. Once it had left, the timer was not told that the
/// verdict was near again: with less than two intervals it came as late as the next ping.
#[test]
fn a_ping_that_leaves_at_last_moves_the_timer_back() {
    let heartbeat = HeartbeatConfig {
        interval: Some(Duration::from_millis(200)),
        timeout: Some(Duration::from_millis(250)),
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::tcp()
    };
    let (mut env, policy) = surroundings(&heartbeat);
    let mut session = Session::accepted(&mut env, policy, Wire::Line, PingPhase::ZERO, at(0));
    assert_eq!(session.handle_timeout(&mut env, at(200)), Due::Changed);
    session.handle_written(&mut env, at(210), 1);
    session.handle_blocked();
    assert_eq!(session.poll_deadline(&env, at(210)), at(250).at);
    assert_eq!(session.handle_timeout(&mut env, at(250)), Due::Silent);
    assert!(session.spare_slow(&env, at(250), None));
    session.take_rearm();
    assert_eq!(session.poll_deadline(&env, at(250)), at(400).at);
    flush(&mut session, &mut env, at(260));
    assert_eq!(session.poll_deadline(&env, at(260)), at(310).at);
    assert!(session.take_rearm(), "the timer is not told");
}

/// Says that the payload of everything ends before it begins.
#[derive(Debug)]
struct Backwards(fn(Range<usize>) -> Decoded);

impl Codec for Backwards {
    fn decode(&mut self, _: &[u8]) -> Result<Decoded, ProtocolError> {
        let payload = Range { start: 3, end: 1 };
        Ok(self.0(payload))
    }

    fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// A codec's range that ends before it begins got through the check of what codecs say, and panicked.
#[test]
fn a_payload_that_ends_before_it_begins_is_an_error_of_the_codec() {
    let saying: [fn(Range<usize>) -> Decoded; 2] = [
        |payload| Decoded::Ping {
            consumed: 4,
            payload,
        },
        |payload| Decoded::Message {
            consumed: 4,
            kind: MessageKind::Binary,
            payload,
        },
    ];
    for says in saying {
        let (mut env, policy) = surroundings(&HeartbeatConfig::tcp());
        let wire = Wire::Own(Box::new(Box::new(Backwards(says))));
        let mut session = Session::accepted(&mut env, policy, wire, PingPhase::ZERO, at(0));
        session.decode(&mut env, at(1), &mut [0; 4]);
        assert_eq!(session.cause(), Some(Cause::ProtocolError));
    }
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
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::WebSocket, None, None));
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

/// A client was let send two origins, which our own server refuses.
#[test]
fn a_request_names_one_origin() {
    let origins = [("Origin", "http://a"), ("X", "y"), ("origin", "http://b")];
    let build = |headers| request("a", "/", [0; 16], &[""; 0], headers);
    assert!(build(&origins[..2]).is_ok());
    let repeated = InvalidHead::RepeatedHeader("origin".to_owned());
    assert_eq!(build(&origins), Err(repeated.into()));
}

/// A client of TLS on a wire of lines sent text that was not UTF-8, or none at all for a minute; on the
/// binary wire it had an unknown frame type. What a web server said to a client of ours was a message.
#[test]
fn other_protocols_are_named_on_wires_without_handshake() {
    const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xc7\n\xd1";
    const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46";
    let ended = |recorder: &Recorder| {
        let end = recorder.seen.iter().find_map(|seen| match seen {
            Seen::Closed(_, evidence, _, reason) => Some((evidence.cause, reason.clone())),
            _ => None,
        })?;
        assert_eq!(recorder.messages(), [b""; 0]);
        Some(end)
    };
    let named = |what: &str| Some((Cause::ProtocolError, format!("this looks like {what}")));
    for (wire, bytes, what) in [
        (WireFactory::Line, HELLO, "tls"),
        (WireFactory::Line, &HELLO[..11], "tls"),
        (
            WireFactory::Line,
            b"GET / HTTP/1.1\r\n\r\n",
            "an http request",
        ),
        (WireFactory::Binary, HELLO, "tls"),
        (
            WireFactory::Binary,
            b"GET / HTTP/1.1\r\n\r\n",
            "an http request",
        ),
        (WireFactory::Binary, b"SSH-2.0-x\r\n", "ssh"),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let wire_has_lines = matches!(wire, WireFactory::Line);
        let (_, addr) = listen_with(&mut reactor, config(wire, None, None));
        let mut peer = connect_peer(addr);
        let (start, rest) = match wire_has_lines {
            true => bytes.split_at(2),
            false => bytes.split_at(0),
        };
        peer.write_all(start).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        peer.write_all(rest).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(ended(&recorder), named(what));
    }
    for (wire, bytes, what) in [
        (WireFactory::Line, ALERT, "tls"),
        (
            WireFactory::Line,
            b"HTTP/1.1 400 Bad\r\n\r\n",
            "an http response",
        ),
        (WireFactory::Binary, ALERT, "tls"),
        (
            WireFactory::Binary,
            b"HTTP/1.1 400 Bad\r\n",
            "an http response",
        ),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let port = listener.local_addr().unwrap().port();
        let client = ClientConfig {
            reconnect: None,
            ..ClientConfig::new("127.0.0.1", port, wire)
        };
        reactor.connect(client).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(ended(&recorder), named(what));
    }
}

/// Only after the first words: later ones may be anything.
#[test]
fn lines_about_other_protocols_are_messages() {
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::Line, None, None));
    let mut recorder = Recorder::default();
    let mut peer = connect_peer(addr);
    let lines = ["hello", "GET / HTTP/1.1", "HTTP/1.1 200 OK", "\x16\x03\x01"];
    for line in lines {
        writeln!(peer, "{line}").unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 4
    });
    assert_eq!(recorder.messages(), lines.map(str::as_bytes));
}

/// The record of a peer that broke a rule did not say which one: only the peer was told.
#[test]
fn the_rule_that_a_peer_broke_is_told() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen_with(&mut reactor, config(WireFactory::WebSocket, None, None));
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    peer.write_all(b"\x81\x02hi").unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let told = recorder.seen.iter().any(
        |seen| matches!(seen, Seen::Closed(.., reason) if reason == "client frame without a mask"),
    );
    assert!(told, "{:?}", recorder.seen);
}
