//! What a listener gets from the kernel: room for a burst, and a port that several may share; and how it is
//! changed and closed while the loop runs.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use heartwheel::close::Cause;
use heartwheel::config::{AdmissionConfig, ReactorConfig};
use heartwheel::error::Error;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::Message;
use heartwheel::reactor::{
    ConnId, Context, Decision, Endpoint, Group, Handler, HttpAnswer, ListenerConfig, ListenerId,
    Offer, Reactor, Rejected, Rejection, RequestId, SocketOptions, Welcome, WireFactory,
};

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

/// Any port of loopback.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// More than the 128 that mio asks for; both ends of one take two descriptors once accepted.
const BURST: usize = 300;

#[test]
fn a_burst_is_completed_by_the_kernel_before_the_loop_turns_at_all() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    if most.is_ok_and(|most| most.trim().parse::<usize>().unwrap() < BURST) {
        println!("skipped: net.core.somaxconn is below {BURST}");
        return;
    }
    let (mut reactor, mut recorder) = (
        reactor_with(ReactorConfig {
            // Of which one address has its share.
            max_connections: 2 * BURST,
            ..Default::default()
        }),
        Recorder::default(),
    );
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    // Beyond the backlog a dial waits for the second try, a second later.
    let began = Instant::now();
    let peers: Vec<_> = (0..BURST)
        .map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(900)).unwrap())
        .collect();
    assert!(began.elapsed() < PATIENCE);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == BURST
    });
    drop(peers);
}

#[test]
fn two_reactors_share_a_port_where_both_ask_for_it() {
    let shared = |addr: SocketAddr, reuse_port| ListenerConfig {
        socket: SocketOptions {
            reuse_port,
            ..SocketOptions::default()
        },
        ..ListenerConfig::new(addr, WireFactory::Line)
    };
    let (mut first, mut second, mut third) = (reactor(), reactor(), reactor());
    let (_, addr) = listen_with(&mut first, shared(ANY, true));
    listen_with(&mut second, shared(addr, true));
    assert!(third.listen(shared(addr, false)).is_err());

    let (mut ours, mut theirs) = (Recorder::default(), Recorder::default());
    let peers: Vec<_> = (0..8).map(|_| connect_peer(addr)).collect();
    drive(&mut first, &mut ours, |ours| {
        second
            .turn(&mut theirs, Some(Duration::from_millis(5)))
            .unwrap();
        ours.opened().len() + theirs.opened().len() == peers.len()
    });
}

/// Closes the listener that somebody has come to, at one of the callbacks that tell of it.
struct Closer {
    at: &'static str,
    listener: ListenerId,
    opened: usize,
    rejected: usize,
    was_closed: bool,
}

impl Closer {
    fn note(&mut self, at: &str, cx: &mut Context<'_, u32>) {
        if self.at == at {
            self.was_closed |= cx.close_listener(self.listener);
            assert!(!cx.close_listener(self.listener), "it is closed already");
            assert_eq!(cx.local_addr(self.listener), None);
        }
    }
}

impl Handler<u64> for Closer {
    type Data = u32;

    fn on_accept(
        &mut self,
        cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<u32>>, Rejection> {
        assert_eq!(offer.endpoint, Endpoint::Listener(self.listener));
        self.note("accept", cx);
        self.note("turned away", cx);
        match self.at {
            "turned away" => Err(Rejection::new(403, "no")),
            _ => Ok(Welcome::with(7).into()),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_, u32>, _: ConnId) {
        self.opened += 1;
        self.note("open", cx);
    }

    fn on_message(&mut self, cx: &mut Context<'_, u32>, id: ConnId, message: Message<'_>) {
        cx.send(id, message).unwrap();
    }

    fn on_rejected(&mut self, cx: &mut Context<'_, u32>, _: Rejected<'_>) {
        self.rejected += 1;
        self.note("refused", cx);
    }
}

#[test]
fn f55_a_listener_may_be_closed_in_a_callback_of_its_own_accept() {
    for (at, opened, rejected) in [
        ("accept", 1, 0),
        ("open", 1, 0),
        ("turned away", 0, 1),
        ("refused", 0, 1),
    ] {
        let mut reactor = reactor();
        let mut config = ListenerConfig::new(ANY, WireFactory::Line);
        config.heartbeat = heartbeat(None, None);
        if at == "refused" {
            config.admission.handshakes_per_second = Some(1);
        }
        let (listener, addr) = listen_with(&mut reactor, config);
        let mut closer = Closer {
            at,
            listener,
            opened: 0,
            rejected: 0,
            was_closed: false,
        };
        let turn = |reactor: &mut Reactor<u32, u64>, closer: &mut Closer| {
            let limit = Some(Duration::from_millis(20));
            reactor.turn(closer, limit).unwrap();
        };
        let deadline = Instant::now() + PATIENCE;
        if at == "refused" {
            // The first of a second is let in.
            let _first = connect_peer(addr);
            while closer.opened == 0 {
                assert!(Instant::now() < deadline, "{at}: nobody was let in");
                turn(&mut reactor, &mut closer);
            }
            closer.opened = 0;
        }
        let mut peers = [(); 3].map(|()| connect_peer(addr));
        while !closer.was_closed {
            assert!(Instant::now() < deadline, "{at}: it was never closed");
            turn(&mut reactor, &mut closer);
        }
        for _ in 0..3 {
            turn(&mut reactor, &mut closer);
        }
        assert_eq!((closer.opened, closer.rejected), (opened, rejected), "{at}");
        // Nobody listens, and who was not accepted hears of it.
        let refused = TcpStream::connect(addr).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{at}");
        for peer in &mut peers[1..] {
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            let reset = peer.read(&mut [0]).unwrap_err();
            assert_eq!(reset.kind(), ErrorKind::ConnectionReset, "{at}");
        }
        // Who was accepted has what it came for.
        if opened == 1 {
            peers[0].write_all(b"still here\n").unwrap();
            let mut echo = [0; 11];
            let mut read = 0;
            while read < echo.len() {
                assert!(Instant::now() < deadline, "{at}: no echo");
                turn(&mut reactor, &mut closer);
                read += peers[0].read(&mut echo[read..]).unwrap_or(0);
            }
            assert_eq!(&echo, b"still here\n", "{at}");
        }
    }
}

/// What the selector has said of it already is of no account: not as a token of nobody, and not as a note
/// that somebody waits.
#[test]
fn f55_a_listener_may_be_closed_in_the_turn_in_which_it_is_ready() {
    for is_noted in [false, true] {
        let mut reactor = reactor();
        let (_, first) = listen(&mut reactor, WireFactory::Line);
        let (second, addr) = listen(&mut reactor, WireFactory::Line);
        let mut recorder = Recorder::reacting(move |cx, seen| {
            if matches!(seen, Seen::Message(..) | Seen::Command(_)) {
                assert!(cx.close_listener(second));
            }
        });
        let mut talker = connect_peer(first);
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let mut peer = if is_noted {
            let peer = connect_peer(addr);
            // Commands are done behind the events of a wait, and in front of the accepts.
            reactor.handle().command(1).unwrap();
            peer
        } else {
            talker.write_all(b"close it\n").unwrap();
            connect_peer(addr)
        };
        drive(&mut reactor, &mut recorder, |seen| seen.seen.len() == 2);
        assert!(read_end(&mut reactor, &mut recorder, &mut peer), "a reset");
        assert_eq!(recorder.opened().len(), 1);
        assert_eq!(reactor.stats().accepted, 1);
    }
}

#[test]
fn f55_another_listener_may_take_the_address_at_once_and_a_stale_name_is_not_its_name() {
    let mut reactor = reactor();
    let (first, addr) = listen(&mut reactor, WireFactory::Line);
    let names = Rc::new(RefCell::new(vec![first]));
    let mut recorder = Recorder::reacting({
        let names = Rc::clone(&names);
        move |cx, seen| {
            if matches!(seen, Seen::Message(_, data) if data == b"next") {
                let last = *names.borrow().last().unwrap();
                assert!(cx.close_listener(last));
                let mut config = ListenerConfig::new(addr, WireFactory::Binary);
                config.heartbeat = heartbeat(None, None);
                let next = cx.listen(config).unwrap();
                assert_eq!(cx.local_addr(next), Some(addr));
                names.borrow_mut().push(next);
            }
        }
    });
    recorder.echo = true;
    let mut old = connect_peer(addr);
    for round in 1..=3 {
        old.write_all(b"next\n").unwrap();
        drive(&mut reactor, &mut recorder, |_| {
            names.borrow().len() == 1 + round
        });
        let mut new = connect_peer(addr);
        new.write_all(b"\0\0\0\0\x02hi").unwrap();
        let echo = read_at_least(&mut reactor, &mut recorder, &mut new, 7);
        assert_eq!(echo, b"\0\0\0\0\x02hi", "round {round}");
    }
    let names = names.borrow();
    for (place, name) in names.iter().enumerate() {
        assert!(!names[..place].contains(name), "{names:?}");
    }
    // Those that are gone find nothing, and do nothing to the one that is there.
    let (last, stale) = names.split_last().unwrap();
    for &name in stale {
        let mut cx = reactor.context();
        assert_eq!(cx.local_addr(name), None);
        assert!(!cx.close_listener(name));
        let config = ListenerConfig::new(addr, WireFactory::Line);
        assert!(!cx.set_listener(name, config).unwrap());
    }
    assert_eq!(reactor.local_addr(*last), Some(addr));
    // The first of all still speaks what it spoke.
    let echoed = read_at_least(&mut reactor, &mut recorder, &mut old, 15);
    assert_eq!(echoed, b"next\nnext\nnext\n");
}

#[test]
fn f55_a_listener_may_be_closed_and_opened_during_a_drain() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (listener, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    reactor.context().drain(PATIENCE);
    // While it listens it says so itself.
    let mut late = connect_peer(addr);
    read_end(&mut reactor, &mut recorder, &mut late);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert!(reactor.close_listener(listener));
    let refused = TcpStream::connect(addr).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // Another one takes nobody in either.
    let (_, other) = listen(&mut reactor, WireFactory::Line);
    let mut later = connect_peer(other);
    read_end(&mut reactor, &mut recorder, &mut later);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 2
    });
    assert!(!read_end(&mut reactor, &mut recorder, &mut peer));
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let (_, evidence) = recorder.closed()[0];
    assert_eq!(evidence.cause, Cause::Drain);
    drive(&mut reactor, &mut recorder, |_| true);
    assert!(reactor.is_stopped());
}

fn with_origin(origin: &str) -> Vec<u8> {
    upgrade_request("/", &format!("Origin: {origin}\r\n"))
}

/// A closed listener's rules for web pages outlive it: they are what keeps a stranger's page out.
#[test]
fn f55_opening_handshakes_outlive_their_listener_and_so_do_its_rules() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(ANY, WireFactory::WebSocket);
    config.heartbeat = heartbeat(None, None);
    let (listener, addr) = listen_with(&mut reactor, config);
    let requests = [
        (with_origin("http://evil.example"), "403"),
        (with_origin("http://localhost"), "101"),
        (upgrade_request("/", ""), "101"),
    ];
    let mut peers: Vec<_> = requests
        .iter()
        .map(|(request, _)| {
            let mut peer = connect_peer(addr);
            peer.write_all(&request[..10]).unwrap();
            peer
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while reactor.len() < peers.len() {
        assert!(Instant::now() < deadline, "they were not accepted");
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    assert!(reactor.close_listener(listener));
    for (peer, (request, status)) in peers.iter_mut().zip(&requests) {
        peer.write_all(&request[10..]).unwrap();
        let head = read_head(&mut reactor, &mut recorder, peer);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| {
        (seen.closed().len(), seen.rejected().len()) == (2, 1)
    });
}

/// Their time is that of the listener's heartbeat, though it is gone.
#[test]
fn f55_an_opening_handshake_that_stalls_ends_in_time_though_its_listener_is_closed() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(ANY, WireFactory::WebSocket);
    config.heartbeat = heartbeat(None, None);
    config.heartbeat.handshake_timeout = Duration::from_millis(300);
    let (listener, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    peer.write_all(&upgrade_request("/", "")[..10]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while reactor.is_empty() {
        assert!(Instant::now() < deadline, "it was not accepted");
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }
    assert!(reactor.close_listener(listener));
    let head = read_head(&mut reactor, &mut recorder, &mut peer);
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::HandshakeTimeout);
    assert!(reactor.is_empty());
}

#[test]
fn f55_a_limit_that_comes_later_counts_nobody_who_was_there_before() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let config = |most| {
        let mut config = ListenerConfig::new(ANY, WireFactory::Line);
        config.heartbeat = heartbeat(None, None);
        config.admission = AdmissionConfig {
            open_per_address: most,
            share_per_address: None,
            handshakes_per_address: None,
            limit_loopback: true,
            ..AdmissionConfig::default()
        };
        config
    };
    let (listener, addr) = listen_with(&mut reactor, config(None));
    let before = [(); 3].map(|()| connect_peer(addr));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 3);
    assert!(reactor.set_listener(listener, config(Some(1))).unwrap());
    let _counted = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
    let _refused = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 1
    });
    // Nor do those who go make room that they have not taken.
    drop(before);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 3);
    let _refused = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.rejected().len() == 2
    });
}

#[test]
fn f55_what_a_listener_offers_can_be_changed_for_those_who_come_later() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (listener, addr) = listen(&mut reactor, WireFactory::Line);
    let mut old = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let changed = |addr| {
        let mut config = ListenerConfig::new(addr, WireFactory::Binary);
        config.heartbeat = heartbeat(Some(50), Some(60_000));
        config.limits.max_message = 1_000;
        config
    };
    // By the address that was asked for, and by the one it has; not by another.
    for addr in [ANY, addr] {
        assert!(reactor.set_listener(listener, changed(addr)).unwrap());
    }
    let mut elsewhere = changed(addr);
    let other = SocketAddr::new(addr.ip(), addr.port() ^ 1);
    elsewhere.addr = Some(other.into());
    let mut with_options = changed(addr);
    with_options.socket.backlog = 5;
    let mut senseless = changed(addr);
    senseless.admission.open_per_address = Some(0);
    for (config, field) in [
        (elsewhere, "addr"),
        (with_options, "socket"),
        (senseless, "open_per_address"),
    ] {
        let error = reactor.set_listener(listener, config);
        let Err(Error::Config(error)) = error else {
            panic!("{field}: {error:?}");
        };
        assert_eq!(error.field(), field);
    }
    let mut new = connect_peer(addr);
    let pings = read_at_least(&mut reactor, &mut recorder, &mut new, 2);
    assert_eq!(pings[..2], [1, 1], "it is pinged in binary");
    old.write_all(b"as before\n").unwrap();
    let echo = read_at_least(&mut reactor, &mut recorder, &mut old, 10);
    assert_eq!(echo, b"as before\n", "it is not pinged");
    // What is too big for the new one is not for the old one.
    let big = [b"x".repeat(2_000).as_slice(), b"\n"].concat();
    old.write_all(&big).unwrap();
    let echo = read_at_least(&mut reactor, &mut recorder, &mut old, big.len());
    assert_eq!(echo, big);
    new.write_all(b"\0\0\0\x07\xd0").unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let (_, evidence) = recorder.closed()[0];
    assert_eq!(evidence.cause, Cause::MessageTooBig);
}

#[test]
fn f36_earlier_connections_take_over_what_their_listener_was_changed_to() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let config = |interval, most| {
        let mut config = ListenerConfig::new(ANY, WireFactory::WebSocket);
        config.heartbeat = heartbeat(interval, Some(60_000));
        config.limits.max_message = most;
        config
    };
    let (listener, addr) = listen_with(&mut reactor, config(None, 1_000));
    let (_, elsewhere) = listen_with(&mut reactor, config(None, 1_000));
    let mut open = open_websocket(&mut reactor, &mut recorder, addr);
    let mut spared = open_websocket(&mut reactor, &mut recorder, elsewhere);
    let mut opening = connect_peer(addr);
    let deadline = Instant::now() + PATIENCE;
    while reactor.len() < 3 {
        assert!(Instant::now() < deadline, "it does not come");
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    }

    let changed = config(Some(50), 10);
    assert!(reactor.set_listener(listener, changed).unwrap());
    assert!(reactor.context().renew_connections(listener));
    // The one that opens later too: its head does not say when it was changed.
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(1));
    shake_hands(&mut reactor, &mut recorder, &mut opening);
    for peer in [&mut open, &mut opening] {
        let ping = read_at_least(&mut reactor, &mut recorder, peer, 6);
        assert_eq!(ping[..2], [0x89, 4]);
        peer.write_all(&masked_frame(0x82, &[0; 11])).unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    for (_, evidence) in recorder.closed() {
        assert_eq!(evidence.cause, Cause::MessageTooBig);
    }
    // Whoever came to another listener has not changed.
    spared.write_all(&masked_frame(0x82, &[0; 11])).unwrap();
    let echo = read_at_least(&mut reactor, &mut recorder, &mut spared, 13);
    assert_eq!(echo[..2], [0x82, 11]);

    assert!(reactor.close_listener(listener));
    assert!(!reactor.context().renew_connections(listener));
}

#[test]
fn f55_rules_for_web_pages_change_for_requests_under_way() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let config = || {
        let mut config = ListenerConfig::new(ANY, WireFactory::WebSocket);
        config.heartbeat = heartbeat(None, None);
        config
    };
    let (listener, addr) = listen_with(&mut reactor, config());
    let request = with_origin("http://app.example");
    let [mut before, mut after] = [(); 2].map(|()| connect_peer(addr));
    before.write_all(&request).unwrap();
    after.write_all(&request[..10]).unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut before);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut opened = config();
    opened.web.origins = vec!["http://app.example".into()];
    assert!(reactor.set_listener(listener, opened).unwrap());
    after.write_all(&request[10..]).unwrap();
    let head = read_head(&mut reactor, &mut recorder, &mut after);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// One loop of a group closes its listener, which another one has under the same name.
#[test]
fn f55_a_rate_of_a_group_is_kept_for_as_long_as_one_of_its_loops_listens() {
    let group = Group::new();
    let config = |addr| {
        let mut config = ListenerConfig::new(addr, WireFactory::Line);
        config.admission.handshakes_per_second = Some(1);
        config.socket.reuse_port = true;
        config
    };
    let make = || Reactor::<u32, u64>::in_group(ReactorConfig::default(), &group).unwrap();
    let (mut first, mut second) = (make(), make());
    let (mut ours, mut theirs) = (Recorder::default(), Recorder::default());
    let (mine, addr) = listen_with(&mut first, config(ANY));
    let _in = connect_peer(addr);
    drive(&mut first, &mut ours, |seen| seen.opened().len() == 1);
    listen_with(&mut second, config(addr));
    assert!(first.context().close_listener(mine));
    // All who come now come to the other, for which the first of this second has paid.
    let _refused = connect_peer(addr);
    drive(&mut second, &mut theirs, |seen| !seen.seen.is_empty());
    assert_eq!(theirs.rejected().len(), 1, "{:?}", theirs.seen);
    // Under a new name there is a new rate.
    let (_, addr) = listen_with(&mut first, config(ANY));
    let _in = connect_peer(addr);
    drive(&mut first, &mut ours, |seen| seen.opened().len() == 2);
}

/// Panics at the first plain request, or closes the listener there.
struct Answering {
    listener: ListenerId,
    panics: bool,
    opened: usize,
}

impl Handler<u64> for Answering {
    type Data = u32;

    fn on_http(
        &mut self,
        cx: &mut Context<'_, u32>,
        _: RequestId,
        _: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        assert!(!std::mem::take(&mut self.panics), "on purpose");
        cx.close_listener(self.listener);
        HttpAnswer::text(200, "fine").into()
    }

    fn on_open(&mut self, _: &mut Context<'_, u32>, _: ConnId) {
        self.opened += 1;
    }
}

/// Before a newcomer takes its place, the request of the oldest that waits is read: its callback may do
/// anything.
#[test]
fn a_newcomer_keeps_its_place_whatever_a_callback_does_for_whose_sake_another_makes_way() {
    for panics in [true, false] {
        while !keeps_its_place(panics) {}
    }
}

/// Returns false if a busy machine had the first request read before the second peer was there.
fn keeps_its_place(panics: bool) -> bool {
    let group = Group::new();
    let mut reactor = Reactor::<u32, u64>::in_group(ReactorConfig::default(), &group).unwrap();
    let mut config = ListenerConfig::new(ANY, WireFactory::WebSocket);
    config.heartbeat = heartbeat(None, None);
    config.admission.half_open_per_address = Some(1);
    let (listener, addr) = listen_with(&mut reactor, config);
    let mut handler = Answering {
        listener,
        panics,
        opened: 0,
    };
    let deadline = Instant::now() + PATIENCE;
    let turn = |reactor: &mut Reactor<u32, u64>, handler: &mut Answering| {
        assert!(Instant::now() < deadline, "gave up: {:?}", reactor.stats());
        let limit = Some(Duration::from_millis(20));
        let turn = AssertUnwindSafe(|| reactor.turn(handler, limit).map(drop));
        catch_unwind(turn).unwrap_or(Ok(())).unwrap();
    };
    // Both are accepted in one turn, mostly: the first has asked for something by then.
    let mut first = connect_peer(addr);
    first
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut second = connect_peer(addr);
    while reactor.stats().accepted < 2 {
        turn(&mut reactor, &mut handler);
        if reactor.local_addr(listener).is_none() && reactor.stats().accepted < 2 {
            return false;
        }
    }
    assert_eq!(
        group.len(),
        reactor.len(),
        "nobody holds a place for nothing"
    );
    second.write_all(&upgrade_request("/", "")).unwrap();
    while handler.opened == 0 {
        turn(&mut reactor, &mut handler);
    }
    drop((first, second));
    while !reactor.is_empty() {
        turn(&mut reactor, &mut handler);
    }
    assert!(group.is_empty());
    true
}
