//! Section 5.4: messages in fragments.

use heartwheel::config::LimitsConfig;
use heartwheel::proto::message::Message;
use heartwheel::proto::wire::MessageKind;

use crate::peer::{BOTH, Peer, assert_frames_fail, binary, text};
use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};

#[test]
fn s5_4_a_message_in_one_frame_or_many_is_the_same() {
    let payload = "häppchenweise".as_bytes();
    for role in BOTH {
        for size in 1..=payload.len() {
            let mut peer = Peer::new(role);
            let pieces: Vec<_> = payload.chunks(size).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let opcode = if at == 0 { TEXT } else { CONTINUATION };
                let fin = if at + 1 == pieces.len() { FIN } else { 0 };
                assert_eq!(peer.heard(), [], "not before the last fragment");
                peer.frame(fin | opcode, piece);
            }
            assert_eq!(peer.heard(), [text("häppchenweise")], "in pieces of {size}");
            peer.assert_open();
        }
    }
}

#[test]
fn s5_4_fragments_may_be_empty() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        for (first, payload) in [
            (BINARY, &b""[..]),
            (CONTINUATION, b""),
            (CONTINUATION, b"a"),
            (CONTINUATION, b""),
            (FIN | CONTINUATION, b""),
            (TEXT, b""),
            (FIN | CONTINUATION, b""),
        ] {
            peer.frame(first, payload);
        }
        assert_eq!(peer.heard(), [binary(b"a"), text("")]);
        peer.assert_open();
    }
}

#[test]
fn s5_4_the_type_is_that_of_the_first_fragment() {
    for (opcode, kind) in [(TEXT, MessageKind::Text), (BINARY, MessageKind::Binary)] {
        for role in BOTH {
            let mut peer = Peer::new(role);
            peer.frame(opcode, b"a");
            peer.frame(CONTINUATION, b"b");
            peer.frame(FIN | CONTINUATION, b"c");
            assert_eq!(peer.heard(), [(kind, b"abc".to_vec())]);
        }
    }
}

#[test]
fn s5_4_a_continuation_of_nothing_fails_the_connection() {
    for fin in [0, FIN] {
        let lone: (u8, &[u8]) = (fin | CONTINUATION, b"x");
        assert_frames_fail(&[lone], 1002);
        assert_frames_fail(&[(FIN | TEXT, b"whole"), lone], 1002);
        assert_frames_fail(&[(FIN | PING, b""), lone], 1002);
        assert_frames_fail(&[(TEXT, b""), (FIN | CONTINUATION, b""), lone], 1002);
    }
}

#[test]
fn s5_4_a_message_within_another_fails_the_connection() {
    for first in [TEXT, BINARY] {
        for second in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
            assert_frames_fail(&[(first, b"a"), (second, b"b")], 1002);
            let between: (u8, &[u8]) = (CONTINUATION, b"b");
            assert_frames_fail(&[(first, b"a"), between, (second, b"c")], 1002);
            let ping: (u8, &[u8]) = (FIN | PING, b"");
            assert_frames_fail(&[(first, b"a"), ping, (second, b"c")], 1002);
        }
    }
}

#[test]
fn s5_4_control_frames_between_fragments_are_handled_at_once() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(TEXT, b"a\xc3");
        peer.frame(FIN | PING, b"one");
        assert_eq!(peer.frames()[0].payload, b"one", "before the message ends");
        peer.frame(FIN | PONG, b"unasked");
        peer.frame(CONTINUATION, b"\xa4");
        peer.frame(FIN | PING, b"two");
        assert_eq!(peer.frames()[0].payload, b"two");
        peer.frame(FIN | CONTINUATION, b"b");
        assert_eq!(peer.heard(), [text("aäb")]);
        peer.frame(BINARY, b"unfinished");
        peer.frame(FIN | CLOSE, b"\x03\xe8");
        assert_eq!(peer.frames()[0].code(), Some(1000));
        assert_eq!(peer.heard(), []);
    }
}

#[test]
fn s5_4_control_frames_are_not_fragmented() {
    for opcode in [CLOSE, PING, PONG] {
        let body: &[u8] = if opcode == CLOSE { b"\x03\xe8" } else { b"" };
        assert_frames_fail(&[(opcode, body)], 1002);
        assert_frames_fail(&[(TEXT, b"a"), (opcode, body)], 1002);
    }
}

#[test]
fn s5_4_we_send_the_fragments_of_one_message_in_order_and_those_of_no_other_between() {
    let limits = LimitsConfig {
        max_fragment: 1_000,
        ..LimitsConfig::default()
    };
    for role in BOTH {
        let mut peer = Peer::with(role, &limits);
        let payloads = [vec![1; 3_500], vec![2; 2_000], vec![3; 1], Vec::new()];
        for payload in &payloads {
            assert!(peer.send(Message::binary(payload)));
        }
        // The first frame is under way when a ping comes, so that the pong has to go between.
        let mut bytes = peer.end.write(10);
        peer.frame(FIN | PING, b"now");
        bytes.extend(peer.output());
        let frames = crate::wire::frames(&bytes);
        let shape: Vec<_> = frames.iter().map(|frame| frame.first).collect();
        let expected = [
            BINARY,
            FIN | PONG,
            CONTINUATION,
            CONTINUATION,
            FIN | CONTINUATION,
            BINARY,
            FIN | CONTINUATION,
            FIN | BINARY,
            FIN | BINARY,
        ];
        assert_eq!(shape, expected);
        let data = frames.iter().filter(|frame| frame.opcode() != PONG);
        let data: Vec<_> = data.flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(data, payloads.concat());
    }
}

#[test]
fn s5_4_a_large_message_may_come_in_any_number_of_fragments() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(BINARY, b"");
        for _ in 0..20_000 {
            peer.frame(CONTINUATION, b"x");
        }
        peer.frame(FIN | CONTINUATION, b"");
        assert_eq!(peer.heard(), [binary(&[b'x'; 20_000])]);
    }
}
