//! Much that is due at once, on a clock that moves whenever the loop looks at it: each turn stops after a
//! piece of the work, and the loop does not sleep before the rest is done.

use std::time::Duration;

use heartwheel::event_loop::{ClientConfig, WireFactory};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;

use crate::world::World;

/// Time that passes at each look at the clock.
const PACE: Micros = Micros::new(100);

/// The longest that a turn may take for reasons of the loop's own.
const LONGEST: Micros = Micros::from_millis(10);

/// Turns until `done` has come to `all`. Returns how far each turn came.
#[track_caller]
fn pieces(world: &mut World, all: usize, done: impl Fn(&World) -> usize) -> Vec<usize> {
    world.process.memory.set_pace(PACE);
    let mut pieces = Vec::new();
    let mut before = done(world);
    while before < all {
        assert_eq!(world.process.inner.next_timeout(), Some(Duration::ZERO));
        let length = world.turn_length();
        assert!(length <= LONGEST, "a turn of {length:?}");
        let now = done(world);
        pieces.push(now - before);
        before = now;
    }
    pieces
}

#[track_caller]
fn assert_even(pieces: &[usize], most: usize) {
    let longest = pieces.iter().max().copied().unwrap_or(0);
    assert!((1..=most).contains(&longest), "{pieces:?}");
    assert!(
        !pieces.contains(&0),
        "each turn does some of it: {pieces:?}"
    );
}

#[test]
fn messages_that_a_handler_sends_to_everybody_are_written_in_pieces() {
    let mut world = World::new(64);
    world.fill(500);
    for id in world.process.handler.opened.clone() {
        world.cx().send(id, Message::text("news")).unwrap();
    }
    let written =
        |world: &World| usize::try_from(world.process.inner.stats().bytes_out / 5).unwrap();
    assert_even(&pieces(&mut world, 500, written), 40);
}

#[test]
fn connections_that_come_at_once_are_accepted_in_pieces() {
    let mut world = World::new(64);
    for _ in 0..200 {
        world.come();
    }
    world.process.memory.set_pace(PACE);
    // The turn that hears of them takes the first.
    world.turn();
    assert_even(
        &pieces(&mut world, 200, |world| world.process.handler.opened.len()),
        25,
    );
}

#[test]
fn timers_that_are_due_at_once_run_in_pieces() {
    let mut world = World::new(64);
    for number in 0..200 {
        world.cx().set_timer(Duration::from_millis(5), number);
    }
    world.process.memory.set_clock(Micros::from_millis(5));
    assert_even(
        &pieces(&mut world, 200, |world| world.process.handler.timers),
        25,
    );
}

#[test]
fn clients_that_are_due_at_once_dial_in_pieces() {
    let mut world = World::new(64);
    for _ in 0..200 {
        let mut config = ClientConfig::new("127.0.0.1", 9, WireFactory::Line);
        config.reconnect = None;
        world.cx().connect(config).unwrap();
    }
    assert_even(
        &pieces(&mut world, 200, |world| world.process.handler.dialed),
        25,
    );
}

#[test]
fn a_drain_whose_window_is_over_ends_so_many_a_turn() {
    let mut world = World::new(64);
    world.fill(1_000);
    world.cx().drain(Duration::ZERO);
    assert_even(
        &pieces(&mut world, 1_000, |world| {
            world.process.handler.closed.len()
        }),
        256,
    );
}

/// All of them were heard last when they came, and were asked since: they are dead at the same time.
#[test]
fn pings_go_before_looks_at_many_that_may_be_dead() {
    const DEAD: usize = 300;
    const ALL: usize = 2_300;
    let mut world = World::with(64, |listener| {
        listener.heartbeat.interval = Some(Duration::from_secs(10));
        listener.heartbeat.timeout = Some(Duration::from_secs(25));
        listener.heartbeat.ping_slack = Some(Duration::ZERO);
    });
    world.fill(ALL);
    let death = Micros::from_secs(25);
    world.run_to(death - Micros::from_millis(1), DEAD..ALL);
    let before = world.process.inner.stats().ping_lateness.clone();
    world.process.memory.set_pace(PACE);
    let mut most = 0;
    while world.process.handler.closed.len() < DEAD {
        let ended = world.process.handler.closed.len();
        let length = world.turn_length();
        assert!(length <= LONGEST, "a turn of {length:?}");
        most = most.max(world.process.handler.closed.len() - ended);
        world.answer(DEAD..ALL);
    }
    assert!((1..=25).contains(&most), "{most} in one turn");
    let lateness = world.process.inner.stats().ping_lateness.since(&before);
    assert!(lateness.len() > 10, "{} pings meanwhile", lateness.len());
    // A tick, and a turn.
    let latest = lateness.quantile(1.0);
    assert!(latest <= Duration::from_millis(21), "{latest:?}");
    assert_eq!(world.process.inner.len(), ALL - DEAD);
}
