//! An own wire: the codec decodes, what it answers is queued, and a peer that does not take its answers
//! is not read.

use std::ops::Range;

use super::buffers::Held;
use super::{Env, Event, MOST_HEADER, Session};
use crate::close::{Cause, Phase};
use crate::error::{ProtocolError, SendError};
use crate::proto::codec::{Codec, Decoded, Pongs};
use crate::proto::message::{Message, SharedMessage};
use crate::proto::outbox::Outbox;
use crate::proto::time::Moment;
use crate::proto::utf8;
use crate::proto::wire::{MessageKind, Payload};

/// What a step of a codec's handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// Nothing more without more bytes.
    NeedMore,
    /// A step. Go on.
    Consumed,
    /// The handshake is complete: ask the application, and then call
    /// [`accept_own`](Session::accept_own) or [`reject_own`](Session::reject_own).
    Complete,
    /// It failed; what tells the peer is queued, and nothing else is read.
    Over,
}

impl Session {
    pub(super) fn decode_own(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &[u8],
    ) -> Result<(usize, Event), ProtocolError> {
        let decoded = self.ask_codec(env, now, input)?;
        let most = env.policy(self.policy).limits.max_message;
        let step = match decoded {
            // The input holds no more than this: waiting on would be for ever.
            Decoded::NeedMore if input.len() >= most.saturating_add(MOST_HEADER) => {
                Err(too_big(input.len(), most))
            }
            Decoded::NeedMore => Ok((0, Event::NeedMore)),
            Decoded::Skip { consumed } => Ok((whole(input, consumed, &(0..0))?, Event::Consumed)),
            Decoded::Open { .. } | Decoded::Refuse { .. } => {
                let what = "codec found a handshake in an open connection";
                return Err(ProtocolError::Custom(what));
            }
            Decoded::Message {
                consumed,
                kind,
                payload,
            } => {
                whole(input, consumed, &payload)?;
                if payload.len() > most {
                    return Err(too_big(payload.len(), most));
                }
                self.check_text(kind, &input[payload.clone()])?;
                self.handle_frame(env, now);
                let payload = Payload::Input(payload);
                Ok((consumed, Event::Message { kind, payload }))
            }
            Decoded::Ping { consumed, payload } => {
                whole(input, consumed, &payload)?;
                self.handle_ping(env, now, &input[payload]);
                Ok((consumed, Event::Consumed))
            }
            Decoded::Pong { consumed, token } => {
                whole(input, consumed, &(0..0))?;
                let has_tokens = self.codec().is_some_and(|codec| codec.rules().has_tokens);
                let event = match has_tokens {
                    true => self.handle_pong(env, now, token),
                    false => self.handle_pong_in_order(env, now),
                };
                Ok((consumed, event))
            }
            Decoded::Close { consumed } => {
                whole(input, consumed, &(0..0))?;
                self.handle_peer_close(env, now, None, &[]);
                Ok((consumed, Event::Consumed))
            }
        };
        self.choke(now);
        step
    }

    /// Has the codec say what comes first. Returns whether it has a handshake.
    pub(super) fn begin_own(&mut self, env: &mut Env, now: Moment) -> bool {
        let Some(codec) = self.codec_mut() else {
            return false;
        };
        env.scratch.clear();
        codec.begin(&mut env.scratch);
        let has_handshake = codec.has_handshake();
        self.queue_first(env, now);
        has_handshake
    }

    /// Has the codec go on where somebody else has opened the connection.
    pub(super) fn resume_own(&mut self, env: &mut Env, now: Moment) {
        env.scratch.clear();
        if let Some(codec) = self.codec_mut() {
            codec.resume(&mut env.scratch);
        }
        self.queue_first(env, now);
    }

    /// Decodes one step of a codec's handshake from the front of `input`; returns the bytes consumed
    /// and what came of it. A broken rule ends the session and consumes everything.
    ///
    /// # Panics
    ///
    /// If the session is not [`Handshaking`](Phase::Handshaking).
    pub fn shake_hands(&mut self, env: &mut Env, now: Moment, input: &[u8]) -> (usize, Shaken) {
        assert_eq!(self.phase, Phase::Handshaking, "a handshake goes on");
        let step = self.decode_handshake(env, now, input);
        step.unwrap_or_else(|error| {
            self.refuse(env, now, error.cause(), &error.to_string(), &[]);
            (input.len(), Shaken::Over)
        })
    }

    fn decode_handshake(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &[u8],
    ) -> Result<(usize, Shaken), ProtocolError> {
        let most = env.policy(self.policy).limits.max_head;
        let decoded = self.ask_codec(env, now, input)?;
        if self.queued() > MOST_REPLIES {
            let what = "the answers of the handshake are not taken";
            return Err(ProtocolError::Custom(what));
        }
        match decoded {
            Decoded::NeedMore if input.len() >= most => Err(too_big(input.len(), most)),
            Decoded::NeedMore => Ok((0, Shaken::NeedMore)),
            Decoded::Skip { consumed } => Ok((whole(input, consumed, &(0..0))?, Shaken::Consumed)),
            Decoded::Open { consumed } => Ok((whole(input, consumed, &(0..0))?, Shaken::Complete)),
            Decoded::Refuse { reason } => {
                self.refuse(env, now, Cause::Refused, reason, &[]);
                Ok((input.len(), Shaken::Over))
            }
            Decoded::Close { consumed } => {
                whole(input, consumed, &(0..0))?;
                self.refuse_with(env, now, Cause::PeerClosed, "", |codec, out| {
                    codec.encode_close(out);
                });
                Ok((input.len(), Shaken::Over))
            }
            Decoded::Message { .. } | Decoded::Ping { .. } | Decoded::Pong { .. } => {
                let what = "codec found a frame before it was open";
                Err(ProtocolError::Custom(what))
            }
        }
    }

    /// Opens a session whose handshake is [complete](Shaken::Complete), or that [waited](Self::defer)
    /// without one, since the application accepts it. Where it has ended meanwhile nothing happens.
    pub fn accept_own(&mut self, env: &mut Env, now: Moment) {
        if self.phase != Phase::Handshaking {
            return;
        }
        env.scratch.clear();
        if let Some(codec) = self.codec_mut().filter(|codec| codec.has_handshake()) {
            codec.encode_open(&mut env.scratch);
        }
        self.queue_first(env, now);
        self.open(env, now);
    }

    /// Ends a handshake that the application, or this side as a whole, does not accept; the first line of
    /// the reason is for the record. Where it has ended meanwhile nothing happens.
    pub fn reject_own(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        (status, reason): (u16, &str),
    ) {
        if self.phase != Phase::Handshaking {
            return;
        }
        let recorded = match cause {
            Cause::Refused => reason.lines().next().unwrap_or_default(),
            _ => "",
        };
        self.refuse_with(env, now, cause, recorded, |codec, out| {
            if codec.has_handshake() {
                codec.encode_refusal(status, reason, out);
            }
        });
    }

    fn refuse_with(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        reason: &str,
        encode: impl FnOnce(&mut dyn Codec, &mut Vec<u8>),
    ) {
        let mut answer = Vec::new();
        if let Some(codec) = self.codec_mut() {
            encode(codec, &mut answer);
        }
        self.refuse(env, now, cause, reason, &answer);
    }

    /// Queues the scratch buffer before the first frame.
    fn queue_first(&mut self, env: &mut Env, now: Moment) {
        if env.scratch.is_empty() {
            return;
        }
        let first = std::mem::take(&mut env.scratch);
        let held = self.stamped(env, now);
        held.tx.push_first(&first, &mut env.pool);
        env.scratch = first;
    }

    /// Has the codec decode, and queues what it answers at once, also to what breaks a rule.
    fn ask_codec(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &[u8],
    ) -> Result<Decoded, ProtocolError> {
        let Some(codec) = self.codec_mut() else {
            return Ok(Decoded::NeedMore);
        };
        env.scratch.clear();
        let decoded = codec.decode(input, &mut env.scratch);
        match self.phase {
            Phase::Handshaking => self.queue_first(env, now),
            Phase::Connecting | Phase::Open | Phase::Closing | Phase::Closed => {
                self.queue_reply(env, now);
            }
        }
        decoded
    }

    fn check_text(&self, kind: MessageKind, payload: &[u8]) -> Result<(), ProtocolError> {
        let is_unchecked = kind == MessageKind::Text
            && self.codec().is_some_and(|codec| !codec.rules().checks_text);
        if is_unchecked && !utf8::is_text(payload) {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(())
    }

    /// Queues the scratch buffer as an answer to what the peer has sent, unless it is empty.
    fn queue_reply(&mut self, env: &mut Env, now: Moment) {
        if !env.scratch.is_empty() {
            let len = env.scratch.len();
            self.queue_scratch(env, now);
            self.held(env).replies += len;
        }
    }

    /// Queues the codec's answer to a ping; returns how many waiting answers it stands for.
    pub(super) fn queue_own_pong(&mut self, env: &mut Env, now: Moment, payload: &[u8]) -> usize {
        let Some(codec) = self.codec_mut() else {
            return 0;
        };
        let pongs = codec.rules().pongs;
        env.scratch.clear();
        codec.encode_pong(payload, &mut env.scratch);
        let mut folded = 0;
        match pongs {
            Pongs::InOrder => self.queue_reply(env, now),
            Pongs::Ahead => self.queue_control(env, now, |tx, frame| tx.push_each_pong(frame)),
            Pongs::Newest => self.queue_control(env, now, |tx, frame| {
                folded = tx.push_pong(frame);
            }),
        }
        folded
    }

    pub(super) fn queue_own(
        &mut self,
        env: &mut Env,
        now: Moment,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        let Some(codec) = self.codec_mut() else {
            return Ok(());
        };
        env.scratch.clear();
        codec
            .encode(message.kind(), message.data(), &mut env.scratch)
            .map_err(SendError::Encode)?;
        self.queue_scratch(env, now);
        Ok(())
    }

    /// Queues a message that many connections share, encoded once where the codec allows it.
    pub(super) fn send_shared_own(
        &mut self,
        env: &mut Env,
        now: Moment,
        shared: &SharedMessage,
    ) -> Result<(), SendError> {
        let message = shared.message();
        let encoded = self.codec_mut().and_then(|codec| shared.encoded_by(codec));
        let Some(encoded) = encoded else {
            return self.send(env, now, message);
        };
        self.check_room(env, now, message.data().len())?;
        self.queue_shared(env, now, encoded);
        Ok(())
    }

    /// Stops reading while the peer does not take the answers to what it has sent. Within a pause for
    /// want of memory, and around one for a limit.
    fn choke(&mut self, now: Moment) {
        let owes_much = |held: &super::Buffers| {
            held.choked.is_none()
                && (held.replies_waiting() >= MOST_REPLIES
                    || held.tx.pongs_len() > Outbox::PONG_LIMIT)
        };
        if self.phase != Phase::Open || !self.buffers.as_deref().is_some_and(owes_much) {
            return;
        }
        let choked = match self.wants_pause() {
            true => Held::Twice,
            false => Held::Back,
        };
        self.handle_pause(now);
        if let Some(held) = &mut self.buffers {
            held.choked = Some(choked);
        }
    }

    /// Reads on once the peer has taken half of its answers, unless something else keeps us from that.
    pub(super) fn unchoke(&mut self, now: Moment) {
        let Some(held) = &mut self.buffers else {
            return;
        };
        held.replies = held.replies_waiting();
        let owes_little =
            held.replies <= MOST_REPLIES / 2 && held.tx.pongs_len() <= Outbox::PONG_LIMIT / 2;
        if owes_little && let Some(Held::Back) = held.choked.take() {
            self.resume_within(now);
        }
    }

    /// Notes that reading is to pause or to go on for another reason. Says whether that is all, since the
    /// peer's answers wait.
    pub(super) fn note_choked(&mut self, is_paused: bool) -> bool {
        let held = self.buffers.as_mut().and_then(|held| held.choked.as_mut());
        held.is_some_and(|held| {
            *held = match is_paused {
                true => Held::Twice,
                false => Held::Back,
            };
            true
        })
    }

    /// Says whether reading is paused for another reason too, if the peer's answers wait.
    pub(super) fn choked_twice(&self) -> Option<bool> {
        let choked = self.buffers.as_ref()?.choked?;
        Some(matches!(choked, Held::Twice))
    }
}

/// Returns the bytes consumed, where what the codec says of them can be.
fn whole(input: &[u8], consumed: usize, payload: &Range<usize>) -> Result<usize, ProtocolError> {
    if consumed == 0 || consumed > input.len() {
        return Err(ProtocolError::Custom(
            "codec consumed nothing, or more than there is",
        ));
    }
    if payload.start > payload.end || payload.end > consumed {
        return Err(ProtocolError::Custom(
            "codec found a payload beyond what it consumed",
        ));
    }
    Ok(consumed)
}

fn too_big(size: usize, limit: usize) -> ProtocolError {
    ProtocolError::MessageTooBig {
        size: size as u64,
        limit: limit as u64,
    }
}

/// Bytes of answers that may wait before reading stops.
const MOST_REPLIES: usize = 64 * 1024;
