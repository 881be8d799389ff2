//! Bytes that mean nothing, and sound sessions with one bit of them wrong.

use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::attacker::{connect, read_to_end, write};
use crate::support::Wire::{self, WebSocket};
use crate::support::bytes::{masked_frame, unmasked_frame, upgrade_request};
use crate::support::dice::Dice;
use crate::victim::Victim;
use crate::{MIB, WIRES};

#[test]
fn random_bytes_end_every_connection_and_nothing_else() {
    const EACH: usize = 700;
    Victim::start(&WIRES, &["--close-timeout", "5s"]).withstands(8 * MIB, |victim| {
        thread::scope(|scope| {
            for wire in WIRES {
                scope.spawn(move || {
                    for seed in 0..EACH {
                        talk_nonsense(victim, wire, seed);
                    }
                });
            }
        });
        for end in victim.ended(EACH * WIRES.len()) {
            let cause = end.cause();
            assert!(ENDS.contains(&cause), "{}", end.record.0);
        }
    });
}

/// What may become of a peer that talks nonsense.
const ENDS: [&str; 7] = [
    "protocol_error",
    "invalid_utf8",
    "message_too_big",
    "peer_eof",
    "peer_reset",
    "peer_closed",
    "refused",
];

fn talk_nonsense(victim: &Victim, wire: Wire, seed: usize) {
    let mut dice = Dice::new(seed as u64);
    // On WebSocket half of them shake hands first.
    let stream = if dice.one_in(2) {
        victim.open(wire).into_parts().0
    } else {
        victim.dial(wire)
    };
    let len = dice.between(1, 2_000);
    let noise: Vec<u8> = match dice.below(3) {
        0 => (0..len).map(|_| dice.byte()).collect(),
        // Small numbers look like headers and tags.
        1 => (0..len).map(|_| dice.byte() % 4).collect(),
        _ => (0..len).map(|_| 0x7E + dice.byte() % 13).collect(),
    };
    write(&stream, &noise);
    // It may be over already.
    let _over = stream.shutdown(Shutdown::Write);
    read_to_end(&stream);
}

#[test]
fn random_bytes_on_a_raw_wire_are_just_bytes() {
    let victim = Victim::start(&[Wire::Line], &["--tcp-raw", "127.0.0.1:0"]);
    let port = victim.server().port_of("tcp+raw");
    victim.withstands(4 * MIB, |victim| {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let noise: Vec<u8> = (0..dice.between(1, 20_000)).map(|_| dice.byte()).collect();
            let stream = connect([127, 0, 0, 1].into(), port);
            assert!(half_close_and_read(&stream, &noise) == noise, "seed {seed}");
            victim.end_of(&stream).record.assert_end("peer_eof", true);
        }
    });
}

/// The frames of a small session: a text, one in fragments with a ping between them, a goodbye.
fn session() -> Vec<u8> {
    [
        masked_frame(0x81, b"whole"),
        masked_frame(0x01, b"in "),
        masked_frame(0x89, b"?"),
        masked_frame(0x80, b"two"),
        masked_frame(0x88, b"\x03\xe8bye"),
    ]
    .concat()
}

#[test]
fn every_single_bit_of_a_session_may_be_wrong() {
    let frames = session();
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        // What comes of the sound session, by the same reading.
        assert_eq!(answer_to(victim, &frames), in_order(expected(&frames)));
        thread::scope(|scope| {
            for half in 0..2 {
                let frames = &frames;
                scope.spawn(move || {
                    for bit in (half..frames.len() * 8).step_by(2) {
                        let mut frames = frames.clone();
                        frames[bit / 8] ^= 1 << (bit % 8);
                        let (answer, right) = (answer_to(victim, &frames), expected(&frames));
                        assert_eq!(answer, in_order(right), "bit {bit}: {frames:02x?}");
                    }
                });
            }
        });
        victim.ended(frames.len() * 8 + 1);
    });
}

#[test]
fn every_single_bit_of_a_handshake_may_be_wrong() {
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        let request = upgrade_request("/", "");
        thread::scope(|scope| {
            for half in 0..2 {
                let request = &request;
                scope.spawn(move || {
                    for bit in (half..request.len() * 8).step_by(2) {
                        let mut bytes = request.clone();
                        bytes[bit / 8] ^= 1 << (bit % 8);
                        bytes.extend(session());
                        check_answer_to_request(victim, &bytes, bit);
                    }
                });
            }
        });
        let count = request.len() * 8;
        let ended = victim.ended(count);
        // A path, a host or a key of another value is fine; most of it is not.
        let opened = ended.iter().filter(|end| end.was_open).count();
        assert!(
            (count / 100..count / 2).contains(&opened),
            "{opened} opened"
        );
    });
}

/// Checks that a request is either accepted, and the session behind it served, or refused in one
/// answer, or two where it asked for no upgrade; if it does not end, that it is not answered at all.
fn check_answer_to_request(victim: &Victim, bytes: &[u8], bit: usize) {
    let stream = victim.dial(WebSocket);
    let answer = half_close_and_read(&stream, bytes);
    let text = String::from_utf8_lossy(&answer);
    let Some(status) = text.strip_prefix("HTTP/1.1 ") else {
        assert!(answer.is_empty(), "bit {bit}: {text}");
        return;
    };
    let status = &status[..3];
    assert!(
        ["101", "400", "405", "426", "431"].contains(&status),
        "bit {bit}: {text}"
    );
    let answers = text.matches("HTTP/1.1 ").count();
    // Behind a plain request, which is answered and the connection kept, frames are no request.
    let is_kept = status == "426" && answers == 2 && text.contains("HTTP/1.1 400 ");
    assert!(answers == 1 || is_kept, "bit {bit}: {text}");
    if status == "101" {
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(
            arrivals(&answer[end..]),
            in_order(expected(&session())),
            "bit {bit}"
        );
    }
}

/// Opens a connection, writes these bytes, and returns what comes back.
fn answer_to(victim: &Victim, bytes: &[u8]) -> Vec<Frame> {
    let (stream, rest) = victim.open(WebSocket).into_parts();
    assert!(rest.is_empty());
    arrivals(&half_close_and_read(&stream, bytes))
}

fn half_close_and_read(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    write(stream, bytes);
    // It may be over already.
    let _over = stream.shutdown(Shutdown::Write);
    read_to_end(stream)
}

/// What a server says: the first byte of the frame, and the payload; of a Close only the code.
type Frame = (u8, Vec<u8>);

fn arrivals(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    while !bytes.is_empty() {
        let (first, payload) = unmasked_frame(bytes).expect("whole frames");
        let end = payload.end;
        let mut payload = bytes[payload].to_vec();
        if first == 0x88 {
            payload.truncate(2);
        }
        assert!(
            frames.iter().all(|(first, _)| *first != 0x88),
            "a frame after the Close"
        );
        frames.push((first, payload));
        bytes = &bytes[end..];
    }
    in_order(frames)
}

/// Sorts pongs, which may overtake messages, to the front.
fn in_order(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.sort_by_key(|(first, _)| *first != 0x8A);
    frames
}

/// Reads a client's frames as RFC 6455 says, in the plainest way, and returns what a server that echoes
/// must answer before the end of the input.
fn expected(mut bytes: &[u8]) -> Vec<Frame> {
    let mut answers = Vec::new();
    let mut message: Option<Frame> = None;
    loop {
        let (first, mut payload) = match next_frame(&mut bytes, message.as_ref()) {
            Ok(Some(frame)) => frame,
            // The end of input without a goodbye.
            Ok(None) => return answers,
            Err(code) => return with_close(answers, code),
        };
        match first & 0x0F {
            0x8 => {
                let code = match payload.len() {
                    0 => return [answers, vec![(0x88, Vec::new())]].concat(),
                    1 => 1002,
                    _ => close_code(&payload),
                };
                return with_close(answers, code);
            }
            0x9 => answers.push((0x8A, payload)),
            0xA => {}
            opcode => {
                let (kind, mut whole) = message.take().unwrap_or((opcode, Vec::new()));
                whole.append(&mut payload);
                let is_last = first & 0x80 != 0;
                if kind == 1 && is_wrong_text(&whole, is_last) {
                    return with_close(answers, 1007);
                }
                if is_last {
                    answers.push((0x80 | kind, whole));
                } else {
                    message = Some((kind, whole));
                }
            }
        }
    }
}

fn with_close(mut answers: Vec<Frame>, code: u16) -> Vec<Frame> {
    answers.push((0x88, code.to_be_bytes().to_vec()));
    answers
}

/// Takes the next frame off the front, unmasked; an error is the code to close with. `message` is the
/// opcode and the beginning of an unfinished one.
fn next_frame(bytes: &mut &[u8], message: Option<&Frame>) -> Result<Option<Frame>, u16> {
    let [first, rest @ ..] = *bytes else {
        return Ok(None);
    };
    let (opcode, is_control) = (first & 0x0F, first & 0x08 != 0);
    let is_known = matches!(opcode, 0..=2 | 8..=10);
    let is_out_of_place = !is_control && (opcode == 0) != message.is_some();
    if first & 0x70 != 0 || !is_known || is_out_of_place || is_control && first & 0x80 == 0 {
        return Err(1002);
    }
    let [second, rest @ ..] = rest else {
        return Ok(None);
    };
    let short = second & 0x7F;
    if second & 0x80 == 0 || is_control && short > 125 {
        return Err(1002);
    }
    let (len, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let least = [0, 126, 1 << 16][usize::from(short.saturating_sub(125))];
    if len < least || len >> 63 != 0 {
        return Err(1002);
    }
    if len > 16 << 20 {
        return Err(1009);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::try_from(len).unwrap();
    let there = rest.len().min(len);
    let unmasked = rest[..there].iter().zip(mask.iter().cycle());
    let payload: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
    if there < len {
        // Of a text, what is there counts at once.
        let (kind, begun) = message.map_or((opcode, &[][..]), |(kind, begun)| (*kind, begun));
        let is_text = !is_control && kind == 1;
        let is_wrong = is_text && is_wrong_text(&[begun, &payload].concat(), false);
        return if is_wrong { Err(1007) } else { Ok(None) };
    }
    *bytes = &rest[len..];
    Ok(Some((*first, payload)))
}

/// Says whether a text is wrong already, or being the last piece, incomplete.
fn is_wrong_text(text: &[u8], is_last: bool) -> bool {
    std::str::from_utf8(text).is_err_and(|error| is_last || error.error_len().is_some())
}

/// Returns the code that answers the body of a Close.
fn close_code(body: &[u8]) -> u16 {
    let code = u16::from_be_bytes([body[0], body[1]]);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => match std::str::from_utf8(&body[2..]) {
            Ok(_) => code,
            Err(_) => 1007,
        },
        _ => 1002,
    }
}
