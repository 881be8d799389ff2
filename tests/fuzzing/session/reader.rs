//! Reads a wire by its own decoder: what a session must make of its input, and its peer of its output.

use std::ops::Range;

use heartwheel::error::ProtocolError;
use heartwheel::proto::binary::BinaryDecoder;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::line::LineDecoder;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::{Decoder, Item as WebSocketItem};
use heartwheel::proto::wire::{Item, Payload, Role};

use super::codec::Tagged;
use super::plan::WireChoice;

/// The decoder of a wire, whichever that is.
pub(super) struct Reader {
    decoder: Kind,
    role: Role,
    limit: u64,
    pool: Pool,
}

enum Kind {
    WebSocket(Decoder),
    Line(LineDecoder),
    Binary(BinaryDecoder),
    Raw,
    Own,
}

/// What comes next in the input.
#[derive(Debug)]
pub(super) enum Next {
    More,
    /// A frame of no consequence.
    Frame,
    Message(Vec<u8>),
    Ping(Vec<u8>),
    /// A pong, with what it brings back where the wire has that.
    Pong(Option<Vec<u8>>),
    Close,
}

impl Reader {
    /// Begins to read what comes to that role.
    pub(super) fn new(wire: WireChoice, role: Role, limit: u64) -> Self {
        Self {
            decoder: match wire {
                WireChoice::WebSocket => Kind::WebSocket(Decoder::default()),
                WireChoice::Line => Kind::Line(LineDecoder::default()),
                WireChoice::Binary => Kind::Binary(BinaryDecoder::default()),
                WireChoice::Raw => Kind::Raw,
                WireChoice::Own => Kind::Own,
            },
            role,
            limit,
            pool: Pool::default(),
        }
    }

    /// Says whether no message is unfinished.
    pub(super) fn is_idle(&self) -> bool {
        match &self.decoder {
            Kind::WebSocket(decoder) => decoder.is_idle(),
            Kind::Line(decoder) => decoder.is_idle(),
            Kind::Binary(decoder) => decoder.is_idle(),
            Kind::Raw | Kind::Own => true,
        }
    }

    /// Decodes one step, as a session is to do with the same bytes.
    pub(super) fn step(&mut self, mut input: Vec<u8>) -> Result<(usize, Next), ProtocolError> {
        match &mut self.decoder {
            Kind::WebSocket(decoder) => {
                let (consumed, item) =
                    decoder.decode(self.role, &mut input, self.limit, &mut self.pool)?;
                let bytes = |range: Range<usize>| input[range].to_vec();
                let next = match item {
                    WebSocketItem::NeedMore => Next::More,
                    WebSocketItem::Fragment => Next::Frame,
                    WebSocketItem::Message { payload, .. } => Next::Message(match payload {
                        Payload::Input(range) => bytes(range),
                        Payload::Assembled => decoder.assembled().to_vec(),
                    }),
                    WebSocketItem::Compressed { .. } => {
                        unreachable!("nobody has agreed to it")
                    }
                    WebSocketItem::Ping(range) => Next::Ping(bytes(range)),
                    WebSocketItem::Pong(range) => Next::Pong(Some(bytes(range))),
                    WebSocketItem::Close { .. } => Next::Close,
                };
                Ok((consumed, next))
            }
            Kind::Line(decoder) => {
                let (consumed, item) = decoder.decode(&mut input, self.limit, &mut self.pool)?;
                Ok((consumed, plain(item, &input, decoder.assembled())))
            }
            Kind::Binary(decoder) => {
                let (consumed, item) = decoder.decode(&mut input, self.limit, &mut self.pool)?;
                Ok((consumed, plain(item, &input, decoder.assembled())))
            }
            Kind::Raw => Ok((input.len(), Next::Message(input))),
            Kind::Own => own(&input, self.limit),
        }
    }
}

fn plain(item: Item, input: &[u8], assembled: &[u8]) -> Next {
    match item {
        Item::NeedMore => Next::More,
        Item::Ping => Next::Ping(Vec::new()),
        Item::Pong => Next::Pong(None),
        Item::Message { payload, .. } => Next::Message(match payload {
            Payload::Input(range) => input[range].to_vec(),
            Payload::Assembled => assembled.to_vec(),
        }),
    }
}

/// A codec that says what cannot be is an error of the wire.
fn own(input: &[u8], limit: u64) -> Result<(usize, Next), ProtocolError> {
    let nonsense = ProtocolError::Custom("nonsense");
    let whole = |consumed: usize| {
        let is_right = consumed > 0 && consumed <= input.len();
        is_right.then_some(consumed).ok_or(nonsense)
    };
    let bytes = |consumed: usize, range: Range<usize>| {
        let bytes = input.get(..consumed).and_then(|input| input.get(range));
        bytes.map(<[u8]>::to_vec).ok_or(nonsense)
    };
    Ok(match Tagged.decode(input, &mut Vec::new())? {
        Decoded::NeedMore if input.len() as u64 >= limit.saturating_add(4096) => {
            let size = input.len() as u64;
            return Err(ProtocolError::MessageTooBig { size, limit });
        }
        Decoded::NeedMore => (0, Next::More),
        Decoded::Skip { consumed } => (whole(consumed)?, Next::Frame),
        Decoded::Open { .. } | Decoded::Refuse { .. } => return Err(nonsense),
        Decoded::Message {
            consumed, payload, ..
        } => {
            let payload = bytes(whole(consumed)?, payload)?;
            if payload.len() as u64 > limit {
                let size = payload.len() as u64;
                return Err(ProtocolError::MessageTooBig { size, limit });
            }
            (consumed, Next::Message(payload))
        }
        Decoded::Ping { consumed, payload } => {
            let mut payload = bytes(whole(consumed)?, payload)?;
            // The codec's pongs have four bytes.
            payload.resize(4, 0);
            (consumed, Next::Ping(payload))
        }
        Decoded::Pong { consumed, token } => {
            // Without the token of a ping it answers none.
            let token = token.map(|token| token.to_be_bytes().to_vec());
            (
                whole(consumed)?,
                Next::Pong(Some(token.unwrap_or_default())),
            )
        }
        Decoded::Close { consumed } => (whole(consumed)?, Next::Close),
    })
}
