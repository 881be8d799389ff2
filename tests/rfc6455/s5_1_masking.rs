//! Section 5.1: who masks, and who must not.

use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer};
use crate::support::memory::pipe::Fate;
use crate::support::sides::{Acceptor, Dialer, Ended};
use crate::wire::{CLOSE, CONTINUATION, FIN, MASK, OPCODES, PING, PONG, TEXT, masked, plain};

/// Has an endpoint send every kind of frame there is, and returns the opcodes that came.
fn every_kind(role: Role) -> Vec<u8> {
    let mut peer = Peer::new(role);
    let large = vec![b'x'; 200_000];
    let shared = SharedMessage::new(Message::binary(&large));
    assert!(peer.send(Message::text("text")));
    assert!(peer.send(Message::binary(b"")));
    assert!(peer.send(Message::text(std::str::from_utf8(&large).unwrap())));
    peer.end.send_shared(&shared).unwrap();
    peer.ping();
    peer.frame(FIN | PING, b"ping");
    let mut kinds: Vec<_> = peer.frames().iter().map(|frame| frame.first).collect();
    peer.close(1000, "bye");
    // `frames` claims of each that it is masked, or is not.
    kinds.extend(peer.frames().iter().map(|frame| frame.first));
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn s5_1_a_client_masks_every_frame_and_a_server_none() {
    for role in BOTH {
        let kinds = [
            CONTINUATION,
            TEXT,
            2,
            FIN | CONTINUATION,
            FIN | TEXT,
            FIN | 2,
            FIN | CLOSE,
            FIN | PING,
            FIN | PONG,
        ];
        assert_eq!(every_kind(role), kinds, "{role:?}");
    }
}

#[test]
fn s5_1_a_server_fails_at_a_frame_without_mask() {
    for opcode in OPCODES {
        for payload in [&b""[..], b"\x03\xe8"] {
            let mut peer = Peer::new(Role::Server);
            peer.frame(TEXT, b"");
            let is_start = matches!(opcode, 1 | 2);
            if is_start {
                peer.frame(FIN | CONTINUATION, b"");
            }
            peer.assert_open();
            let before = peer.heard();
            peer.feed(&plain(FIN | opcode, payload));
            assert_eq!(peer.heard(), [], "{opcode}");
            peer.end.process.handler.heard = before;
            peer.assert_failed(1002);
        }
    }
}

#[test]
fn s5_1_a_client_fails_at_a_frame_with_mask() {
    for opcode in OPCODES {
        for mask in [MASK, [0; 4]] {
            let mut peer = Peer::new(Role::Client);
            if opcode == CONTINUATION {
                peer.frame(TEXT, b"");
            }
            peer.feed(&masked(FIN | opcode, b"", mask));
            assert_eq!(peer.heard(), [], "{opcode}");
            peer.assert_failed(1002);
        }
    }
}

#[test]
fn s5_1_the_mask_bit_is_judged_before_anything_behind_it() {
    for (role, second) in [(Role::Server, 0x7F), (Role::Client, 0xFF)] {
        let mut peer = Peer::new(role);
        peer.feed(&[FIN | TEXT]);
        peer.assert_open();
        peer.feed(&[second]);
        peer.assert_failed(1002);
    }
}

#[test]
fn s5_1_tcp_is_closed_upon_a_frame_that_is_masked_wrongly() {
    let mut server = Acceptor::new();
    let mut peer = server.open();
    std::io::Write::write_all(&mut peer, &plain(FIN | TEXT, b"bare")).unwrap();
    let (bytes, ended) = server.turning.read_to_end(&mut peer);
    assert_eq!(crate::wire::frames(&bytes)[0].code(), Some(1002));
    assert_eq!(ended, Ended::Fin);

    let mut dialer = Dialer::new();
    let mut peer = dialer.open();
    std::io::Write::write_all(&mut peer, &masked(FIN | TEXT, b"masked", MASK)).unwrap();
    let (bytes, ended) = dialer.turning.read_to_end(&mut peer);
    assert_eq!(crate::wire::frames(&bytes)[0].code(), Some(1002));
    assert_eq!(ended, Ended::Fin);
}

#[test]
fn s5_1_an_open_connection_stays_open_while_masks_are_right() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(FIN | TEXT, b"fine");
        assert_eq!(peer.fate(), Fate::Held);
        assert_eq!(peer.heard().len(), 1);
    }
}
