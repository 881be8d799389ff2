//! The heartbeat of a connection at rest: a ping that is due, and the pong that answers it.
//!
//! A session that has borrowed nothing needs no buffers and no queue for either. Whether a ping is due
//! and what a pong settles is decided where it is decided for every session; only the way of the bytes
//! is shorter. Whatever else there is to do goes the general way.

use super::timeout::visit;
#[cfg(feature = "websocket")]
use super::token;
use super::{Env, Fact, Session};
use crate::close::Phase;
use crate::config::WireKind;
use crate::proto::heartbeat::Verdict;
use crate::proto::time::{Micros, Moment};
use crate::proto::{binary, line};

impl Session {
    /// Says whether the connection is open and nothing is borrowed: no byte waits, either way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Open && self.buffers.is_none()
    }

    /// Encodes the ping of a session at rest, if a ping and nothing else is due, and it is not late by more
    /// than what counts. [`Env::frame`] has it then. Returns since when it is due; nothing has changed.
    ///
    /// The shell writes it, and says what became of it with [`end_beat`](Self::end_beat) or
    /// [`keep_beat`](Self::keep_beat).
    pub(crate) fn begin_beat(&mut self, env: &mut Env, now: Moment) -> Option<Micros> {
        let timing = &env.policies.get(self.policy).timing;
        let is_plain = self.is_at_rest()
            && self.rare.is_none()
            && timing.max_lifetime.is_none()
            && !self.facts.has(Fact::Credit);
        if !is_plain {
            return None;
        }
        let due = self.heartbeat.plain_ping_due(timing, now, &env.lateness)?;
        self.encode_ping(env);
        Some(due)
    }

    /// Notes that the kernel accepted the whole ping of a beat. Returns the next deadline.
    pub(crate) fn end_beat(&mut self, env: &mut Env, now: Moment, due: Micros) -> Micros {
        env.stats.pings_due += 1;
        env.stats.pings_written += 1;
        env.stats.ping_lateness.record_micros(now.at - due);
        let timing = &env.policies.get(self.policy).timing;
        let (deadline, is_renewing) = self.heartbeat.handle_plain_ping(timing, now, &env.lateness);
        if is_renewing {
            self.refresh_stamps(now);
        }
        deadline.min(visit(now)).max(now.at)
    }

    /// Queues the ping of a beat that was not written, or not all of it.
    pub(crate) fn keep_beat(&mut self, env: &mut Env, now: Moment, due: Micros) {
        let timing = &env.policies.get(self.policy).timing;
        self.refresh_stamps(now);
        let verdict = self.heartbeat.handle_timeout(timing, now, &env.lateness);
        debug_assert_eq!(verdict, Verdict::Ping, "as begin_beat said");
        env.stats.pings_due += 1;
        self.queue_control(env, now, |tx, frame| {
            tx.set_ping(frame);
        });
        self.held(env).ping_due = Some(due);
    }

    /// Decodes the pong that answers the newest ping, if that is all that was read of a session at rest.
    /// Returns its round-trip time, if that ping is the one being timed.
    pub(crate) fn decode_answer(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &[u8],
    ) -> Option<Option<Micros>> {
        if !self.is_at_rest() || !self.heartbeat.is_awaiting() {
            return None;
        }
        let timing = &env.policies.get(self.policy).timing;
        let found = match (self.wire, input) {
            #[cfg(feature = "websocket")]
            (WireKind::WebSocket, _) => {
                let token = self.part.role().answer(input)?;
                let (key, phase) = (env.token_key(), self.heartbeat.phase().fraction());
                let number = token::decode(key, phase, token);
                if !self.heartbeat.is_newest(number) {
                    return None;
                }
                self.heartbeat.handle_pong(timing, now, Some(number))
            }
            // The first line of a peer is looked at first.
            (WireKind::Line, line::PONG) | (WireKind::Binary, binary::PONG)
                if !self.part.is_new() =>
            {
                self.heartbeat.handle_pong_in_order(timing, now)
            }
            _ => return None,
        };
        match self.handle_pong_match(env, now, found) {
            super::Event::Pong { rtt } => Some(rtt),
            _ => None,
        }
    }
}
