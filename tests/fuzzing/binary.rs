//! Frames of the binary wire in: however the bytes are cut, and beside a plain reading of them.

use heartwheel::error::ProtocolError;
use heartwheel::proto::binary::{BinaryDecoder, PING, PONG, encode};
use heartwheel::proto::pool::Pool;
use heartwheel::proto::wire::{Item, MessageKind, Payload};

use super::feed::{Decode, End, cut_everywhere};

/// Arbitrary bytes as frames of the binary wire: limit, cuts, and the stream.
pub fn binary(data: &[u8]) {
    let Some(([limit, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let outcome = cut_everywhere::<Frames>(stream, u64::from(*seed), limit, End::eq);
    assert_eq!(
        (&outcome.found, outcome.end),
        (&read(stream, limit).0, read(stream, limit).1)
    );
    check_encoding(&outcome.found);
}

const LIMITS: [u64; 6] = [0, 1, 5, 255, 65_536, u64::MAX];

/// Reads frame by frame from the front.
fn read(mut rest: &[u8], limit: u64) -> (Vec<Found>, End) {
    let mut found = Vec::new();
    let end = loop {
        rest = match *rest {
            [0x01, ref rest @ ..] => {
                found.push(Found::Ping);
                rest
            }
            [0x02, ref rest @ ..] => {
                found.push(Found::Pong);
                rest
            }
            [0x00, a, b, c, d, ref rest @ ..] => {
                let size = u64::from(u32::from_be_bytes([a, b, c, d]));
                if size > limit {
                    break End::Error(ProtocolError::MessageTooBig { size, limit });
                }
                let len = usize::try_from(size).expect("a usize has 64 bits");
                let Some((payload, rest)) = rest.split_at_checked(len) else {
                    break End::More;
                };
                found.push(Found::Message(payload.to_vec()));
                rest
            }
            [] | [0x00, ..] => break End::More,
            [tag, ..] => break End::Error(ProtocolError::UnknownType(tag)),
        };
    };
    (found, end)
}

/// What was found, written and read again, is the same.
fn check_encoding(found: &[Found]) {
    let mut stream = Vec::new();
    for one in found {
        match one {
            Found::Ping => stream.extend_from_slice(PING),
            Found::Pong => stream.extend_from_slice(PONG),
            Found::Message(payload) => encode(payload, &mut stream).expect("a payload that came"),
        }
    }
    assert_eq!(read(&stream, u64::MAX), (found.to_vec(), End::More));
}

#[derive(Clone, Debug, PartialEq)]
enum Found {
    Ping,
    Pong,
    Message(Vec<u8>),
}

#[derive(Default)]
struct Frames(BinaryDecoder);

impl Decode for Frames {
    type Found = Found;

    const MOST_LEFT: usize = 4;

    fn step(
        &mut self,
        input: &mut [u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Option<Found>), ProtocolError> {
        let (consumed, item) = self.0.decode(input, limit, pool)?;
        let found = match item {
            Item::NeedMore => None,
            Item::Ping => Some(Found::Ping),
            Item::Pong => Some(Found::Pong),
            Item::Message { kind, payload } => {
                assert_eq!(kind, MessageKind::Binary);
                assert!(self.0.is_idle());
                Some(Found::Message(match payload {
                    Payload::Input(range) => input[..consumed][range].to_vec(),
                    Payload::Assembled => self.0.assembled().to_vec(),
                }))
            }
        };
        Ok((consumed, found))
    }

    fn release(mut self, pool: &mut Pool) {
        self.0.release(pool);
    }
}
