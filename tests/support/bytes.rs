//! What peers of ours write and read, as bytes: written by hand, without what is tested.

use super::Wire;

/// The mask of all frames: any does (RFC 6455, section 5.3, asks for an unpredictable one to protect
/// intermediaries, and there is none here).
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// Returns the opening request of a client for a path, with more header lines; its key is that of RFC
/// 6455, section 1.3.
pub(crate) fn upgrade_request(path: &str, more: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}

/// Returns where the server's half of the handshake ends, once it is complete.
pub(crate) fn handshake_end(rx: &[u8]) -> Option<usize> {
    let end = rx.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&rx[..end]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The answer to that key, as the section prints it.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    Some(end)
}

/// Returns the first byte of a server's frame and where its payload lies, once it is complete.
pub(crate) fn unmasked_frame(rx: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &second) = (rx.first()?, rx.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (start, len) = match second {
        127 => (10, u64::from_be_bytes(*rx[2..].first_chunk()?)),
        126 => (4, u64::from(u16::from_be_bytes(*rx[2..].first_chunk()?))),
        len => (2, u64::from(len)),
    };
    let end = start + usize::try_from(len).unwrap();
    (rx.len() >= end).then_some((first, start..end))
}

/// Returns a text as a client writes it.
pub(crate) fn message(wire: Wire, payload: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x81, payload),
        Wire::Line => [payload, b"\n"].concat(),
        Wire::Binary => {
            let len = u32::try_from(payload.len()).unwrap();
            [&[0], &len.to_be_bytes()[..], payload].concat()
        }
    }
}

/// Returns a ping as a client writes it.
pub(crate) fn ping(wire: Wire, token: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x89, token),
        Wire::Line => b"PING\n".to_vec(),
        Wire::Binary => vec![1],
    }
}

/// Returns a pong as a client writes it.
pub(crate) fn pong(wire: Wire, token: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x8A, token),
        Wire::Line => b"PONG\n".to_vec(),
        Wire::Binary => vec![2],
    }
}

/// Returns a client's frame.
pub(crate) fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked_header(first, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// Returns the header of a client's frame that declares this length, whatever follows.
pub(crate) fn masked_header(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0x80 | 126);
            bytes.extend(len.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(0x80 | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}
