//! Dialing: both ends in one reactor, reconnecting, own codecs, heartbeats changed while open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode, Evidence};
use heartwheel::config::ReactorConfig;
use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded, Pongs, Rules};
use heartwheel::proto::message::Message;
use heartwheel::proto::wire::{EncodeError, MessageKind};
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, DialError, ListenerConfig, ReconnectConfig, Rejection,
    StopReason, WireFactory,
};

use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::silence::silence_cause;
use crate::support::turning::*;

fn client(wire: WireFactory, addr: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new(addr.ip().to_string(), addr.port(), wire);
    config.reconnect = Some(ReconnectConfig {
        min: Duration::from_millis(1),
        base: Duration::from_millis(20),
        cap: Duration::from_millis(50),
        ..ReconnectConfig::default()
    });
    config
}

fn stopped(why: StopReason) -> ClientEvent {
    ClientEvent::Stopped { why }
}

fn events(recorder: &Recorder) -> Vec<ClientEvent> {
    recorder
        .seen
        .iter()
        .filter_map(|seen| {
            if let Seen::Client(_, event) = seen {
                Some(event.clone())
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn both_ends_of_every_wire_talk_and_ping_each_other() {
    for wire in [
        || WireFactory::WebSocket,
        || WireFactory::Line,
        || WireFactory::Binary,
    ] {
        let mut recorder = Recorder::reacting(|cx, seen| {
            // The dialing end greets; the other end echoes once.
            if let Seen::Open(id) = seen
                && let heartwheel::reactor::Endpoint::Client(_) = cx.info(*id).unwrap().endpoint
            {
                cx.send(*id, Message::text("hello")).unwrap();
            }
            if let Seen::Message(id, data) = seen
                && let heartwheel::reactor::Endpoint::Listener(_) = cx.info(*id).unwrap().endpoint
            {
                cx.send(*id, Message::text(std::str::from_utf8(data).unwrap()))
                    .unwrap();
            }
        });
        let mut reactor = reactor();
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire());
        config.heartbeat = heartbeat(Some(50), Some(2_000));
        let (_, addr) = listen_with(&mut reactor, config);
        let mut config = client(wire(), addr);
        config.heartbeat = heartbeat(Some(50), Some(2_000));
        reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            let pongs = seen
                .seen
                .iter()
                .filter(|seen| matches!(seen, Seen::Pong(_, Some(_))));
            pongs.count() >= 6 && seen.messages().len() == 2
        });
        assert_eq!(recorder.opened().len(), 2);
        assert!(recorder.closed().is_empty());
        let id = recorder.opened()[0];
        let info = reactor.context().info(id).unwrap();
        assert!(info.rtt.is_some(), "{info:?}");
        assert_eq!(reactor.stats().pongs_unsolicited, 0);
    }
}

/// It was dialed, and cut when the window was over.
#[test]
fn a_client_that_is_added_in_a_drain_is_stopped_at_once() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    reactor.context().drain(Duration::from_secs(600));
    drive(&mut reactor, &mut recorder, |_| peer.read(&mut [0]).is_ok());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    reactor.connect(client(WireFactory::Line, target)).unwrap();
    drive(&mut reactor, &mut recorder, |seen| !events(seen).is_empty());
    assert_eq!(events(&recorder), [stopped(StopReason::Drain)]);
    assert_eq!(reactor.len(), 1);
    // One that comes with the last end is told before `run` returns.
    recorder.react = Some(Box::new(move |cx, seen| {
        if let Seen::Closed(..) = seen {
            cx.connect(client(WireFactory::Line, target)).unwrap();
        }
    }));
    peer.write_all(&masked_frame(0x88, &[])).unwrap();
    reactor.run(&mut recorder).unwrap();
    assert_eq!(
        events(&recorder),
        [stopped(StopReason::Drain), stopped(StopReason::Drain)]
    );
}

#[test]
fn a_drain_ends_though_every_stop_adds_another_client() {
    let mut reactor = reactor();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    let mut left = 1000;
    let mut recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Client(_, ClientEvent::Stopped { .. }) = seen
            && left > 0
        {
            left -= 1;
            cx.connect(client(WireFactory::Line, target)).unwrap();
        }
    });
    for _ in 0..3 {
        reactor.connect(client(WireFactory::Line, target)).unwrap();
    }
    reactor.context().drain(Duration::from_secs(600));
    reactor.run(&mut recorder).unwrap();
    // Those that were there, and the first added for each.
    assert_eq!(events(&recorder), vec![stopped(StopReason::Drain); 6]);
}

#[test]
fn a_lost_connection_is_dialed_again_and_a_local_close_is_not() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let id = reactor.connect(client(WireFactory::Line, addr)).unwrap();
    for round in 1..=3 {
        drive(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == round
        });
        drop(server.accept().unwrap());
        drive(&mut reactor, &mut recorder, |seen| {
            seen.closed().len() == round
        });
        assert_eq!(recorder.closed()[round - 1].1.cause, Cause::PeerEof);
    }
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
    let peer = server.accept().unwrap().0;
    peer.set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    reactor.context().disconnect(id);
    drive(&mut reactor, &mut recorder, |_| {
        Read::read(&mut &peer, &mut [0; 8]).is_ok_and(|count| count == 0)
    });
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        events(seen).last() == Some(&stopped(StopReason::Asked))
    });
    assert_eq!(recorder.closed()[3].1.cause, Cause::LocalClose);
}

#[test]
fn f27_a_server_that_accepts_and_resets_is_met_with_growing_delays() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    server.set_nonblocking(true).unwrap();
    reactor.connect(client(WireFactory::Line, addr)).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        drop(server.accept());
        let waits = events(seen);
        waits
            .iter()
            .filter(|event| matches!(event, ClientEvent::Waiting { .. }))
            .count()
            >= 12
    });
    let delays: Vec<_> = events(&recorder)
        .into_iter()
        .filter_map(|event| {
            if let ClientEvent::Waiting { delay } = event {
                Some(delay)
            } else {
                None
            }
        })
        .collect();
    assert!(
        delays
            .iter()
            .all(|&delay| delay >= Duration::from_millis(1)),
        "{delays:?}"
    );
    assert!(
        delays
            .iter()
            .all(|&delay| delay <= Duration::from_millis(50)),
        "{delays:?}"
    );
    assert!(
        delays
            .iter()
            .any(|&delay| delay > Duration::from_millis(20)),
        "{delays:?}"
    );
}

#[test]
fn f29_refused_not_found_401_and_503_are_told_apart() {
    // Nobody listens where a listener has just been.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    reactor
        .connect(ClientConfig {
            reconnect: None,
            ..client(WireFactory::Line, free)
        })
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        events(seen).contains(&stopped(StopReason::Once))
    });
    let failed = |recorder: &Recorder| {
        events(recorder).into_iter().find_map(|event| match event {
            ClientEvent::Failed { error } => Some(error),
            _ => None,
        })
    };
    let error = failed(&recorder).unwrap();
    assert!(
        matches!(
            error,
            DialError::Io {
                kind: std::io::ErrorKind::ConnectionRefused,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(recorder.rejected()[0].cause, Cause::IoError);

    let mut recorder = Recorder::default();
    let mut config = ClientConfig::new("no-such-host.invalid", 9, WireFactory::Line);
    config.reconnect = None;
    reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| failed(seen).is_some());
    assert_eq!(
        failed(&recorder).unwrap(),
        DialError::NameNotFound("no-such-host.invalid".into())
    );

    for (status, retries) in [(401, false), (503, true)] {
        let mut recorder = Recorder {
            judge: Some(Box::new(move |_| {
                let mut rejection = Rejection::new(status, "no\n");
                rejection.headers.push(("Retry-After".into(), "7".into()));
                Err(rejection)
            })),
            ..Recorder::default()
        };
        let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
        reactor
            .connect(client(WireFactory::WebSocket, addr))
            .unwrap();
        drive(&mut reactor, &mut recorder, |seen| failed(seen).is_some());
        let last = events(&recorder).pop().unwrap();
        if retries {
            let ClientEvent::Waiting { delay } = last else {
                panic!("{last:?}")
            };
            assert!(delay >= Duration::from_secs(7), "{delay:?}");
        } else {
            assert_eq!(last, stopped(StopReason::Final));
        }
    }
}

#[test]
fn a_silent_server_is_found_out_and_dialed_again() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = client(WireFactory::Line, server.local_addr().unwrap());
    config.heartbeat = heartbeat(Some(100), Some(250));
    reactor.connect(config).unwrap();
    let began = Instant::now();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(began.elapsed() >= Duration::from_millis(250));
    let evidence = recorder.closed()[0].1;
    assert_eq!(evidence.cause, silence_cause(&evidence));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
}

#[test]
fn a_server_that_never_answers_the_request_is_a_handshake_timeout() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = client(WireFactory::WebSocket, server.local_addr().unwrap());
    config.heartbeat.handshake_timeout = Duration::from_millis(200);
    config.reconnect = None;
    reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::HandshakeTimeout);
    assert!(events(&recorder).contains(&ClientEvent::Failed {
        error: DialError::Timeout(Cause::HandshakeTimeout)
    }));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_field() {
    let mut reactor = reactor();
    let addr: SocketAddr = ([127, 0, 0, 1], 0).into();
    let field = |error: heartwheel::error::Error| match error {
        heartwheel::error::Error::Config(error) => error.field(),
        other => panic!("{other}"),
    };
    let mut config = ListenerConfig::new(addr, WireFactory::Line);
    config.heartbeat = heartbeat(Some(100), Some(100));
    assert_eq!(field(reactor.listen(config).unwrap_err()), "timeout");
    let mut config = ListenerConfig::new(addr, WireFactory::Raw);
    config.heartbeat = heartbeat(Some(100), Some(200));
    assert_eq!(field(reactor.listen(config).unwrap_err()), "interval");
    let client = || ClientConfig::new("localhost", 9, WireFactory::WebSocket);
    let header = |name: &str, value: &str| ClientConfig {
        headers: vec![(name.into(), value.into())],
        ..client()
    };
    let configs = [
        ("headers", header("X", "a\r\nY: b")),
        ("headers", header("X Y", "a")),
        ("headers", header("Host", "a")),
        (
            "subprotocols",
            ClientConfig {
                subprotocols: vec!["a".into(), "a".into()],
                ..client()
            },
        ),
        (
            "path",
            ClientConfig {
                path: "/a b".into(),
                ..client()
            },
        ),
        ("host", ClientConfig::new("a b", 9, WireFactory::WebSocket)),
        (
            "host_header",
            ClientConfig {
                host_header: Some("a, b".into()),
                ..client()
            },
        ),
    ];
    for (name, config) in configs {
        assert_eq!(field(reactor.connect(config).unwrap_err()), name);
    }
}

#[test]
fn a_client_may_name_another_host_than_it_dials() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    reactor
        .connect(ClientConfig {
            host_header: Some("virtual.example:8080".into()),
            ..client(WireFactory::WebSocket, addr)
        })
        .unwrap();
    server.set_nonblocking(true).unwrap();
    let mut peer = None;
    drive(&mut reactor, &mut recorder, |_| {
        peer = peer.take().or_else(|| server.accept().ok());
        peer.is_some()
    });
    let mut peer = ready(peer.unwrap().0);
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    let hosts: Vec<_> = head
        .lines()
        .filter(|line| line.starts_with("Host:"))
        .collect();
    assert_eq!(hosts, ["Host: virtual.example:8080"], "{head}");
}

#[test]
fn the_heartbeat_of_one_open_connection_can_be_changed() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peers = [connect_peer(addr), connect_peer(addr)];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let [first, second] = recorder.opened()[..] else {
        panic!()
    };
    let faster = heartbeat(Some(100), Some(250));
    reactor.context().set_heartbeat(first, &faster).unwrap();
    let wrong = heartbeat(Some(100), Some(50));
    assert!(reactor.context().set_heartbeat(second, &wrong).is_err());
    let began = Instant::now();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!(recorder.closed()[0].0, first);
}

#[test]
fn any_number_of_heartbeats_may_come_one_after_another() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    // More than there can be at once.
    for number in 0..70_000 {
        let own = heartbeat(Some(60_000), Some(120_000 + number));
        let changed = reactor.context().set_heartbeat(id, &own);
        changed.unwrap_or_else(|error| panic!("number {number}: {error}"));
    }
}

/// Length in one byte, then the payload; length 255 is a ping, 254 a pong, 253 goodbye.
#[derive(Debug)]
struct Short;

impl Codec for Short {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        match *input.first().unwrap_or(&0) {
            255 => Ok(Decoded::Ping {
                consumed: 1,
                payload: 1..1,
            }),
            254 => Ok(Decoded::Pong {
                consumed: 1,
                token: None,
            }),
            253 => Ok(Decoded::Close { consumed: 1 }),
            252 => Err(ProtocolError::Custom("252 is not spoken")),
            len if input.len() > usize::from(len) => {
                let consumed = usize::from(len) + 1;
                Ok(Decoded::Message {
                    consumed,
                    kind: MessageKind::Binary,
                    payload: 1..consumed,
                })
            }
            _ => Ok(Decoded::NeedMore),
        }
    }

    fn encode(
        &mut self,
        _kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match u8::try_from(payload.len()) {
            Ok(len @ 0..=251) => {
                out.push(len);
                out.extend_from_slice(payload);
                Ok(())
            }
            Ok(_) | Err(_) => Err(EncodeError::Custom("longer than 251 bytes")),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            pongs: Pongs::Ahead,
            ..Rules::default()
        }
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, _token: u32, out: &mut Vec<u8>) {
        out.push(255);
    }

    fn encode_pong(&mut self, _payload: &[u8], out: &mut Vec<u8>) {
        out.push(254);
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        out.push(253);
    }
}

fn short() -> WireFactory {
    WireFactory::own(|_| Short)
}

#[test]
fn an_own_codec_gets_heartbeats_causes_and_goodbyes() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), short());
    config.heartbeat = heartbeat(Some(100), Some(400));
    let (_, addr) = listen_with(&mut reactor, config);

    let mut peer = connect_peer(addr);
    peer.write_all(b"\x02hi\xff").unwrap();
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, 5);
    // The pong, our ping when it is due, and the echo, which either may overtake.
    assert_eq!(read[0], 254, "{read:?}");
    assert!(read.contains(&255), "{read:?}");
    assert!(read.windows(3).any(|part| part == b"\x02hi"), "{read:?}");
    peer.write_all(b"\xfe").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.iter().any(|seen| matches!(seen, Seen::Pong(..)))
    });
    let id = recorder.opened()[0];
    assert!(
        reactor
            .context()
            .send(id, Message::binary(&[0; 300]))
            .is_err()
    );
    reactor.context().close(id, CloseCode::NORMAL, "");
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    assert_eq!(read.last(), Some(&253));
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);

    let mut goodbye = connect_peer(addr);
    goodbye.write_all(b"\xfd").unwrap();
    let mut broken = connect_peer(addr);
    broken.write_all(b"\xfc").unwrap();
    let _silent = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
    read_end(&mut reactor, &mut recorder, &mut goodbye);
    read_end(&mut reactor, &mut recorder, &mut broken);
    drop((goodbye, broken));
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 4);
    let causes: Vec<_> = recorder.closed().iter().map(|(_, end)| end.cause).collect();
    for cause in [Cause::PeerClosed, Cause::ProtocolError, Cause::LocalClose] {
        assert_eq!(causes.iter().filter(|&&other| other == cause).count(), 1);
    }
    let silent = |evidence: &Evidence| evidence.cause == silence_cause(evidence);
    assert!(recorder.closed().iter().any(|(_, end)| silent(end)));
}

#[test]
fn a_frame_of_an_own_codec_may_be_longer_than_every_buffer() {
    #[derive(Debug)]
    struct Zeros;

    impl Codec for Zeros {
        fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
            match input.iter().position(|&byte| byte == 1) {
                Some(end) => Ok(Decoded::Message {
                    consumed: end + 1,
                    kind: MessageKind::Binary,
                    payload: 0..end,
                }),
                None => Ok(Decoded::NeedMore),
            }
        }

        fn encode(
            &mut self,
            _: MessageKind,
            payload: &[u8],
            out: &mut Vec<u8>,
        ) -> Result<(), EncodeError> {
            out.extend_from_slice(payload);
            Ok(())
        }
    }

    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let wire = WireFactory::own(|_| Zeros);
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
    config.heartbeat.interval = None;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    let mut frame = vec![0; 300_000];
    frame.push(1);
    let writing = std::thread::spawn(move || {
        peer.write_all(&frame).unwrap();
        peer
    });
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 1
    });
    assert_eq!(recorder.messages()[0].len(), 300_000);
    drop(writing.join().unwrap());
}

#[test]
fn a_client_that_waits_is_told_when_it_is_stopped() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = client(WireFactory::Line, free);
    config.reconnect = Some(ReconnectConfig {
        min: Duration::from_secs(600),
        base: Duration::from_secs(600),
        cap: Duration::from_secs(600),
        ..ReconnectConfig::default()
    });
    let id = reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        matches!(events(seen).last(), Some(ClientEvent::Waiting { .. }))
    });
    reactor.context().disconnect(id);
    reactor.context().disconnect(id);
    drive(&mut reactor, &mut recorder, |seen| {
        events(seen).last() == Some(&stopped(StopReason::Asked))
    });
    assert_eq!(reactor.next_timeout(), None, "nothing is left of it");
    let stops = events(&recorder)
        .iter()
        .filter(|event| **event == stopped(StopReason::Asked))
        .count();
    assert_eq!(stops, 1);
}

#[test]
fn a_dial_beyond_the_limit_of_connections_fails_and_is_tried_again() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 1,
        ..ReactorConfig::default()
    });
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let first = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    reactor
        .connect(client(WireFactory::Line, server.local_addr().unwrap()))
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        events(seen).contains(&ClientEvent::Failed {
            error: DialError::Full,
        })
    });
    drop(first);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
}

#[test]
fn pings_cannot_be_switched_on_where_the_wire_has_none() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Raw);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    let error = reactor
        .context()
        .set_heartbeat(id, &heartbeat(Some(100), Some(300)))
        .unwrap_err();
    assert!(error.to_string().starts_with("interval "), "{error}");
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
        Seen::Client(
            _,
            ClientEvent::Stopped {
                why: StopReason::Asked,
            },
        ),
    ] = recorder.seen[..]
    else {
        panic!("{:?}", recorder.seen);
    };
    assert_eq!(reactor.stats().dialed, 0);
}

fn stops(recorder: &Recorder, id: ClientId) -> usize {
    let is_stop = |seen: &&Seen| matches!(seen, Seen::Client(client, ClientEvent::Stopped { .. }) if *client == id);
    recorder.seen.iter().filter(is_stop).count()
}

#[test]
fn the_id_of_a_client_that_has_stopped_stops_nobody() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let once = |addr: SocketAddr| ClientConfig {
        reconnect: None,
        heartbeat: heartbeat(None, None),
        ..ClientConfig::new(addr.ip().to_string(), addr.port(), WireFactory::Line)
    };
    let (listener, addr) = listen(&mut reactor, WireFactory::Line);
    assert!(reactor.context().close_listener(listener));
    let first = reactor.connect(once(addr)).unwrap();
    drive(&mut reactor, &mut recorder, |seen| stops(seen, first) == 1);
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let second = reactor.connect(once(addr)).unwrap();
    assert_ne!(first, second);
    reactor.context().disconnect(first);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    reactor.context().disconnect(first);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(20));
    assert_eq!(recorder.closed(), []);
    // And one that is connected is stopped once, however often that is asked for.
    for _ in 0..2 {
        reactor.context().disconnect(second);
    }
    drive(&mut reactor, &mut recorder, |seen| stops(seen, second) == 1);
    reactor.context().disconnect(second);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    assert_eq!((stops(&recorder, first), stops(&recorder, second)), (1, 1));
}

#[test]
fn a_client_that_is_disconnected_when_it_hears_of_itself_stops_once() {
    let is_it = |at: &str, event: &ClientEvent| match event {
        ClientEvent::Dialing { .. } => at == "dialing",
        ClientEvent::Failed { .. } => at == "failed",
        ClientEvent::Waiting { .. } => at == "waiting",
        ClientEvent::Stopped { .. } => at == "stopped",
        _ => false,
    };
    for at in ["dialing", "failed", "waiting", "stopped"] {
        let mut recorder = Recorder::reacting(move |cx, seen| {
            if let Seen::Client(id, event) = seen
                && is_it(at, event)
            {
                cx.disconnect(*id);
                cx.disconnect(*id);
            }
        });
        let mut reactor = reactor();
        let (listener, addr) = listen(&mut reactor, WireFactory::Line);
        assert!(reactor.context().close_listener(listener));
        let mut config = ClientConfig::new("127.0.0.1", addr.port(), WireFactory::Line);
        config.reconnect = (at != "stopped").then(|| ReconnectConfig {
            min: Duration::from_millis(1),
            base: Duration::from_millis(1),
            cap: Duration::from_millis(1),
            ..ReconnectConfig::default()
        });
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| stops(seen, id) > 0);
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(20));
        let is_dial = |seen: &&Seen| matches!(seen, Seen::Client(_, ClientEvent::Dialing { .. }));
        let dials = recorder.seen.iter().filter(is_dial).count();
        assert_eq!((stops(&recorder, id), dials), (1, 1), "{at}");
        assert!(reactor.is_empty(), "{at}");
    }
}
