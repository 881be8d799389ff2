//! Frames as bytes, written and read without the help of what is tested.

use heartwheel::proto::wire::Role;

/// Bits of the first byte.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// Every opcode that has a meaning.
pub(crate) const OPCODES: [u8; 6] = [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG];

pub(crate) const CONTROLS: [u8; 3] = [CLOSE, PING, PONG];

/// The mask of the examples in section 5.7.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes that tell the length, beyond the seven bits.
    pub(crate) extended: usize,
    /// Unmasked.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    pub(crate) fn is_final(&self) -> bool {
        self.first & FIN != 0
    }

    /// Returns the code of a Close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        let code = self.payload.first_chunk();
        code.map(|code| u16::from_be_bytes(*code))
    }
}

/// Writes a frame that an endpoint of this role receives: masked for a server, plain for a client.
pub(crate) fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    match to {
        Role::Server => masked(first, payload, MASK),
        Role::Client => plain(first, payload),
    }
}

pub(crate) fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [&header(first, 0, payload.len())[..], payload].concat()
}

pub(crate) fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = header(first, 0x80, payload.len());
    bytes.extend(mask);
    bytes.extend(apply(payload, mask));
    bytes
}

/// Writes a Close frame with this body before the reason.
pub(crate) fn close(to: Role, code: u16, reason: &str) -> Vec<u8> {
    let body = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    frame(to, FIN | CLOSE, &body)
}

fn header(first: u8, mask_bit: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => bytes.push(mask_bit | len),
        (_, Ok(len)) => {
            bytes.push(mask_bit | 126);
            bytes.extend(len.to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes
}

/// The transformation of section 5.3, in its own words: octet i is XORed with octet i modulo 4 of the
/// key.
fn apply(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    let octet = move |(i, byte): (usize, &u8)| byte ^ mask[i % 4];
    payload.iter().enumerate().map(octet)
}

/// Reads the first frame, and returns the bytes behind it; `None` if it is not whole.
pub(crate) fn split_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (len, extended) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        len => (u64::from(len), 0),
    };
    let rest = &rest[extended..];
    let (mask, rest) = if second & 0x80 == 0 {
        (None, rest)
    } else {
        let (mask, rest) = rest.split_first_chunk::<4>()?;
        (Some(*mask), rest)
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).unwrap())?;
    let frame = Frame {
        first: *first,
        mask,
        extended,
        payload: apply(payload, mask.unwrap_or_default()).collect(),
    };
    Some((frame, rest))
}

/// Reads whole frames, and nothing but them.
#[track_caller]
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = split_frame(bytes).expect("whole frames");
        frames.push(frame);
        bytes = rest;
    }
    frames
}
