//! Compressed messages (RFC 7692): inflated when they are whole, compressed when they are queued.

use std::mem;

use super::buffers::Buffers;
use super::deflated::Deflated;
use super::output::LARGEST_COPY;
use super::{Env, Event, Owed, Session};
use crate::close::Phase;
use crate::config::DeflateConfig;
use crate::error::ProtocolError;
use crate::proto::copy;
use crate::proto::deflate::{Fault, Inflated, Inflation, LARGEST_WINDOW, Strength};
use crate::proto::message::{Encoded, Message, SharedMessage};
use crate::proto::time::Moment;
use crate::proto::websocket::handshake::{Acceptance, DeflateAgreement};
use crate::proto::websocket::{Compression, fragments};
use crate::proto::wire::{MessageKind, Payload, Role};

impl Session {
    /// Opens a WebSocket session as a client whose handshake succeeded: messages may be compressed if the
    /// server agrees.
    pub fn handle_acceptance(&mut self, env: &mut Env, now: Moment, acceptance: &Acceptance<'_>) {
        self.agree(now, acceptance.deflate());
        self.handle_handshake(env, now, &[]);
    }

    /// Notes what both sides have agreed on. Where that is the usual, it takes no memory.
    pub(super) fn agree(&mut self, now: Moment, agreed: Option<DeflateAgreement>) {
        let Some(agreed) = agreed else { return };
        self.owed.insert(Owed::Inflating);
        if agreed != USUAL {
            self.rare_mut(now).deflate = Some(agreed);
        }
    }

    /// Returns what both sides have agreed on about compressed messages. `None`: there are none.
    pub fn deflate(&self) -> Option<DeflateAgreement> {
        let rare = self.rare.as_ref().and_then(|rare| rare.deflate);
        self.owed
            .has(Owed::Inflating)
            .then(|| rare.unwrap_or(USUAL))
    }

    pub(super) fn compression(&self) -> Compression {
        match self.owed.has(Owed::Inflating) {
            true => Compression::Agreed,
            false => Compression::Off,
        }
    }

    /// Says whether a message has come that is not inflated yet: [`decode`](Self::decode) goes on with it,
    /// before it looks at more input.
    pub fn is_inflating(&self) -> bool {
        let deflated = self
            .buffers
            .as_ref()
            .and_then(|held| held.deflated.as_ref());
        deflated.is_some_and(|deflated| deflated.inflation.is_some())
    }

    /// Begins to inflate a message that is whole. After our goodbye, it is passed over.
    pub(super) fn inflate(
        &mut self,
        env: &mut Env,
        kind: MessageKind,
        payload: Payload,
        input: &[u8],
    ) -> Result<Event, ProtocolError> {
        let is_open = self.phase == Phase::Open;
        let limit = env.policy(self.policy).limits.max_message;
        let held = self.held(env);
        let message = match payload {
            Payload::Assembled => held.websocket.take_assembled(),
            Payload::Input(range) => {
                let mut message = Vec::from(env.pool.take(range.len() + MOST_END));
                message.clear();
                copy::append(&mut message, &input[range]);
                message
            }
        };
        if !is_open {
            env.pool.give_vec(message);
            return Ok(Event::Consumed);
        }
        let window = received(self.buffers.as_deref());
        let (inflaters, pool) = (&mut env.inflaters, &mut env.pool);
        let inflation = Inflation::begin(inflaters, pool, kind, message, window, limit);
        self.step_inflation(env, inflation)
    }

    /// Goes on with the message that is being inflated.
    pub(super) fn inflate_on(&mut self, env: &mut Env) -> Result<Event, ProtocolError> {
        let deflated = self.deflated_mut();
        let Some(inflation) = deflated.and_then(|deflated| deflated.inflation.take()) else {
            return Ok(Event::Consumed);
        };
        match self.phase {
            Phase::Open => self.step_inflation(env, inflation),
            Phase::Connecting | Phase::Handshaking | Phase::Closing | Phase::Closed => {
                inflation.discard(&mut env.inflaters, &mut env.pool);
                Ok(Event::Consumed)
            }
        }
    }

    fn step_inflation(
        &mut self,
        env: &mut Env,
        mut inflation: Inflation,
    ) -> Result<Event, ProtocolError> {
        let window = received(self.buffers.as_deref());
        match inflation.step(&mut env.inflaters, window) {
            Ok(Inflated::Unfinished) => {
                self.deflated_or_new(env).inflation = Some(inflation);
                Ok(Event::Inflating)
            }
            Ok(Inflated::Whole) => Ok(self.end_inflation(env, inflation)),
            Err(fault) => {
                let size = inflation.message().len() as u64;
                inflation.discard(&mut env.inflaters, &mut env.pool);
                let limit = env.policy(self.policy).limits.max_message as u64;
                Err(match fault {
                    Fault::Malformed => ProtocolError::Deflate,
                    Fault::TooBig => ProtocolError::MessageTooBig { size, limit },
                    Fault::NotUtf8 => ProtocolError::InvalidUtf8,
                })
            }
        }
    }

    /// Hands out a message that is inflated, as if it had been put together.
    fn end_inflation(&mut self, env: &mut Env, inflation: Inflation) -> Event {
        let agreed = self.deflate().filter(|agreed| agreed.peer_takeover);
        if let Some(agreed) = agreed {
            let bits = agreed.peer_window_bits;
            let window = &mut self.deflated_or_new(env).received;
            window.push(inflation.message(), bits);
        }
        env.stats.messages_inflated += 1;
        env.stats.inflated_from += inflation.compressed_len() as u64;
        env.stats.inflated_to += inflation.message().len() as u64;
        let (kind, message) = inflation.end(&mut env.inflaters, &mut env.pool);
        let held = self.buffers.get_or_insert_with(|| env.take_buffers());
        held.websocket.put_message(message, &mut env.pool);
        let payload = Payload::Assembled;
        Event::Message { kind, payload }
    }

    /// Queues a message compressed, if that is agreed on and makes it shorter. Says whether it did.
    pub(super) fn queue_compressed(
        &mut self,
        env: &mut Env,
        now: Moment,
        message: Message<'_>,
    ) -> bool {
        let data = message.data();
        let Some((agreed, strength)) = self.strength_for(env, data.len()) else {
            return false;
        };
        let held = self.buffers.as_deref();
        let sent = held.and_then(|held| held.deflated.as_ref());
        let window = match (agreed.takeover, sent) {
            (true, Some(deflated)) => deflated.sent.bytes(),
            _ => &[],
        };
        let mut packed = mem::take(&mut env.packed);
        let payload = env
            .compressors
            .compress(strength, window, data, &mut packed);
        let is_shorter = payload.is_some();
        if let Some(payload) = payload {
            let max_fragment = env.policy(self.policy).limits.max_fragment;
            for (fin, opcode, range) in fragments(message.kind(), payload.len(), max_fragment) {
                let is_compressed = range.start == 0;
                self.queue_frame(env, now, (fin, opcode, is_compressed), &payload[range]);
            }
            self.note_compressed(env, data, payload.len());
        }
        packed.clear();
        packed.shrink_to(LARGEST_COPY);
        env.packed = packed;
        is_shorter
    }

    /// Returns the frames of a shared message in which it is compressed, if this session can send them.
    /// They refer to nothing before them, so that all can share them, whatever each has sent before.
    pub(super) fn shared_compressed<'a>(
        &self,
        env: &mut Env,
        shared: &'a SharedMessage,
    ) -> Option<&'a Encoded> {
        if self.part.role() == Role::Client {
            return None;
        }
        let data = shared.message().data();
        let (_, strength) = self.strength_for(env, data.len())?;
        let compressors = &mut env.compressors;
        shared.compressed(strength.window_bits, |out| {
            compressors.compress(strength, &[], data, out)
        })
    }

    /// Counts a message that leaves compressed, and keeps what later ones may refer to.
    pub(super) fn note_compressed(&mut self, env: &mut Env, message: &[u8], len: usize) {
        env.stats.messages_deflated += 1;
        env.stats.deflated_from += message.len() as u64;
        env.stats.deflated_to += len as u64;
        let agreed = self.deflate().filter(|agreed| agreed.takeover);
        if let Some(agreed) = agreed {
            let window = &mut self.deflated_or_new(env).sent;
            window.push(message, agreed.window_bits.min(KEPT_BITS));
        }
    }

    /// Gives back what compression holds, since no more messages will be delivered.
    pub(super) fn forget_deflated(&mut self, env: &mut Env) {
        let deflated = self.buffers.as_mut().and_then(|held| held.deflated.take());
        if let Some(inflation) = deflated.and_then(|deflated| deflated.inflation) {
            inflation.discard(&mut env.inflaters, &mut env.pool);
        }
    }

    /// Returns how a message of this length is compressed, if it is.
    fn strength_for(&self, env: &Env, len: usize) -> Option<(DeflateAgreement, Strength)> {
        let agreed = self.deflate().filter(|agreed| agreed.can_compress())?;
        let config: DeflateConfig = env.policy(self.policy).limits.deflate?;
        let strength = Strength {
            level: config.level,
            window_bits: agreed.window_bits,
        };
        let is_worth_it = (config.threshold..=config.longest).contains(&len);
        is_worth_it.then_some((agreed, strength))
    }

    fn deflated_mut(&mut self) -> Option<&mut Deflated> {
        self.buffers.as_mut()?.deflated.as_deref_mut()
    }

    fn deflated_or_new(&mut self, env: &mut Env) -> &mut Deflated {
        self.held(env).deflated.get_or_insert_default()
    }
}

/// Returns what a message of the peer may refer to.
fn received(held: Option<&Buffers>) -> &[u8] {
    let deflated = held.and_then(|held| held.deflated.as_ref());
    deflated.map_or(&[], |deflated| deflated.received.bytes())
}

/// What is agreed on where neither side keeps anything, and the windows have their full size.
const USUAL: DeflateAgreement = DeflateAgreement {
    takeover: false,
    peer_takeover: false,
    window_bits: LARGEST_WINDOW,
    peer_window_bits: LARGEST_WINDOW,
};

/// Bits of the window of what was sent: 4 KiB. The compressor reads all of it before each message, at some
/// 40 µs. To read 32 KiB takes 100 and more, and makes a message of 200 bytes that was 75 no shorter than 62.
const KEPT_BITS: u8 = 12;

/// Most bytes that are appended to a message before it is inflated.
const MOST_END: usize = 16;
