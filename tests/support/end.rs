//! One end of a connection without a socket: a session on virtual time, driven as the reactor drives it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::{Cause, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::Message;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Due, Env, Event, Session, SocketAction, Wire};
use heartwheel::proto::time::Moment;
use heartwheel::proto::wire::{MessageKind, Payload, Role};

use super::dice::Dice;

/// A session, and the socket it would have.
pub(crate) struct End {
    pub(crate) env: Env,
    pub(crate) session: Session,
    /// Bytes on their way to us.
    pub(crate) pipe: VecDeque<u8>,
    /// The peer has ended its direction, or reset the connection.
    pub(crate) fin: bool,
    pub(crate) reset: bool,
    eof_seen: bool,
    /// Messages that came, and pongs to pings of ours that did.
    pub(crate) heard: Vec<(MessageKind, Vec<u8>)>,
    pub(crate) pongs: usize,
    /// Which message the end of input ended.
    pub(crate) rest: Option<usize>,
    /// How it ended, once the socket is gone.
    pub(crate) cause: Option<Cause>,
}

impl End {
    /// Begins before the opening handshake, where the wire has one, and open where it has none.
    pub(crate) fn begin(
        wire: Wire,
        role: Role,
        seed: u64,
        heartbeat: &HeartbeatConfig,
        limits: &LimitsConfig,
    ) -> Self {
        let tick = Duration::from_millis(10);
        let policy = Policy::new(heartbeat, limits, wire.kind(), tick).unwrap();
        let mut env = Env::new(Box::new(Dice::new(seed)));
        let policy = env.intern(policy).unwrap();
        let [.., a, b, c, d] = seed.to_be_bytes();
        let phase = PingPhase::new(u32::from_be_bytes([a, b, c, d]));
        let now = Moment::default();
        let session = match role {
            Role::Client => Session::dialed(&mut env, policy, wire, phase, now),
            Role::Server => Session::accepted(&mut env, policy, wire, phase, now),
        };
        Self {
            env,
            session,
            pipe: VecDeque::new(),
            fin: false,
            reset: false,
            eof_seen: false,
            heard: Vec::new(),
            pongs: 0,
            rest: None,
            cause: None,
        }
    }

    /// Opens at time zero, with the heads of the handshake left out.
    pub(crate) fn open(mut self) -> Self {
        let now = Moment::default();
        if self.session.phase() == Phase::Connecting {
            self.session.handle_connected(&mut self.env, now, b"");
        }
        if self.session.phase() == Phase::Handshaking {
            self.session.handle_handshake(&mut self.env, now, b"");
        }
        self
    }

    pub(crate) fn send(&mut self, now: Moment, message: Message<'_>) -> bool {
        self.session.send(&mut self.env, now, message).is_ok()
    }

    pub(crate) fn close(&mut self, now: Moment, reason: &str) {
        self.session
            .close(&mut self.env, now, Cause::LocalClose, None, reason);
    }

    /// Reads at most so many bytes, and the end of input where they are the last.
    pub(crate) fn read(&mut self, now: Moment, most: usize) {
        if self.cause.is_some() || self.session.is_paused() {
            return;
        }
        if self.reset {
            self.session.handle_io_error(now, Some(104), true);
            return;
        }
        let mut left = most.min(self.pipe.len());
        let mut input = self.session.take_input(&mut self.env);
        while left > 0 {
            let spare = input.spare_mut(self.env.pool_mut());
            let count = left.min(spare.len());
            if count == 0 {
                let limit = self.session.input_limit(&self.env);
                assert!(
                    input.grow(limit, self.env.pool_mut()),
                    "a full ring at its limit"
                );
                continue;
            }
            for (to, byte) in spare.iter_mut().zip(self.pipe.drain(..count)) {
                *to = byte;
            }
            input.commit(count);
            left -= count;
            self.session.handle_bytes(&mut self.env, now, count);
            loop {
                let bytes = input.contiguous_mut();
                let (consumed, event) = self.session.decode(&mut self.env, now, bytes);
                let payload = match event {
                    Event::NeedMore => {
                        input.consume(consumed);
                        break;
                    }
                    Event::Consumed => None,
                    Event::Pong { .. } => {
                        self.pongs += 1;
                        None
                    }
                    Event::Message {
                        kind,
                        payload: Payload::Assembled,
                    } => Some((kind, self.session.take_assembled())),
                    Event::Message {
                        kind,
                        payload: Payload::Input(range),
                    } => Some((kind, bytes[range].to_vec())),
                };
                self.heard.extend(payload);
                input.consume(consumed);
            }
        }
        self.session.put_input(&mut self.env, input);
        if self.fin && self.pipe.is_empty() && !self.eof_seen {
            self.eof_seen = true;
            if let Some((kind, _)) = self.session.decode_rest(&mut self.env, now) {
                self.rest = Some(self.heard.len());
                self.heard.push((kind, self.session.take_assembled()));
            }
            self.session.handle_eof(&self.env, now);
        }
    }

    /// Takes at most so many bytes of output, as one write does; fewer than there are block it.
    pub(crate) fn write(&mut self, now: Moment, most: usize) -> Vec<u8> {
        if self.cause.is_some() || !self.session.has_output() {
            return Vec::new();
        }
        self.session.handle_writable();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = self.session.slices(&mut slices);
        let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        let taken = offered.min(most);
        let mut bytes = Vec::with_capacity(taken);
        for slice in &slices[..count] {
            bytes.extend_from_slice(&slice[..slice.len().min(taken - bytes.len())]);
        }
        self.session.handle_written(&mut self.env, now, taken);
        if taken < offered {
            self.session.handle_blocked();
        }
        self.session.release(&mut self.env);
        bytes
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.cause.is_some() || self.session.poll_deadline(&self.env, now) > now.at {
            return;
        }
        loop {
            match self.session.handle_timeout(&mut self.env, now) {
                Due::Wait(at) => {
                    assert!(at > now.at, "waits for what has passed");
                    return;
                }
                Due::Changed => {}
                // What was not taken was refused.
                Due::Stalled => self.session.stall(&self.env, now),
                Due::Silent => {
                    let waiting = self.pipe.len();
                    if self.session.is_paused() && waiting > 0 {
                        self.session.handle_waiting_bytes(&self.env, now);
                    } else {
                        self.read(now, waiting);
                    }
                    if self.session.is_silent(&self.env, now) {
                        self.session.judge(&self.env, now, None);
                    }
                }
            }
        }
    }

    /// Asks what becomes of the socket; where that is its end, everything borrowed is given back.
    pub(crate) fn settle(&mut self, now: Moment) -> SocketAction {
        if self.cause.is_some() {
            return SocketAction::Keep;
        }
        let action = self.session.socket_action();
        if matches!(action, SocketAction::Close | SocketAction::Reset) {
            assert_eq!(self.session.phase(), Phase::Closed);
            let evidence = self.session.evidence(now);
            assert!(evidence.pings_answered <= evidence.pings_written);
            self.session.discard(&mut self.env);
            assert!(self.session.is_released());
            self.cause = Some(evidence.cause);
        }
        action
    }
}
