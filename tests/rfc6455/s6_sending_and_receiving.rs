//! Section 6: sending and receiving data.

use heartwheel::config::LimitsConfig;
use heartwheel::proto::message::Message;
use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer, binary, text};
use crate::wire::{BINARY, CONTINUATION, FIN, PING, TEXT, close, frame};

#[test]
fn s6_1_data_is_sent_only_while_the_connection_is_open() {
    for role in BOTH {
        let mut peer = Peer::begin(role, &LimitsConfig::default());
        assert!(!peer.send(Message::text("connecting")));
        if role == Role::Client {
            peer.end.connect();
        }
        assert!(!peer.send(Message::text("in the handshake")));
        peer.end.shake_hands();
        assert!(peer.send(Message::text("open")));
        peer.feed(&close(role, 1000, ""));
        assert!(!peer.send(Message::text("closing")));
        assert_eq!(peer.frames().len(), 2);

        let mut peer = Peer::new(role);
        peer.end.reset();
        assert!(!peer.send(Message::text("closed")));
        assert_eq!(peer.output(), b"");
    }
}

#[test]
fn s6_1_the_first_frame_has_the_opcode_and_the_last_one_fin() {
    let limits = LimitsConfig {
        max_fragment: 10,
        ..LimitsConfig::default()
    };
    for role in BOTH {
        for (len, count) in [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
            let mut peer = Peer::with(role, &limits);
            assert!(peer.send(Message::text(&"x".repeat(len))));
            let frames = peer.frames();
            assert_eq!(frames.len(), count, "{len}");
            for (at, frame) in frames.iter().enumerate() {
                let opcode = if at == 0 { TEXT } else { CONTINUATION };
                assert_eq!(frame.opcode(), opcode);
                assert_eq!(frame.is_final(), at + 1 == count);
            }
            let sent: Vec<u8> = frames.into_iter().flat_map(|frame| frame.payload).collect();
            assert_eq!(sent, "x".repeat(len).into_bytes());
        }
    }
}

#[test]
fn s6_1_messages_leave_in_the_order_of_their_sends() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        let messages: Vec<_> = [1, 100_000, 2, 20_000, 0, 70_000]
            .into_iter()
            .map(|len| vec![b'x'; len])
            .collect();
        for message in &messages {
            assert!(peer.send(Message::binary(message)));
        }
        let mut arrived = vec![Vec::<u8>::new()];
        for frame in peer.frames() {
            arrived.last_mut().unwrap().extend(&frame.payload);
            if frame.is_final() {
                arrived.push(Vec::new());
            }
        }
        assert_eq!(arrived.pop(), Some(Vec::new()));
        assert_eq!(arrived, messages);
    }
}

#[test]
fn s6_2_whatever_the_pieces_frames_are_messages_in_their_order() {
    for role in BOTH {
        let bytes = [
            frame(role, FIN | TEXT, b"one"),
            frame(role, BINARY, b"tw"),
            frame(role, FIN | PING, b"!"),
            frame(role, FIN | CONTINUATION, b"o"),
            frame(role, FIN | TEXT, b""),
            frame(role, FIN | BINARY, &[3; 300]),
        ]
        .concat();
        for size in 1..=bytes.len() {
            let mut peer = Peer::new(role);
            bytes.chunks(size).for_each(|chunk| peer.feed(chunk));
            let expected = [text("one"), binary(b"two"), text(""), binary(&[3; 300])];
            assert_eq!(peer.heard(), expected, "in pieces of {size}");
            assert_eq!(peer.frames()[0].payload, b"!");
        }
    }
}

#[test]
fn s6_2_a_server_removes_the_mask() {
    let mut peer = Peer::new(Role::Server);
    for mask in [[1, 2, 3, 4], [0xFF; 4], [0, 0, 0, 1]] {
        peer.feed(&crate::wire::masked(FIN | TEXT, b"plain again", mask));
        assert_eq!(peer.heard(), [text("plain again")]);
    }
}

#[test]
fn s6_2_what_a_finished_message_leaves_behind_is_not_in_the_next() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(TEXT, b"long and assembled");
        peer.frame(FIN | CONTINUATION, b"");
        peer.frame(FIN | TEXT, b"next");
        peer.frame(BINARY, b"");
        peer.frame(FIN | CONTINUATION, b"last");
        assert_eq!(
            peer.heard(),
            [text("long and assembled"), text("next"), binary(b"last")]
        );
    }
}
