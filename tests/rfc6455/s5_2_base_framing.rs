//! Section 5.2: the header of a frame.

use heartwheel::proto::message::Message;
use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer, assert_frames_fail, binary};
use crate::wire::{BINARY, CONTINUATION, FIN, MASK, OPCODES, frame};

#[test]
fn s5_2_reserved_bits_fail_the_connection() {
    for reserved in 1..8 {
        for opcode in OPCODES {
            let first = FIN | reserved << 4 | opcode;
            let body: &[u8] = if opcode == 8 { b"\x03\xe8" } else { b"" };
            if opcode == CONTINUATION {
                assert_frames_fail(&[(BINARY, b""), (first, body)], 1002);
            } else {
                assert_frames_fail(&[(first, body)], 1002);
            }
        }
    }
}

#[test]
fn s5_2_unknown_opcodes_fail_the_connection() {
    for opcode in (3..8).chain(11..16) {
        for fin in [0, FIN] {
            assert_frames_fail(&[(fin | opcode, b"")], 1002);
            assert_frames_fail(&[(BINARY, b""), (fin | opcode, b"")], 1002);
        }
    }
}

#[test]
fn s5_2_the_first_byte_is_judged_before_the_second_comes() {
    for first in [0x91, 0xA1, 0xC1, 0x83, 0x8B, 0x80, 0x09] {
        for role in BOTH {
            let mut peer = Peer::new(role);
            peer.feed(&[first]);
            peer.assert_failed(1002);
        }
    }
}

/// A header of a binary frame, with its length as these bytes.
fn header(role: Role, len: &[u8]) -> Vec<u8> {
    let mut bytes = vec![FIN | BINARY];
    bytes.extend_from_slice(len);
    if role == Role::Server {
        bytes[1] |= 0x80;
    }
    bytes
}

#[test]
fn s5_2_a_length_in_more_bytes_than_it_needs_fails_the_connection() {
    for len in [
        &[126, 0, 0][..],
        &[126, 0, 1],
        &[126, 0, 125],
        &[127, 0, 0, 0, 0, 0, 0, 0, 0],
        &[127, 0, 0, 0, 0, 0, 0, 0, 126],
        &[127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
    ] {
        for role in BOTH {
            let mut peer = Peer::new(role);
            peer.feed(&header(role, len));
            peer.assert_failed(1002);
        }
    }
}

#[test]
fn s5_2_a_64_bit_length_with_its_top_bit_fails_the_connection() {
    for len in [
        [127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        [127, 0x80, 0, 0, 0, 0, 1, 0, 0],
        [127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        for role in BOTH {
            let mut peer = Peer::new(role);
            peer.feed(&header(role, &len));
            peer.assert_failed(1002);
        }
    }
}

/// Lengths around the borders of the three forms, with the bytes that each takes beside the first seven
/// bits.
const LENGTHS: [(usize, usize); 8] = [
    (0, 0),
    (1, 0),
    (125, 0),
    (126, 2),
    (127, 2),
    (65_535, 2),
    (65_536, 8),
    (70_000, 8),
];

#[test]
fn s5_2_each_form_of_length_is_read_in_the_order_of_the_network() {
    for (len, extended) in LENGTHS {
        let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for role in BOTH {
            let bytes = frame(role, FIN | BINARY, &payload);
            let mask = if role == Role::Server { MASK.len() } else { 0 };
            assert_eq!(bytes.len(), 2 + extended + mask + len);
            let mut peer = Peer::new(role);
            peer.feed(&bytes);
            assert_eq!(peer.heard(), [binary(&payload)], "{len}");
            // Far from both ends in larger pieces, which are quicker; the decoder's own tests take all.
            let (near, rest) = bytes.split_at(bytes.len().min(200));
            let (middle, last) = rest.split_at(rest.len().saturating_sub(200));
            for piece in near
                .chunks(1)
                .chain(middle.chunks(97))
                .chain(last.chunks(1))
            {
                peer.feed(piece);
            }
            assert_eq!(peer.heard(), [binary(&payload)], "{len}, byte by byte");
            peer.assert_open();
        }
    }
}

#[test]
fn s5_2_we_write_each_length_in_the_fewest_bytes() {
    let limits = heartwheel::config::LimitsConfig {
        max_fragment: 1 << 20,
        ..Default::default()
    };
    for (len, extended) in LENGTHS {
        for role in BOTH {
            let mut peer = Peer::with(role, &limits);
            assert!(peer.send(Message::binary(&vec![7; len])));
            let frames = peer.frames();
            assert_eq!(frames.len(), 1);
            assert_eq!(
                (frames[0].extended, frames[0].payload.len()),
                (extended, len)
            );
        }
    }
}

#[test]
fn s5_2_the_length_counts_the_payload_and_not_the_mask() {
    let mut peer = Peer::new(Role::Server);
    peer.feed(&[
        FIN | BINARY,
        0x80,
        1,
        2,
        3,
        4,
        FIN | BINARY,
        0x81,
        0,
        0,
        0,
        0,
        9,
    ]);
    assert_eq!(peer.heard(), [binary(b""), binary(&[9])]);
}
