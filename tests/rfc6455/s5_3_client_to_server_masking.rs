//! Section 5.3: how a client masks.

use std::collections::HashSet;

use heartwheel::proto::message::Message;
use heartwheel::proto::wire::Role;

use crate::peer::{Peer, binary};
use crate::support::sides::Dialer;
use crate::wire::{BINARY, FIN, PING, frames, masked, plain};

#[test]
fn s5_3_each_frame_has_a_fresh_mask() {
    let mut peer = Peer::new(Role::Client);
    let mut masks = HashSet::new();
    let mut count = 0;
    for _ in 0..100 {
        assert!(peer.send(Message::binary(&[0; 100])));
        assert!(peer.send(Message::binary(&[0; 150_000])));
        peer.ping();
        peer.frame(FIN | PING, b"");
        for frame in peer.frames() {
            count += 1;
            masks.insert(frame.mask);
        }
    }
    assert_eq!(
        count, 600,
        "a short one, three fragments, a ping and a pong each"
    );
    // 600 of 2^32 may meet by chance, but hardly ever more than once.
    assert!(masks.len() >= count - 1, "{} of {count}", masks.len());
    assert!(!masks.contains(&Some([0; 4])));
}

#[test]
fn s5_3_masks_follow_from_nothing_that_can_be_seen() {
    let mut masks = Vec::new();
    for _ in 0..2 {
        let mut dialer = Dialer::new();
        let mut peer = dialer.open();
        let id = dialer.turning.recorder.opened()[0];
        for _ in 0..100 {
            let mut cx = dialer.turning.reactor.context();
            cx.send(id, Message::binary(b"")).unwrap();
        }
        let bytes = dialer.turning.read(&mut peer, 600);
        masks.extend(frames(&bytes).iter().map(|frame| frame.mask.unwrap()));
    }
    let (first, second) = masks.split_at(100);
    assert_ne!(first, second, "the same in every process");
    // No byte of them is fixed, none counts up, and every bit is set about half the time.
    for bit in 0..32 {
        let is_set = |mask: &&[u8; 4]| u32::from_be_bytes(**mask) >> bit & 1 == 1;
        let ones = masks.iter().filter(is_set).count();
        assert!(
            (50..=150).contains(&ones),
            "bit {bit} is set {ones} times of 200"
        );
    }
    let steps: HashSet<_> = first
        .windows(2)
        .map(|pair| u32::from_be_bytes(pair[1]).wrapping_sub(u32::from_be_bytes(pair[0])))
        .collect();
    assert!(steps.len() > 90, "{} steps", steps.len());
}

#[test]
fn s5_3_the_example_of_section_5_7_is_unmasked() {
    let mut peer = Peer::new(Role::Server);
    peer.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(peer.heard(), [crate::peer::text("Hello")]);
}

#[test]
fn s5_3_whatever_the_mask_and_the_pieces_the_payload_is_the_same() {
    let payload: Vec<u8> = (0..=255).collect();
    for mask in [
        [0; 4],
        [0xFF; 4],
        [1, 2, 3, 4],
        [0, 0, 0, 0x80],
        [0xDE, 0xAD, 0xBE, 0xEF],
    ] {
        for len in 0..20 {
            for piece in 1..10 {
                let mut peer = Peer::new(Role::Server);
                let bytes = masked(FIN | BINARY, &payload[..len], mask);
                bytes.chunks(piece).for_each(|chunk| peer.feed(chunk));
                assert_eq!(
                    peer.heard(),
                    [binary(&payload[..len])],
                    "{mask:?} {len} {piece}"
                );
            }
        }
    }
}

#[test]
fn s5_3_masking_does_not_change_the_length() {
    for len in [0, 1, 125, 126, 65_536] {
        let mut client = Peer::new(Role::Client);
        assert!(client.send(Message::binary(&vec![5; len])));
        let sent = client.output();
        let bare = plain(FIN | BINARY, &vec![5; len]);
        assert_eq!(sent.len(), bare.len() + 4, "{len}");
    }
}
