//! A wire of an embedder's: one byte says what follows, and one lies about it.

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded, Pongs, Rules};
use heartwheel::proto::wire::{EncodeError, MessageKind};

/// `m` and a length of one byte: message. `?` and `!` with four bytes: ping and pong. `-`: pong
/// without a token. `_`: nothing. `.`: close. `w`: waits for more, for ever. `x` and four numbers:
/// whatever a careless codec says.
#[derive(Debug)]
pub(super) struct Tagged;

impl Codec for Tagged {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        Ok(match *input {
            [b'm', len, ref rest @ ..] if rest.len() >= usize::from(len) => {
                let end = 2 + usize::from(len);
                Decoded::Message {
                    consumed: end,
                    kind: MessageKind::Binary,
                    payload: 2..end,
                }
            }
            [b'?', _, _, _, _, ..] => Decoded::Ping {
                consumed: 5,
                payload: 1..5,
            },
            [b'!', a, b, c, d, ..] => Decoded::Pong {
                consumed: 5,
                token: Some(u32::from_be_bytes([a, b, c, d])),
            },
            [b'-', ..] => Decoded::Pong {
                consumed: 1,
                token: None,
            },
            [b'_', ..] => Decoded::Skip { consumed: 1 },
            [b'.', ..] => Decoded::Close { consumed: 1 },
            [b'x', what, consumed, start, end, ..] => careless(what, consumed, start, end),
            [] | [b'm' | b'?' | b'!' | b'w' | b'x', ..] => Decoded::NeedMore,
            [tag, ..] => return Err(ProtocolError::UnknownType(tag)),
        })
    }

    fn encode(
        &mut self,
        _kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Ok(len) = u8::try_from(payload.len()) else {
            return Err(EncodeError::TooLong {
                size: payload.len(),
            });
        };
        out.extend_from_slice(&[b'm', len]);
        out.extend_from_slice(payload);
        Ok(())
    }

    fn rules(&self) -> Rules {
        Rules {
            pongs: Pongs::Newest,
            has_tokens: true,
            ..Rules::default()
        }
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, token: u32, out: &mut Vec<u8>) {
        out.push(b'?');
        out.extend_from_slice(&token.to_be_bytes());
    }

    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.push(b'!');
        out.extend_from_slice(&payload[..payload.len().min(4)]);
        out.resize(out.len() + 4 - payload.len().min(4), 0);
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        out.push(b'.');
    }
}

fn careless(what: u8, consumed: u8, start: u8, end: u8) -> Decoded {
    let consumed = usize::from(consumed);
    let payload = usize::from(start)..usize::from(end);
    match what % 7 {
        0 => Decoded::Message {
            consumed,
            kind: MessageKind::Binary,
            payload,
        },
        1 => Decoded::Ping { consumed, payload },
        2 => Decoded::Pong {
            consumed,
            token: None,
        },
        3 => Decoded::Skip { consumed },
        4 => Decoded::Open { consumed },
        5 => Decoded::Refuse { reason: "careless" },
        _ => Decoded::Close { consumed },
    }
}
