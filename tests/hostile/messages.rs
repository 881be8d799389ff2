//! Messages that are huge, slow, or in more pieces than anybody needs.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::attacker::{assert_echo, write, write_until_ended};
use crate::support::Wire::{self, Binary, Line, WebSocket};
use crate::support::bytes::{masked_frame, masked_header, message};
use crate::support::raw::Arrival;
use crate::victim::Victim;
use crate::{MIB, WIRES};

const SHORT_CLOSE: [&str; 2] = ["--close-timeout", "500ms"];

/// The default of `--max-message`.
const MOST: u64 = 1 << 20;

#[test]
fn f45_a_length_beyond_the_limit_is_refused_from_the_header() {
    let mut cases = Vec::new();
    for first in [0x81, 0x82, 0x01] {
        for len in [MOST + 1, 1 << 32, (1 << 63) - 1] {
            let header = masked_header(first, len);
            cases.push((WebSocket, header, "message_too_big", 1009));
        }
        for len in [1 << 63, u64::MAX] {
            // RFC 6455, 5.2: "the most significant bit MUST be 0"
            let header = masked_header(first, len);
            cases.push((WebSocket, header, "protocol_error", 1002));
        }
    }
    for len in [MOST + 1, u64::from(u32::MAX)] {
        let len = u32::try_from(len).unwrap();
        let header = [&[0], &len.to_be_bytes()[..]].concat();
        cases.push((Binary, header, "message_too_big", 1009));
    }
    Victim::start(&[WebSocket, Binary], &SHORT_CLOSE).withstands(4 * MIB, |victim| {
        for (wire, header, cause, code) in &cases {
            let mut peer = victim.open(*wire);
            peer.write(header);
            if *wire == WebSocket {
                let code = u16::try_from(*code).unwrap();
                assert_eq!(peer.next(), Arrival::Close(Some(code)));
            }
            assert_eq!(peer.next(), Arrival::Eof);
            let end = victim.end_without(peer.into_parts().0);
            end.assert_closed(*wire, cause, *code);
        }
    });
}

#[test]
fn f45_the_largest_lengths_allowed_cost_nothing_until_their_bytes_come() {
    Victim::start(&[WebSocket, Binary], &[]).withstands(8 * MIB, |victim| {
        let mut declared = masked_header(0x82, MOST);
        declared.push(b'x');
        let mut plain = [&[0], &u32::try_from(MOST).unwrap().to_be_bytes()[..]].concat();
        plain.push(b'x');
        let mut peers = Vec::new();
        for _ in 0..200 {
            for (wire, bytes) in [(WebSocket, &declared), (Binary, &plain)] {
                let mut peer = victim.open(wire);
                peer.write(bytes);
                peers.push(peer);
            }
        }
        // The server has read the last of them.
        victim.probe().wait_answers(4);
        drop(peers);
        for end in victim.ended(400) {
            end.assert_left();
        }
    });
}

#[test]
fn f9_a_message_that_comes_slowly_but_above_the_floor_survives_all_timeouts() {
    let args = [
        "--interval",
        "800ms",
        "--timeout",
        "2s",
        "--slow-floor",
        "16KiB",
        "--slow-grace",
        "500ms",
    ];
    Victim::start(&WIRES, &args).withstands(8 * MIB, |victim| {
        let text = vec![b's'; 256 * 1024];
        let mut peers = WIRES.map(|wire| (wire, victim.open(wire)));
        // A pong would be proof of its own, so none is sent: only unfinished bytes speak for the peer.
        let began = Instant::now();
        let mut written = [0; WIRES.len()];
        for step in 1..=64 {
            for ((wire, peer), written) in peers.iter_mut().zip(&mut written) {
                let bytes = message(*wire, &text);
                let end = bytes.len() * step / 64;
                peer.write(&bytes[*written..end]);
                *written = end;
            }
            thread::sleep(Duration::from_millis(45));
        }
        assert!(began.elapsed() > Duration::from_millis(2_500));
        for (_, peer) in &mut peers {
            assert_echo(peer, &text);
        }
    });
}

#[test]
fn f10_a_message_below_the_floor_is_a_slow_peer() {
    let args = ["--slow-grace", "1s", "--close-timeout", "500ms"];
    Victim::start(&WIRES, &args).withstands(4 * MIB, |victim| {
        // Long ones: short ones may come as slowly as they like, but for their total time.
        drips_until_slow(victim, |wire| match wire {
            WebSocket => (masked_header(0x81, 8_000), b"x".repeat(1_000)),
            Line => (b"x".repeat(4_097), b"x".repeat(1_000)),
            Binary => (vec![0, 0, 0, 31, 64], b"x".repeat(1_000)),
        });
    });
}

#[test]
fn f10_a_message_that_never_ends_is_a_slow_peer_at_its_total_time() {
    let args = [
        "--message-timeout",
        "1s",
        "--slow-floor",
        "off",
        "--close-timeout",
        "500ms",
    ];
    Victim::start(&WIRES, &args).withstands(4 * MIB, |victim| {
        drips_until_slow(victim, |wire| match wire {
            // One byte in each fragment.
            WebSocket => (
                masked_frame(0x01, b"x"),
                masked_frame(0x00, b"x").repeat(1_000),
            ),
            Line => (Vec::new(), b"x".repeat(1_000)),
            Binary => (vec![0, 0, 0, 3, 232], b"x".repeat(1_000)),
        });
    });
}

#[test]
fn f10_a_frame_that_stops_in_its_header_or_in_a_ping_is_a_slow_peer() {
    let args = ["--message-timeout", "1s", "--close-timeout", "500ms"];
    let ping = masked_frame(0x89, b"half");
    let begun = [
        (WebSocket, &ping[..1]),
        (WebSocket, &ping[..2]),
        (WebSocket, &ping[..8]),
        (WebSocket, b"\x82\xff\0\0\0"),
        (Line, b"\r"),
        (Binary, b"\0\0\0\0"),
    ];
    Victim::start(&WIRES, &args).withstands(4 * MIB, |victim| {
        let peers = begun.map(|(wire, bytes)| {
            let mut peer = victim.open(wire);
            peer.write(bytes);
            (wire, peer)
        });
        for (wire, peer) in &peers {
            let end = victim.end_of(peer.stream());
            end.assert_closed(*wire, "slow_peer", 1008);
        }
    });
}

/// Writes some bytes at once and then others one by one, 20 ms apart, on four connections of each wire,
/// until the server ends them.
fn drips_until_slow(victim: &Victim, bytes: impl Fn(Wire) -> (Vec<u8>, Vec<u8>) + Sync) {
    thread::scope(|scope| {
        for wire in WIRES.repeat(4) {
            let bytes = &bytes;
            scope.spawn(move || {
                let (stream, _) = victim.open(wire).into_parts();
                let (begin, drops) = bytes(wire);
                write(&stream, &begin);
                for byte in drops {
                    if !write(&stream, &[byte]) {
                        break;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                let end = victim.end_of(&stream);
                end.assert_closed(wire, "slow_peer", 1008);
                let age = end.record.time("age");
                assert!(age >= Duration::from_secs(1), "early: {}", end.record.0);
            });
        }
    });
}

#[test]
fn empty_fragments_without_end_are_a_slow_peer() {
    let args = ["--message-timeout", "1s", "--close-timeout", "500ms"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let peer = victim.open(WebSocket);
                    write(peer.stream(), &masked_frame(0x01, b""));
                    write_until_ended(peer.stream(), &masked_frame(0x00, b"").repeat(1_000));
                    let end = victim.end_of(peer.stream());
                    end.assert_closed(WebSocket, "slow_peer", 1008);
                });
            }
        });
    });
}

#[test]
fn tiny_fragments_may_make_a_message_of_the_limit_and_not_a_byte_more() {
    let limit = 16 * 1024;
    let args = ["--max-message", "16KiB", "--close-timeout", "500ms"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        for (piece, pieces) in [(1, limit), (16, limit / 16)] {
            let part = masked_frame(0x00, &vec![b'x'; piece]);
            let mut bytes = masked_frame(0x01, b"");
            bytes.extend(part.repeat(pieces - 1));
            bytes.extend(masked_frame(0x80, &vec![b'x'; piece]));
            let mut peer = victim.open(WebSocket);
            peer.write(&bytes);
            assert_echo(&mut peer, &vec![b'x'; limit]);

            bytes = masked_frame(0x01, b"");
            bytes.extend(part.repeat(pieces));
            bytes.extend(masked_frame(0x00, b"y"));
            peer.write(&bytes);
            assert_eq!(peer.next(), Arrival::Close(Some(1009)));
            victim.end_without(peer.into_parts().0).assert_closed(
                WebSocket,
                "message_too_big",
                1009,
            );
        }
    });
}

#[test]
fn messages_without_end_are_too_big_at_the_limit_on_every_wire() {
    let args = ["--max-message", "1MiB", "--close-timeout", "500ms"];
    Victim::start(&[WebSocket, Line], &args).withstands(24 * MIB, |victim| {
        thread::scope(|scope| {
            for wire in [WebSocket, Line].repeat(3) {
                scope.spawn(move || {
                    let peer = victim.open(wire);
                    let more = match wire {
                        WebSocket => {
                            write(peer.stream(), &masked_frame(0x02, b""));
                            masked_frame(0x00, &[b'x'; 10_000])
                        }
                        Line | Binary => vec![b'x'; 10_000],
                    };
                    write_until_ended(peer.stream(), &more);
                    let end = victim.end_of(peer.stream());
                    end.assert_closed(wire, "message_too_big", 1009);
                });
            }
        });
    });
}

#[test]
fn thousands_of_tiny_messages_in_a_segment_all_come_back() {
    let count = 10_000;
    Victim::start(&WIRES, &[]).withstands(8 * MIB, |victim| {
        thread::scope(|scope| {
            for wire in WIRES {
                scope.spawn(move || {
                    let mut peer = victim.open(wire);
                    let mut stream = peer.stream().try_clone().unwrap();
                    let writer = thread::spawn(move || {
                        stream
                            .write_all(&message(wire, b"x").repeat(count))
                            .unwrap();
                    });
                    for _ in 0..count {
                        assert_echo(&mut peer, b"x");
                    }
                    writer.join().unwrap();
                });
            }
        });
    });
}

/// Tests that take many descriptors.
mod large {
    use super::*;
    use crate::support::crowd::{alone, raise_descriptor_limit};

    #[test]
    #[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
    fn a_thousand_peers_may_hold_half_a_frame_each() {
        let _alone = alone();
        raise_descriptor_limit(1_000);
        // To come to a thousand takes a busy machine longer than a frame may be slow by default.
        Victim::start(&WIRES, &["--slow-grace", "5min"]).withstands(16 * MIB, |victim| {
            let text = vec![b'h'; 7_000];
            let mut peers: Vec<_> = (0..1_000)
                .map(|number| {
                    let wire = WIRES[number % WIRES.len()];
                    let mut peer = victim.open(wire);
                    let rest = message(wire, &text).split_off(4_000);
                    peer.write(&message(wire, &text)[..4_000]);
                    (peer, rest)
                })
                .collect();
            victim.probe().wait_answers(6);
            for (peer, rest) in &mut peers {
                peer.write(rest);
            }
            for (peer, _) in &mut peers {
                assert_echo(peer, &text);
            }
            drop(peers);
            for end in victim.ended(1_000) {
                end.assert_left();
            }
        });
    }
}
