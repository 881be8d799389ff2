//! Whom a listener lets in: limits in all and for each address.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use heartwheel::close::Cause;
use heartwheel::config::{AdmissionConfig, ReactorConfig};
use heartwheel::reactor::{ListenerConfig, Reactor, Welcome, WireFactory};
use socket2::{Domain, Socket, Type};

use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

fn listen_admitting(
    reactor: &mut Reactor<u32, u64>,
    wire: WireFactory,
    admission: AdmissionConfig,
) -> SocketAddr {
    listen_admitting_at(Ipv4Addr::LOCALHOST.into(), reactor, wire, admission)
}

fn listen_admitting_at(
    ip: IpAddr,
    reactor: &mut Reactor<u32, u64>,
    wire: WireFactory,
    admission: AdmissionConfig,
) -> SocketAddr {
    let config = ListenerConfig {
        admission,
        ..ListenerConfig::new((ip, 0).into(), wire)
    };
    listen_with(reactor, config).1
}

/// Returns where an IPv6 listener gets what comes over IPv4, from this machine only, if the system lets
/// one listener have both families.
fn mapped_loopback() -> Option<IpAddr> {
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    match TcpListener::bind((ip, 0)) {
        Ok(_) => Some(ip),
        Err(error) => {
            println!("skipped: no listener for both families: {error}");
            None
        }
    }
}

/// Dials from another address of this machine.
fn dial_from(ip: [u8; 4], addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::from(ip), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&addr.into()).unwrap();
    ready(socket.into())
}

fn reasons(recorder: &Recorder) -> Vec<&str> {
    recorder
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Rejected(_, reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn an_address_holds_no_more_connections_than_its_limit() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let admission = AdmissionConfig {
        open_per_address: Some(2),
        limit_loopback: true,
        ..AdmissionConfig::default()
    };
    let addr = listen_admitting(&mut reactor, WireFactory::Line, admission);
    let first = connect_peer(addr);
    let _second = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);

    let mut third = connect_peer(addr);
    let is_reset = read_end(&mut reactor, &mut recorder, &mut third);
    assert!(is_reset, "a wire without words for it");
    assert_eq!(recorder.rejected()[0].cause, Cause::Refused);
    assert_eq!(
        reasons(&recorder),
        ["too many connections from your address"]
    );

    let _other = dial_from([127, 0, 0, 2], addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 3);

    drop(first);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let _fourth = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
}

/// One address took every place there was, for as long as it answered.
#[test]
fn an_address_leaves_room_for_others() {
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 200,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder::default();
    let admission = AdmissionConfig::default();
    let lines = listen_admitting(&mut reactor, WireFactory::Line, admission.clone());
    let websockets = listen_admitting(&mut reactor, WireFactory::WebSocket, admission);
    let crowd: Vec<_> = (0..250).map(|_| connect_peer(lines)).collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() + seen.rejected().len() == crowd.len()
    });
    assert_eq!(recorder.opened().len(), 188, "94 of 100");
    let told = "too many connections from your address: others need room";
    assert!(reasons(&recorder).iter().all(|reason| *reason == told));
    // It counts over all listeners, and says so where there are words for it.
    let mut same = connect_peer(websockets);
    let head = read_head(&mut reactor, &mut recorder, &mut same);
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    for last in 2..6 {
        let mut other = dial_from([127, 0, 0, last], websockets);
        shake_hands(&mut reactor, &mut recorder, &mut other);
    }
    drop(crowd);
}

/// The request that is there already must not turn the answer into a reset.
#[test]
fn who_comes_when_all_is_full_is_told_503_whether_it_has_asked_or_not() {
    let mut reactor = reactor_with(ReactorConfig {
        max_connections: 1,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder::default();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let _first = open_websocket(&mut reactor, &mut recorder, addr);
    for request in [&b""[..], &upgrade_request("/", "")] {
        let mut late = connect_peer(addr);
        std::io::Write::write_all(&mut late, request).unwrap();
        let head = read_head(&mut reactor, &mut recorder, &mut late);
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("Retry-After: "), "{head}");
        let is_reset = read_end(&mut reactor, &mut recorder, &mut late);
        assert!(!is_reset, "an orderly end");
    }
    assert_eq!(reactor.stats().accept_pauses, 1, "one episode");
}

#[test]
fn an_address_beyond_its_rate_is_answered_429_and_another_is_not() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let admission = AdmissionConfig {
        handshakes_per_address: Some(3),
        limit_loopback: true,
        ..AdmissionConfig::default()
    };
    let addr = listen_admitting(&mut reactor, WireFactory::WebSocket, admission);
    let mut peers: Vec<_> = (0..4).map(|_| connect_peer(addr)).collect();
    let head = read_head(&mut reactor, &mut recorder, &mut peers[3]);
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    assert_eq!(
        reasons(&recorder),
        ["too many new connections at once from your address"]
    );
    let mut other = dial_from([127, 0, 0, 2], addr);
    shake_hands(&mut reactor, &mut recorder, &mut other);
    for peer in &mut peers[..3] {
        shake_hands(&mut reactor, &mut recorder, peer);
    }
}

#[test]
fn a_peer_over_ipv4_is_the_same_to_a_listener_for_both_families() {
    let Some(mapped) = mapped_loopback() else {
        return;
    };
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let offered = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&offered);
    recorder.judge = Some(Box::new(move |offer| {
        theirs.borrow_mut().extend(offer.peer.socket_addr());
        Ok(Welcome::with(0))
    }));
    let admission = AdmissionConfig {
        open_per_address: Some(2),
        limit_loopback: true,
        ..AdmissionConfig::default()
    };
    let ipv4 = listen_admitting(&mut reactor, WireFactory::Line, admission.clone());
    let both = listen_admitting_at(mapped, &mut reactor, WireFactory::Line, admission);
    let both = SocketAddr::from((Ipv4Addr::LOCALHOST, both.port()));
    let (first, second) = (connect_peer(ipv4), connect_peer(both));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let [first_addr, second_addr] = [&first, &second].map(|peer| peer.local_addr().unwrap());
    let mut offered = offered.take();
    offered.sort();
    let mut expected = [first_addr, second_addr];
    expected.sort();
    assert_eq!(offered, expected);

    let mut third = connect_peer(both);
    read_end(&mut reactor, &mut recorder, &mut third);
    assert_eq!(
        reasons(&recorder),
        ["too many connections from your address"]
    );
    drop(second);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let ended: Vec<_> = reactor.history().map(|ended| ended.peer.clone()).collect();
    assert_eq!(ended, [second_addr, third.local_addr().unwrap()]);
}

#[test]
fn loopback_is_exempt_over_ipv4_from_a_listener_for_both_families() {
    let Some(mapped) = mapped_loopback() else {
        return;
    };
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let admission = AdmissionConfig {
        open_per_address: Some(1),
        ..AdmissionConfig::default()
    };
    let both = listen_admitting_at(mapped, &mut reactor, WireFactory::Line, admission);
    let both = SocketAddr::from((Ipv4Addr::LOCALHOST, both.port()));
    let _peers = [connect_peer(both), connect_peer(both)];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
}

#[test]
fn a_turn_accepts_no_more_than_its_budget_and_those_who_wait_come_next() {
    const BUDGET: usize = 4;
    let mut reactor = reactor_with(ReactorConfig {
        accept_budget: BUDGET,
        ..ReactorConfig::default()
    });
    let mut recorder = Recorder::default();
    let config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    let (_, addr) = listen_with(&mut reactor, config);
    let peers: Vec<_> = (0..3 * BUDGET).map(|_| connect_peer(addr)).collect();
    let mut open = 0;
    drive(&mut reactor, &mut recorder, |seen| {
        let before = std::mem::replace(&mut open, seen.opened().len());
        assert!(open <= before + BUDGET, "{open} after {before}");
        open == peers.len()
    });
}

#[test]
fn a_listener_beyond_its_rate_answers_503() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let admission = AdmissionConfig {
        handshakes_per_second: Some(2),
        ..AdmissionConfig::default()
    };
    let addr = listen_admitting(&mut reactor, WireFactory::WebSocket, admission);
    let _peers = [dial_from([127, 0, 0, 2], addr), connect_peer(addr)];
    let mut third = dial_from([127, 0, 0, 3], addr);
    let head = read_head(&mut reactor, &mut recorder, &mut third);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
}

#[test]
fn limits_that_make_no_sense_are_refused_by_name() {
    let mut reactor = reactor();
    let config = ListenerConfig {
        admission: AdmissionConfig {
            open_per_address: Some(0),
            ..AdmissionConfig::default()
        },
        ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line)
    };
    let error = reactor.listen(config).unwrap_err().to_string();
    assert_eq!(error, "open_per_address must not be zero");
}

#[test]
fn a_broken_handshake_is_reported_with_the_rule_it_broke() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = connect_peer(addr);
    let request = upgrade_request("/", "Content-Length: 3\r\n");
    std::io::Write::write_all(&mut peer, &request).unwrap();
    read_at_least(&mut reactor, &mut recorder, &mut peer, usize::MAX);
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::ProtocolError);
    assert_eq!(reasons(&recorder), ["an upgrade must not have a body"]);
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
