//! The handle for other threads.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::ReactorConfig;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{Context, HandleError, Handler, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

#[test]
fn another_thread_can_send_broadcast_command_and_close() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peers = [connect_peer(addr), connect_peer(addr)];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let ids = recorder.opened();
    let handle = reactor.handle();
    let sent = ids.clone();
    thread::spawn(move || {
        handle
            .send(sent[0], SharedMessage::new(Message::text("for you")))
            .unwrap();
        handle
            .broadcast(SharedMessage::new(Message::text("for all")))
            .unwrap();
        handle.command(42).unwrap();
        handle.close(sent[1], CloseCode::NORMAL, "enough").unwrap();
    })
    .join()
    .unwrap();
    let [first, second] = &mut peers;
    let read = read_at_least(&mut reactor, &mut recorder, first, 16);
    assert_eq!(read, b"for you\nfor all\n");
    let read = read_at_least(&mut reactor, &mut recorder, second, 9);
    assert_eq!(read, b"for all\n");
    assert!(recorder.seen.contains(&Seen::Command(42)));
    second.flush().unwrap();
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    let end = recorder
        .closed()
        .into_iter()
        .find(|(id, _)| *id == ids[1])
        .unwrap();
    assert_eq!(end.1.cause, Cause::LocalClose);
}

#[test]
fn a_wake_ends_a_wait_without_a_limit() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let handle = reactor.handle();
    let (tell, told) = std::sync::mpsc::channel();
    let waker = thread::spawn(move || {
        told.recv().unwrap();
        handle.stop().unwrap();
    });
    tell.send(()).unwrap();
    let began = Instant::now();
    reactor.run(&mut recorder).unwrap();
    assert!(began.elapsed() < PATIENCE);
    waker.join().unwrap();
}

#[test]
fn a_batch_of_commands_costs_one_wake() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let handle = reactor.handle();
    for word in 0..1_000 {
        handle.command(word).unwrap();
    }
    let words: Vec<_> = (0..1_000).map(Seen::Command).collect();
    // A busy machine may take more than one turn for them.
    let (mut events, deadline) = (0, Instant::now() + PATIENCE);
    while recorder.seen.len() < words.len() {
        assert!(Instant::now() < deadline, "{:?}", recorder.seen.last());
        let turn = reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        events += turn.events;
    }
    assert_eq!((recorder.seen, events), (words, 1));
    recorder = Recorder::default();
    let turn = reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    assert_eq!(turn.events, 0);
}

#[test]
fn a_full_queue_and_a_gone_reactor_are_told_apart() {
    let reactor = reactor_with(ReactorConfig {
        max_connections: 1,
        ..ReactorConfig::default()
    });
    let handle = reactor.handle();
    let full = (0..1_000_000).find_map(|word| handle.command(word).err());
    let full = full.expect("the queue is bounded");
    // All before it were taken.
    assert_eq!((full.error, full.command), (HandleError::Full, 65_536));
    drop(reactor);
    let gone = handle.command(0).expect_err("nobody takes it");
    assert_eq!((gone.error, gone.command), (HandleError::Gone, 0));
}

#[test]
fn messages_are_bounded_by_their_bytes_and_leave_room_for_other_calls() {
    let reactor = reactor();
    let handle = reactor.handle();
    let message = SharedMessage::new(Message::binary(&[0; 1 << 20]));
    let (mut count, mut full) = (0, None);
    while full.is_none() && count < 1_000 {
        full = handle.broadcast(message.clone()).err();
        count += 1;
    }
    assert_eq!(full, Some(HandleError::Full));
    assert!(count <= 16, "{count} MiB");
    assert_eq!(handle.command(0), Ok(()));
    assert_eq!(handle.stop(), Ok(()));
    drop(reactor);
    assert_eq!(handle.broadcast(message), Err(HandleError::Gone));
}

#[test]
fn a_message_of_any_size_is_queued_where_nothing_else_is() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let handle = reactor.handle();
    let message = SharedMessage::new(Message::binary(&vec![0; 20 << 20]));
    for _ in 0..3 {
        assert_eq!(handle.broadcast(message.clone()), Ok(()));
        assert_eq!(handle.broadcast(message.clone()), Err(HandleError::Full));
        reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn calls_that_take_long_are_spread_over_turns() {
    /// Is busy for longer than a loop has for calls in one turn.
    #[derive(Default)]
    struct Slow(usize);

    impl Handler<u64> for Slow {
        type Data = u32;

        fn on_command(&mut self, _: &mut Context<'_, u32>, _: u64) {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(5) {}
            self.0 += 1;
        }
    }

    let (mut reactor, mut slow) = (reactor(), Slow::default());
    let handle = reactor.handle();
    for word in 0..3 {
        handle.command(word).unwrap();
    }
    for turns in 1..=3 {
        reactor.turn(&mut slow, None).unwrap();
        assert_eq!(slow.0, turns);
    }
}

/// Commands of other threads were taken until there were none, which a busy thread can put off for
/// ever.
#[test]
fn commands_of_other_threads_are_taken_in_portions() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let handle = reactor.handle();
    for word in 0..5_000 {
        handle.command(word).unwrap();
    }
    reactor.turn(&mut recorder, None).unwrap();
    assert!((1..5_000).contains(&recorder.seen.len()));
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    drive(&mut reactor, &mut recorder, |seen| seen.seen.len() == 5_000);
    let words = (0..5_000).map(Seen::Command);
    assert!(recorder.seen.iter().cloned().eq(words));
}
