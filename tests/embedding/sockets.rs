//! Sockets of other kinds, and from elsewhere: Unix sockets, listening sockets that somebody else has opened,
//! and connections that somebody else has accepted.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartwheel::close::{Cause, Phase};
use heartwheel::config::{AdmissionConfig, ReactorConfig};
use heartwheel::error::Error;
use heartwheel::reactor::{
    Adoption, ClientConfig, ClientEvent, Endpoint, Keepalive, ListenerConfig, ListenerId, Reactor,
    ReconnectConfig, SocketOptions, WireFactory,
};

#[cfg(feature = "tls")]
use heartwheel::config::WireKind;
#[cfg(feature = "tls")]
use heartwheel::tls::{Certificates, Pair, ServerTls};

use crate::support::bytes::*;
#[cfg(feature = "tls")]
use crate::support::certs::Root;
use crate::support::place::Place;
use crate::support::recorder::*;
use crate::support::turning::*;

fn socket_in(folder: &Place) -> PathBuf {
    folder.path().join("app.sock")
}

fn unix(path: &Path, wire: WireFactory) -> ListenerConfig {
    quiet(ListenerConfig::unix(path, wire))
}

/// Without pings, which would stand among the bytes that a test compares.
fn quiet(config: ListenerConfig) -> ListenerConfig {
    ListenerConfig {
        heartbeat: heartbeat(None, None),
        ..config
    }
}

fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    let short = Some(Duration::from_millis(10));
    stream.set_read_timeout(short).unwrap();
    stream
}

/// Turns until the peer has read this, or the end.
#[track_caller]
fn read(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    peer: &mut impl Read,
    len: usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    drive(reactor, recorder, |_| {
        let mut chunk = vec![0; 64 * 1024];
        match peer.read(&mut chunk) {
            Ok(0) => return true,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        bytes.len() >= len
    });
    bytes
}

#[test]
fn a_unix_socket_carries_every_wire() {
    let folder = Place::new();
    let path = socket_in(&folder);
    for wire in [WireFactory::Line, WireFactory::Raw, WireFactory::WebSocket] {
        let is_websocket = matches!(wire, WireFactory::WebSocket);
        let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
        let id = reactor.listen(unix(&path, wire)).unwrap();
        assert_eq!(reactor.local_addr(id), None, "it has no IP address");
        let mut peer = dial(&path);
        let message = match is_websocket {
            true => {
                peer.write_all(&upgrade_request("/", "")).unwrap();
                let head = read(&mut reactor, &mut recorder, &mut peer, 129);
                assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
                masked_frame(0x81, b"hello\n")
            }
            false => b"hello\n".to_vec(),
        };
        peer.write_all(&message).unwrap();
        let echo = read(&mut reactor, &mut recorder, &mut peer, 6);
        assert!(echo.ends_with(b"hello\n"), "{echo:?}");
        let opened = recorder.opened()[0];
        let info = reactor.context().info(opened).unwrap();
        assert!(info.peer.is_unix());
        assert_eq!(info.peer.to_string(), "unix:");
        drop(peer);
        drive(&mut reactor, &mut recorder, |seen| {
            !seen.closed().is_empty()
        });
        assert_eq!(recorder.closed()[0].1.cause, Cause::PeerEof);
    }
}

#[test]
fn a_silent_peer_of_a_unix_socket_is_found_dead() {
    let folder = Place::new();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let config = ListenerConfig {
        heartbeat: heartbeat(Some(50), Some(150)),
        ..ListenerConfig::unix(socket_in(&folder), WireFactory::Line)
    };
    reactor.listen(config).unwrap();
    let mut peer = dial(&socket_in(&folder));
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.closed().is_empty()
    });
    let evidence = recorder.closed()[0].1;
    // The kernel has no figures about such a socket.
    assert_eq!(evidence.cause, Cause::PongTimeout);
    assert!(evidence.pings_written >= 2, "{evidence}");
    assert!(evidence.last_proof >= Some(Duration::from_millis(150)));
    let heard = read(&mut reactor, &mut recorder, &mut peer, 5);
    assert!(heard.starts_with(b"PING"), "{heard:?}");
}

#[test]
fn output_that_nobody_takes_stalls_and_goes_on() {
    const LEN: usize = 4 * 1024 * 1024;
    let folder = Place::new();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = unix(&socket_in(&folder), WireFactory::Raw);
    config.limits.send_queue = Some(2 * LEN);
    reactor.listen(config).unwrap();
    let mut peer = dial(&socket_in(&folder));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    let message = vec![b'x'; LEN];
    let sent = reactor
        .context()
        .send(id, heartwheel::Message::binary(&message));
    assert_eq!(sent, Ok(()));
    let heard = read(&mut reactor, &mut recorder, &mut peer, LEN);
    assert_eq!(heard.len(), LEN);
}

#[test]
fn the_file_of_a_unix_socket_goes_with_its_listener() {
    let folder = Place::new();
    let path = socket_in(&folder);
    let is_there = || fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket());
    let mut reactor = reactor();
    let id = reactor.listen(unix(&path, WireFactory::Line)).unwrap();
    assert!(is_there());
    assert!(reactor.close_listener(id));
    assert!(!is_there());
    reactor.listen(unix(&path, WireFactory::Line)).unwrap();
    assert!(is_there());
    drop(reactor);
    assert!(!is_there());
}

#[test]
fn a_file_that_was_left_behind_is_replaced_and_nothing_else() {
    let folder = Place::new();
    let path = socket_in(&folder);
    // Closing a socket leaves its file.
    drop(UnixListener::bind(&path).unwrap());
    let (mut first, mut second) = (reactor(), reactor());
    let id = first.listen(unix(&path, WireFactory::Line)).unwrap();
    let error = second.listen(unix(&path, WireFactory::Line)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot listen on unix:"), "{text}");
    assert!(text.contains("app.sock: Address already in use"), "{text}");
    drop(dial(&path));

    // Another process has put its own in the place of ours: that one stays.
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    let node = fs::symlink_metadata(&path).unwrap().ino();
    first.close_listener(id);
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), node);

    let other = folder.path().join("notes.txt");
    fs::write(&other, "mine").unwrap();
    assert!(second.listen(unix(&other, WireFactory::Line)).is_err());
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
}

#[test]
fn a_listening_socket_that_somebody_else_has_opened_serves() {
    let folder = Place::new();
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(socket_in(&folder)).unwrap();
    let options = SocketOptions {
        keepalive: Some(Keepalive::after(Duration::from_secs(40))),
        ..SocketOptions::default()
    };
    let config = ListenerConfig {
        socket: options,
        ..ListenerConfig::at(tcp, WireFactory::Line)
    };
    let first = reactor.listen(quiet(config)).unwrap();
    assert_eq!(reactor.local_addr(first), Some(addr));
    let config = ListenerConfig::at(unix, WireFactory::Line);
    let second = reactor.listen(quiet(config)).unwrap();
    assert_eq!(reactor.local_addr(second), None);

    let mut peers: [Box<dyn Peer>; 2] = [
        Box::new(connect_peer(addr)),
        Box::new(dial(&socket_in(&folder))),
    ];
    for peer in &mut peers {
        peer.write_all(b"hello\n").unwrap();
        let echo = read(&mut reactor, &mut recorder, peer, 6);
        assert_eq!(echo, b"hello\n");
    }
    reactor.close_listener(second);
    let meta = fs::symlink_metadata(socket_in(&folder));
    assert!(meta.is_ok(), "the file is not ours");
    // It is changed without naming its place again.
    let other = ListenerConfig {
        socket: SocketOptions {
            keepalive: Some(Keepalive::after(Duration::from_secs(40))),
            ..SocketOptions::default()
        },
        ..ListenerConfig::nowhere(WireFactory::Raw)
    };
    assert!(reactor.set_listener(first, other).unwrap());
}

trait Peer: Read + Write {}

impl<T: Read + Write> Peer for T {}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let mut reactor = reactor();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for socket in [OwnedFd::from(stream), OwnedFd::from(file)] {
        let config = ListenerConfig::at(socket, WireFactory::Line);
        let error = reactor.listen(config).unwrap_err();
        assert!(matches!(error, Error::Listen { .. }), "{error}");
    }
}

#[test]
fn options_that_would_have_no_effect_are_refused_by_field() {
    let folder = Place::new();
    let mut reactor = reactor();
    let plain = SocketOptions::default;
    let backlog = SocketOptions {
        backlog: 7,
        ..plain()
    };
    let shared = SocketOptions {
        reuse_port: true,
        ..plain()
    };
    let impatient = SocketOptions {
        user_timeout: Some(Duration::from_secs(5)),
        ..plain()
    };
    let probing = SocketOptions {
        keepalive: Some(Keepalive::after(Duration::from_secs(40))),
        ..plain()
    };
    let handed = || TcpListener::bind("127.0.0.1:0").unwrap();
    for (config, socket, field) in [
        (
            unix(&socket_in(&folder), WireFactory::Line),
            shared.clone(),
            "reuse_port",
        ),
        (
            unix(&socket_in(&folder), WireFactory::Line),
            impatient,
            "user_timeout",
        ),
        (
            unix(&socket_in(&folder), WireFactory::Line),
            probing,
            "keepalive",
        ),
        (
            ListenerConfig::at(handed(), WireFactory::Line),
            backlog.clone(),
            "backlog",
        ),
        (
            ListenerConfig::at(handed(), WireFactory::Line),
            shared.clone(),
            "reuse_port",
        ),
        (
            ListenerConfig::nowhere(WireFactory::Line),
            shared,
            "reuse_port",
        ),
        (
            ListenerConfig::nowhere(WireFactory::Line),
            backlog,
            "backlog",
        ),
    ] {
        let config = ListenerConfig { socket, ..config };
        let Err(Error::Config(error)) = reactor.listen(config) else {
            panic!("{field} would be ignored");
        };
        assert_eq!(error.field(), field);
    }
    assert!(!socket_in(&folder).exists());
}

#[test]
fn limits_for_each_address_do_not_concern_unix_sockets() {
    let folder = Place::new();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let config = ListenerConfig {
        admission: AdmissionConfig {
            open_per_address: Some(1),
            half_open_per_address: Some(1),
            limit_loopback: true,
            ..AdmissionConfig::default()
        },
        ..unix(&socket_in(&folder), WireFactory::WebSocket)
    };
    reactor.listen(config).unwrap();
    let mut peers: Vec<_> = (0..5).map(|_| dial(&socket_in(&folder))).collect();
    for peer in &mut peers {
        peer.write_all(&upgrade_request("/", "")).unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 5);
    assert!(recorder.rejected().is_empty());
}

#[test]
fn a_client_dials_a_unix_socket_and_again_once_it_is_there() {
    let folder = Place::new();
    let url = format!("ws+unix:{}:/chat", socket_in(&folder).display());
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let config = ClientConfig {
        reconnect: Some(ReconnectConfig {
            base: Duration::from_millis(50),
            ..ReconnectConfig::default()
        }),
        ..ClientConfig::from_url(&url).unwrap()
    };
    let client = reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        let failed = |event: &Seen| matches!(event, Seen::Client(_, ClientEvent::Failed { error }) if error.label() == "io_error");
        seen.seen.iter().any(failed)
    });
    // A file that nobody listens on is as bad.
    drop(UnixListener::bind(socket_in(&folder)).unwrap());
    drive(&mut reactor, &mut recorder, |seen| {
        let refused = |event: &Seen| matches!(event, Seen::Client(_, ClientEvent::Failed { error }) if error.label() == "connection_refused");
        seen.seen.iter().any(refused)
    });
    reactor
        .listen(unix(&socket_in(&folder), WireFactory::WebSocket))
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let ids = recorder.opened();
    let ours = ids.iter().find(|&&id| {
        let info = reactor.context().info(id).unwrap();
        info.endpoint == Endpoint::Client(client)
    });
    let id = *ours.unwrap();
    let peer = reactor.context().info(id).unwrap().peer;
    assert_eq!(peer.unix_path(), Some(&*socket_in(&folder)));
    // Both ends echo for ever: one message is enough.
    let message = heartwheel::Message::text("hello");
    reactor.context().send(id, message).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() >= 2
    });
}

/// Returns a listener without a socket, and both ends of a connection that somebody else has accepted.
fn upgraded(
    reactor: &mut Reactor<u32, u64>,
    wire: WireFactory,
) -> (ListenerId, TcpStream, TcpStream) {
    let id = reactor
        .listen(quiet(ListenerConfig::nowhere(wire)))
        .unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = connect_peer(elsewhere.local_addr().unwrap());
    let (socket, _) = elsewhere.accept().unwrap();
    (id, socket, peer)
}

#[test]
fn a_connection_that_was_upgraded_elsewhere_goes_on_here() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (id, socket, mut peer) = upgraded(&mut reactor, WireFactory::WebSocket);
    // Half a frame was read with the request, and the rest is under way.
    let frame = masked_frame(0x81, b"early");
    let (read_before, later) = frame.split_at(4);
    let adoption = Adoption {
        received: read_before.to_vec(),
        ..Adoption::opened(42)
    };
    reactor.context().adopt(id, socket, adoption).unwrap();
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "it waits");
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let opened = recorder.opened()[0];
    assert_eq!(reactor.context().data(opened), Some(&42));
    peer.write_all(later).unwrap();
    let echo = read(&mut reactor, &mut recorder, &mut peer, 7);
    assert_eq!(echo, b"\x81\x05early", "and no second answer to an upgrade");
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.closed().is_empty()
    });
    assert!(matches!(
        recorder.seen.last(),
        Some(Seen::Closed(_, _, 42, _))
    ));
}

#[test]
fn a_connection_may_be_handed_over_before_its_handshake() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (id, socket, mut peer) = upgraded(&mut reactor, WireFactory::WebSocket);
    // Whoever accepted it has looked at the whole request, and a frame came right behind it.
    let mut received = upgrade_request("/chat", "");
    received.extend(masked_frame(0x81, b"early"));
    let adoption = Adoption {
        received,
        opened: None,
    };
    reactor.context().adopt(id, socket, adoption).unwrap();
    let answer = read(&mut reactor, &mut recorder, &mut peer, 129 + 7);
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    assert!(answer.ends_with(b"\x81\x05early"), "{answer:?}");
    assert_eq!(reactor.context().data(recorder.opened()[0]), Some(&7));
}

#[test]
fn what_was_read_of_other_wires_comes_first() {
    for (wire, received, rest, echo) in [
        (
            WireFactory::Line,
            &b"one\ntw"[..],
            &b"o\n"[..],
            &b"one\ntwo\n"[..],
        ),
        (WireFactory::Raw, b"one", b"two", b"onetwo"),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
        let (id, socket, mut peer) = upgraded(&mut reactor, wire);
        peer.write_all(rest).unwrap();
        let adoption = Adoption {
            received: received.to_vec(),
            opened: None,
        };
        reactor.context().adopt(id, socket, adoption).unwrap();
        let heard = read(&mut reactor, &mut recorder, &mut peer, echo.len());
        assert_eq!(heard, echo);
    }
}

#[test]
fn more_may_have_been_read_than_a_ring_holds() {
    const LINES: usize = 40_000;
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (id, socket, _peer) = upgraded(&mut reactor, WireFactory::Line);
    let adoption = Adoption {
        received: b"a line\n".repeat(LINES),
        opened: Some(1),
    };
    reactor.context().adopt(id, socket, adoption).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == LINES
    });
}

#[test]
fn an_adopted_unix_socket_and_one_of_a_listener_that_accepts() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (id, _) = listen(&mut reactor, WireFactory::Line);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let short = Some(Duration::from_millis(10));
    theirs.set_read_timeout(short).unwrap();
    let adopted = reactor.context().adopt(id, ours, Adoption::default());
    adopted.unwrap();
    theirs.write_all(b"hello\n").unwrap();
    assert_eq!(
        read(&mut reactor, &mut recorder, &mut theirs, 6),
        b"hello\n"
    );
}

#[test]
fn what_cannot_be_adopted_is_refused_with_the_reason() {
    let mut reactor = reactor();
    let (id, socket, _peer) = upgraded(&mut reactor, WireFactory::Line);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(udp.local_addr().unwrap()).unwrap();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for socket in [OwnedFd::from(udp), listening.into(), file.into()] {
        let adopted = reactor.context().adopt(id, socket, Adoption::default());
        let error = adopted.unwrap_err();
        assert!(matches!(error, Error::Adopt(_)), "{error}");
        assert!(error.to_string().starts_with("cannot adopt the socket: "));
    }
    reactor.close_listener(id);
    let adopted = reactor.context().adopt(id, socket, Adoption::default());
    let Err(Error::Config(error)) = adopted else {
        panic!("there is no such listener");
    };
    assert_eq!((error.field(), reactor.len()), ("listener", 0));
}

#[test]
fn the_end_of_what_was_handed_over_is_reported_even_if_it_never_gets_a_slot() {
    // The loop drains, or its listener closes.
    type End = fn(&mut Reactor<u32, u64>, ListenerId);
    let ends: [End; 2] = [
        |reactor, _| reactor.context().drain(Duration::ZERO),
        |reactor, id| assert!(reactor.close_listener(id)),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let (id, socket, mut peer) = upgraded(&mut reactor, WireFactory::Line);
        let adopted = reactor.context().adopt(id, socket, Adoption::opened(3));
        adopted.unwrap();
        end(&mut reactor, id);
        drive(&mut reactor, &mut recorder, |seen| {
            seen.rejected().len() == 1
        });
        let evidence = recorder.rejected()[0];
        assert_eq!(evidence.cause, Cause::Refused, "{number}");
        assert_eq!(evidence.phase, Phase::Handshaking);
        let end = peer.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert_eq!(reactor.len(), 0);
    }
}

/// One that has only been accepted is taken in, and TLS begins with it.
#[cfg(feature = "tls")]
#[test]
fn a_listener_with_tls_takes_in_no_connection_that_is_open() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, socket, mut peer) = upgraded(&mut reactor, WireFactory::Line);
    let issued = Root::new().issue(&["server.test"], -1, 90);
    let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap();
    let tls = ServerTls::new(Certificates::new(vec![pair]).unwrap(), WireKind::Line);
    let config = ListenerConfig {
        tls: Some(tls.config().unwrap()),
        ..ListenerConfig::nowhere(WireFactory::Line)
    };
    let id = reactor.listen(quiet(config)).unwrap();
    let again = socket.try_clone().unwrap();
    let adopted = reactor.context().adopt(id, again, Adoption::opened(3));
    let Err(Error::Config(error)) = adopted else {
        panic!("{adopted:?}");
    };
    assert_eq!(error.field(), "listener");
    let said = error.to_string();
    assert!(
        said.contains("adopt an open connection on a listener without"),
        "{said}"
    );

    let adoption = Adoption {
        received: b"no TLS at all".to_vec(),
        opened: None,
    };
    reactor.context().adopt(id, socket, adoption).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::TlsHandshake);
    // An alert, which is a record of its own kind.
    let mut alert = [0; 7];
    peer.read_exact(&mut alert).unwrap();
    assert_eq!(alert[0], 21);
}

#[test]
fn a_websocket_that_is_open_already_is_refused_by_a_close_frame() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (id, socket, mut peer) = upgraded(&mut reactor, WireFactory::WebSocket);
    let adopted = reactor.context().adopt(id, socket, Adoption::opened(3));
    adopted.unwrap();
    reactor.context().drain(Duration::ZERO);
    let heard = read(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    assert!(
        heard.starts_with(b"\x88\x0c\x03\xe9going away"),
        "{heard:?}"
    );
}

#[test]
fn a_loop_that_stops_reports_those_that_it_had_no_turn_to_take_in() {
    let mut reactor = reactor_with(ReactorConfig {
        accept_budget: 1,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder::default();
    let handed: Vec<_> = (0..3)
        .map(|_| upgraded(&mut reactor, WireFactory::Line))
        .collect();
    let _peers: Vec<_> = handed
        .into_iter()
        .map(|(id, socket, peer)| {
            let adopted = reactor.context().adopt(id, socket, Adoption::opened(3));
            adopted.unwrap();
            peer
        })
        .collect();
    reactor.context().stop();
    reactor.run(&mut recorder).unwrap();
    let ends = (recorder.closed().len(), recorder.rejected().len());
    assert_eq!(ends, (1, 2));
}
