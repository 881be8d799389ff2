//! Whole turns, on real sockets.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use super::conn::Mark;
use super::core::EventLoop;
use super::sleep::Sleep;
use super::token::ConnId;
use crate::close::Cause;
use crate::config::{HeartbeatConfig, ReactorConfig};
use crate::proto::message::{Message, SharedMessage};
use crate::proto::time::Micros;
use crate::reactor::{ClientConfig, Context, Handler, ListenerConfig, Reactor, WireFactory};

/// Counts the ends, and remembers what they were.
#[derive(Default)]
pub(super) struct Ends(Vec<(ConnId, Cause, Micros)>);

impl Handler for Ends {
    type Data = ();

    fn on_close(&mut self, cx: &mut Context<'_, ()>, closed: crate::reactor::Closed<'_, ()>) {
        self.0
            .push((closed.id, closed.evidence.cause, cx.now().into()));
    }
}

/// Listens, and has so many peers come.
pub(super) fn with_peers(
    config: ReactorConfig,
    count: usize,
    change: impl FnOnce(&mut ListenerConfig),
) -> (Reactor, Vec<std::net::TcpStream>) {
    let mut reactor = Reactor::new(config).expect("a selector");
    let addr = ([127, 0, 0, 1], 0).into();
    let mut listener = ListenerConfig::new(addr, WireFactory::Line);
    change(&mut listener);
    let id = reactor.listen(listener).expect("a port");
    let addr = reactor.local_addr(id).expect("it is bound");
    let mut peers = Vec::new();
    // No more at once than the backlog of the system holds: without `sockets` that is 128.
    while peers.len() < count {
        let more = (count - peers.len()).min(100);
        let dial = |_| std::net::TcpStream::connect(addr).expect("it listens");
        peers.extend((0..more).map(dial));
        turn_until(&mut reactor, &mut Ends::default(), |reactor, _| {
            reactor.stats().opened == peers.len() as u64
        });
    }
    (reactor, peers)
}

pub(super) fn turn_until(
    reactor: &mut Reactor,
    ends: &mut Ends,
    done: impl Fn(&Reactor, &Ends) -> bool,
) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !done(reactor, ends) {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            reactor.stats()
        );
        let limit = Some(Duration::from_millis(10));
        reactor.turn(ends, limit).expect("the selector works");
    }
}

fn end_each(core: &mut EventLoop<()>, ids: &[ConnId]) {
    for id in ids {
        let conn = &mut core.conns[id.index()];
        conn.session.end(core.now, Cause::WriteStalled, None);
        core.mark_dirty(id.index());
    }
}

/// A heartbeat that differs from others by its number.
fn numbered(number: u64) -> HeartbeatConfig {
    HeartbeatConfig {
        app_idle: Some(Duration::from_secs(1_000 + number)),
        ..HeartbeatConfig::tcp()
    }
}

#[test]
fn clients_and_connections_that_are_gone_give_their_policies_back() {
    let (mut reactor, peers) = with_peers(ReactorConfig::default(), 3, |_| {});
    assert_eq!(reactor.core.env.policy_count(), 1, "the listener's");
    let ids: Vec<_> = reactor.context().connections().collect();
    for (number, id) in (1..).zip(ids) {
        let changed = reactor.context().set_heartbeat(id, &numbered(number));
        changed.expect("there is room");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let config = ClientConfig {
        heartbeat: numbered(4),
        reconnect: None,
        ..ClientConfig::new("127.0.0.1", port, WireFactory::Line)
    };
    reactor.connect(config).expect("a sound configuration");
    assert_eq!(reactor.core.env.policy_count(), 5);
    let mut ends = Ends::default();
    turn_until(&mut reactor, &mut ends, |reactor, _| {
        reactor.stats().opened == 4
    });
    drop((peers, listener.accept().expect("it was dialed")));
    turn_until(&mut reactor, &mut ends, |_, ends| ends.0.len() == 4);
    assert_eq!(reactor.core.env.policy_count(), 1, "the listener's");
    assert!(reactor.core.clients.ids().is_empty());
}

#[test]
fn what_could_not_be_added_gives_its_policy_back() {
    let mut reactor: Reactor<()> = Reactor::new(ReactorConfig::default()).expect("a selector");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("it is bound");
    let listening = reactor.listen(ListenerConfig::new(addr, WireFactory::Line));
    listening.expect_err("somebody listens there");
    let mut config = ClientConfig::new("127.0.0.1", addr.port(), WireFactory::Line);
    let reconnect = config.reconnect.get_or_insert_default();
    reconnect.min = Duration::ZERO;
    reactor.connect(config).expect_err("it is zero");
    assert_eq!(reactor.core.env.policy_count(), 0);
}

#[test]
fn a_turn_reaps_no_more_than_its_budget_and_each_is_reported_once() {
    const COUNT: usize = 300;
    let (mut reactor, peers) = with_peers(ReactorConfig::default(), COUNT, |_| {});
    let ids: Vec<_> = reactor.context().connections().collect();
    end_each(&mut reactor.core, &ids);
    let mut ends = Ends::default();
    let mut turns = 0;
    while ends.0.len() < COUNT {
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "{turns}");
        // What is due to those that wait to be reaped must not change how they ended.
        for &key in reactor.core.doomed.iter() {
            reactor.core.wheel.schedule(key, Micros::ZERO);
        }
        let before = ends.0.len();
        let zero = Some(Duration::ZERO);
        let turn = reactor.turn(&mut ends, zero).expect("the selector works");
        assert_eq!(turn.ended, ends.0.len() - before);
        assert!((1..=256).contains(&turn.ended), "{turn:?}");
        turns += 1;
    }
    let reported: Vec<_> = ends.0.iter().map(|&(id, ..)| id).collect();
    assert_eq!(
        reported, ids,
        "the first to end is the first to be reported"
    );
    let is_stalled = |end: &(_, Cause, _)| end.1 == Cause::WriteStalled;
    assert!(ends.0.iter().all(is_stalled), "{:?}", ends.0);
    reactor
        .turn(&mut ends, Some(Duration::ZERO))
        .expect("the selector works");
    assert_eq!(ends.0.len(), COUNT);
    drop(peers);
}

#[test]
fn what_many_ends_leave_behind_is_freed_bit_by_bit() {
    const COUNT: usize = 20;
    const LEN: usize = 12 * 1024 * 1024;
    let (mut reactor, peers) = with_peers(ReactorConfig::default(), COUNT, |listener| {
        listener.heartbeat.interval = None;
        listener.heartbeat.timeout = None;
    });
    let ids: Vec<_> = reactor.context().connections().collect();
    let long = vec![b'a'; LEN];
    for &id in &ids {
        let text = Message::binary(&long);
        reactor.context().send(id, text).expect("there is room");
    }
    end_each(&mut reactor.core, &ids);
    let mut ends = Ends::default();
    let mut turns = 0;
    while ends.0.len() < COUNT || reactor.core.env.pool.has_waste() {
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "{turns}");
        let zero = Some(Duration::ZERO);
        reactor.turn(&mut ends, zero).expect("the selector works");
        turns += 1;
    }
    assert_eq!(ends.0.len(), COUNT);
    // 32 MiB a turn.
    assert!(turns >= COUNT * LEN / (32 * 1024 * 1024), "{turns}");
    assert_eq!(reactor.next_timeout(), None);
    drop(peers);
}

#[test]
fn after_a_stop_of_weeks_the_dead_are_found_and_the_living_are_not_blamed() {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};

    const DAY: Micros = Micros::from_secs(24 * 60 * 60);

    let seeded = ReactorConfig {
        seed: Some(5),
        ..ReactorConfig::default()
    };
    for days in [1, 13, 20, 26, 37, 48, 60, 100] {
        let (mut reactor, mut peers) = with_peers(seeded.clone(), 2, |listener| {
            listener.heartbeat.interval = Some(Duration::from_secs(10));
            listener.heartbeat.timeout = Some(Duration::from_secs(25));
        });
        let start = (reactor.core.now.at, Micros::ZERO);
        let hands = Arc::new(Mutex::new(start));
        let scripted = crate::sys::Hands::Scripted(Arc::clone(&hands));
        *reactor.core.system.hands_mut() = scripted;
        reactor.core.sleep = Sleep::new(Micros::ZERO);
        let mut living = peers.pop().expect("two came");
        living.set_nonblocking(true).expect("it can be");
        let dead = {
            let local = living.local_addr().expect("it has one");
            let context = reactor.context();
            let is_dead = |&id: &ConnId| context.info(id).is_some_and(|info| info.peer != local);
            context.connections().find(is_dead).expect("two came")
        };
        let mut ends = Ends::default();
        let mut turn = |reactor: &mut Reactor, ends: &mut Ends, span: Micros| {
            let now = {
                let mut hands = hands.lock().expect("nobody panics with it");
                hands.0 = hands.0 + span;
                hands.0
            };
            let zero = Some(Duration::ZERO);
            reactor.turn(ends, zero).expect("the selector works");
            let mut line = [0; 64];
            while let Ok(1..) = living.read(&mut line) {
                living.write_all(b"PONG\n").expect("it is open");
            }
            now
        };
        for _ in 0..5 {
            turn(&mut reactor, &mut ends, Micros::from_millis(10));
        }
        // Nothing asks yet: the next ping of the grid must.
        assert_eq!(reactor.stats().pings_written, 0);
        let back = turn(&mut reactor, &mut ends, DAY.saturating_mul(days));
        while ends.0.is_empty() {
            let now = turn(&mut reactor, &mut ends, Micros::from_millis(100));
            assert!(
                now - back < Micros::from_secs(60),
                "{days} days: nobody is found dead"
            );
        }
        let [(id, cause, at)] = ends.0[..] else {
            panic!("{days} days: {:?}", ends.0);
        };
        assert_eq!(id, dead, "{days} days");
        assert!(
            [Cause::PeerUnresponsive, Cause::PongTimeout].contains(&cause),
            "{cause}"
        );
        // The peer has the rest of its timeout, and never less than the time to answer a ping.
        assert!(
            at - back >= Micros::from_secs(15),
            "{days} days: {:?}",
            at - back
        );
        for _ in 0..600 {
            turn(&mut reactor, &mut ends, Micros::from_millis(100));
        }
        assert_eq!(
            (ends.0.len(), reactor.len()),
            (1, 1),
            "{days} days: the living stays"
        );
    }
}

/// Sends what comes on to everybody.
struct Crier;

impl Handler for Crier {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, _: ConnId, message: Message<'_>) {
        let begun = cx.broadcast(&SharedMessage::new(message));
        begun.expect("there is room");
    }
}

/// It costs its sender a few bytes, and the loop a message to each of them.
#[test]
fn a_message_to_many_uses_up_the_share_of_its_sender() {
    let (mut reactor, mut peers) = with_peers(ReactorConfig::default(), 200, |_| {});
    peers[7].write_all(b"hello\n").expect("it has room");
    while reactor.stats().messages_in == 0 {
        let limit = Some(Duration::from_secs(10));
        reactor.turn(&mut Crier, limit).expect("the selector works");
    }
    let heavy = reactor.core.conns.iter();
    let heavy: Vec<_> = heavy
        .filter(|(_, conn)| conn.marks.has(Mark::Heavy))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(heavy, [7]);
}
