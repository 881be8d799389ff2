//! Control frames: too many, wrong ones, and at the wrong time.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::attacker::{assert_echo, meet, write, write_until_ended};
use crate::server::Server;
use crate::support::Wire::{self, WebSocket};
use crate::support::bytes::{masked_frame, message, ping, pong};
use crate::support::raw::{Arrival, RawPeer};
use crate::victim::{Victim, finish, unasked};
use crate::{MIB, WIRES};

/// Most that etiquette allows at once.
const BURST: usize = 300;

const SHORT_CLOSE: [&str; 2] = ["--close-timeout", "500ms"];

#[test]
fn f13_ping_flood_without_reading_is_struck_out() {
    Victim::start(&WIRES, &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        flood_without_reading(victim, "ping_flood", |wire| ping(wire, &[b'p'; 125]));
    });
}

#[test]
fn f14_pong_flood_without_reading_is_struck_out() {
    Victim::start(&WIRES, &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        flood_without_reading(victim, "pong_flood", |wire| pong(wire, &[b'p'; 125]));
    });
}

/// Four peers on each wire write the same frame as fast as they can, and read nothing.
fn flood_without_reading(victim: &Victim, cause: &str, frame: impl Fn(Wire) -> Vec<u8> + Sync) {
    thread::scope(|scope| {
        for wire in WIRES.repeat(4) {
            let frame = &frame;
            scope.spawn(move || {
                let peer = victim.open_narrow(wire);
                write_until_ended(peer.stream(), &frame(wire).repeat(500));
                let end = victim.end_of(peer.stream());
                end.assert_closed(wire, cause, 1008);
                // The newest pong owed and the close, but no heap of them.
                assert!(end.record.count("queued") <= 8 * 1024, "{}", end.record.0);
            });
        }
    });
}

/// Others are answered as fast while clients ping a thousand times a second and read nothing. The times
/// are taken in turns, with floods and without, and their middle and their slowest tenth compared: what
/// else the machine does meets both alike.
#[test]
fn f13_others_are_answered_as_fast_beside_floods() {
    const TURNS: usize = 4;
    const EACH: usize = 90;
    Victim::start(&WIRES, &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        let (mut calm, mut flooded) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            calm.extend(victim.probe().measure(EACH));
            let over = AtomicBool::new(false);
            let floods = thread::scope(|scope| {
                let flooding = WIRES.repeat(2).into_iter().map(|wire| {
                    let over = &over;
                    scope.spawn(move || flood_until(victim, wire, over))
                });
                let flooding: Vec<_> = flooding.collect();
                flooded.extend(victim.probe().measure(EACH));
                over.store(true, Ordering::Relaxed);
                let each = flooding.into_iter().map(|flood| flood.join().unwrap());
                each.sum::<usize>()
            });
            assert!(floods >= WIRES.len() * 2, "{floods} floods");
        }
        for times in [&mut calm, &mut flooded] {
            times.sort_unstable();
        }
        for share in [50, 90] {
            let [calm, flooded] = [&calm, &flooded].map(|times| times[times.len() * share / 100]);
            let most = calm * 3 + Duration::from_millis(1);
            println!("{share} of 100 are answered within {calm:?}, beside floods {flooded:?}");
            assert!(
                flooded <= most,
                "{flooded:?} of {most:?}, and {calm:?} without"
            );
        }
    });
}

/// Pings a thousand times a second, from one connection after the other, until it is over; returns how
/// many were struck out.
fn flood_until(victim: &Victim, wire: Wire, over: &AtomicBool) -> usize {
    let mut struck_out = 0;
    while !over.load(Ordering::Relaxed) || struck_out == 0 {
        let peer = victim.open_narrow(wire);
        while write(peer.stream(), &ping(wire, &[b'p'; 125]).repeat(10)) {
            thread::sleep(Duration::from_millis(10));
        }
        let end = victim.end_of(peer.stream());
        end.assert_closed(wire, "ping_flood", 1008);
        struck_out += 1;
    }
    struck_out
}

#[test]
fn f13_ping_flood_that_reads_is_answered_within_etiquette_and_then_struck_out() {
    Victim::start(&WIRES, &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        for wire in WIRES {
            let mut peer = victim.open(wire);
            let polite = BURST - 50;
            peer.write(&ping(wire, b"once").repeat(polite));
            for _ in 0..polite {
                assert_eq!(peer.next_answering(), Arrival::Pong);
            }
            let pongs = flood_until_goodbye(&mut peer, wire, &ping(wire, b"more"));
            // What the burst has left, and what was earned meanwhile at 100 a second.
            assert!(pongs < 20 * BURST, "{pongs} pongs");
            victim
                .end_of(peer.stream())
                .assert_closed(wire, "ping_flood", 1008);
        }
    });
}

#[test]
fn f14_single_pongs_are_legal_and_a_flood_of_them_is_not() {
    Victim::start(&WIRES, &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        for wire in WIRES {
            let mut peer = victim.open(wire);
            for text in ["one", "two", "three"] {
                peer.send_pong(b"unasked");
                peer.send_text(text);
                assert_echo(&mut peer, text.as_bytes());
            }
            flood_until_goodbye(&mut peer, wire, &pong(wire, b"more"));
            victim
                .end_of(peer.stream())
                .assert_closed(wire, "pong_flood", 1008);
        }
    });
}

/// Writes 1 000 frames a second until the goodbye comes; returns the pongs that came before it.
fn flood_until_goodbye(peer: &mut RawPeer, wire: Wire, frame: &[u8]) -> usize {
    let mut stream = peer.stream().try_clone().unwrap();
    let writer = thread::spawn({
        let frame = frame.repeat(10);
        move || {
            while stream.write_all(&frame).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let mut pongs = 0;
    let end = loop {
        match peer.next() {
            Arrival::Pong => pongs += 1,
            Arrival::Ping(_) => {}
            end => break end,
        }
    };
    match wire {
        WebSocket => assert_eq!(end, Arrival::Close(Some(1008))),
        Wire::Line | Wire::Binary => assert_eq!(end, Arrival::Eof),
    }
    writer.join().unwrap();
    pongs
}

#[test]
fn f15_pongs_with_a_wrong_payload_settle_nothing() {
    let args = ["--interval", "200ms", "--timeout", "30s"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let mut peer = victim.open(WebSocket);
        for wrong in [&b""[..], b"abc", b"abcd", b"abcde", &[0; 125]] {
            let Arrival::Ping(token) = peer.next() else {
                panic!("a ping is due");
            };
            peer.send_pong(wrong);
            let flipped: Vec<_> = token.iter().map(|byte| byte ^ 1).collect();
            peer.send_pong(&flipped);
            peer.send_pong(&[token, vec![0]].concat());
        }
        peer.send_close(1000);
        peer.ignore_until_end();
        let end = victim.end_of(peer.stream());
        end.assert_closed(WebSocket, "peer_closed", 1000);
        assert!(end.record.count("pings_written") >= 5, "{}", end.record.0);
        assert_eq!(end.record.count("pings_answered"), 0, "{}", end.record.0);
        assert!(end.record.0["rtt_us"].is_null(), "{}", end.record.0);
    });
}

#[test]
fn f15_wrong_pongs_are_counted_apart_from_those_that_nobody_asked_for() {
    for (interval, is_asked) in [("200ms", true), ("off", false)] {
        let server = Server::start(&[WebSocket], &["--interval", interval, "--timeout", "30s"]);
        let mut peer = meet(&server, WebSocket);
        let token = match is_asked {
            true => peer.next(),
            false => Arrival::Ping(b"none".to_vec()),
        };
        let Arrival::Ping(token) = token else {
            panic!("{token:?} instead of a ping");
        };
        for wrong in [
            &b""[..],
            b"abc",
            &[token.as_slice(), &[0]].concat(),
            &[0; 125],
        ] {
            peer.send_pong(wrong);
        }
        peer.send_close(1000);
        peer.ignore_until_end();
        let summary = server.finish();
        let count = |name: &str| summary[name].as_u64();
        let counts = (count("pongs_mismatched"), count("pongs_unsolicited"));
        let (wrong, unasked) = if is_asked { (4, 0) } else { (0, 4) };
        assert_eq!(counts, (Some(wrong), Some(unasked)), "{summary}");
        assert_eq!(count("pings_answered"), Some(0), "{summary}");
    }
}

#[test]
fn f16_a_pong_to_the_newest_of_three_pings_settles_all_three() {
    let args = ["--interval", "200ms", "--timeout", "30s"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let mut peer = victim.open(WebSocket);
        let tokens: Vec<_> = (0..3)
            .map(|_| match peer.next() {
                Arrival::Ping(token) => token,
                other => panic!("{other:?} instead of a ping"),
            })
            .collect();
        peer.send_pong(&tokens[2]);
        peer.send_close(1000);
        peer.ignore_until_end();
        let record = victim.end_of(peer.stream()).record;
        assert_eq!(record.count("pings_answered"), 3, "{}", record.0);
    });
}

#[test]
fn f17_control_frames_too_long_or_cut_in_pieces_get_no_answer_but_1002() {
    let mut frames = Vec::new();
    for opcode in [0x8, 0x9, 0xA] {
        frames.push(masked_frame(0x80 | opcode, &[b'x'; 126]));
        frames.push(masked_frame(0x80 | opcode, &[b'x'; 70_000]));
        frames.push(masked_frame(opcode, b"\x03\xe8"));
        frames.push(masked_frame(0xC0 | opcode, b"\x03\xe8"));
    }
    for reserved in [0x3, 0x7, 0xB, 0xF] {
        frames.push(masked_frame(0x80 | reserved, b""));
    }
    Victim::start(&[WebSocket], &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        for frame in &frames {
            let mut peer = victim.open(WebSocket);
            write(peer.stream(), frame);
            assert_eq!(peer.next(), Arrival::Close(Some(1002)));
            assert_eq!(peer.next(), Arrival::Eof);
            victim.end_without(peer.into_parts().0).assert_closed(
                WebSocket,
                "protocol_error",
                1002,
            );
        }
    });
}

#[test]
fn f18_a_ping_between_fragments_is_answered_at_once_and_the_message_is_whole() {
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        let mut peer = victim.open(WebSocket);
        for size in [1, 5_000, 100_000] {
            let parts: Vec<_> = (b'a'..=b'e').map(|letter| vec![letter; size]).collect();
            for (place, part) in parts.iter().enumerate() {
                let opcode = u8::from(place == 0);
                let fin = u8::from(place + 1 == parts.len()) << 7;
                peer.write(&masked_frame(fin | opcode, part));
                if fin == 0 {
                    peer.send_ping(b"between");
                    assert_eq!(peer.next(), Arrival::Pong);
                }
            }
            assert_echo(&mut peer, &parts.concat());
        }
    });
}

#[test]
fn f19_f20_pings_after_our_close_are_owed_nothing_and_buy_no_time() {
    let args = ["--app-idle", "500ms", "--close-timeout", "500ms"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let mut peer = victim.open(WebSocket);
        let mut stream = peer.stream().try_clone().unwrap();
        // A peer that talks on, but never answers the goodbye. Until then only pings, which do not make it
        // less idle.
        let is_told = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_told);
        let talker = thread::spawn(move || {
            let pings = ping(WebSocket, b"still here");
            let begin = [&pings[..], &masked_frame(0x01, b"and")].concat();
            let go_on = [&pings[..], &masked_frame(0x00, b"on")].concat();
            let mut next = &pings;
            while stream.write_all(next).is_ok() {
                next = match told.load(Ordering::Acquire) {
                    false => &pings,
                    true if *next == pings => &begin,
                    true => &go_on,
                };
                thread::sleep(Duration::from_millis(20));
            }
        });
        let goodbye = std::iter::repeat_with(|| peer.next()).find(|next| *next != Arrival::Pong);
        assert_eq!(goodbye, Some(Arrival::Close(Some(1000))));
        is_told.store(true, Ordering::Release);
        let end = peer.next();
        assert!(matches!(end, Arrival::Eof | Arrival::Reset), "{end:?}");
        talker.join().unwrap();
        let end = victim.end_of(peer.stream());
        end.assert_closed(WebSocket, "app_idle", 1000);
        assert!(!end.record.is_clean());
    });
}

#[test]
fn f20_a_goodbye_that_a_narrow_peer_never_takes_is_a_close_timeout() {
    // The message under way may leave before the answer, as long as it makes progress.
    let args = [SHORT_CLOSE[0], SHORT_CLOSE[1], "--write-timeout", "3s"];
    Victim::start(&[WebSocket], &args).withstands(16 * MIB, |victim| {
        let streams: Vec<_> = (0..4)
            .map(|_| {
                let peer = victim.open_narrow(WebSocket);
                let (stream, _) = peer.into_parts();
                write(&stream, &message(WebSocket, &vec![b'x'; MIB]));
                write(&stream, &masked_frame(0x88, &1000u16.to_be_bytes()));
                stream
            })
            .collect();
        for stream in &streams {
            let end = victim.end_of(stream);
            end.assert_closed(WebSocket, "close_timeout", 1000);
            assert!(!end.record.is_clean());
        }
    });
}

#[test]
fn f19_f20_a_drain_that_some_never_answer_is_not_clean_for_them_alone() {
    let args = ["--close-timeout", "500ms", "--drain", "20s"];
    let server = Server::start(&[WebSocket], &unasked(&args));
    let mut peers: Vec<_> = (0..21).map(|_| meet(&server, WebSocket)).collect();
    for peer in &peers {
        server.wait_open(peer.local_port());
    }
    server.process().signal(Signal::TERM);
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.next(), Arrival::Close(Some(1001)));
        match number {
            0 => peer.send_close(1001),
            1..11 => {}
            _ => {
                let talk = [ping(WebSocket, b"and yet"), message(WebSocket, b"I talk")];
                write(peer.stream(), &talk.concat().repeat(50));
            }
        }
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        let end = peer.next();
        assert!(matches!(end, Arrival::Eof | Arrival::Reset), "{end:?}");
        let record = server.wait_closed_from(peer.local_port());
        record.assert_end("drain", number == 0);
        assert_eq!(record.count("code"), 1001);
    }
    finish(server);
}
