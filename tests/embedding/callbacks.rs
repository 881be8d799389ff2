//! Open and close pair exactly; data, timers, foreign sources; callbacks that close each other.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::error::Error;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::Message;
use heartwheel::reactor::{
    ClientConfig, ConnId, Context, Decision, Endpoint, Handler, HttpAnswer, Offer, Reactor,
    Rejected, Rejection, RequestId, TimerId, Welcome, WireFactory,
};
use mio::Interest;

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::turning::*;

#[test]
fn open_and_close_pair_exactly_and_bring_the_data_back() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    for round in 1..=3 {
        let mut peer = connect_peer(addr);
        peer.write_all(b"hello\n").unwrap();
        let echoed = read_at_least(&mut reactor, &mut recorder, &mut peer, 6);
        assert_eq!(echoed, b"hello\n");
        drop(peer);
        drive(&mut reactor, &mut recorder, |seen| {
            seen.closed().len() == round
        });
    }
    let closed = recorder.closed();
    assert_eq!(
        recorder.opened(),
        closed.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    );
    for (_, evidence) in closed {
        assert_eq!((evidence.cause, evidence.clean), (Cause::PeerEof, true));
    }
    let data: Vec<_> = recorder
        .seen
        .iter()
        .filter_map(|seen| {
            if let Seen::Closed(_, _, data, _) = seen {
                Some(*data)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(data, [7, 7, 7]);
    assert!(reactor.is_empty());
    assert_eq!(reactor.stats().opened, 3);
    assert_eq!(reactor.stats().closed(Cause::PeerEof), 3);
}

#[test]
fn data_can_be_read_and_changed_from_any_callback() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Message(id, _) = seen {
            *cx.data_mut(*id).unwrap() += 1;
            assert_eq!(cx.info(*id).unwrap().queued, 0);
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    peer.write_all(b"one\ntwo\n").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 2
    });
    let id = recorder.opened()[0];
    assert_eq!(reactor.context().data(id), Some(&9));
}

#[test]
fn a_connection_of_a_plain_wire_can_be_turned_away() {
    let mut recorder = Recorder {
        judge: Some(Box::new(|_| Err(Rejection::new(403, "no")))),
        ..Recorder::default()
    };
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Binary);
    let mut peer = connect_peer(addr);
    read_end(&mut reactor, &mut recorder, &mut peer);
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.rejected().is_empty()
    });
    assert_eq!(recorder.rejected()[0].cause, Cause::Refused);
    assert!(recorder.opened().is_empty() && recorder.closed().is_empty());
}

#[test]
fn a_timer_fires_once_never_early_and_can_be_cancelled() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let began = reactor.context().now();
    reactor.context().set_timer(Duration::from_millis(30), 1);
    let cancelled = reactor.context().set_timer(Duration::from_millis(10), 2);
    assert!(reactor.context().cancel_timer(cancelled));
    assert!(!reactor.context().cancel_timer(cancelled));
    reactor.context().set_timer(Duration::ZERO, 3);
    drive(&mut reactor, &mut recorder, |seen| seen.seen.len() == 2);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    let [Seen::Timer(3, _), Seen::Timer(1, at)] = recorder.seen[..] else {
        panic!("{:?}", recorder.seen);
    };
    assert!(at >= began + Duration::from_millis(30));
}

#[test]
fn a_timer_of_a_connection_ends_with_it() {
    const DELAY: Duration = Duration::from_millis(20);
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            assert!(cx.set_conn_timer(*id, DELAY, 1).is_some());
            let cancelled = cx.set_conn_timer(*id, DELAY, 2).unwrap();
            assert!(cx.cancel_timer(cancelled));
            if cx.connections().count() == 2 {
                cx.close(*id, CloseCode::NORMAL, "");
            }
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peers = [0; 2].map(|_| connect_peer(addr));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let [stays, goes] = recorder.opened()[..] else {
        unreachable!()
    };
    assert_eq!(reactor.context().set_conn_timer(goes, DELAY, 3), None);
    let is_fired = |seen: &Recorder| seen.seen.contains(&Seen::ConnTimer(stays, 1));
    drive(&mut reactor, &mut recorder, is_fired);
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    let fired = recorder.seen.iter();
    let fired = fired.filter(|seen| matches!(seen, Seen::ConnTimer(..)));
    assert_eq!(fired.count(), 1);
    assert_eq!(reactor.next_timeout(), None, "nothing is armed any more");
}

#[test]
fn a_timer_set_within_its_own_callback_does_not_starve_the_turn() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Timer(count, _) = seen
            && *count < 100
        {
            cx.set_timer(Duration::ZERO, count + 1);
        }
    });
    let mut reactor = reactor();
    reactor.context().set_timer(Duration::ZERO, 1);
    drive(&mut reactor, &mut recorder, |seen| seen.seen.len() == 100);
}

#[test]
fn f38_timers_armed_and_cancelled_in_callbacks_fire_once_each() {
    const DELAY: Duration = Duration::from_millis(40);
    const ROUNDS: u64 = 5;
    let others: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let theirs = Rc::clone(&others);
    let mut recorder = Recorder::reacting(move |cx, seen| {
        let &Seen::Timer(word, _) = seen else { return };
        // Those that came due at the same time were armed after this one, which calls them off.
        for other in theirs.borrow_mut().drain(..) {
            assert!(cx.cancel_timer(other), "{word}: it has fired, or never was");
        }
        if word < ROUNDS {
            cx.set_timer(DELAY, word + 1);
            let again = [100, 101].map(|word| cx.set_timer(DELAY, word));
            theirs.borrow_mut().extend(again);
        }
    });
    let mut reactor = reactor();
    let began = reactor.context().now();
    reactor.context().set_timer(DELAY, 1);
    let same_time = [100, 101].map(|word| reactor.context().set_timer(DELAY, word));
    others.borrow_mut().extend(same_time);
    let count = usize::try_from(ROUNDS).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.seen.len() >= count);
    drive_for(&mut reactor, &mut recorder, DELAY * 2);
    assert_eq!(reactor.next_timeout(), None, "nothing is armed any more");
    let mut due = began;
    let mut words = Vec::new();
    for seen in &recorder.seen {
        let &Seen::Timer(word, at) = seen else {
            panic!("{seen:?}");
        };
        due += DELAY;
        assert!(at >= due, "{word} at {at:?}, due at {due:?}");
        due = at;
        words.push(word);
    }
    assert_eq!(words, (1..=ROUNDS).collect::<Vec<_>>());
}

#[test]
fn a_foreign_source_is_heard_until_it_is_let_go() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (mut ours, theirs) = mio::net::UnixStream::pair().unwrap();
    let mut theirs = theirs;
    let id = reactor.register(&mut ours, Interest::READABLE).unwrap();
    theirs.write_all(b"x").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen
            .iter()
            .any(|seen| matches!(seen, Seen::Source(it, ready) if *it == id && ready.readable))
    });
    reactor.context().deregister(&mut ours, id).unwrap();
    let count = recorder.seen.len();
    theirs.write_all(b"x").unwrap();
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    assert_eq!(recorder.seen.len(), count);
}

/// The slot of a source that was let go is the next one's; a name kept too long took that one out.
#[test]
fn the_name_of_a_source_that_was_let_go_finds_nothing() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (mut gone, _far) = mio::net::UnixStream::pair().unwrap();
    let (mut ours, mut theirs) = mio::net::UnixStream::pair().unwrap();
    let stale = reactor.register(&mut gone, Interest::READABLE).unwrap();
    reactor.context().deregister(&mut gone, stale).unwrap();
    let id = reactor.register(&mut ours, Interest::READABLE).unwrap();
    assert_ne!(id, stale);
    for source in [&mut gone, &mut ours] {
        let error = reactor.context().deregister(source, stale).unwrap_err();
        let Error::Register(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    theirs.write_all(b"x").unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        let is_ours = |seen: &Seen| matches!(seen, Seen::Source(it, _) if *it == id);
        seen.seen.iter().any(is_ours)
    });
    reactor.context().deregister(&mut ours, id).unwrap();
}

/// Two sources are ready in one wait. The first to be told of lets the other go and has a third come, which
/// gets its slot: what was meant for the other is not the third's.
#[test]
fn what_a_source_was_ready_for_is_not_told_of_the_next_in_its_slot() {
    let mut reactor = reactor();
    let (mut third, _far) = mio::net::UnixStream::pair().unwrap();
    let (mut sources, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (mut ours, mut theirs) = mio::net::UnixStream::pair().unwrap();
        let id = reactor.register(&mut ours, Interest::READABLE).unwrap();
        theirs.write_all(b"x").unwrap();
        sources.push((id, ours));
        peers.push(theirs);
    }
    let mut is_first = true;
    let mut recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Source(told, _) = seen
            && std::mem::take(&mut is_first)
        {
            let mut others = sources.iter_mut().filter(|(id, _)| id != told);
            let (id, source) = others.next().expect("there are two");
            cx.deregister(source, *id).unwrap();
            cx.register(&mut third, Interest::READABLE).unwrap();
        }
    });
    drive(&mut reactor, &mut recorder, |seen| !seen.seen.is_empty());
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    assert_eq!(recorder.seen.len(), 1, "{:?}", recorder.seen);
}

#[test]
fn f39_a_callback_that_closes_others_and_itself_closes_each_once() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Message(..) = seen {
            let all: Vec<_> = cx.connections().collect();
            for id in all {
                cx.close(id, CloseCode::NORMAL, "everyone");
                cx.close(id, CloseCode::NORMAL, "twice");
            }
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peers: Vec<_> = (0..8).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 8);
    // Two of them speak in the same batch, so that one closes the other before its event is seen.
    peers[3].write_all(b"close\n").unwrap();
    peers[5].write_all(b"close\n").unwrap();
    for peer in &mut peers {
        read_end(&mut reactor, &mut recorder, peer);
    }
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 8);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(30));
    let mut closed: Vec<_> = recorder.closed().iter().map(|(id, _)| *id).collect();
    closed.sort();
    let mut opened = recorder.opened();
    opened.sort();
    assert_eq!(closed, opened);
    assert!(
        recorder
            .closed()
            .iter()
            .all(|(_, end)| end.cause == Cause::LocalClose)
    );
}

#[test]
fn f39_a_close_callback_that_closes_the_next_one_skips_nobody() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Closed(..) = seen {
            let next = cx.connections().next();
            if let Some(next) = next {
                cx.close(next, CloseCode::NORMAL, "domino");
            }
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peers: Vec<_> = (0..16).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == 16
    });
    drop(peers.pop());
    let deadline = Instant::now() + PATIENCE;
    while recorder.closed().len() < 16 {
        assert!(Instant::now() < deadline, "{:#?}", recorder.closed());
        // A closed peer goes away, and so ends the goodbye.
        peers.retain_mut(|peer| !matches!(std::io::Read::read(peer, &mut [0; 64]), Ok(0)));
        reactor
            .turn(&mut recorder, Some(Duration::from_millis(1)))
            .unwrap();
    }
    assert!(reactor.is_empty());
}

#[test]
fn f23_a_name_kept_too_long_finds_nothing_though_its_slot_is_used_again() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let first = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let stale = recorder.opened()[0];
    drop(first);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let mut second = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let fresh = recorder.opened()[1];
    assert_ne!(stale, fresh);
    assert_eq!(
        stale.as_u64() & 0xFFFF_FFFF,
        fresh.as_u64() & 0xFFFF_FFFF,
        "same slot"
    );

    let mut cx = reactor.context();
    assert!(cx.send(stale, Message::text("lost")).is_err());
    cx.close(stale, CloseCode::NORMAL, "");
    cx.pause(stale);
    assert!(cx.info(stale).is_none() && cx.data(stale).is_none());
    second.write_all(b"still here\n").unwrap();
    let echoed = read_at_least(&mut reactor, &mut recorder, &mut second, 11);
    assert_eq!(echoed, b"still here\n");
}

#[test]
fn the_connections_are_listed_in_the_order_of_their_slots() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peers: Vec<_> = (0..5).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 5);
    let listed: Vec<_> = reactor.context().connections().collect();
    assert_eq!(listed, recorder.opened());
}

/// Panics on one word, echoes every other.
struct Fragile(Rc<RefCell<Vec<(ConnId, Cause)>>>);

impl Handler for Fragile {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        assert_ne!(message.as_text(), Some("boom"), "the handler's own bug");
        cx.send(id, message).unwrap();
    }

    fn on_close(&mut self, _cx: &mut Context<'_, ()>, closed: heartwheel::reactor::Closed<'_, ()>) {
        self.0.borrow_mut().push((closed.id, closed.evidence.cause));
    }
}

#[test]
fn a_panic_in_a_handler_costs_that_connection_and_no_other() {
    let config = heartwheel::config::ReactorConfig {
        max_connections: 8,
        ..heartwheel::config::ReactorConfig::default()
    };
    let mut reactor = Reactor::<()>::new(config).unwrap();
    let mut listener =
        heartwheel::reactor::ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    listener.heartbeat = heartbeat(None, None);
    let id = reactor.listen(listener).unwrap();
    let addr = reactor.local_addr(id).unwrap();
    let ends = Rc::new(RefCell::new(Vec::new()));
    let mut handler = Fragile(Rc::clone(&ends));
    let (mut bad, mut good) = (connect_peer(addr), connect_peer(addr));
    bad.write_all(b"boom\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut panics = 0;
    let mut echoed = Vec::new();
    good.write_all(b"fine\n").unwrap();
    while echoed != b"fine\n" || ends.borrow().is_empty() {
        assert!(Instant::now() < deadline, "{panics} panics, {ends:?}");
        let turn = catch_unwind(AssertUnwindSafe(|| {
            reactor
                .turn(&mut handler, Some(Duration::from_millis(5)))
                .unwrap();
        }));
        panics += u32::from(turn.is_err());
        let mut chunk = [0; 64];
        if let Ok(count) = std::io::Read::read(&mut good, &mut chunk) {
            echoed.extend_from_slice(&chunk[..count]);
        }
        if matches!(std::io::Read::read(&mut bad, &mut chunk), Ok(0)) {
            bad.shutdown(std::net::Shutdown::Both).ok();
        }
    }
    assert_eq!(panics, 1);
    assert_eq!(ends.borrow().len(), 1);
    assert_eq!(ends.borrow()[0].1, Cause::LocalClose);
    assert_eq!(reactor.len(), 1);
}

#[test]
fn a_context_can_ping_dial_and_replace_from_within_a_callback() {
    let mut reactor = reactor();
    let mut config = heartwheel::reactor::ListenerConfig::new(
        ([127, 0, 0, 1], 0).into(),
        WireFactory::WebSocket,
    );
    config.heartbeat = heartbeat(None, None);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut opened = Vec::new();
    let mut recorder = Recorder::reacting(move |cx, seen| match seen {
        // The same identity again: the newer connection takes the place of the older one.
        Seen::Open(id) if matches!(cx.info(*id).unwrap().endpoint, Endpoint::Listener(_)) => {
            if let Some(older) = opened.pop() {
                cx.replace(older);
            }
            opened.push(*id);
            cx.ping(*id);
        }
        Seen::Command(_) => {
            let client =
                ClientConfig::new(addr.ip().to_string(), addr.port(), WireFactory::WebSocket);
            cx.connect(ClientConfig {
                reconnect: None,
                ..client
            })
            .unwrap();
        }
        _ => {}
    });
    let handle = reactor.handle();
    handle.command(1).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen
            .iter()
            .any(|seen| matches!(seen, Seen::Pong(_, Some(_))))
    });
    handle.command(2).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    let causes: Vec<_> = recorder.closed().iter().map(|(_, end)| end.cause).collect();
    assert!(
        causes.contains(&Cause::Replaced) && causes.contains(&Cause::PeerClosed),
        "{causes:?}"
    );
    let code = recorder.closed().iter().find_map(|(_, end)| end.close_code);
    assert_eq!(code, Some(CloseCode::POLICY));
    assert_eq!(reactor.stats().dialed, 2);
    assert_eq!(reactor.len(), 2);
}

/// Closes every connection while it is asked about it.
#[derive(Default)]
struct Closer {
    rejected: Vec<Cause>,
    opened: u32,
}

impl Handler<u64> for Closer {
    type Data = u32;

    fn on_accept(
        &mut self,
        cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<u32>>, Rejection> {
        cx.close(offer.id, CloseCode::NORMAL, "");
        Ok(Welcome::default().into())
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_, u32>,
        id: RequestId,
        _: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        cx.close(id.conn(), CloseCode::NORMAL, "");
        HttpAnswer::upgrade_required().into()
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
        let mut config = on_loopback(wire, None, None);
        config.heartbeat.close_timeout = Duration::from_millis(100);
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = connect_peer(addr);
        peer.write_all(&request).unwrap();
        let began = Instant::now();
        while closer.rejected.is_empty() {
            assert!(began.elapsed() < PATIENCE);
            reactor
                .turn(&mut closer, Some(Duration::from_millis(20)))
                .unwrap();
        }
        assert_eq!(closer.rejected, [Cause::LocalClose]);
        assert_eq!((closer.opened, reactor.len()), (0, 0));
    }
}
