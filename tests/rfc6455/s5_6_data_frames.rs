//! Section 5.6: text and binary data.

use heartwheel::proto::message::Message;

use crate::peer::{BOTH, Peer, assert_frames_fail, binary, text};
use crate::wire::{BINARY, CONTINUATION, FIN, TEXT};

#[test]
fn s5_6_text_is_utf_8_as_a_whole_though_a_fragment_need_not_be() {
    let whole = "κόσμε 😀";
    for role in BOTH {
        for cut in 0..=whole.len() {
            let (before, behind) = whole.as_bytes().split_at(cut);
            let mut peer = Peer::new(role);
            peer.frame(TEXT, before);
            peer.frame(FIN | CONTINUATION, behind);
            assert_eq!(peer.heard(), [text(whole)], "cut at {cut}");
        }
    }
    assert_frames_fail(&[(FIN | TEXT, b"\xce")], 1007);
    assert_frames_fail(&[(TEXT, b"\xce"), (FIN | CONTINUATION, b"")], 1007);
    assert_frames_fail(
        &[
            (TEXT, b"a"),
            (CONTINUATION, b"\xf0\x9f"),
            (FIN | CONTINUATION, b"\x98"),
        ],
        1007,
    );
}

#[test]
fn s5_6_binary_is_any_bytes_and_its_meaning_is_the_applications() {
    let every: Vec<u8> = (0..=255).collect();
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(FIN | BINARY, &every);
        peer.frame(BINARY, b"\xff");
        peer.frame(FIN | CONTINUATION, b"\xfe");
        assert_eq!(peer.heard(), [binary(&every), binary(b"\xff\xfe")]);
        assert!(peer.send(Message::binary(&every)));
        assert_eq!(peer.frames()[0].payload, every);
    }
}

#[test]
fn s5_6_text_is_sent_as_text_and_binary_as_binary() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        assert!(peer.send(Message::text("é")));
        assert!(peer.send(Message::binary("é".as_bytes())));
        let firsts: Vec<_> = peer.frames().iter().map(|frame| frame.first).collect();
        assert_eq!(firsts, [FIN | TEXT, FIN | BINARY]);
    }
}
