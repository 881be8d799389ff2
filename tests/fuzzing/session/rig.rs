//! Drives a session as the reactor does, on virtual time, and checks every answer.

use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::{Cause, CloseCode, KernelFigures, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Overflow};
use heartwheel::error::SendError;
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::{Env, PolicyId, Session, SocketAction};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wire::Role;

use super::super::dice::Dice;
use super::law::{Law, TICK};
use super::observer::Observer;
use super::plan::{Figures, Plan, WireChoice};
use super::reader::Reader;
use super::socket::Socket;

mod input;
mod time;

/// A session with its surroundings.
pub(super) struct Rig {
    pub(super) env: Env,
    pub(super) session: Session,
    pub(super) socket: Socket,
    pub(super) now: Moment,
    pub(super) wire: WireChoice,
    pub(super) limits: LimitsConfig,
    pub(super) observer: Observer,
    /// The session is over and its slot is free.
    pub(super) is_ended: bool,
    policies: [(PolicyId, HeartbeatConfig); 2],
    /// Makes of the same input what the session must make of it.
    reader: Reader,
    law: Law,
    /// When the timer fires, which is told only what the session says.
    scheduled: Micros,
    is_on_ticks: bool,
    is_half_closed: bool,
    kernel: Option<KernelFigures>,
    /// When each ping was written, and how many of them are answered.
    written_at: Vec<Micros>,
    answered: usize,
    /// Pongs that were folded, as of the last ping.
    folded: u64,
}

impl Rig {
    /// Sets a session up; `None` if its configuration is refused.
    pub(super) fn new(plan: &Plan<'_>) -> Option<Self> {
        let wire = plan.wire.wire();
        let limits = plan.limits.config();
        let mut env = Env::new(Box::new(Dice::new(plan.phase.into())));
        let mut policy = |times: &HeartbeatConfig| {
            let policy = Policy::new(times, &limits, wire.kind(), TICK);
            policy.map(|policy| env.intern(policy).expect("two policies"))
        };
        let (first, second) = (
            plan.heartbeat.config(wire.kind()),
            plan.other.config(wire.kind()),
        );
        let policies = match (policy(&first), policy(&second)) {
            (Ok(one), Ok(two)) => [(one, first), (two, second)],
            (Err(error), _) | (_, Err(error)) => {
                assert!(!error.field().is_empty() && !error.reason().is_empty());
                return None;
            }
        };
        let now = Moment::default();
        let phase = PingPhase::new(plan.phase);
        let id = policies[0].0;
        let session = if plan.is_dialed {
            Session::dialed(&mut env, id, wire, phase, now)
        } else {
            Session::accepted(&mut env, id, wire, phase, now)
        };
        let role = session.role();
        let mut rig = Self {
            socket: Socket::new(),
            now,
            wire: plan.wire,
            observer: Observer::new(plan.wire, role),
            is_ended: false,
            policies,
            reader: Reader::new(plan.wire, role, limits.max_message as u64),
            limits,
            law: Law::new(session.phase(), now),
            scheduled: Micros::MAX,
            is_on_ticks: plan.is_on_ticks,
            is_half_closed: false,
            kernel: plan.kernel.map(Figures::kernel),
            written_at: Vec::new(),
            answered: 0,
            folded: 0,
            session,
            env,
        };
        rig.settle();
        Some(rig)
    }

    /// The heartbeat in force.
    pub(super) fn times(&self) -> HeartbeatConfig {
        let current = self.session.policy();
        let is_current = |(id, _): &&(PolicyId, HeartbeatConfig)| *id == current;
        let found = self.policies.iter().find(is_current);
        found.expect("one of the two").1.clone()
    }

    /// What ends a turn: output flushed, the socket's fate, the timer set.
    pub(super) fn settle(&mut self) {
        self.check_state();
        if self.is_ended {
            return;
        }
        self.flush();
        loop {
            match self.session.socket_action() {
                SocketAction::Keep => break,
                SocketAction::ResumeReading => {}
                SocketAction::ShutdownWrite => {
                    assert!(!self.is_half_closed, "a direction is ended once");
                    assert!(!self.session.has_output(), "output is lost");
                    self.is_half_closed = true;
                }
                action @ (SocketAction::Close | SocketAction::Reset) => return self.finish(action),
            }
        }
        self.check_state();
        self.session.release(&mut self.env);
        self.check_rest();
        let deadline = self.session.poll_deadline(&self.env, self.now);
        if self.session.take_rearm() && deadline < Micros::MAX {
            self.scheduled = deadline;
        }
        assert!(
            self.scheduled <= deadline,
            "the timer fires at {:?}, {deadline:?} is due",
            self.scheduled
        );
    }

    fn check_state(&mut self) {
        if self.is_ended {
            return;
        }
        let (phase, cause) = (self.session.phase(), self.session.cause());
        self.law.note_state(phase, cause, self.now);
        let evidence = self.session.evidence(self.now);
        assert_eq!(evidence.cause, cause.unwrap_or(Cause::LocalClose));
        assert!(evidence.pings_answered <= evidence.pings_written);
        assert!(
            evidence
                .last_in
                .is_none_or(|span| span <= self.now.at.into())
        );
        assert_eq!(evidence.last_proof.is_some(), self.session.was_open());
        let is_numbered = matches!(
            evidence.cause,
            Cause::IoError | Cause::PeerReset | Cause::PathDead
        );
        assert!(evidence.errno.is_none() || is_numbered);
        assert!(
            evidence.forgiveness <= 2 * Duration::from(self.env.lateness().total(self.now.at)),
            "{evidence:?} {:?}",
            self.now
        );
        assert!(self.session.reason().len() <= 123);
        if let Some(rtt) = evidence.rtt {
            assert!(rtt.min <= rtt.last && rtt.min <= rtt.smoothed);
        }
        if self.session.phase() == Phase::Open {
            // Control frames have reserved places, each of a known size.
            let data = self.session.queued() as u64;
            assert!(evidence.bytes_queued >= data);
            let control = evidence.bytes_queued - data;
            assert!(
                control <= 4096 + 4 * 131,
                "{control} bytes of control frames"
            );
        }
        assert!(!(evidence.clean && evidence.is_cut()), "{evidence:?}");
        assert!(self.env.pool().free_bytes() <= Pool::KEPT);
    }

    /// What must be so when nothing is under way.
    fn check_rest(&mut self) {
        let stats = self.env.stats();
        self.law
            .check_pings(&self.times(), self.now, stats.pings_due);
        if self.session.phase() != Phase::Open || self.session.has_output() {
            return;
        }
        assert!(self.observer.sent.is_empty(), "a message was lost");
        self.observer.settle_pongs(stats.pongs_folded);
        if self.reader.is_idle() && !self.session.has_input() {
            assert!(self.session.is_released(), "an idle session keeps buffers");
        }
    }

    fn finish(&mut self, action: SocketAction) {
        let is_reset = action == SocketAction::Reset;
        let cause = self.session.cause().expect("an end has a cause");
        assert_eq!(is_reset, cause.is_reset() || self.session.has_output());
        if let Some(kernel) = self.kernel.filter(|_| is_reset) {
            self.session.handle_kernel_figures(kernel);
        }
        let evidence = self.session.evidence(self.now);
        let is_path = (cause, evidence.cause) == (Cause::WriteStalled, Cause::PathDead);
        assert!(evidence.cause == cause || is_path);
        assert_eq!(self.session.phase(), Phase::Closed);
        assert_eq!(self.session.poll_deadline(&self.env, self.now), Micros::MAX);
        let is_websocket = matches!(self.wire, WireChoice::WebSocket);
        if is_websocket && evidence.clean {
            assert!(self.observer.is_closed, "clean without our goodbye");
        }
        self.is_ended = true;
        self.session.discard(&mut self.env);
        assert!(self.session.is_released());
        assert!(self.env.pool().free_bytes() <= Pool::KEPT);
    }

    /// Writes until all is written or the socket takes no more.
    fn flush(&mut self) {
        if self.session.phase() == Phase::Connecting {
            return;
        }
        while self.socket.is_writable && self.session.has_output() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = self.session.slices(&mut slices);
            let offered = slices[..count]
                .iter()
                .map(|slice| &**slice)
                .collect::<Vec<&[u8]>>()
                .concat();
            assert!(!offered.is_empty(), "output that cannot be seen");
            let accepted = offered.len().min(self.socket.room);
            self.socket.room -= if self.socket.room == usize::MAX {
                0
            } else {
                accepted
            };
            let pings = self.observer.pings.len();
            self.observer.read(&offered[..accepted]);
            let queued = self.session.queued();
            self.session
                .handle_written(&mut self.env, self.now, accepted);
            if accepted > 0 {
                let is_message = self.session.queued() < queued;
                self.law.note_written(is_message, self.now);
            }
            self.note_pings_written(self.observer.pings.len() - pings);
            if accepted < offered.len() {
                self.socket.is_writable = false;
                self.session.handle_blocked();
            }
        }
        let is_goodbye_due = self.session.phase() == Phase::Closing
            && self.session.was_open()
            && !self.session.has_output();
        match self.wire {
            WireChoice::WebSocket | WireChoice::Own if is_goodbye_due => {
                let is_spared = self.session.cause() == Some(Cause::PeerEof);
                assert!(
                    self.observer.is_closed || is_spared,
                    "no goodbye was written"
                );
            }
            _ => {}
        }
    }

    fn note_pings_written(&mut self, count: usize) {
        for _ in 0..count {
            self.written_at.push(self.now.at);
            self.law.note_ping_written(self.now);
        }
        let written = self.written_at.len() as u64;
        assert_eq!(self.env.stats().pings_written, written);
    }

    /// Queues a message and checks the answer.
    pub(super) fn send(&mut self, message: Message<'_>, is_shared: bool) {
        let queued = self.session.queued();
        let bytes = self.session.evidence(self.now).bytes_queued;
        let was_open = self.session.phase() == Phase::Open;
        let limit = self.limits.send_queue.unwrap_or(1024 * 1024);
        let (env, now) = (&mut self.env, self.now);
        let result = if is_shared {
            self.session
                .send_shared(env, now, &SharedMessage::new(message))
        } else {
            self.session.send(env, now, message)
        };
        let size = message.data().len();
        match result {
            Ok(()) => {
                assert!(was_open && size <= limit - queued);
                let pieces = size.div_ceil(self.limits.max_fragment) + 1;
                assert!(self.session.queued() <= limit + 14 * pieces);
                if !(matches!(self.wire, WireChoice::Raw) && size == 0) {
                    self.observer.sent.push_back(message.data().to_vec());
                }
                self.law.note_message_out(now);
                return;
            }
            Err(SendError::Closed) => assert!(!was_open),
            Err(SendError::Full {
                queued: said,
                limit: most,
            }) => {
                // What is said includes the bookkeeping.
                assert!(was_open && said >= queued && most == limit);
                let headers = if is_shared { 14 } else { 0 };
                assert!(size.max(1) + headers > limit.saturating_sub(said));
                let is_closing = self.session.cause() == Some(Cause::SendQueueFull);
                assert_eq!(is_closing, self.limits.overflow == Overflow::Close);
                if is_closing {
                    return;
                }
            }
            Err(SendError::Encode(_)) => {
                assert!(matches!(self.wire, WireChoice::Line | WireChoice::Own));
            }
            Err(error) => panic!("{error}"),
        }
        let after = self.session.evidence(now).bytes_queued;
        assert_eq!(after, bytes, "refused, yet queued");
    }

    /// Notes that output may have begun to wait.
    pub(super) fn note_output(&mut self, had_output: bool) {
        if !had_output && self.session.has_output() {
            self.law.note_progress(self.now);
        }
    }

    pub(super) fn resume(&mut self) {
        if self.session.is_paused() {
            self.session.handle_resume(self.now);
            self.law.note_resumed(self.now);
        }
    }

    pub(super) fn change_policy(&mut self) {
        if self.session.phase() != Phase::Open {
            return;
        }
        let is_first = self.session.policy() == self.policies[0].0;
        let id = self.policies[usize::from(is_first)].0;
        let policy = self.env.policy(id).clone();
        let changed = self.session.set_policy(&mut self.env, self.now, policy);
        changed.expect("it is known");
        assert_eq!(self.session.policy(), id);
        let pings_due = self.env.stats().pings_due;
        self.law.note_policy(self.now, pings_due);
    }

    pub(super) fn close(&mut self, cause: Cause, code: CloseCode, reason: &str) {
        let code = code.is_sendable().then_some(code);
        self.session
            .close(&mut self.env, self.now, cause, code, reason);
    }

    pub(super) fn connected(&mut self) {
        if self.session.phase() != Phase::Connecting {
            return;
        }
        let head = HEAD;
        self.session.handle_connected(&mut self.env, self.now, head);
        if matches!(self.wire, WireChoice::WebSocket) {
            self.observer.expect_head(head);
        }
    }

    pub(super) fn handshake(&mut self, is_refused: bool) {
        if self.session.phase() != Phase::Handshaking {
            return;
        }
        match (self.session.role(), is_refused) {
            (Role::Server, true) => {
                self.observer.expect_head(HEAD);
                self.session
                    .refuse(&mut self.env, self.now, Cause::Refused, "", HEAD);
            }
            (Role::Client, true) => self.session.end(self.now, Cause::Refused, None),
            (Role::Server, false) => {
                self.observer.expect_head(HEAD);
                self.session.handle_handshake(&mut self.env, self.now, HEAD);
            }
            (Role::Client, false) => self.session.handle_handshake(&mut self.env, self.now, b""),
        }
    }
}

/// Stands for the heads of an opening handshake.
pub(super) const HEAD: &[u8] = b"HEAD\r\n\r\n";
