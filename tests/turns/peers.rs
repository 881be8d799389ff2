//! What is known of a peer between two verdicts, and timers that end with their connection.

use std::time::Duration;

use heartwheel::close::{Cause, CloseCode, KernelFigures, Liveness};
use heartwheel::event_loop::ConnId;
use heartwheel::proto::time::Micros;

use crate::memory::pipe::Fate;
use crate::world::World;

fn millis(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// A world with one peer, whose pings are ten seconds apart, with a timeout of 25.
fn watched() -> (World, ConnId) {
    let mut world = World::with(64, |listener| {
        listener.heartbeat.interval = Some(Duration::from_secs(10));
        listener.heartbeat.timeout = Some(Duration::from_secs(25));
        listener.heartbeat.ping_slack = Some(Duration::ZERO);
    });
    world.fill(1);
    let id = world.process.handler.opened[0];
    (world, id)
}

/// Turns until the loop has written a ping; returns when.
fn next_ping(world: &mut World) -> Micros {
    world.read(0);
    for _ in 0..2_000 {
        let now = world.process.memory.clock() + millis(10);
        world.process.run_to(now);
        if world.read(0) == "PING\n" {
            return now;
        }
    }
    panic!("a ping is due every ten seconds");
}

/// Has the peer say something; returns when, and when the ping after it was written.
fn prove(world: &mut World) -> (Micros, Micros) {
    world.fars[0].send(b"here\n");
    world.process.settle();
    (world.process.memory.clock(), next_ping(world))
}

fn liveness(world: &mut World, id: ConnId) -> Liveness {
    world.cx().info(id).expect("it is there").liveness
}

#[test]
fn a_peer_is_healthy_then_late_then_dead() {
    let (mut world, id) = watched();
    let (proved, pinged) = prove(&mut world);
    let verdict = (proved + millis(25_000)).max(pinged + millis(15_000));
    let late = |world: &mut World| {
        let cx = world.cx();
        let ids = cx.connections();
        ids.filter(|&id| cx.info(id).unwrap().liveness == Liveness::Late)
            .count()
    };
    world.process.run_to(verdict - millis(7_600));
    assert_eq!(liveness(&mut world, id), Liveness::Healthy);
    assert_eq!(late(&mut world), 0);
    world.process.run_to(verdict - millis(7_400));
    assert_eq!(liveness(&mut world, id), Liveness::Late);
    assert_eq!(late(&mut world), 1);

    let (proved, pinged) = prove(&mut world);
    assert_eq!(liveness(&mut world, id), Liveness::Healthy);
    let verdict = (proved + millis(25_000)).max(pinged + millis(15_000));
    world.process.run_to(verdict - millis(100));
    assert_eq!(liveness(&mut world, id), Liveness::Late);
    assert!(world.process.handler.closing.is_empty());
    world.process.run_to(verdict + millis(100));
    assert_eq!(world.process.handler.closing, [(id, Liveness::Dead)]);
    assert_eq!(world.process.handler.closed, [(id, Cause::PongTimeout)]);
    assert_eq!(late(&mut world), 0);
}

#[test]
fn our_own_delay_makes_no_peer_late() {
    let (mut world, id) = watched();
    let pinged = next_ping(&mut world);
    world.fars[0].send(b"here\n");
    world.process.settle();
    let pinged_again = next_ping(&mut world);
    assert!(pinged_again <= pinged + millis(10_010));
    // Seven seconds of the ten and more that it has are ours, and nobody could hear an answer then.
    world.process.run_to(pinged_again + millis(1_000));
    world.cx().set_timer(Duration::from_secs(1), 0);
    world.process.hold_up(millis(8_000));
    assert_eq!(liveness(&mut world, id), Liveness::Healthy);
}

#[test]
fn an_orderly_end_is_nobodys_death() {
    let (mut world, id) = watched();
    world.cx().close(id, CloseCode::NORMAL, "");
    world.process.settle();
    assert_eq!(world.process.handler.closing, [(id, Liveness::Healthy)]);
}

/// The kernel kept them for minutes, and the socket with them.
#[test]
fn last_words_that_a_peer_does_not_take_are_not_kept() {
    for (window, fate) in [(0, Fate::Reset), (65_536, Fate::Closed)] {
        let mut world = World::new(64);
        world.fill(1);
        world.fars[0].set_figures(Some(KernelFigures {
            unsent: 100,
            mss: 1460,
            window,
            ..KernelFigures::default()
        }));
        world.fars[0].send(b"\xFF\n");
        world.process.settle();
        assert_eq!(world.fars[0].fate(), Fate::Shut);
        let end = world.process.memory.clock() + millis(10_000);
        world.process.run_to(end);
        assert_eq!(world.fars[0].fate(), fate, "{window}");
        let closed = &world.process.handler.closed;
        assert_eq!(closed[0].1, Cause::InvalidUtf8);
    }
}

#[test]
fn pings_of_a_peer_are_counted_for_each_connection() {
    let mut world = World::new(64);
    world.fill(2);
    for _ in 0..3 {
        world.fars[1].send(b"PING\n");
        world.process.settle();
    }
    let ids = world.process.handler.opened.clone();
    let counts = ids.iter().map(|&id| world.cx().info(id).unwrap());
    let counts: Vec<_> = counts.map(|info| info.pings_received).collect();
    assert_eq!(counts, [0, 3]);
    assert_eq!(world.process.inner.stats().pings_received, 3);
}

#[test]
fn a_timer_of_a_connection_comes_once_and_not_early() {
    let mut world = World::new(64);
    world.fill(2);
    let ids = world.process.handler.opened.clone();
    let began = world.process.memory.clock();
    for (delay, id) in [(30, ids[0]), (20, ids[1]), (20, ids[0])] {
        let delay = Duration::from_millis(delay);
        let word = delay.as_millis() as u64;
        assert!(world.cx().set_conn_timer(id, delay, word).is_some());
    }
    world.process.run_to(began + millis(19));
    assert_eq!(world.process.handler.conn_timers, []);
    world.process.run_to(began + millis(20));
    let first = [(ids[1], 20), (ids[0], 20)];
    assert_eq!(world.process.handler.conn_timers, first);
    world.process.run_to(began + millis(1_000));
    assert_eq!(world.process.handler.conn_timers[2..], [(ids[0], 30)]);
}

/// Whatever ends a connection: ourselves, its peer, a failure, or the end of the loop.
#[test]
fn a_timer_ends_with_its_connection() {
    type End = fn(&mut World, ConnId);
    let ends: [End; 4] = [
        |world, id| world.cx().close(id, CloseCode::NORMAL, ""),
        |world, _| world.fars[0].end(),
        |world, _| world.fars[0].fail(104),
        |world, _| world.cx().drain(Duration::from_millis(1)),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut world = World::new(64);
        world.fill(1);
        let id = world.process.handler.opened[0];
        let began = world.process.memory.clock();
        let delay = Duration::from_millis(10);
        world.cx().set_conn_timer(id, delay, 1).unwrap();
        let hour = Duration::from_secs(3_600);
        let later = world.cx().set_conn_timer(id, hour, 2).unwrap();
        // It is due in the turn in which the connection ends, at the earliest.
        world.process.memory.set_clock(began + millis(10));
        end(&mut world, id);
        world.process.turn();
        world.process.settle();
        // The drain closes after the timers of its turn. Within a goodbye nothing comes, and nothing is set.
        let is_in_time = number == 3;
        let fired = world.process.handler.conn_timers.len();
        assert_eq!(fired, usize::from(is_in_time), "{number}");
        assert_eq!(world.cx().set_conn_timer(id, delay, 2), None, "{number}");
        world.part();
        world.process.run_to(began + millis(60_000));
        assert_eq!(world.process.handler.closed.len(), 1, "{number}");
        assert!(!world.cx().cancel_timer(later), "{number}: it is kept");
        // Whoever comes into the slot has none of them, and its own.
        if world.process.inner.is_stopped() {
            continue;
        }
        world.come();
        world.process.settle();
        let next = world.process.handler.opened[1];
        world.cx().set_conn_timer(next, delay, 3).unwrap();
        world.process.run_to(began + millis(7_200_000));
        assert_eq!(world.process.handler.conn_timers, [(next, 3)], "{number}");
    }
}
