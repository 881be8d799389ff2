//! What is due and when: pings, ends of phases, and everything else that has a deadline.

use super::{Backlog, Due, Env, Session};
use crate::close::{Cause, KernelFigures, Phase};
use crate::proto::heartbeat::Verdict;
use crate::proto::policy::Timing;
use crate::proto::time::{Micros, Moment, Stamp};

impl Session {
    /// Says whether [`handle_timeout`](Self::handle_timeout) would now end the session for what the peer has
    /// not said in time, silence aside: what it has may lie unread. A shell reads its socket first, or, of
    /// one that is being dialed, asks it what came of that.
    pub(crate) fn is_overdue(&self, env: &Env, now: Moment) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Handshaking | Phase::Closing => {
                self.phase_deadline(env, now).judged(env, now) <= now.at
            }
            Phase::Open => {
                self.is_slow(env, now, Backlog::None) || self.is_idle(env, now, Backlog::None)
            }
            Phase::Closed => false,
        }
    }

    /// Says whether [`handle_timeout`](Self::handle_timeout) may now end an open session for want of messages,
    /// or say goodbye. A shell that has still messages for it queues them first.
    pub(crate) fn may_say_goodbye(&self, env: &Env, now: Moment) -> bool {
        let timing = &env.policy(self.policy).timing;
        let is_over = |end: Option<Micros>| end.is_some_and(|end| end <= now.at);
        self.phase == Phase::Open
            && (self.is_idle(env, now, Backlog::None)
                || is_over(self.lifetime_ends(timing, now))
                || is_over(self.limit_ends()))
    }

    /// Says whether no message has made progress for too long.
    pub(super) fn is_idle(&self, env: &Env, now: Moment, backlog: Backlog) -> bool {
        let timing = &env.policy(self.policy).timing;
        let more = backlog.gives(timing.app_idle.unwrap_or(0));
        let ends = self.idle_ends(timing);
        ends.is_some_and(|end| end.time(now.at) + more <= now.at)
    }

    /// Acts on whatever is due at `now`. Call it when the deadline was reached, and again after each
    /// [`Due::Changed`].
    pub(crate) fn handle_timeout(&mut self, env: &mut Env, now: Moment, backlog: Backlog) -> Due {
        self.refresh_stamps(now);
        match self.phase {
            Phase::Connecting if self.is_dialing() => {
                self.handle_phase_timeout(env, now, Cause::ConnectTimeout, backlog)
            }
            Phase::Connecting | Phase::Handshaking => {
                self.handle_phase_timeout(env, now, Cause::HandshakeTimeout, backlog)
            }
            Phase::Open => self.handle_open_timeout(env, now, backlog),
            Phase::Closing => self.handle_phase_timeout(env, now, Cause::CloseTimeout, backlog),
            Phase::Closed => Due::Wait(Micros::MAX),
        }
    }

    fn handle_open_timeout(&mut self, env: &mut Env, now: Moment, backlog: Backlog) -> Due {
        if self.end_limit(now) {
            return Due::Changed;
        }
        self.drop_rates(env, now);
        self.renew_drain(env, now);
        if self.is_stalled(env, now) || self.drains_slowly(env, now) {
            return Due::Stalled;
        }
        let timing = &env.policy(self.policy).timing;
        if self.is_slow(env, now, backlog) {
            self.close(env, now, Cause::SlowPeer, None, "message too slow");
            return Due::Changed;
        }
        if self.is_idle(env, now, backlog) {
            self.close(env, now, Cause::AppIdle, None, "no message for too long");
            return Due::Changed;
        }
        if self
            .lifetime_ends(timing, now)
            .is_some_and(|end| end <= now.at)
        {
            self.close(
                env,
                now,
                Cause::MaxLifetime,
                None,
                "maximum lifetime reached",
            );
            return Due::Changed;
        }
        let due = self.heartbeat.ping_due(timing, now.at);
        match self.heartbeat.handle_timeout(timing, now, &env.lateness) {
            Verdict::Wait(_) => Due::Wait(self.poll_deadline(env, now)),
            Verdict::Silent => Due::Silent,
            Verdict::Ping => {
                env.stats.pings_due += 1;
                self.queue_ping(env, now);
                let held = self.held(env);
                held.ping_due = held.ping_due.or(due);
                Due::Changed
            }
        }
    }

    /// Ends the session for silence, after one more read has confirmed it.
    pub(super) fn judge(
        &mut self,
        env: &mut Env,
        now: Moment,
        kernel: Option<KernelFigures>,
    ) -> Cause {
        let (ping_waiting, queued) = match &self.buffers {
            Some(held) => (held.tx.ping_waiting(), !held.tx.is_empty()),
            None => (false, false),
        };
        let timing = &env.policy(self.policy).timing;
        let forgiven = self.heartbeat.forgiveness(timing, now, &env.lateness);
        let due = self.heartbeat.silence_ends(timing, now, &env.lateness);
        let cause = self.heartbeat.judge(timing, ping_waiting, queued, kernel);
        if let Some(due) = due {
            env.stats.verdict_lateness.record_micros(now.at - due);
        }
        self.end(now, cause, kernel);
        self.note_forgiven(cause, forgiven);
        cause
    }

    /// Gives a silent peer more time where it is slow and not dead; see [`Heartbeat::spare_slow`].
    pub(super) fn spare_slow(
        &mut self,
        env: &Env,
        now: Moment,
        kernel: Option<&KernelFigures>,
    ) -> bool {
        let timing = &env.policy(self.policy).timing;
        self.heartbeat.spare_slow(timing, now, kernel)
    }

    /// Adds the kernel's figures to the record of an end that blames the peer. If output made no
    /// progress and its bytes are not acknowledged, the cause becomes `path_dead`. If the kernel
    /// itself gave up the connection, it has no figures any more.
    pub fn handle_kernel_figures(&mut self, kernel: KernelFigures) {
        let Some(end) = self.buffers.as_mut().and_then(|held| held.end.as_mut()) else {
            return;
        };
        if end.kernel.is_none() && end.errno.is_none() {
            end.kernel = Some(kernel);
            if end.cause == Cause::WriteStalled && kernel.is_path_dead() {
                end.cause = Cause::PathDead;
            }
        }
    }

    /// Says whether output, at `now`, has made no progress for too long; for a shell that has just offered it
    /// once more.
    pub(super) fn is_stalled(&self, env: &Env, now: Moment) -> bool {
        let end = match self.phase {
            Phase::Open => self.write_ends(env, now),
            Phase::Handshaking => self.answer_stalls(env, now),
            Phase::Closing => self.goodbye_stalls(env, now),
            Phase::Connecting | Phase::Closed => None,
        };
        end.is_some_and(|end| end <= now.at)
    }

    /// Ends the session, whose output was offered once more and refused. A goodbye is given up, and keeps
    /// its cause as it does in the end of its time.
    pub(super) fn stall(&mut self, env: &Env, now: Moment) {
        let end = self.write_deadline(env);
        let cause = match self.phase {
            Phase::Closing => {
                self.give_up(now, Cause::CloseTimeout);
                Cause::CloseTimeout
            }
            Phase::Connecting | Phase::Handshaking | Phase::Open | Phase::Closed => {
                self.end(now, Cause::WriteStalled, None);
                Cause::WriteStalled
            }
        };
        if let Some(end) = end {
            self.note_forgiven(cause, end.forgiven(env, now));
        }
    }

    /// Says whether silence, at `now`, has lasted too long; for a shell that has just read once more.
    pub(super) fn is_silent(&self, env: &Env, now: Moment) -> bool {
        let timing = &env.policy(self.policy).timing;
        self.phase == Phase::Open && self.heartbeat.is_silent(timing, now, &env.lateness)
    }

    /// Says whether that is so though a budget has left input unread, which the proof may lie behind: that
    /// puts a verdict off by T - I.
    pub(super) fn is_silent_behind_backlog(&self, env: &Env, now: Moment) -> bool {
        let timing = &env.policy(self.policy).timing;
        self.phase == Phase::Open
            && self
                .heartbeat
                .is_silent_behind_backlog(timing, now, &env.lateness)
    }

    /// Notes, while reading is paused or behind, that bytes wait in the socket: proof of life under
    /// [`Proof::Bytes`](crate::config::Proof::Bytes).
    pub(super) fn handle_waiting_bytes(&mut self, env: &Env, now: Moment) {
        self.heartbeat
            .handle_bytes(&env.policy(self.policy).timing, now);
    }

    /// Returns the time of the nearest deadline. [`Micros::MAX`] if there is none.
    pub fn poll_deadline(&self, env: &Env, now: Moment) -> Micros {
        let deadline = match self.phase {
            Phase::Connecting => self.phase_deadline(env, now).judged(env, now),
            Phase::Handshaking => {
                let end = self.phase_deadline(env, now).judged(env, now);
                let stalls = self.answer_stalls(env, now);
                stalls.map_or(end, |stalls| stalls.min(end))
            }
            Phase::Closing => {
                let end = self.phase_deadline(env, now).judged(env, now);
                let stalls = self.goodbye_stalls(env, now);
                stalls.map_or(end, |stalls| stalls.min(end))
            }
            Phase::Open => {
                let timing = &env.policy(self.policy).timing;
                [
                    Some(self.heartbeat.deadline(timing, now, &env.lateness)),
                    self.write_ends(env, now),
                    self.slow_check(env, now),
                    self.drain_check(env, now),
                    self.idle_ends(timing).map(|end| end.time(now.at)),
                    self.lifetime_ends(timing, now),
                    self.limit_ends(),
                    Some(visit(now)),
                ]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(Micros::MAX)
            }
            Phase::Closed => Micros::MAX,
        };
        deadline.max(now.at)
    }

    /// Returns when a connection that reached its lifetime is closed: spread by ±10 % with the phase.
    fn lifetime_ends(&self, timing: &Timing, now: Moment) -> Option<Micros> {
        let lifetime = timing.max_lifetime?;
        let tenth = Micros::new(lifetime.as_micros() / 10);
        let began = now.at - self.age(now);
        Some(began + (lifetime - tenth) + self.heartbeat.phase().of(tenth + tenth))
    }

    /// Returns when no message will have made progress for too long. Never while reading is paused: the
    /// peer's messages may lie unread, and its time starts over when reading goes on.
    pub(super) fn idle_ends(&self, timing: &Timing) -> Option<Stamp> {
        let idle = timing.app_idle.filter(|_| !self.is_paused())?;
        Some(self.rare.as_ref()?.last_message.plus(idle))
    }
}

/// Returns when an open session is visited at the latest, to keep its stamps within reach.
pub(super) fn visit(now: Moment) -> Micros {
    now.at + Micros::from_millis(Stamp::VISIT.into())
}
