//! Connections that a proxy passes on: the header in front of them, whose address stands, and whom the limits
//! count.

use std::cell::RefCell;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use heartwheel::PeerAddr;
use heartwheel::close::Cause;
use heartwheel::config::{AdmissionConfig, ProxyConfig};
use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::proxy_header::{encode_block, encode_line};
use heartwheel::proto::wire::{EncodeError, MessageKind};
use heartwheel::reactor::{ListenerConfig, Reactor, Welcome, WireFactory};

use crate::support::Wire;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

const CLIENT: &str = "203.0.113.7:4711";

/// A listener of this wire that expects a header, of anybody where nobody is named.
fn listen_behind(
    reactor: &mut Reactor<u32, u64>,
    wire: WireFactory,
    trusted: &[&str],
    admission: AdmissionConfig,
) -> SocketAddr {
    let trusted = trusted.iter().map(|network| network.parse().unwrap());
    let config = ListenerConfig {
        proxy: ProxyConfig {
            protocol: true,
            trusted: trusted.collect(),
        },
        admission,
        ..on_loopback(wire, None, None)
    };
    listen_with(reactor, config).1
}

fn listen_behind_anybody(reactor: &mut Reactor<u32, u64>, wire: WireFactory) -> SocketAddr {
    listen_behind(reactor, wire, &[], AdmissionConfig::default())
}

fn line_of(client: &str) -> Vec<u8> {
    let mut line = Vec::new();
    let server = match client.starts_with('[') {
        true => "[2001:db8::2]:1",
        false => "192.0.2.2:1",
    };
    encode_line(client.parse().unwrap(), server.parse().unwrap(), &mut line);
    line
}

fn block_of(client: Option<&str>) -> Vec<u8> {
    let mut block = Vec::new();
    let client = client.map(|client| client.parse().unwrap());
    encode_block(client, "192.0.2.2:1".parse().unwrap(), &mut block);
    block
}

/// Notes who is offered.
fn noting(recorder: &mut Recorder) -> Rc<RefCell<Vec<PeerAddr>>> {
    let offered: Rc<RefCell<Vec<PeerAddr>>> = Rc::default();
    let notes = Rc::clone(&offered);
    recorder.judge = Some(Box::new(move |offer| {
        notes.borrow_mut().push(offer.peer.clone());
        Ok(Welcome::with(7))
    }));
    offered
}

/// Returns the address of each end in the record, the newest first, as a log shows it.
fn ends(reactor: &mut Reactor<u32, u64>) -> Vec<String> {
    let cx = reactor.context();
    cx.history().map(|end| format!("{:?}", end.peer)).collect()
}

fn reasons(recorder: &Recorder) -> Vec<(Cause, String)> {
    let rejected = |seen: &Seen| match seen {
        Seen::Rejected(evidence, reason) => Some((evidence.cause, reason.clone())),
        _ => None,
    };
    recorder.seen.iter().filter_map(rejected).collect()
}

/// Every byte is a message.
#[derive(Debug)]
struct Bytes;

impl Codec for Bytes {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        Ok(match input.is_empty() {
            true => Decoded::NeedMore,
            false => Decoded::Message {
                consumed: 1,
                kind: MessageKind::Binary,
                payload: 0..1,
            },
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn on_every_wire_the_clients_address_stands_and_what_lies_behind_the_header_is_the_wires() {
    let websocket = [upgrade_request("/", ""), message(Wire::WebSocket, b"x")].concat();
    for (wire, behind) in [
        (WireFactory::WebSocket, websocket),
        (WireFactory::Line, message(Wire::Line, b"x")),
        (WireFactory::Binary, message(Wire::Binary, b"x")),
        (WireFactory::Raw, b"x".to_vec()),
        (WireFactory::own(|_| Bytes), b"x".to_vec()),
    ] {
        let mut reactor = reactor();
        let mut recorder = Recorder::default();
        let offered = noting(&mut recorder);
        let addr = listen_behind_anybody(&mut reactor, wire);
        let headers = [line_of(CLIENT), block_of(Some(CLIENT))];
        for (count, header) in headers.into_iter().enumerate() {
            let mut peer = connect_peer(addr);
            let proxy = peer.local_addr().unwrap();
            peer.write_all(&[header, behind.clone()].concat()).unwrap();
            drive(&mut reactor, &mut recorder, |seen| {
                seen.messages().len() == count + 1
            });
            let last = offered.borrow().last().cloned().expect("it was offered");
            assert_eq!(last.to_string(), CLIENT);
            assert_eq!(last.proxy(), Some(&proxy.into()));
            let id = *recorder.opened().last().expect("it has opened");
            let info = reactor.context().info(id).expect("it is open");
            assert_eq!(info.peer, last);
            drop(peer);
            drive(&mut reactor, &mut recorder, |seen| {
                seen.closed().len() == count + 1
            });
            let end = format!("{CLIENT} behind {proxy}");
            assert_eq!(ends(&mut reactor)[0], end);
        }
        assert_eq!(recorder.messages(), [b"x", b"x"]);
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let addr = listen_behind_anybody(&mut reactor, WireFactory::Line);
    for (count, header) in [line_of("[2001:db8::1]:7"), block_of(Some(CLIENT))]
        .into_iter()
        .enumerate()
    {
        let mut peer = connect_peer(addr);
        let bytes = [&header[..], b"hello\n"].concat();
        let before = reactor.stats().bytes_in;
        for (at, byte) in bytes.iter().enumerate() {
            peer.write_all(&[*byte]).unwrap();
            while reactor.stats().bytes_in < before + at as u64 + 1 {
                drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
            }
            assert_eq!(
                recorder.opened().len(),
                count + usize::from(at + 1 >= header.len())
            );
        }
        drive(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == count + 1
        });
    }
}

#[test]
fn a_broken_header_ends_the_connection_by_its_rule() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_behind_anybody(&mut reactor, WireFactory::WebSocket);
    for (bytes, rule) in [
        (
            &upgrade_request("/", "")[..],
            "no header of the proxy protocol",
        ),
        (
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
            "proxy line with a malformed address or port",
        ),
        (&[b'P'; 4_096], "no header of the proxy protocol"),
        (
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 300]].concat(),
            "proxy line longer than 107 bytes",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            "proxy header of 65551 bytes exceeds 4096",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01",
            "proxy header of length 1, too short for its addresses",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x2f",
            "proxy header with unknown command 15",
        ),
    ] {
        recorder.seen.clear();
        let mut peer = connect_peer(addr);
        peer.write_all(bytes).unwrap();
        read_end(&mut reactor, &mut recorder, &mut peer);
        drive(&mut reactor, &mut recorder, |seen| {
            !seen.rejected().is_empty()
        });
        let expected = (Cause::ProtocolError, rule.to_owned());
        assert_eq!(reasons(&recorder), [expected]);
    }
    assert!(recorder.opened().is_empty());
}

#[test]
fn a_header_that_does_not_come_whole_has_the_handshake_timeout() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::Line, None, None);
    config.proxy.protocol = true;
    config.heartbeat.handshake_timeout = Duration::from_millis(200);
    let addr = listen_with(&mut reactor, config).1;
    let _nothing = connect_peer(addr);
    let mut half = connect_peer(addr);
    half.write_all(b"PROXY TCP4 1.1.1.1").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 2
    });
    let mut reasons = reasons(&recorder);
    reasons.sort();
    assert_eq!(
        reasons,
        [
            (
                Cause::HandshakeTimeout,
                "no header of the proxy protocol came".into()
            ),
            (
                Cause::HandshakeTimeout,
                "the header of the proxy protocol is not whole".into()
            ),
        ]
    );
    for evidence in recorder.rejected() {
        assert!(evidence.age >= Duration::from_millis(200), "{evidence}");
    }
}

#[test]
fn whoever_leaves_within_the_header_is_gone_at_once() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_behind_anybody(&mut reactor, WireFactory::Line);
    let mut half = connect_peer(addr);
    half.write_all(b"PROXY TCP4 1.1.1.1").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    let reason = "the header of the proxy protocol is not whole";
    assert_eq!(reasons(&recorder), [(Cause::PeerEof, reason.into())]);
    // One that ends right behind its header has opened and said nothing.
    let mut whole = connect_peer(addr);
    whole.write_all(&line_of(CLIENT)).unwrap();
    whole.shutdown(Shutdown::Write).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.closed()[0].1.cause, Cause::PeerEof);
}

#[test]
fn a_header_from_others_or_without_the_option_is_for_the_wire() {
    for protocol in [false, true] {
        for wire in [Wire::WebSocket, Wire::Line] {
            let (mut reactor, mut recorder) = (reactor(), Recorder::default());
            let factory = match wire {
                Wire::WebSocket => WireFactory::WebSocket,
                Wire::Line | Wire::Binary => WireFactory::Line,
            };
            let mut config = on_loopback(factory, None, None);
            config.heartbeat.close_timeout = Duration::from_millis(300);
            config.proxy.protocol = protocol;
            if protocol {
                config.proxy.trusted = vec!["127.0.0.2".parse().unwrap()];
            }
            let addr = listen_with(&mut reactor, config).1;
            let mut peer = connect_peer(addr);
            let from = peer.local_addr().unwrap();
            peer.write_all(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n")
                .unwrap();
            match wire {
                Wire::WebSocket => {
                    drive(&mut reactor, &mut recorder, |seen| {
                        !seen.rejected().is_empty()
                    });
                    let reason = "not http/1: this looks like the header of the proxy protocol";
                    let refused = (Cause::ProtocolError, reason.to_owned());
                    assert_eq!(reasons(&recorder), [refused]);
                }
                Wire::Line | Wire::Binary => {
                    drive(&mut reactor, &mut recorder, |seen| {
                        !seen.messages().is_empty()
                    });
                    let text = &b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2"[..];
                    assert_eq!(recorder.messages(), [text]);
                    drop(peer);
                    drive(&mut reactor, &mut recorder, |seen| {
                        !seen.closed().is_empty()
                    });
                }
            }
            assert_eq!(ends(&mut reactor), [from.to_string()]);
        }
    }
}

fn one_each() -> AdmissionConfig {
    AdmissionConfig {
        open_per_address: Some(1),
        limit_loopback: true,
        ..AdmissionConfig::default()
    }
}

#[test]
fn the_limits_of_an_address_count_the_client_and_never_the_proxy() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_behind(
        &mut reactor,
        WireFactory::Line,
        &["127.0.0.0/8"],
        one_each(),
    );
    let dial = |header: Vec<u8>| {
        let mut peer = connect_peer(addr);
        peer.write_all(&header).unwrap();
        peer
    };
    let first = dial(line_of(CLIENT));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    // The same address, from another port and in the other version.
    let mut second = dial(block_of(Some("203.0.113.7:1")));
    assert!(
        read_end(&mut reactor, &mut recorder, &mut second),
        "a reset"
    );
    let reason = "too many connections from your address";
    assert_eq!(reasons(&recorder), [(Cause::Refused, reason.into())]);
    let proxy = second.local_addr().unwrap();
    assert_eq!(
        ends(&mut reactor)[0],
        format!("203.0.113.7:1 behind {proxy}")
    );
    // Somebody else, and the proxy itself however often.
    let others: Vec<_> = [line_of("203.0.113.8:1"), line_of("[2001:db8::1]:1")]
        .into_iter()
        .chain((0..5).map(|_| block_of(None)))
        .chain([b"PROXY UNKNOWN\r\n".to_vec()])
        .map(dial)
        .collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == 1 + others.len()
    });
    let id = *recorder.opened().last().unwrap();
    let own = reactor.context().info(id).expect("it is open").peer;
    assert_eq!(own, others.last().unwrap().local_addr().unwrap());
    // Who leaves is counted out.
    drop(first);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let _again = dial(line_of(CLIENT));
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == 2 + others.len()
    });
    assert_eq!(recorder.rejected().len(), 1);
}

#[test]
fn a_client_above_a_limit_is_told_so_where_there_are_words_for_it() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_behind(&mut reactor, WireFactory::WebSocket, &[], one_each());
    let mut dial = |recorder: &mut Recorder| {
        let mut peer = connect_peer(addr);
        let request = [line_of(CLIENT), upgrade_request("/", "")].concat();
        peer.write_all(&request).unwrap();
        (read_head(&mut reactor, recorder, &mut peer), peer)
    };
    let (head, _first) = dial(&mut recorder);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (head, _second) = dial(&mut recorder);
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
}

#[test]
fn the_oldest_handshake_of_a_client_makes_way_for_its_next_and_for_no_other() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let admission = AdmissionConfig {
        half_open_per_address: Some(1),
        ..AdmissionConfig::default()
    };
    let addr = listen_behind(&mut reactor, WireFactory::WebSocket, &[], admission);
    let dial = |header: &[u8]| {
        let mut peer = connect_peer(addr);
        peer.write_all(header).unwrap();
        peer
    };
    // Before their headers, and of the proxy itself, there may be many.
    let silent: Vec<TcpStream> = (0..5).map(|_| dial(b"PROXY ")).collect();
    let own: Vec<TcpStream> = (0..5).map(|_| dial(&block_of(None))).collect();
    let [first, other] = [CLIENT, "203.0.113.8:1"].map(|client| dial(&line_of(client)));
    let bytes = 5 * 6 + 5 * 16 + line_of(CLIENT).len() + line_of("203.0.113.8:1").len();
    while reactor.stats().bytes_in < bytes as u64 {
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    assert_eq!(recorder.rejected(), []);
    let _second = dial(&line_of("203.0.113.7:2"));
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    let proxy = first.local_addr().unwrap();
    assert_eq!(ends(&mut reactor), [format!("{CLIENT} behind {proxy}")]);
    assert_eq!(reactor.len(), silent.len() + own.len() + 2);
    drop((first, other));
}

#[test]
fn a_listener_that_is_closed_lets_those_in_whose_header_is_under_way() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::Line, None, None);
    config.proxy.protocol = true;
    let (listener, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    while reactor.is_empty() {
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    assert!(reactor.context().close_listener(listener));
    peer.write_all(&[&line_of(CLIENT)[..], b"x\n"].concat())
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 1
    });
}

#[test]
fn behind_a_header_that_names_nobody_fields_are_the_clients_and_name_nobody() {
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec();
    for (header, is_believed) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), false),
        (unspecified, false),
        // What the proxy asks for itself, it says itself.
        (block_of(None), true),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let offered = noting(&mut recorder);
        let (wire, trusted) = (WireFactory::WebSocket, ["127.0.0.0/8"]);
        let addr = listen_behind(&mut reactor, wire, &trusted, AdmissionConfig::default());
        let mut peer = connect_peer(addr);
        let own = peer.local_addr().unwrap();
        let request = upgrade_request("/", "X-Forwarded-For: 203.0.113.7\r\n");
        peer.write_all(&[header, request].concat()).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let shown = match is_believed {
            true => format!("203.0.113.7:0 behind {own}"),
            false => own.to_string(),
        };
        assert_eq!(format!("{:?}", offered.borrow()[0]), shown);
    }
}

/// A listener for WebSocket that believes fields of requests from here.
fn listen_trusting(
    reactor: &mut Reactor<u32, u64>,
    trusted: &str,
    admission: AdmissionConfig,
) -> SocketAddr {
    let mut config = ListenerConfig {
        admission,
        ..on_loopback(WireFactory::WebSocket, None, None)
    };
    config.proxy.trusted = vec![trusted.parse().unwrap()];
    listen_with(reactor, config).1
}

#[test]
fn a_proxy_names_the_client_in_fields_of_the_request() {
    for (trusted, fields, expected) in [
        (
            "127.0.0.0/8",
            "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n",
            Some("203.0.113.7:0"),
        ),
        (
            "127.0.0.1",
            "Forwarded: for=\"[2001:db8::7]:9\"\r\n",
            Some("[2001:db8::7]:9"),
        ),
        (
            "127.0.0.0/8",
            "X-Forwarded-For: 203.0.113.7, 127.0.0.9\r\n",
            Some("203.0.113.7:0"),
        ),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "Forwarded: for=_hidden\r\n", None),
        // Who is not trusted names nobody, and breaks no rule by it.
        ("127.0.0.2", "X-Forwarded-For: 203.0.113.7\r\n", None),
        ("127.0.0.2", "X-Forwarded-For: x\r\nForwarded: y\r\n", None),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let offered = noting(&mut recorder);
        let addr = listen_trusting(&mut reactor, trusted, AdmissionConfig::default());
        let mut peer = connect_peer(addr);
        let own = peer.local_addr().unwrap();
        peer.write_all(&upgrade_request("/", fields)).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let shown = match expected {
            Some(client) => format!("{client} behind {own}"),
            None => own.to_string(),
        };
        assert_eq!(format!("{:?}", offered.borrow()[0]), shown, "{fields}");
        let id = recorder.opened()[0];
        let info = reactor.context().info(id).expect("it is open");
        assert_eq!(info.peer, offered.borrow()[0]);
        drop(peer);
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(ends(&mut reactor), [shown]);
    }
}

#[test]
fn fields_that_tell_nobody_for_sure_are_refused() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_trusting(&mut reactor, "127.0.0.1", AdmissionConfig::default());
    for (fields, reason) in [
        (
            "X-Forwarded-For: 203.0.113.7, x\r\n",
            "malformed field x-forwarded-for",
        ),
        (
            "Forwarded: for=\"203.0.113.7\r\n",
            "malformed field forwarded",
        ),
        (
            "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "forwarded and x-forwarded-for name different clients",
        ),
    ] {
        for request in [
            upgrade_request("/", fields),
            format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes(),
        ] {
            recorder.seen.clear();
            let mut peer = connect_peer(addr);
            peer.write_all(&request).unwrap();
            let head = read_head(&mut reactor, &mut recorder, &mut peer);
            assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
            drop(peer);
            drive(&mut reactor, &mut recorder, |seen| {
                !seen.rejected().is_empty()
            });
            let expected = (Cause::ProtocolError, reason.to_owned());
            assert_eq!(reasons(&recorder), [expected]);
        }
    }
}

#[test]
fn the_limits_count_the_client_that_a_request_names() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_trusting(&mut reactor, "127.0.0.1", one_each());
    let mut dial = |recorder: &mut Recorder, fields: &str| {
        let mut peer = connect_peer(addr);
        peer.write_all(&upgrade_request("/", fields)).unwrap();
        (
            read_head(&mut reactor, recorder, &mut peer)[9..12].to_owned(),
            peer,
        )
    };
    let x = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let (first, client) = dial(&mut recorder, &x("203.0.113.7"));
    let (same, _) = dial(&mut recorder, &x("203.0.113.7"));
    let (other, _kept) = dial(&mut recorder, &x("203.0.113.8"));
    // The proxy itself.
    let own = [(); 3].map(|()| dial(&mut recorder, ""));
    let [a, b, c] = own.each_ref().map(|(status, _)| status.as_str());
    assert_eq!(
        [&first, &same, &other, a, b, c],
        ["101", "429", "101", "101", "101", "101"]
    );
    drop(client);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let mut again = connect_peer(addr);
    again
        .write_all(&upgrade_request("/", &x("203.0.113.7")))
        .unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut again);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// A proxy may keep a connection, and send the requests of one client after those of another.
#[test]
fn each_request_of_a_connection_that_is_kept_has_its_own_client() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let addr = listen_trusting(&mut reactor, "127.0.0.1", one_each());
    let mut peer = connect_peer(addr);
    let own = peer.local_addr().unwrap();
    for client in ["203.0.113.7", "203.0.113.8", "203.0.113.7", ""] {
        let fields = match client {
            "" => String::new(),
            client => format!("X-Forwarded-For: {client}\r\n"),
        };
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        peer.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut reactor, &mut recorder, &mut peer);
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        let body = "this is a websocket endpoint\n";
        read_at_least(&mut reactor, &mut recorder, &mut peer, body.len());
    }
    // Nobody but the last is counted any more: both may come by themselves.
    let others: Vec<_> = ["203.0.113.7", "203.0.113.8"]
        .into_iter()
        .map(|client| {
            let mut other = connect_peer(addr);
            let fields = format!("X-Forwarded-For: {client}\r\n");
            other.write_all(&upgrade_request("/", &fields)).unwrap();
            let head = read_head(&mut reactor, &mut recorder, &mut other);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            other
        })
        .collect();
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.answered().len() == 1
    });
    assert_eq!(ends(&mut reactor), [own.to_string()]);
    drop(others);
}

#[test]
fn behind_a_header_the_fields_of_the_next_proxy_are_believed_where_it_is_trusted() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let offered = noting(&mut recorder);
    let networks = ["127.0.0.1", "198.51.100.0/24"];
    let admission = one_each();
    let addr = listen_behind(&mut reactor, WireFactory::WebSocket, &networks, admission);
    let mut peers = Vec::new();
    for (count, (inner, client)) in [
        ("198.51.100.1:5", "203.0.113.7:0"),
        // As many as its clients are, though it is one address.
        ("198.51.100.1:6", "203.0.113.8:0"),
        ("203.0.113.9:5", "203.0.113.9:5"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = connect_peer(addr);
        let named = client.trim_end_matches(":0");
        let fields = format!("X-Forwarded-For: 6.6.6.6, {named}\r\n");
        let request = [line_of(inner), upgrade_request("/", &fields)].concat();
        peer.write_all(&request).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == count + 1
        });
        let own = peer.local_addr().unwrap();
        let last = offered.borrow().last().cloned().expect("it was offered");
        assert_eq!(format!("{last:?}"), format!("{client} behind {own}"));
        peers.push(peer);
    }
}
