//! Section 8: errors in UTF-8 data.

use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer, text};
use crate::wire::{CONTINUATION, FIN, PING, TEXT, frame};

/// Bytes that no text has, and the place of the first one that gives it away.
const INVALID: [(&[u8], usize); 20] = [
    (b"\x80", 0),
    (b"\xbf", 0),
    (b"\xc0\x80", 0),
    (b"\xc1\xbf", 0),
    (b"\xc3(", 1),
    (b"\xc3\xc3", 1),
    (b"\xe0\x80\x80", 1),
    (b"\xe0\x9f\xbf", 1),
    (b"\xe1\x80(", 2),
    (b"\xed\xa0\x80", 1),
    (b"\xed\xbf\xbf", 1),
    (b"\xf0\x80\x80\x80", 1),
    (b"\xf0\x8f\xbf\xbf", 1),
    (b"\xf1\x80\x80(", 3),
    (b"\xf4\x90\x80\x80", 1),
    (b"\xf5\x80\x80\x80", 0),
    (b"\xf8\x88\x80\x80\x80", 0),
    (b"\xfc\x84\x80\x80\x80\x80", 0),
    (b"\xfe", 0),
    (b"\xff", 0),
];

#[test]
fn s8_1_text_that_is_not_utf_8_fails_the_connection() {
    for (bytes, _) in INVALID {
        for role in BOTH {
            for payload in [bytes.to_vec(), [b"ok ", bytes, b" ok"].concat()] {
                let mut peer = Peer::new(role);
                peer.frame(FIN | TEXT, &payload);
                assert_eq!(peer.heard(), [], "{bytes:x?}");
                peer.assert_failed(1007);
            }
        }
    }
}

#[test]
fn s8_1_it_fails_at_the_very_byte_within_an_unfinished_frame() {
    for (bytes, at) in INVALID {
        for role in BOTH {
            // Much more of the frame is announced, and another fragment after it.
            for before in ["", "ok", "é", "日本", "😀"] {
                let mut payload = [before.as_bytes(), bytes].concat();
                payload.resize(10_000, b'x');
                let sent = frame(role, TEXT, &payload);
                let fault = sent.len() - payload.len() + before.len() + at;
                let mut peer = Peer::new(role);
                for byte in &sent[..fault] {
                    peer.feed(&[*byte]);
                    peer.assert_open();
                }
                peer.feed(&sent[fault..=fault]);
                peer.assert_failed(1007);
            }
        }
    }
}

#[test]
fn s8_1_it_fails_at_the_very_fragment() {
    for (bytes, at) in INVALID {
        for role in BOTH {
            for cut in 0..=at {
                let mut peer = Peer::new(role);
                peer.frame(TEXT, &bytes[..cut]);
                peer.frame(FIN | PING, b"");
                peer.frame(CONTINUATION, b"");
                peer.assert_open();
                peer.frame(CONTINUATION, &bytes[cut..]);
                peer.assert_failed(1007);
            }
        }
    }
}

#[test]
fn s8_1_text_that_ends_within_a_character_fails_the_connection() {
    for whole in ["é", "日", "😀"] {
        for cut in 1..whole.len() {
            for role in BOTH {
                let part = &whole.as_bytes()[..cut];
                let mut peer = Peer::new(role);
                peer.frame(FIN | TEXT, part);
                peer.assert_failed(1007);
                let mut peer = Peer::new(role);
                peer.frame(TEXT, part);
                peer.assert_open();
                peer.frame(FIN | CONTINUATION, b"");
                peer.assert_failed(1007);
            }
        }
    }
}

#[test]
fn s8_1_every_character_there_is_is_taken() {
    let mut peer = Peer::new(Role::Server);
    let every: String = ('\0'..=char::MAX).collect();
    for (at, chunk) in every.as_bytes().chunks(65_521).enumerate() {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        peer.frame(opcode, chunk);
    }
    peer.frame(FIN | CONTINUATION, b"");
    peer.assert_open();
    assert!(peer.heard() == [text(&every)]);
}

#[test]
fn s8_1_a_character_may_be_cut_by_any_border() {
    let whole = "aé日😀z";
    for role in BOTH {
        for size in 1..5 {
            let mut bytes = Vec::new();
            for (at, piece) in whole.as_bytes().chunks(size).enumerate() {
                let opcode = if at == 0 { TEXT } else { CONTINUATION };
                bytes.extend(frame(role, opcode, piece));
                bytes.extend(frame(role, FIN | PING, b"\xff"));
            }
            bytes.extend(frame(role, FIN | CONTINUATION, b""));
            let mut peer = Peer::new(role);
            bytes.iter().for_each(|byte| peer.feed(&[*byte]));
            assert_eq!(peer.heard(), [text(whole)], "fragments of {size}");
        }
    }
}
