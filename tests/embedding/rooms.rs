//! Rooms: what handlers of other connections send, in one turn, to peers who read and to one who does not.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::{LimitsConfig, Overflow};
use heartwheel::error::SendError;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{ConnId, Context, ListenerConfig, Reactor, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

/// What each member says.
const SAID: usize = 8 * 1024;

/// Header of a message on the binary wire.
const HEADER: usize = 5;

fn room(queue: usize, overflow: Overflow) -> ListenerConfig {
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Binary);
    config.heartbeat = heartbeat(None, None);
    config.limits = LimitsConfig {
        send_queue: Some(queue),
        overflow,
        ..LimitsConfig::default()
    };
    config
}

/// Dials with a receive buffer that takes a burst before anybody reads, however busy the machine is.
fn dial_roomy(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(addr),
        socket2::Type::STREAM,
        None,
    )
    .unwrap();
    socket.set_recv_buffer_size(1024 * 1024).unwrap();
    socket.connect(&addr.into()).unwrap();
    ready(socket.into())
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Tells everyone what one of them said; returns how many were left out.
fn tell_others(cx: &mut Context<'_, u32>, from: ConnId, data: &[u8]) -> usize {
    let message = SharedMessage::new(Message::binary(data));
    let others: Vec<_> = cx.connections().filter(|&id| id != from).collect();
    let mut full = |id: &ConnId| cx.send_shared(*id, &message).is_err();
    others.iter().filter(|id| full(id)).count()
}

/// Opens a room of so many, who all speak before the loop turns and all read what the others say. Nobody
/// may be closed and nothing lost. With `at_once` what was said is told when all have spoken, so that the
/// whole burst falls into one turn, however slow the machine is.
fn everyone_speaks(members: usize, queue: usize, overflow: Overflow, at_once: bool) {
    let left_out = Rc::new(Cell::new(0));
    let count = Rc::clone(&left_out);
    let mut said = Vec::new();
    let mut recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Message(id, data) = seen {
            said.push((*id, data.clone()));
            if !at_once || said.len() == members {
                for (id, data) in said.drain(..) {
                    count.set(count.get() + tell_others(cx, id, &data));
                }
            }
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, room(queue, overflow));
    let mut peers: Vec<_> = (0..members).map(|_| dial_roomy(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == members
    });
    for peer in &mut peers {
        peer.write_all(&frame(&[7; SAID])).unwrap();
        peer.set_nonblocking(true).unwrap();
    }
    let owed = (members - 1) * (HEADER + SAID);
    let mut read = vec![0; members];
    let mut chunk = vec![0; 256 * 1024];
    drive(&mut reactor, &mut recorder, |seen| {
        for (peer, read) in peers.iter_mut().zip(&mut read) {
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                *read += count;
            }
        }
        read.iter().all(|&read| read == owed) || !seen.closed().is_empty() || left_out.get() > 0
    });
    let causes = recorder.closed();
    let causes: Vec<_> = causes.iter().map(|(_, end)| end.cause).collect();
    assert_eq!((causes, left_out.get()), (Vec::new(), 0));
    assert_eq!(reactor.stats().send_full, 0);
    assert_eq!(reactor.len(), members);
}

#[test]
fn f54_a_room_of_64_who_all_speak_at_once_loses_nobody() {
    everyone_speaks(64, 256 * 1024, Overflow::Close, true);
    everyone_speaks(64, 256 * 1024, Overflow::Close, false);
}

#[test]
fn f54_a_room_of_16_with_queues_shorter_than_the_burst_loses_nobody() {
    everyone_speaks(16, 64 * 1024, Overflow::Close, true);
    everyone_speaks(16, 64 * 1024, Overflow::Close, false);
}

#[test]
fn f54_nothing_is_dropped_for_members_who_read() {
    everyone_speaks(64, 256 * 1024, Overflow::Drop, true);
    everyone_speaks(16, 64 * 1024, Overflow::Drop, true);
}

/// A room of two of which the first to speak has something done in its callback, to the other one.
fn when_one_speaks(
    config: ListenerConfig,
    act: impl FnOnce(&mut Context<'_, u32>, ConnId) + 'static,
) -> (Reactor<u32, u64>, Recorder, [TcpStream; 2]) {
    let mut act = Some(act);
    let mut recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Message(id, _) = seen
            && let Some(act) = act.take()
        {
            let other = cx.connections().find(|other| other != id).unwrap();
            act(cx, other);
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, config);
    let peers = [connect_peer(addr), connect_peer(addr)];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    (reactor, recorder, peers)
}

/// Sends until the queue is full; returns how many bytes it took in all.
fn fill(cx: &mut Context<'_, u32>, id: ConnId) -> usize {
    let mut taken = 0;
    while cx.send(id, Message::binary(&[7; SAID])).is_ok() {
        taken += HEADER + SAID;
    }
    taken
}

#[test]
fn a_peer_that_does_not_read_is_full_once_queue_and_socket_are() {
    let (queue, seen_taken) = (64 * 1024, Rc::new(Cell::new((0, 0))));
    let taken = Rc::clone(&seen_taken);
    let (mut reactor, mut recorder, mut peers) =
        when_one_speaks(room(queue, Overflow::Drop), move |cx, other| {
            let all = fill(cx, other);
            taken.set((all, cx.info(other).unwrap().queued));
            for _ in 0..100 {
                let full = cx.send(other, Message::binary(&[7; SAID]));
                assert!(matches!(full, Err(SendError::Full { .. })), "{full:?}");
            }
            // Within one callback the kernel is not asked again.
            assert_eq!(cx.stats().writes_refused, 1);
            assert_eq!(cx.stats().send_full, 101);
        });
    peers[0].write_all(&frame(b"go")).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 1
    });
    let (all, queued) = seen_taken.get();
    assert!(
        (queue - 2 * SAID..=queue).contains(&queued),
        "{queued} queued"
    );
    assert!(all > queued + queue, "the kernel took {}", all - queued);
    // What was taken was taken: the peer reads it now, whole and in order.
    let read = read_at_least(&mut reactor, &mut recorder, &mut peers[1], all);
    assert!(read == frame(&[7; SAID]).repeat(all / (HEADER + SAID)));
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen
            .iter()
            .any(|seen| matches!(seen, Seen::Writable(_)))
    });
    assert!(recorder.closed().is_empty());
}

#[test]
fn a_peer_that_does_not_read_is_still_closed_where_that_is_the_policy() {
    let mut config = room(64 * 1024, Overflow::Close);
    config.heartbeat.close_timeout = Duration::from_millis(300);
    let (mut reactor, mut recorder, mut peers) = when_one_speaks(config, |cx, other| {
        assert!(fill(cx, other) > 128 * 1024);
        let full = cx.send(other, Message::binary(b"more"));
        assert_eq!(full, Err(SendError::Closed));
    });
    peers[0].write_all(&frame(b"go")).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.closed()[0].1.cause, Cause::SendQueueFull);
    assert_eq!((reactor.len(), reactor.stats().send_full), (1, 1));
}

#[test]
fn a_refusal_stands_until_the_next_wait() {
    let (mut reactor, mut recorder, mut peers) =
        when_one_speaks(room(64 * 1024, Overflow::Drop), |cx, other| {
            fill(cx, other);
        });
    // One wait finds both, and says of both that there is room: of the second one that is out of date as
    // soon as the first has spoken.
    for peer in &mut peers {
        peer.write_all(&frame(b"go")).unwrap();
    }
    reactor.turn(&mut recorder, Some(PATIENCE)).unwrap();
    assert_eq!(recorder.messages().len(), 2, "one wait found both");
    assert_eq!(reactor.stats().writes_refused, 1);

    let ids = recorder.opened();
    let full = |id: &ConnId, reactor: &mut Reactor<u32, u64>| {
        let sent = reactor.context().send(*id, Message::binary(&[7; SAID]));
        matches!(sent, Err(SendError::Full { .. }))
    };
    assert_eq!(ids.iter().filter(|id| full(id, &mut reactor)).count(), 1);
    assert_eq!(reactor.stats().writes_refused, 1, "no wait came between");
    reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    assert_eq!(ids.iter().filter(|id| full(id, &mut reactor)).count(), 1);
    assert_eq!(reactor.stats().writes_refused, 2);
}

#[test]
fn nothing_is_offered_while_there_is_room() {
    let (mut reactor, mut recorder, mut peers) =
        when_one_speaks(room(64 * 1024, Overflow::Drop), |cx, other| {
            for _ in 0..7 {
                cx.send(other, Message::binary(&[7; SAID])).unwrap();
            }
            assert_eq!(cx.info(other).unwrap().queued, 7 * (HEADER + SAID));
            assert_eq!(cx.stats().bytes_out, 0);
            cx.send(other, Message::binary(&[7; SAID])).unwrap();
            assert_eq!(cx.info(other).unwrap().queued, HEADER + SAID);
            assert_eq!(cx.stats().bytes_out, 7 * (HEADER + SAID) as u64);
        });
    peers[0].write_all(&frame(b"go")).unwrap();
    let owed = 8 * (HEADER + SAID);
    let read = read_at_least(&mut reactor, &mut recorder, &mut peers[1], owed);
    assert_eq!(read.len(), owed);
}

#[test]
fn a_message_larger_than_the_queue_offers_nothing() {
    let (mut reactor, mut recorder, mut peers) =
        when_one_speaks(room(64 * 1024, Overflow::Drop), |cx, other| {
            cx.send(other, Message::binary(b"small")).unwrap();
            let full = cx.send(other, Message::binary(&[7; 65 * 1024]));
            assert!(matches!(full, Err(SendError::Full { .. })), "{full:?}");
            assert_eq!(cx.stats().bytes_out, 0);
        });
    peers[0].write_all(&frame(b"go")).unwrap();
    let read = read_at_least(&mut reactor, &mut recorder, &mut peers[1], 10);
    assert_eq!(read, frame(b"small"));
}

/// What happens inside an offer is only marked: callbacks come after the present one, and nobody is gone.
#[test]
fn an_offer_runs_no_callback_and_frees_nothing() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (events, gone) = (Rc::clone(&log), Rc::new(RefCell::new(None)));
    let resets = Rc::clone(&gone);
    let mut recorder = Recorder::reacting(move |cx, seen| {
        let name = match seen {
            Seen::Message(..) => "message",
            Seen::Closed(..) => "closed",
            Seen::Writable(..) => "writable",
            _ => return,
        };
        events.borrow_mut().push(name);
        let Seen::Message(id, _) = seen else { return };
        let Some(peer) = resets.borrow_mut().take() else {
            return;
        };
        // The other one's peer goes with a reset: the write within the next send fails.
        let peer: socket2::Socket = TcpStream::into(peer);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let other = cx.connections().find(|other| other != id).unwrap();
        let mut sent = Ok(());
        for _ in 0..20 {
            sent = cx.send(other, Message::binary(&[7; SAID]));
            if sent.is_err() {
                break;
            }
        }
        assert_eq!(sent, Err(SendError::Closed));
        assert!(cx.info(other).is_some(), "it is reaped later");
        events.borrow_mut().push("sent");
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, room(64 * 1024, Overflow::Close));
    let (mut peer, other) = (connect_peer(addr), connect_peer(addr));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    *gone.borrow_mut() = Some(other);
    peer.write_all(&frame(b"go")).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(*log.borrow(), ["message", "sent", "closed"]);
    // It ends for what it did, and not because what it was to read did not fit.
    assert_eq!(recorder.closed()[0].1.cause, Cause::PeerReset);
    assert_eq!(reactor.stats().send_full, 0);
}

#[test]
fn who_is_answered_with_more_than_the_queue_in_its_own_callback_gets_all_of_it() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Message(id, _) = seen {
            for _ in 0..16 {
                cx.send(*id, Message::binary(&[7; SAID])).unwrap();
            }
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, room(64 * 1024, Overflow::Close));
    let mut peer = dial_roomy(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    // The second message lies behind the first in the ring that the callback reads from.
    peer.write_all(&[frame(b"go"), frame(b"on")].concat())
        .unwrap();
    let owed = 32 * (HEADER + SAID);
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, owed);
    assert!(read == frame(&[7; SAID]).repeat(32));
    assert!(recorder.closed().is_empty());
}

#[test]
fn what_on_open_sends_beyond_the_queue_follows_the_response() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            for _ in 0..16 {
                cx.send(*id, Message::binary(&[7; SAID])).unwrap();
            }
        }
    });
    let mut reactor = reactor();
    let mut config = room(64 * 1024, Overflow::Close);
    config.wire = WireFactory::WebSocket;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = dial_roomy(addr);
    shake_hands(&mut reactor, &mut recorder, &mut peer);
    let frame = [&[0x82, 126, 0x20, 0][..], &[7; SAID]].concat();
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, 16 * frame.len());
    assert!(read == frame.repeat(16));
}
