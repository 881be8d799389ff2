//! Compressed messages that are larger than they look, broken, or very many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use flate2::{Compress, Compression, FlushCompress};

use crate::MIB;
use crate::attacker::{read_to_end, write, write_until_ended};
use crate::support::Wire::WebSocket;
use crate::support::bytes::{masked_frame, masked_header};
use crate::victim::Victim;

const ARGS: [&str; 3] = ["--deflate", "--close-timeout", "500ms"];

/// The default of `--max-message`.
const MOST: usize = MIB;

/// Opens a connection whose messages may be compressed.
fn open(victim: &Victim) -> TcpStream {
    let mut stream = victim.dial(WebSocket);
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.contains("Sec-WebSocket-Extensions: permessage-deflate;"),
        "{head}"
    );
    stream
}

/// The payload of a compressed message.
fn pack(message: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut out = vec![0; message.len() + 100];
    let packed = stream.compress(message, &mut out, FlushCompress::Sync);
    packed.unwrap();
    let len = usize::try_from(stream.total_out()).unwrap();
    out.truncate(len);
    out.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

/// A message of one frame that is marked as compressed.
fn compressed(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first | 0x40, payload)
}

#[test]
fn f45_a_message_that_inflates_beyond_the_limit_costs_no_more_than_one_that_fits() {
    let zeros = pack(&vec![0; 200 * MIB]);
    let nested = pack(&zeros);
    let fits = pack(&vec![b'0'; MOST]);
    let one_more = pack(&vec![b'0'; MOST + 1]);
    // A bomb costs what it has, the room for a message, and a decompressor.
    Victim::start(&[WebSocket], &ARGS).withstands(24 * MIB, |victim| {
        thread::scope(|scope| {
            for bomb in [&zeros, &one_more, &zeros, &one_more] {
                scope.spawn(move || {
                    let stream = open(victim);
                    write(&stream, &compressed(0x82, bomb));
                    let end = victim.end_of(&stream);
                    end.assert_closed(WebSocket, "message_too_big", 1009);
                });
            }
        });
        for sound in [&nested, &fits] {
            let stream = open(victim);
            write(&stream, &compressed(0x82, sound));
            write(&stream, &masked_frame(0x88, &1000_u16.to_be_bytes()));
            let came = read_to_end(&stream);
            assert_eq!(came[0] & 0x4f, 0x42, "the echo is compressed");
            victim
                .end_of(&stream)
                .assert_closed(WebSocket, "peer_closed", 1000);
        }
    });
}

#[test]
fn f45_what_is_no_compressed_message_ends_the_connection() {
    let text = pack(&b"some text that repeats, some text that repeats".repeat(20));
    let marked = |first: u8, payload: &[u8]| masked_frame(first, payload);
    let cases = [
        (
            compressed(0x81, &text[..text.len() - 3]),
            "protocol_error",
            1002,
        ),
        (
            compressed(0x81, &[&text[..], b"garbage"].concat()),
            "protocol_error",
            1002,
        ),
        (compressed(0x81, b""), "protocol_error", 1002),
        (compressed(0x81, b"no deflate data"), "protocol_error", 1002),
        (compressed(0x81, &pack(&[0xff; 600])), "invalid_utf8", 1007),
        (marked(0xa1, &text), "protocol_error", 1002),
        (marked(0xf1, &text), "protocol_error", 1002),
        (marked(0xc9, b""), "protocol_error", 1002),
        (marked(0xc8, b""), "protocol_error", 1002),
        (
            [marked(0x41, &text[..5]), marked(0xc0, &text[5..])].concat(),
            "protocol_error",
            1002,
        ),
        // Longer than a message can be that was compressed without any gain.
        (
            masked_header(0xc2, (2 * MOST) as u64),
            "message_too_big",
            1009,
        ),
    ];
    Victim::start(&[WebSocket], &ARGS).withstands(8 * MIB, |victim| {
        for (bytes, cause, code) in &cases {
            let stream = open(victim);
            write(&stream, bytes);
            victim
                .end_of(&stream)
                .assert_closed(WebSocket, cause, *code);
        }
    });
}

#[test]
fn empty_blocks_without_end_are_too_big_at_the_limit() {
    let stored = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(2_000);
    let last = [0x03, 0x00].repeat(5_000);
    Victim::start(&[WebSocket], &ARGS).withstands(24 * MIB, |victim| {
        thread::scope(|scope| {
            for blocks in [&stored, &last] {
                scope.spawn(move || {
                    let stream = open(victim);
                    write(&stream, &masked_frame(0x42, b""));
                    write_until_ended(&stream, &masked_frame(0x00, blocks));
                    let end = victim.end_of(&stream);
                    end.assert_closed(WebSocket, "message_too_big", 1009);
                });
                scope.spawn(move || {
                    // So many are allowed, and take their time.
                    let stream = open(victim);
                    let message = [&blocks.repeat(50)[..], &[0]].concat();
                    write(&stream, &compressed(0x82, &message));
                    write(&stream, &masked_frame(0x88, &1000_u16.to_be_bytes()));
                    let came = read_to_end(&stream);
                    assert_eq!(came, [0x82, 0, 0x88, 2, 0x03, 0xe8]);
                    victim
                        .end_of(&stream)
                        .assert_closed(WebSocket, "peer_closed", 1000);
                });
            }
        });
    });
}

#[test]
fn thousands_of_compressed_messages_in_a_segment_all_come_back() {
    let message = [b'x'; 1_000];
    let frame = compressed(0x82, &pack(&message));
    let count = 3_000;
    Victim::start(&[WebSocket], &ARGS).withstands(16 * MIB, |victim| {
        thread::scope(|scope| {
            for _ in 0..4 {
                let frames = frame.repeat(count);
                scope.spawn(move || {
                    let stream = open(victim);
                    let mut sender = stream.try_clone().unwrap();
                    scope.spawn(move || {
                        sender.write_all(&frames).unwrap();
                        let close = masked_frame(0x88, &1000_u16.to_be_bytes());
                        sender.write_all(&close).unwrap();
                    });
                    let came = read_to_end(&stream);
                    let len = 2 + usize::from(came[1]);
                    assert_eq!(came[0], 0xc2);
                    assert_eq!(came.len(), count * len + 4);
                    victim
                        .end_of(&stream)
                        .assert_closed(WebSocket, "peer_closed", 1000);
                });
            }
        });
    });
}
