//! How much one turn does: no peer and no callback makes it long, and what it leaves comes in the next.

use std::io::Write;
use std::time::{Duration, Instant};

use heartwheel::proto::message::Message;
use heartwheel::reactor::{ConnId, Context, Handler, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

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
        on_loopback(WireFactory::Line, Some(100), Some(300)),
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
    impl Handler<u64> for Slow {
        type Data = u32;
        fn on_message(&mut self, _: &mut Context<'_, u32>, _: ConnId, _: Message<'_>) {
            work_for(Duration::from_micros(50));
        }
    }
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, on_loopback(WireFactory::Line, None, None));
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
    impl Handler<u64> for Slow {
        type Data = u32;
        fn on_message(&mut self, _: &mut Context<'_, u32>, _: ConnId, _: Message<'_>) {
            self.0 += 1;
            work_for(Duration::from_micros(100));
        }
    }
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, on_loopback(WireFactory::Line, None, None));
    let mut peer = connect_peer(addr);
    peer.write_all(&b"a\n".repeat(1_000)).unwrap();
    let (mut slow, began) = (Slow(0), Instant::now());
    while slow.0 < 1_000 {
        assert!(began.elapsed() < PATIENCE, "{} of 1000", slow.0);
        reactor.turn(&mut slow, None).unwrap();
    }
}
