//! Sending: queues with limits, shared messages, pausing, large messages.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::{LimitsConfig, Overflow};
use heartwheel::error::SendError;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{ListenerConfig, WireFactory};

use crate::support::PATIENCE;
use crate::support::bytes::*;
use crate::support::recorder::*;
use crate::support::silence::silence_cause;
use crate::support::turning::*;

fn small_queue(overflow: Overflow) -> ListenerConfig {
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Binary);
    config.heartbeat = heartbeat(None, None);
    config.limits = LimitsConfig {
        send_queue: Some(64 * 1024),
        overflow,
        ..LimitsConfig::default()
    };
    config
}

#[test]
fn a_full_queue_says_so_and_reports_room_once_it_is_empty_again() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen_with(&mut reactor, small_queue(Overflow::Drop));
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    let block = vec![1; 16 * 1024];
    let mut taken = 0;
    let full = loop {
        match reactor.context().send(id, Message::binary(&block)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    };
    let SendError::Full { queued, limit } = full else {
        panic!("{full:?}")
    };
    assert!(queued <= limit && limit == 64 * 1024, "{queued} of {limit}");
    assert_eq!(reactor.stats().send_full, 1);
    let expected = taken * (block.len() + 5);
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, expected);
    assert_eq!(read.len(), expected);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Writable(id))
    });
    assert!(recorder.closed().is_empty());
}

#[test]
fn an_answer_leaves_before_the_next_connection_is_read() {
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peers = [connect_peer(addr), connect_peer(addr)];
    let theirs = peers.each_ref().map(|peer| peer.try_clone().unwrap());
    let (answered, seen_answered) = channel();
    let mut recorder = Recorder::reacting(move |_, seen| {
        if let Seen::Message(..) = seen {
            let has_answer = |peer: &&TcpStream| peer.peek(&mut [0]).is_ok();
            answered
                .send(theirs.iter().filter(has_answer).count())
                .unwrap();
        }
    });
    recorder.echo = true;
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    for mut peer in &peers {
        peer.set_nonblocking(true).unwrap();
        peer.write_all(b"hello\n").unwrap();
    }
    // On loopback both lie in their sockets by now, so that one turn finds both.
    reactor.turn(&mut recorder, Some(PATIENCE)).unwrap();
    assert_eq!(seen_answered.try_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_full_queue_closes_the_connection_where_that_is_the_policy() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = small_queue(Overflow::Close);
    config.heartbeat.close_timeout = Duration::from_millis(300);
    let (_, addr) = listen_with(&mut reactor, config);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    let block = vec![1; 16 * 1024];
    while reactor.context().send(id, Message::binary(&block)).is_ok() {
        reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.closed()[0].1.cause, Cause::SendQueueFull);
}

#[test]
fn a_full_queue_closes_a_paused_connection_whose_peer_has_said_goodbye_already() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = small_queue(Overflow::Close);
    config.heartbeat.close_timeout = Duration::from_secs(1_000);
    let (_, addr) = listen_with(&mut reactor, config);
    let peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    reactor.context().pause(id);
    peer.shutdown(Shutdown::Write).unwrap();
    // The event of that end comes and goes while nobody reads.
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(100));
    let block = vec![1; 128 * 1024];
    let sent = reactor.context().send(id, Message::binary(&block));
    assert!(matches!(sent, Err(SendError::Full { .. })), "{sent:?}");
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    assert_eq!(recorder.closed()[0].1.cause, Cause::SendQueueFull);
}

#[test]
fn a_broadcast_reaches_every_wire_in_its_own_framing() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, line) = listen(&mut reactor, WireFactory::Line);
    let (_, binary) = listen(&mut reactor, WireFactory::Binary);
    let (_, websocket) = listen(&mut reactor, WireFactory::WebSocket);
    let (_, raw) = listen(&mut reactor, WireFactory::Raw);
    let mut line = connect_peer(line);
    let mut binary = connect_peer(binary);
    let mut raw = connect_peer(raw);
    let mut websocket = open_websocket(&mut reactor, &mut recorder, websocket);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
    let news = SharedMessage::new(Message::text("hi"));
    let id = reactor.context().broadcast(&news).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Broadcast(id, 4, 0))
    });
    let mut read = |peer, count| read_at_least(&mut reactor, &mut recorder, peer, count);
    assert_eq!(read(&mut line, 3), b"hi\n");
    assert_eq!(read(&mut binary, 7), b"\0\0\0\0\x02hi");
    assert_eq!(read(&mut raw, 2), b"hi");
    assert_eq!(read(&mut websocket, 4), b"\x81\x02hi");
}

#[test]
fn a_message_larger_than_every_buffer_is_echoed_whole() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let (_, addr) = listen(&mut reactor, WireFactory::Binary);
    let mut peer = connect_peer(addr);
    let payload: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let mut frame = vec![0];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&payload);
    let sent = frame.clone();
    let mut writer = peer.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, frame.len());
    writing.join().unwrap();
    assert!(read == frame, "the echo differs");
}

#[test]
fn f49_paused_reading_with_bytes_waiting_is_not_silence() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    config.heartbeat = heartbeat(Some(100), Some(250));
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    reactor.context().pause(id);
    peer.write_all(b"waiting\n").unwrap();
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(800));
    assert!(recorder.closed().is_empty(), "{:?}", recorder.closed());
    assert!(recorder.messages().is_empty(), "paused means paused");
    reactor.context().resume(id);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages() == [b"waiting"]
    });
}

#[test]
fn paused_reading_without_bytes_waiting_is_judged_all_the_same() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    config.heartbeat = heartbeat(Some(100), Some(250));
    let (_, addr) = listen_with(&mut reactor, config);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    reactor.context().pause(id);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let evidence = recorder.closed()[0].1;
    assert_eq!(evidence.cause, silence_cause(&evidence));
}

#[test]
fn f4_a_peer_that_reads_nothing_is_write_stalled_at_w_not_a_pong_timeout() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Binary);
    config.heartbeat = heartbeat(Some(200), Some(5_000));
    config.heartbeat.write_timeout = Some(Duration::from_millis(400));
    let (_, addr) = listen_with(&mut reactor, config);
    let peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let id = recorder.opened()[0];
    let block = vec![1; 256 * 1024];
    while reactor.context().send(id, Message::binary(&block)).is_ok() {
        if reactor.context().info(id).unwrap().queued > 8 << 20 {
            break;
        }
    }
    let began = Instant::now();
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let evidence = recorder.closed()[0].1;
    assert_eq!(evidence.cause, Cause::WriteStalled);
    assert!(evidence.bytes_queued > 0);
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "early: {:?}",
        began.elapsed()
    );
    assert!(evidence.last_out.unwrap() >= Duration::from_millis(400));
    drop(peer);
}

#[test]
fn what_was_sent_before_a_close_arrives_before_it() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) = seen {
            cx.send(*id, Message::text("last words")).unwrap();
            cx.close(*id, CloseCode::NORMAL, "bye");
            assert_eq!(
                cx.send(*id, Message::text("too late")),
                Err(SendError::Closed)
            );
        }
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peer = open_websocket(&mut reactor, &mut recorder, addr);
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, 19);
    assert_eq!(read, b"\x81\x0alast words\x88\x05\x03\xe8bye");
    peer.write_all(&masked_frame(0x88, b"\x03\xe8")).unwrap();
    assert_eq!(peer.read(&mut [0; 16]).unwrap_or(0), 0);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    let evidence = recorder.closed()[0].1;
    assert_eq!((evidence.cause, evidence.clean), (Cause::LocalClose, true));
    assert_eq!(evidence.close_code, Some(CloseCode::NORMAL));
}

/// An empty message was let into a full queue, which grew without a limit. Later, each message let in
/// took eight bytes of bookkeeping that nobody counted, up to sixty where it was shared.
#[test]
fn messages_that_are_all_bookkeeping_fill_the_queue_too() {
    let shared = SharedMessage::new(Message::text(""));
    for is_shared in [false, true] {
        let shared = shared.clone();
        let mut recorder = Recorder::reacting(move |cx, seen| {
            if let Seen::Open(id) = seen {
                // What finds the queue full has it offered to the kernel.
                let sent = (0..5_000)
                    .take_while(|_| {
                        let sent = match is_shared {
                            true => cx.send_shared(*id, &shared),
                            false => cx.send(*id, Message::text("")),
                        };
                        sent.is_ok() && cx.stats().bytes_out == 0
                    })
                    .count();
                let each = if is_shared { 50 } else { 9 };
                assert!((1..=1_024 / each + 1).contains(&sent), "{sent} messages");
            }
        });
        let mut reactor = reactor();
        let mut config = on_loopback(WireFactory::Line, None, None);
        config.limits.send_queue = Some(1_024);
        let (_, addr) = listen_with(&mut reactor, config);
        let _peer = connect_peer(addr);
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    }
}

/// A message larger than the whole queue was promised room at once, in every turn, without end.
#[test]
fn no_room_is_promised_to_a_message_that_never_fits() {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(id) | Seen::Writable(id) = seen {
            let sent = cx.send(*id, Message::binary(&[0; 2_000]));
            assert!(matches!(sent, Err(SendError::Full { queued: 0, .. })));
        }
    });
    let mut reactor = reactor();
    let mut config = on_loopback(WireFactory::Binary, None, None);
    config.limits.send_queue = Some(1_024);
    let (_, addr) = listen_with(&mut reactor, config);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(50));
    let writable = |seen: &&Seen| matches!(seen, Seen::Writable(_));
    assert_eq!(recorder.seen.iter().filter(writable).count(), 0);
}

/// Of each size on both sides of where messages are copied, lent with the read buffer, or put together.
#[test]
fn echoes_of_every_size_come_back_whole_and_in_order() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let mut config = on_loopback(WireFactory::WebSocket, None, None);
    config.limits.max_fragment = usize::MAX;
    config.limits.send_queue = Some(64 * 1024 * 1024);
    let (_, addr) = listen_with(&mut reactor, config);
    let peer = open_websocket(&mut reactor, &mut recorder, addr);
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let sizes = [
        0, 1, 125, 126, 4_096, 8_191, 8_192, 16_384, 65_522, 65_523, 65_535, 65_536, 70_000, 100,
        81_920, 262_144, 1_048_576, 3_000_000, 9_000, 9_000, 9_000, 16_384, 2,
    ];
    let payload = |size: usize| -> Vec<u8> {
        let seed = size as u32;
        let bytes = (0..seed).map(|at| (at.wrapping_mul(seed | 1) >> 7).to_le_bytes()[0]);
        bytes.collect()
    };
    let mut output = peer.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for size in sizes {
            let frame = masked_frame(0x82, &payload(size));
            output.write_all(&frame).unwrap();
        }
    });
    let mut input = peer;
    let reading = std::thread::spawn(move || {
        for size in sizes {
            let expected = payload(size);
            let mut header = [0; 2];
            input.read_exact(&mut header).unwrap();
            let mut len = [0; 8];
            match header[1] {
                126 => input.read_exact(&mut len[6..]).unwrap(),
                127 => input.read_exact(&mut len).unwrap(),
                short => len[7] = short,
            }
            assert_eq!((header[0], u64::from_be_bytes(len)), (0x82, size as u64));
            let mut echo = vec![0; size];
            input.read_exact(&mut echo).unwrap();
            assert!(echo == expected, "{size} bytes came back otherwise");
        }
    });
    let count = sizes.len();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == count && reading.is_finished()
    });
    writing.join().unwrap();
    reading.join().unwrap();
}
