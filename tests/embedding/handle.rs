//! The handle for other threads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::{Overflow, ReactorConfig};
use heartwheel::error::SendError;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::wire::EncodeError;
use heartwheel::reactor::{ConnId, Context, HandleError, Handler, LoopHandle, WireFactory};

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

/// What is sent, as text.
fn text(text: &str) -> SharedMessage {
    SharedMessage::new(Message::text(text))
}

/// What became of messages that were not delivered.
fn undelivered(recorder: &Recorder) -> Vec<(ConnId, String, SendError)> {
    let undelivered = |seen: &Seen| match seen {
        Seen::Undelivered(id, data, error) => {
            Some((*id, String::from_utf8(data.clone()).unwrap(), *error))
        }
        _ => None,
    };
    recorder.seen.iter().filter_map(undelivered).collect()
}

#[test]
fn what_cannot_be_delivered_is_counted_and_told() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(WireFactory::Line, None, None);
    config.limits.send_queue = Some(1024);
    config.limits.overflow = Overflow::Drop;
    let (_, addr) = listen_with(&mut reactor, config);
    let peers = [connect_peer(addr), connect_peer(addr)];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let [gone, here] = recorder.opened()[..] else {
        unreachable!()
    };
    let handle = reactor.handle();
    let long = "x".repeat(2_000);
    handle.close(gone, CloseCode::NORMAL, "").unwrap();
    handle.send(gone, text("too late")).unwrap();
    handle.send(here, text("two\nlines")).unwrap();
    handle.send(here, text(&long)).unwrap();
    handle.send(here, text("delivered")).unwrap();
    handle.command(1).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Command(1))
    });
    let told = undelivered(&recorder);
    assert_eq!(told[0], (gone, "too late".to_owned(), SendError::Closed));
    let of_wire = SendError::Encode(EncodeError::LineFeed { at: 3 });
    assert_eq!(told[1], (here, "two\nlines".to_owned(), of_wire));
    assert_eq!((told[2].0, &told[2].1), (here, &long));
    assert!(matches!(told[2].2, SendError::Full { limit: 1024, .. }));
    assert_eq!((told.len(), reactor.stats().undelivered), (3, 3));
    // A second close, and one of a connection that has ended, are no errors.
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
    handle.close(gone, CloseCode::NORMAL, "").unwrap();
    handle.command(2).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Command(2))
    });
    assert_eq!(reactor.stats().undelivered, 3);
}

/// What lay behind the end stayed in the queue, and nobody heard of it.
#[test]
fn what_is_queued_when_the_loop_stops_is_handed_over_or_told() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    recorder = Recorder::default();
    let handle = reactor.handle();
    handle.send(id, text("in time")).unwrap();
    handle.stop().unwrap();
    queue_commands(&handle);
    handle.send(id, text("too late")).unwrap();
    handle.broadcast(text("to nobody")).unwrap();
    handle.close(id, CloseCode::NORMAL, "").unwrap();
    handle.stop().unwrap();
    reactor.run(&mut recorder).unwrap();

    assert_eq!(commands(&recorder), COMMANDS);
    assert_eq!(recorder.closed().len(), 1);
    let told = undelivered(&recorder);
    assert_eq!(told, [(id, "too late".to_owned(), SendError::Closed)]);
    assert_eq!(reactor.stats().undelivered, 1);
    let last = recorder.seen.last();
    assert!(matches!(last, Some(Seen::Broadcast(_, 0, 0))), "{last:?}");
    assert_eq!(read_to_end(peer), "in time\n");

    // It may go on; with the reactor the queue ends.
    assert_eq!(handle.send(id, text("for the next run")), Ok(()));
    drop(reactor);
    let gone = Err(HandleError::Gone);
    assert_eq!(handle.send(id, text("for nobody")), gone);
    assert_eq!(handle.drain(Duration::ZERO), gone);
}

#[test]
fn another_thread_can_drain_and_what_it_queues_behind_is_handed_over() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peers: [TcpStream; 3] = std::array::from_fn(|_| connect_peer(addr));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 3);
    let handle = reactor.handle();
    let drainer = thread::spawn(move || {
        handle.broadcast(text("to all")).unwrap();
        handle.drain(PATIENCE).unwrap();
        let heard = peers.map(read_to_end);
        assert_eq!(heard, ["to all\n"; 3]);
        handle
    });
    reactor.run(&mut recorder).unwrap();
    let causes = recorder.closed().into_iter().map(|(_, end)| end.cause);
    assert_eq!(causes.collect::<Vec<_>>(), [Cause::Drain; 3]);
    // It is over, with nobody left: what another thread still queues is taken in one turn.
    queue_commands(&drainer.join().unwrap());
    reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    assert_eq!(commands(&recorder), COMMANDS);
}

/// Such a loop was over before its first turn, and what was queued was dropped without a word.
#[test]
fn what_is_queued_for_a_loop_that_ends_before_its_first_turn_is_handed_over_or_told() {
    for is_drain in [true, false] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        // The id of somebody who was never there.
        let id = ConnId::from_u64(7);
        let handle = reactor.handle();
        for run in 1..=2 {
            queue_commands(&handle);
            handle.send(id, text("to nobody")).unwrap();
            match is_drain {
                true => reactor.context().drain(PATIENCE),
                false => reactor.context().stop(),
            }
            assert!(!reactor.is_stopped(), "before run {run}");
            assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
            reactor.run(&mut recorder).unwrap();
            assert_eq!(commands(&recorder), COMMANDS);
            let told = undelivered(&recorder);
            assert_eq!(told, [(id, "to nobody".to_owned(), SendError::Closed)]);
            assert_eq!(reactor.stats().undelivered, run);
            recorder = Recorder::default();
        }
    }
}

/// More commands than one turn takes.
const COMMANDS: u64 = 3_000;

fn queue_commands(handle: &LoopHandle<u32, u64>) {
    for word in 0..COMMANDS {
        handle.command(word).unwrap();
    }
}

/// Returns how many of [`queue_commands`] were handed over, in their order.
fn commands(recorder: &Recorder) -> u64 {
    let mut count = 0;
    for seen in &recorder.seen {
        if let Seen::Command(word) = seen {
            assert_eq!(*word, count);
            count += 1;
        }
    }
    count
}

/// Reads all that a peer is sent, on a thread that may wait for it.
fn read_to_end(mut peer: TcpStream) -> String {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut read = String::new();
    peer.read_to_string(&mut read).unwrap();
    read
}

/// Queues, as soon as there is room.
fn insist<E: Into<HandleError>>(call: impl Fn() -> Result<(), E>) {
    while let Err(error) = call() {
        assert_eq!(error.into(), HandleError::Full);
        thread::yield_now();
    }
}

#[test]
fn calls_of_each_thread_keep_their_order_whatever_they_are() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 500;
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peers: Vec<_> = (0..THREADS).map(|_| connect_peer(addr)).collect();
    let mut recorder = Recorder::default();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == THREADS as usize
    });
    let ids = recorder.opened();
    let same = ids.clone();
    // A command is answered with a message, so that the stream shows its place among the others.
    recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Command(word) = seen {
            let (sender, round) = (word / ROUNDS, word % ROUNDS);
            let said = format!("{sender} {round} command");
            let to = same[sender as usize];
            assert_eq!(cx.send(to, Message::text(&said)), Ok(()));
        }
    });
    for &id in &ids {
        reactor.context().subscribe(id, "all").unwrap();
    }
    let together = std::sync::Arc::new(std::sync::Barrier::new(THREADS as usize));
    let senders: Vec<_> = (0..THREADS)
        .map(|sender| {
            let (handle, together) = (reactor.handle(), together.clone());
            let id = ids[sender as usize];
            thread::spawn(move || {
                together.wait();
                for round in 0..ROUNDS {
                    let said = |how: &str| text(&format!("{sender} {round} {how}"));
                    insist(|| handle.send(id, said("send")));
                    insist(|| handle.broadcast(said("broadcast")));
                    insist(|| handle.publish("all", said("publish")));
                    insist(|| handle.command(sender * ROUNDS + round));
                }
                // Nobody goes before the others have been heard.
                together.wait();
                insist(|| handle.close(id, CloseCode::NORMAL, ""));
            })
        })
        .collect();
    let readers: Vec<_> = (peers.into_iter())
        .map(|peer| thread::spawn(move || read_to_end(peer)))
        .collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.closed().len() == THREADS as usize
    });
    for sender in senders {
        sender.join().unwrap();
    }
    let heard: Vec<_> = readers.into_iter().map(|one| one.join().unwrap()).collect();
    for (&id, heard) in ids.iter().zip(&heard) {
        // Slots and peers need not be in the same order.
        let own = (0..THREADS).find(|sender| heard.contains(&format!("{sender} 0 send\n")));
        for sender in 0..THREADS {
            let own = own == Some(sender);
            let hows = ["send", "broadcast", "publish", "command"];
            let hows = if own { &hows[..] } else { &hows[1..3] };
            let expected = (0..ROUNDS).flat_map(|round| {
                hows.iter()
                    .map(move |how| format!("{sender} {round} {how}"))
            });
            let from = format!("{sender} ");
            let lines = heard.lines().filter(|line| line.starts_with(&from));
            assert!(lines.eq(expected), "{id} of {sender}");
        }
    }
    assert_eq!(reactor.stats().undelivered, 0);
}
