//! Section 5.5: Close, Ping and Pong.

use heartwheel::close::Cause;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer, assert_frames_fail};
use crate::support::memory::pipe::Fate;
use crate::wire::{BINARY, CLOSE, CONTINUATION, CONTROLS, FIN, PING, PONG, TEXT, close, frame};

#[test]
fn s5_5_control_frames_longer_than_125_bytes_fail_the_connection() {
    for opcode in CONTROLS {
        for len in [126, 127, 65_536] {
            let mut body = vec![b'x'; len];
            body[..2].copy_from_slice(&1000u16.to_be_bytes());
            assert_frames_fail(&[(FIN | opcode, &body)], 1002);
            assert_frames_fail(&[(TEXT, b"a"), (FIN | opcode, &body)], 1002);
        }
        // The length alone is enough, its extension need not come.
        for (role, bit) in [(Role::Server, 0x80), (Role::Client, 0)] {
            for len in [126, 127] {
                let mut peer = Peer::new(role);
                peer.feed(&[FIN | opcode, bit | len]);
                peer.assert_failed(1002);
            }
        }
    }
}

#[test]
fn s5_5_control_frames_of_125_bytes_are_fine() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(FIN | PING, &[b'x'; 125]);
        assert_eq!(peer.frames()[0].payload, [b'x'; 125]);
        peer.frame(FIN | PONG, &[0xFF; 125]);
        peer.assert_open();
        peer.feed(&close(role, 1000, &"x".repeat(123)));
        assert_eq!(peer.frames()[0].code(), Some(1000));
        assert_eq!(peer.reason(), "x".repeat(123));
    }
}

#[test]
fn s5_5_fragmented_control_frames_fail_the_connection() {
    for opcode in CONTROLS {
        let body: &[u8] = if opcode == CLOSE { b"\x03\xe8" } else { b"x" };
        assert_frames_fail(&[(opcode, body)], 1002);
        assert_frames_fail(&[(BINARY, b"a"), (opcode, body)], 1002);
    }
}

#[test]
fn s5_5_1_a_close_body_begins_with_a_code() {
    assert_frames_fail(&[(FIN | CLOSE, b"\x03")], 1002);
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.frame(FIN | CLOSE, b"");
        let echo = peer.frames();
        assert_eq!(
            (echo.len(), echo[0].code(), &echo[0].payload[..]),
            (1, None, &b""[..])
        );
        assert_eq!(peer.evidence().cause, Cause::PeerClosed);
        assert_eq!(peer.code(), None);
    }
}

#[test]
fn s5_5_1_a_close_reason_is_utf_8() {
    for reason in [
        &b"\xff"[..],
        b"ok\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
    ] {
        let body = [b"\x03\xe8", reason].concat();
        assert_frames_fail(&[(FIN | CLOSE, &body)], 1007);
    }
    for reason in ["", "bye", "tschüß", "😀"] {
        for role in BOTH {
            let mut peer = Peer::new(role);
            peer.feed(&close(role, 4000, reason));
            assert_eq!(peer.reason(), reason);
            assert_eq!(peer.frames()[0].code(), Some(4000));
        }
    }
}

#[test]
fn s5_5_1_a_close_is_answered_by_one_close_with_its_code() {
    for role in BOTH {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999,
        ] {
            let mut peer = Peer::new(role);
            peer.feed(&close(role, code, "why"));
            let frames = peer.frames();
            assert_eq!(frames.len(), 1);
            assert_eq!(
                frames[0].payload,
                code.to_be_bytes(),
                "the code and nothing else"
            );
            peer.feed(&close(role, code, "again"));
            assert_eq!(peer.output(), b"", "once");
            assert_eq!(peer.reason(), "why");
        }
    }
}

#[test]
fn s5_5_1_no_data_is_sent_behind_a_close() {
    for role in BOTH {
        for is_answer in [true, false] {
            let mut peer = Peer::new(role);
            assert!(peer.send(Message::text("before")));
            if is_answer {
                peer.feed(&close(role, 1000, ""));
            } else {
                peer.close(1000, "");
            }
            let shared = SharedMessage::new(Message::text("shared"));
            assert!(!peer.send(Message::text("behind")));
            assert!(peer.end.send_shared(&shared).is_err());
            peer.ping();
            peer.close(1001, "again");
            let frames = peer.frames();
            let shape: Vec<_> = frames.iter().map(|frame| frame.opcode()).collect();
            assert_eq!(shape, [TEXT, CLOSE], "{role:?} {is_answer}");
            peer.close(1001, "and again");
            assert_eq!(peer.output(), b"");
        }
    }
}

#[test]
fn s5_5_1_a_message_under_way_may_end_before_the_answer() {
    let limits = heartwheel::config::LimitsConfig {
        max_fragment: 100,
        ..Default::default()
    };
    for role in BOTH {
        let mut peer = Peer::with(role, &limits);
        assert!(peer.send(Message::binary(&[1; 250])));
        // Room comes, and the Close behind it.
        let mut bytes = peer.end.write(5);
        bytes.extend(peer.end.write(300));
        peer.feed(&close(role, 1000, ""));
        bytes.extend(peer.output());
        let frames = crate::wire::frames(&bytes);
        let shape: Vec<_> = frames.iter().map(|frame| frame.first).collect();
        assert_eq!(
            shape,
            [BINARY, CONTINUATION, FIN | CONTINUATION, FIN | CLOSE]
        );
    }
}

#[test]
fn s5_5_1_a_close_stands_at_a_border_of_frames_though_output_is_blocked() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        assert!(peer.send(Message::binary(&[1; 200_000])));
        let mut bytes = peer.end.write(1_000);
        peer.feed(&close(role, 1000, ""));
        bytes.extend(peer.output());
        let frames = crate::wire::frames(&bytes);
        assert_eq!(frames.last().unwrap().code(), Some(1000));
        let closes = frames.iter().filter(|frame| frame.opcode() == CLOSE);
        assert_eq!(closes.count(), 1);
    }
}

#[test]
fn s5_5_1_who_has_sent_and_received_a_close_ends_tcp_the_server_at_once() {
    for role in BOTH {
        for is_answer in [true, false] {
            let mut peer = Peer::new(role);
            if !is_answer {
                peer.close(1000, "");
                peer.output();
                assert_eq!(peer.fate(), Fate::Held, "the answer is to come");
            }
            peer.end.far.set_room(0);
            peer.feed(&close(role, 1000, ""));
            let is_over = !is_answer && role == Role::Server;
            assert_eq!(peer.end.far.is_closed(), is_over, "what it owes goes first");
            peer.output();
            if role == Role::Client {
                assert_eq!(peer.fate(), Fate::Held, "the server goes first");
                peer.end.end();
            }
            assert_eq!(peer.fate(), Fate::Closed);
            assert!(peer.evidence().clean);
        }
    }
}

#[test]
fn s5_5_1_closes_that_cross_are_not_answered() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(1001, "ours");
        peer.feed(&close(role, 4001, "theirs"));
        let frames = peer.frames();
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!(frames[0].code(), Some(1001));
        assert_eq!(peer.evidence().cause, Cause::LocalClose);
        assert_eq!(peer.code(), Some(4001), "the code received counts");
        assert_eq!(peer.reason(), "theirs");
        assert!(peer.evidence().clean);
    }
}

#[test]
fn s5_5_2_a_ping_is_answered_by_a_pong_with_its_payload() {
    for role in BOTH {
        for payload in [&b""[..], b"\0", b"hello", &[0xFF; 125]] {
            let mut peer = Peer::new(role);
            peer.frame(FIN | PING, payload);
            let frames = peer.frames();
            assert_eq!(frames.len(), 1);
            assert_eq!(
                (frames[0].first, &frames[0].payload[..]),
                (FIN | PONG, payload)
            );
        }
    }
}

#[test]
fn s5_5_2_pings_are_answered_in_their_order() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        for number in 0..10 {
            peer.frame(FIN | PING, &[number]);
        }
        let payloads: Vec<_> = peer.frames().iter().map(|frame| frame.payload[0]).collect();
        assert_eq!(payloads, Vec::from_iter(0..10));
    }
}

#[test]
fn s5_5_2_a_ping_cut_anywhere_is_answered_when_it_is_whole() {
    for role in BOTH {
        let bytes = frame(role, FIN | PING, b"whole");
        for cut in 1..bytes.len() {
            let mut peer = Peer::new(role);
            peer.feed(&bytes[..cut]);
            assert_eq!(peer.output(), b"");
            peer.feed(&bytes[cut..]);
            assert_eq!(peer.frames()[0].payload, b"whole");
        }
    }
}

#[test]
fn s5_5_2_a_ping_behind_a_close_is_not_answered() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.feed(&close(role, 1000, ""));
        peer.frame(FIN | PING, b"late");
        let frames = peer.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].opcode(), CLOSE);
    }
}

#[test]
fn s5_5_2_a_ping_to_one_that_has_said_its_close_is_not_answered_behind_it() {
    // 1.4: "After sending a control frame indicating the connection should be closed, a peer does not
    // send any further data".
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.close(1000, "");
        peer.frame(FIN | PING, b"crossing");
        let frames = peer.frames();
        assert_eq!(frames.last().unwrap().opcode(), CLOSE);
        peer.frame(FIN | PING, b"late");
        assert_eq!(peer.output(), b"");
        peer.feed(&close(role, 1000, ""));
        assert!(peer.evidence().clean);
    }
}

#[test]
fn s5_5_3_only_the_newest_ping_is_answered_where_output_is_blocked() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        assert!(peer.send(Message::binary(&[1; 1_000])));
        let mut bytes = peer.end.write(1);
        for number in 0..10 {
            peer.frame(FIN | PING, &[number]);
        }
        bytes.extend(peer.output());
        let frames = crate::wire::frames(&bytes);
        let shape: Vec<_> = frames.iter().map(|frame| frame.first).collect();
        assert_eq!(shape, [FIN | BINARY, FIN | PONG]);
        assert_eq!(frames[1].payload, [9]);
    }
}

#[test]
fn s5_5_3_an_unasked_pong_is_not_answered() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        for payload in [&b""[..], b"\0\0\0\0", b"heart", &[7; 125]] {
            peer.frame(FIN | PONG, payload);
            assert_eq!(peer.output(), b"");
            peer.assert_open();
        }
        assert_eq!((peer.heard().len(), peer.end.process.handler.pongs), (0, 0));
    }
}

#[test]
fn s5_5_3_a_pong_settles_our_ping_by_its_payload() {
    for role in BOTH {
        let mut peer = Peer::new(role);
        peer.ping();
        let token = peer.frames()[0].payload.clone();
        assert!(token.len() <= 125);
        let mut other = token.clone();
        other[0] ^= 1;
        peer.frame(FIN | PONG, &other);
        assert_eq!(peer.end.process.handler.pongs, 0, "of another payload");
        peer.frame(FIN | PONG, &token);
        assert_eq!(peer.end.process.handler.pongs, 1);
    }
}
