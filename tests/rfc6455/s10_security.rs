//! Section 10: security considerations.

use std::io::Write;

use heartwheel::close::Cause;
use heartwheel::config::{LimitsConfig, WebConfig};
use heartwheel::proto::message::Message;
use heartwheel::proto::wire::Role;

use crate::peer::{BOTH, Peer, binary};
use crate::support::bytes::upgrade_request;
use crate::support::recorder::Recorder;
use crate::support::sides::{Acceptor, Ended};
use crate::wire::{BINARY, CONTINUATION, FIN, PING, TEXT, frame, frames};

fn limits(max_message: usize) -> LimitsConfig {
    LimitsConfig {
        max_message,
        pings_per_second: None,
        ..LimitsConfig::default()
    }
}

#[test]
fn s10_3_a_frame_under_way_is_not_changed_by_what_the_application_does() {
    // "once the transmission of a frame from a client has begun, the payload of that frame must not be
    // capable of being modified by the application"
    let mut peer = Peer::new(Role::Client);
    let mut data = vec![1; 100_000];
    assert!(peer.send(Message::binary(&data)));
    let mut bytes = peer.end.write(1_000);
    data.fill(2);
    assert!(peer.send(Message::binary(&data)));
    bytes.extend(peer.output());
    let sent: Vec<u8> = frames(&bytes)
        .into_iter()
        .flat_map(|frame| frame.payload)
        .collect();
    assert!(sent[..100_000].iter().all(|&byte| byte == 1));
    assert!(sent[100_000..].iter().all(|&byte| byte == 2));
}

#[test]
fn s10_2_a_page_of_another_origin_is_answered_403() {
    let mut server = Acceptor::with(Recorder::default(), |config| {
        config.web = WebConfig::default();
    });
    let request = |origin: &str| upgrade_request("/", &format!("Origin: {origin}\r\n"));
    let answer = server.ask(&request("http://evil.example"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let mut peer = server.dial();
    peer.write_all(&request("http://localhost")).unwrap();
    let answer = server.turning.read_head(&mut peer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[test]
fn s10_4_a_frame_beyond_the_limit_fails_at_its_header() {
    for role in BOTH {
        let mut peer = Peer::with(role, &limits(1_000));
        peer.frame(FIN | BINARY, &[1; 1_000]);
        assert_eq!(peer.heard(), [binary(&[1; 1_000])]);
        let over = frame(role, FIN | BINARY, &[1; 1_001]);
        let header = over.len() - 1_001;
        peer.feed(&over[..header - 1]);
        peer.assert_open();
        peer.feed(&over[header - 1..header]);
        assert_eq!(peer.evidence().cause, Cause::MessageTooBig);
        peer.assert_failed(1009);
    }
}

#[test]
fn s10_4_a_message_beyond_the_limit_fails_however_small_its_fragments() {
    for role in BOTH {
        for size in [1, 7, 500] {
            let mut peer = Peer::with(role, &limits(1_000));
            peer.frame(BINARY, b"");
            for _ in 0..1_000 / size {
                peer.frame(CONTINUATION, &vec![1; size]);
                peer.frame(FIN | PING, b"");
                peer.output();
            }
            peer.assert_open();
            peer.frame(CONTINUATION, &vec![1; size]);
            peer.assert_failed(1009);
        }
    }
}

#[test]
fn s10_4_a_length_that_is_only_claimed_costs_no_memory() {
    let claim = &[127, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF];
    for (role, bit) in [(Role::Server, 0x80), (Role::Client, 0)] {
        let mut peer = Peer::with(role, &limits(u32::MAX as usize));
        // What all connections read into is there from now on.
        peer.frame(FIN | PING, b"");
        let mut bytes = vec![FIN | BINARY];
        bytes.extend(claim);
        bytes[1] |= bit;
        if role == Role::Server {
            bytes.extend([0; 4]);
        }
        let grown = allocation_counter::measure(|| peer.feed(&bytes));
        assert!(grown.bytes_max < 64 * 1024, "{grown:?}");
        peer.assert_open();
    }
}

#[test]
fn s10_7_invalid_data_is_told_by_a_code_that_fits() {
    for (first, payload, code) in [
        (FIN | 3, &b""[..], 1002),
        (FIN | TEXT, b"\xff", 1007),
        (FIN | BINARY, &[0; 1_001], 1009),
        (FIN | 8, b"\xff", 1002),
        (FIN | 8, b"\x03\xe8\xff", 1007),
    ] {
        let mut server = Acceptor::with(Recorder::default(), |config| {
            config.limits.max_message = 1_000;
        });
        let mut peer = server.open();
        peer.write_all(&frame(Role::Server, first, payload))
            .unwrap();
        let (bytes, ended) = server.turning.read_to_end(&mut peer);
        let sent = frames(&bytes);
        assert_eq!(
            (sent.len(), sent[0].code(), ended),
            (1, Some(code), Ended::Fin)
        );
    }
}

#[test]
fn s10_7_invalid_data_in_the_handshake_is_told_by_a_status() {
    let mut server = Acceptor::new();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let answer = server.ask(bytes);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bytes:x?}: {answer}");
    }
    assert!(server.turning.recorder.opened().is_empty());
}
