//! A wire of an embedder's own: kind, length, payload, with tokens in its pings.

use std::mem;

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded, Pongs, Rules};
use heartwheel::proto::wire::{EncodeError, MessageKind};

/// What leaves as a pong and not as a message: the last one again, or an answer to nothing.
pub(crate) const STRAY: &[u8] = b"stray";

#[derive(Debug, Default)]
pub(crate) struct Tagged {
    /// Payload of the last pong.
    last: Vec<u8>,
}

impl Tagged {
    fn put(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
        let len = u16::try_from(payload.len()).expect("its caller has looked");
        out.push(kind);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(payload);
    }
}

impl Codec for Tagged {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some(&[kind, high, low]) = input.first_chunk() else {
            return Ok(Decoded::NeedMore);
        };
        let consumed = 3 + usize::from(u16::from_be_bytes([high, low]));
        if input.len() < consumed {
            return Ok(Decoded::NeedMore);
        }
        let payload = 3..consumed;
        Ok(match kind {
            0 => Decoded::Message {
                consumed,
                kind: MessageKind::Binary,
                payload,
            },
            1 => Decoded::Ping { consumed, payload },
            2 => Decoded::Pong {
                consumed,
                token: input[payload]
                    .first_chunk()
                    .copied()
                    .map(u32::from_be_bytes),
            },
            _ => Decoded::Close { consumed },
        })
    }

    fn encode(
        &mut self,
        _kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if payload.len() > usize::from(u16::MAX) {
            return Err(EncodeError::Custom("longer than its length can say"));
        }
        match payload {
            STRAY if !self.last.is_empty() => Self::put(2, &mem::take(&mut self.last), out),
            STRAY => Self::put(2, STRAY, out),
            _ => Self::put(0, payload, out),
        }
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
        Self::put(1, &token.to_be_bytes(), out);
    }

    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.last = payload.to_vec();
        Self::put(2, payload, out);
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        Self::put(3, &[], out);
    }
}
