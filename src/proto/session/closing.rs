//! The end: who said goodbye, what is still to be said, and when the socket may go.

use super::buffers::Buffers;
use super::deadline::Deadline;
use super::{Backlog, Due, Env, Fact, Owed, Session, SocketAction};
use crate::close::{Cause, CloseCode, Evidence, KernelFigures, Phase};
use crate::config::WireKind;
use crate::error::ProtocolError;
#[cfg(feature = "websocket")]
use crate::proto::http::Persistence;
use crate::proto::outbox::Parting;
use crate::proto::time::{Micros, Moment, Stamp};
#[cfg(feature = "websocket")]
use crate::proto::websocket::close_body;
use crate::proto::wire::Role;

impl Session {
    /// Begins to close, for a cause of ours. `code` and `reason` go into a Close frame where the wire
    /// has one; the cause's own code, or 1000, stands in for none and for one that must not be sent
    /// (RFC 6455, section 7.4). The reason is cut at 123 bytes.
    ///
    /// Messages queued before go first. For an orderly end they do so while they make progress, for the
    /// write timeout and `close_total` at most, and the close timeout runs from when the last byte was
    /// accepted. Where the peer is blamed, the Close overtakes them once the socket refuses output, they
    /// are dropped, and the close timeout is a total. Before the session is open this ends it at once, behind
    /// what answers a plain HTTP request, and with status 503 where a server drains; a second time it does nothing.
    pub fn close(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        code: Option<CloseCode>,
        reason: &str,
    ) {
        match self.phase {
            Phase::Handshaking if cause == Cause::Drain => self.leave_handshake(env, now),
            // What was asked before is answered; that leaves first.
            Phase::Handshaking if self.answered().is_some() => self.part(env, now, cause),
            Phase::Connecting | Phase::Handshaking => self.end(now, cause, None),
            Phase::Closing | Phase::Closed => {}
            Phase::Open => {
                let code = code
                    .filter(|code| code.is_sendable())
                    .or_else(|| cause.close_code())
                    .unwrap_or(CloseCode::NORMAL);
                self.begin_end(env, now, cause);
                if self.wire.is_websocket() {
                    self.record(now, cause).close_code = Some(code);
                }
                let parting = if cause.is_fault_of_peer() {
                    Parting::Frame
                } else {
                    Parting::Everything
                };
                self.queue_goodbye(env, now, code, reason, parting);
                self.await_answer(env, now);
                if !self.wire.is_websocket() || cause.is_fault_of_peer() {
                    self.facts.insert(Fact::Discarding);
                }
            }
        }
    }

    /// Ends the session because the peer broke a rule of the wire.
    pub(super) fn fail(&mut self, env: &mut Env, now: Moment, error: ProtocolError) {
        match self.phase {
            Phase::Open => {
                let text = error.to_string();
                self.close(env, now, error.cause(), Some(error.close_code()), &text);
                self.held(env).reason = text;
            }
            // What comes instead of an answer to our Close is broken: none will come.
            Phase::Closing => self.facts.insert(Fact::Discarding),
            Phase::Connecting | Phase::Handshaking => self.end(now, error.cause(), None),
            Phase::Closed => {}
        }
    }

    /// Ends the opening handshake with a last answer; what else arrives is discarded. `reason` is for
    /// the record of the end.
    pub fn refuse(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        reason: &str,
        response: &[u8],
    ) {
        assert_eq!(self.phase, Phase::Handshaking, "a handshake is refused");
        self.begin_end(env, now, cause);
        self.held(env).reason.push_str(reason);
        self.queue_head(env, now, response);
        self.await_answer(env, now);
        self.facts.insert(Fact::Discarding);
    }

    /// Answers a request that asks for no upgrade. Nothing is wrong with that: the record tells
    /// [`answered`](Self::answered). Where the connection is to be kept, another request may follow, for which
    /// the time of an opening handshake begins anew once the answer has left; else it ends.
    #[cfg(feature = "websocket")]
    pub fn answer(
        &mut self,
        env: &mut Env,
        now: Moment,
        status: u16,
        response: &[u8],
        persistence: Persistence,
    ) {
        if persistence.keeps() {
            assert_eq!(self.phase, Phase::Handshaking, "a request is answered");
            let total = env.policy(self.policy).timing.close_total;
            self.phase_ends = Stamp::new(now.at).plus(total);
            self.owed.insert(Owed::Rearm);
            self.queue_head(env, now, response);
        } else {
            self.refuse(env, now, Cause::LocalClose, "", response);
        }
        env.stats.answered += 1;
        let held = self.held(env);
        held.exchange.answered();
        held.answered = Some(status);
    }

    /// Returns the status of the last answer to a plain HTTP request, if the session was for such.
    pub fn answered(&self) -> Option<u16> {
        self.buffers.as_ref()?.answered
    }

    /// Returns how many plain HTTP requests were answered.
    pub fn answers(&self) -> u32 {
        #[cfg(feature = "websocket")]
        let answers = self.exchange().answers();
        #[cfg(not(feature = "websocket"))]
        let answers = 0;
        answers
    }

    /// Says whether a plain HTTP request was answered, and nothing of another one has come.
    pub fn is_between_requests(&self) -> bool {
        let is_kept = self.phase == Phase::Handshaking && self.answered().is_some();
        is_kept
            && self
                .buffers
                .as_ref()
                .is_none_or(|held| held.is_between_requests())
    }

    /// Ends a connection that is kept for another plain HTTP request, with nothing more to say.
    pub fn part(&mut self, env: &mut Env, now: Moment, cause: Cause) {
        self.refuse(env, now, cause, "", &[]);
    }

    /// Ends the session at once because it is not welcome any more; `reason` is for the record.
    pub fn turn_away(&mut self, env: &mut Env, now: Moment, reason: &str) {
        self.end(now, Cause::Refused, None);
        self.held(env).reason.push_str(reason);
    }

    /// Ends the session at once because the layer between socket and session has failed.
    pub fn handle_fault(&mut self, env: &mut Env, now: Moment, cause: Cause, reason: &str) {
        let is_first = self.cause().is_none();
        self.end(now, cause, None);
        if is_first {
            let held = &mut self.held(env).reason;
            held.clear();
            held.push_str(reason);
        }
    }

    /// Ends the session at once because of what came in front of its wire.
    pub fn refuse_front(&mut self, env: &mut Env, now: Moment, error: ProtocolError) {
        self.end(now, error.cause(), None);
        let reason = &mut self.held(env).reason;
        if reason.is_empty() {
            *reason = error.to_string();
        }
    }

    /// Ends the session at once.
    pub fn end(&mut self, now: Moment, cause: Cause, kernel: Option<KernelFigures>) {
        if self.phase != Phase::Closed {
            let record = self.record(now, cause);
            record.kernel = record.kernel.or(kernel);
            self.phase = Phase::Closed;
        }
    }

    /// Notes that the peer ended its output, after everything read was decoded.
    pub fn handle_eof(&mut self, env: &Env, now: Moment) {
        self.facts.insert(Fact::Eof);
        match self.phase {
            // It may still read what comes of it. The end is read again behind that.
            Phase::Handshaking if self.waits_beyond_eof() => {}
            // What it asked for is answered; that has to leave yet.
            Phase::Handshaking if self.answered().is_some() => {
                self.begin_end(env, now, Cause::PeerEof);
                self.facts.insert(Fact::Discarding);
            }
            Phase::Connecting | Phase::Handshaking => self.end(now, Cause::PeerEof, None),
            Phase::Open if self.wire.is_websocket() => self.end(now, Cause::PeerEof, None),
            Phase::Open => {
                self.begin_end(env, now, Cause::PeerEof);
                self.facts.insert(Fact::Discarding);
            }
            Phase::Closing | Phase::Closed => {}
        }
    }

    /// Notes an error of the socket: a reset by the peer, or anything else with its number.
    pub fn handle_io_error(&mut self, now: Moment, errno: Option<i32>, is_reset: bool) {
        let cause = if is_reset {
            Cause::PeerReset
        } else {
            Cause::IoError
        };
        self.end_with_errno(now, cause, errno);
    }

    /// Notes that the kernel has given the path up: what it sent got no answer for too long.
    pub fn handle_path_error(&mut self, now: Moment, errno: Option<i32>) {
        self.end_with_errno(now, Cause::PathDead, errno);
    }

    fn end_with_errno(&mut self, now: Moment, cause: Cause, errno: Option<i32>) {
        let known = self.buffers.as_ref().is_some_and(|held| held.end.is_some());
        self.end(now, cause, None);
        if !known {
            self.record(now, cause).errno = errno;
        }
    }

    /// Decides what becomes of the socket. Call it when output was flushed as far as it goes, and after
    /// anything that may have ended the session.
    pub fn socket_action(&mut self) -> SocketAction {
        if self.owed.remove(Owed::ResumeReading) {
            return SocketAction::ResumeReading;
        }
        match self.phase {
            Phase::Connecting | Phase::Handshaking | Phase::Open => SocketAction::Keep,
            Phase::Closing => self.closing_action(),
            Phase::Closed => self.final_action(),
        }
    }

    /// Says whether the shell was told to end our direction.
    pub fn has_ended_output(&self) -> bool {
        self.facts.has(Fact::HalfClosed)
    }

    /// Says whether nothing shows that the peer has heard our last words: neither a goodbye of its own, nor the
    /// end of its output.
    pub(crate) fn is_unanswered(&self) -> bool {
        !self.facts.has(Fact::CloseReceived) && !self.facts.has(Fact::Eof)
    }

    /// Returns the reason text: of the peer's Close frame, or for which its handshake was refused, or the
    /// rule that it broke.
    pub fn reason(&self) -> &str {
        self.buffers
            .as_ref()
            .map_or("", |held| held.reason.as_str())
    }

    /// Returns the cause, once there is one.
    pub fn cause(&self) -> Option<Cause> {
        self.buffers
            .as_ref()
            .and_then(|held| held.end.as_ref())
            .map(|end| end.cause)
    }

    fn closing_action(&mut self) -> SocketAction {
        if self.has_output() {
            return SocketAction::Keep;
        }
        if self.facts.has(Fact::Discarding) {
            if self.facts.has(Fact::Eof) {
                return self.finish();
            }
            if !self.facts.has(Fact::HalfClosed) {
                self.facts.insert(Fact::HalfClosed);
                return SocketAction::ShutdownWrite;
            }
            return SocketAction::Keep;
        }
        // A WebSocket closing handshake. The server ends the TCP connection first (RFC 6455, 7.1.1).
        let is_over = match (self.part.role(), self.facts.has(Fact::CloseReceived)) {
            (Role::Server, true) => true,
            (Role::Client, true) | (_, false) => self.facts.has(Fact::Eof),
        };
        if is_over {
            self.finish()
        } else {
            SocketAction::Keep
        }
    }

    fn finish(&mut self) -> SocketAction {
        self.phase = Phase::Closed;
        self.final_action()
    }

    /// Output that will never leave makes it a reset: the end of a stream would say that it was whole,
    /// and the kernel would keep its part for minutes, for a peer that does not take it.
    fn final_action(&self) -> SocketAction {
        let is_cut = self.buffers.as_ref().is_some_and(|held| held.is_cut);
        if self.cause().is_some_and(Cause::is_reset) || self.has_output() || is_cut {
            SocketAction::Reset
        } else {
            SocketAction::Close
        }
    }

    /// Notes the peer's Close frame, and answers it unless it is the answer to ours.
    pub(super) fn handle_peer_close(
        &mut self,
        env: &mut Env,
        now: Moment,
        code: Option<CloseCode>,
        reason: &[u8],
    ) {
        self.facts.insert(Fact::CloseReceived);
        if let Ok(reason) = std::str::from_utf8(reason) {
            self.held(env).reason.push_str(reason);
        }
        if self.phase != Phase::Open {
            // The answer to our Close, or one that crossed it.
            if let Some(code) = code {
                self.record(now, Cause::PeerClosed).close_code = Some(code);
            }
            return;
        }
        self.begin_end(env, now, Cause::PeerClosed);
        self.record(now, Cause::PeerClosed).close_code = code;
        let parting = self.parting_of_answer();
        match code {
            Some(code) => self.queue_goodbye(env, now, code, "", parting),
            None => self.queue_close(env, now, &[], parting),
        }
        self.await_answer(env, now);
        if !self.wire.is_websocket() {
            self.facts.insert(Fact::Discarding);
        }
    }

    /// Says what the answer to the peer's Close leaves of the data queued before. It is to come as soon as
    /// practical, and may wait until the current message is sent (RFC 6455, section 5.5.1). So where the
    /// socket has refused output, whole messages behind that one are dropped; else all leave before it.
    fn parting_of_answer(&self) -> Parting {
        let is_blocked = |held: &Buffers| held.tx.is_blocked();
        if !self.buffers.as_deref().is_some_and(is_blocked) {
            return Parting::Everything;
        }
        #[cfg(feature = "websocket")]
        if self.wire.is_websocket() {
            return Parting::Message(is_continuation);
        }
        Parting::Frame
    }

    pub(super) fn handle_phase_timeout(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        backlog: Backlog,
    ) -> Due {
        let end = self.phase_deadline(env, now);
        // The answer to a goodbye may lie in what was not read.
        let more = match self.phase {
            Phase::Closing => backlog.gives(env.policy(self.policy).timing.close),
            _ => Micros::ZERO,
        };
        if end.judged(env, now) + more > now.at {
            if self.is_stalled(env, now) {
                return Due::Stalled;
            }
            return Due::Wait(self.poll_deadline(env, now));
        }
        let forgiven = end.forgiven(env, now);
        match self.phase {
            // An answer was taken, but too slowly.
            Phase::Handshaking if self.answered().is_some() && self.has_output() => {
                self.end(now, Cause::CloseTimeout, None);
            }
            Phase::Handshaking if self.awaited().is_some() => self.end_unanswered(env, now, cause),
            Phase::Handshaking if self.is_between_requests() => {
                self.part(env, now, Cause::LocalClose);
            }
            Phase::Handshaking
                if self.part.role() == Role::Server && self.wire == WireKind::Own =>
            {
                self.reject_own(env, now, cause, (408, TOO_LATE));
            }
            Phase::Handshaking if self.part.role() == Role::Server => {
                self.refuse_late(env, now, cause);
            }
            Phase::Closing => self.give_up(now, cause),
            Phase::Connecting | Phase::Handshaking | Phase::Open | Phase::Closed => {
                self.end(now, cause, None);
            }
        }
        self.note_forgiven(cause, forgiven);
        Due::Changed
    }

    /// Returns when a phase other than `Open` must be over. Where two deadlines run it is the one that falls
    /// first, put off as each is: a stop may put off the total time of a goodbye and not the close timeout,
    /// which was armed after it.
    pub(super) fn phase_deadline(&self, env: &Env, now: Moment) -> Deadline {
        let total = Deadline::at(self.phase_ends, self.phase_span(env));
        match self.answer_deadline(env) {
            Some(answer) if answer.judged(env, now) <= total.judged(env, now) => answer,
            Some(_) | None => total,
        }
    }

    /// Returns how long before `phase_ends` the phase, or its present part, began.
    fn phase_span(&self, env: &Env) -> u32 {
        let timing = &env.policy(self.policy).timing;
        match self.phase {
            Phase::Connecting if self.is_dialing() => timing.connect,
            Phase::Connecting => timing.handshake,
            // An answer that a connection is kept behind has the time of a goodbye to leave.
            Phase::Handshaking if self.answered().is_some() && self.has_output() => {
                timing.close_total
            }
            Phase::Handshaking => timing.handshake,
            Phase::Closing if self.is_patient() => timing.close_total,
            Phase::Open | Phase::Closing | Phase::Closed => timing.close,
        }
    }

    /// Returns when the peer must have answered a goodbye that blames nobody: it has the close timeout once
    /// all output has left.
    fn answer_deadline(&self, env: &Env) -> Option<Deadline> {
        let is_sent = self.phase == Phase::Closing && self.is_patient() && !self.has_output();
        let held = self.buffers.as_ref().filter(|_| is_sent)?;
        let close = env.policy(self.policy).timing.close;
        Some(Deadline::after(close, held.progress))
    }

    fn is_patient(&self) -> bool {
        self.cause().is_some_and(Cause::is_patient)
    }

    /// Adds to the record of an end for this cause by how much our lateness had put its deadline off.
    pub(super) fn note_forgiven(&mut self, cause: Cause, forgiven: Micros) {
        let end = self.buffers.as_mut().and_then(|held| held.end.as_mut());
        if let Some(end) = end.filter(|end| end.cause == cause) {
            end.forgiveness = forgiven.into();
        }
    }

    #[cfg(not(feature = "websocket"))]
    fn leave_handshake(&mut self, env: &mut Env, now: Moment) {
        self.leave(env, now, Cause::Drain);
    }

    #[cfg(not(feature = "websocket"))]
    fn refuse_late(&mut self, _env: &mut Env, now: Moment, cause: Cause) {
        self.end(now, cause, None);
    }

    /// Ends a goodbye that was not completed in time, or that there is no memory for. An orderly close of
    /// ours or the peer's becomes a `close_timeout`, or a `memory_limit`; any other cause stays what it was,
    /// not clean.
    pub(super) fn give_up(&mut self, now: Moment, cause: Cause) {
        let answered = self.facts.has(Fact::CloseSent) && self.facts.has(Fact::CloseReceived);
        let flushed = self.facts.has(Fact::Discarding) && !self.has_output();
        let record = self.record(now, cause);
        if matches!(record.cause, Cause::LocalClose | Cause::PeerClosed) && !answered && !flushed {
            record.cause = cause;
        }
        self.phase = Phase::Closed;
    }

    /// Says whether both sides said goodbye as the wire asks, and no message was cut.
    pub(super) fn is_clean(&self, end: &Evidence) -> bool {
        if end.is_cut() {
            return false;
        }
        if self.wire.is_websocket() && self.answered().is_none() {
            return self.facts.has(Fact::CloseSent) && self.facts.has(Fact::CloseReceived);
        }
        let is_goodbye =
            end.cause.is_orderly() || matches!(end.cause, Cause::PeerEof | Cause::PeerClosed);
        is_goodbye && !self.has_output()
    }

    /// Returns the bytes of messages that will never leave.
    pub(super) fn dropped(&self) -> u64 {
        let Some(held) = &self.buffers else { return 0 };
        let is_over = self.phase == Phase::Closed;
        let left = if is_over { held.tx.data_len() } else { 0 };
        (held.tx.dropped() + left) as u64
    }

    /// Returns when a goodbye ends because the output before it makes no progress.
    pub(super) fn goodbye_stalls(&self, env: &Env, now: Moment) -> Option<Micros> {
        let is_patient = self.phase == Phase::Closing && self.is_patient();
        self.write_ends(env, now).filter(|_| is_patient)
    }

    /// Returns when an answer that the connection is kept behind makes no progress.
    pub(super) fn answer_stalls(&self, env: &Env, now: Moment) -> Option<Micros> {
        self.answered().and_then(|_| self.write_ends(env, now))
    }

    /// Lets the close timeout run, or the time for another request, once the kernel has accepted the last byte.
    pub(super) fn await_answer(&mut self, env: &Env, now: Moment) {
        let is_kept = self.phase == Phase::Handshaking && self.answered().is_some();
        if is_kept && !self.has_output() {
            let handshake = env.policy(self.policy).timing.handshake;
            self.phase_ends = Stamp::new(now.at).plus(handshake);
            self.owed.insert(Owed::Rearm);
        }
        if self.phase == Phase::Closing && self.is_patient() && !self.has_output() {
            if let Some(held) = &mut self.buffers {
                held.progress = Stamp::new(now.at);
            }
            self.owed.insert(Owed::Rearm);
        }
    }

    fn begin_end(&mut self, env: &Env, now: Moment, cause: Cause) {
        let timing = &env.policy(self.policy).timing;
        let span = if cause.is_patient() {
            timing.close_total
        } else {
            timing.close
        };
        self.record(now, cause);
        self.end_pause();
        self.phase = Phase::Closing;
        self.phase_ends = Stamp::new(now.at).plus(span);
        self.owed.insert(Owed::Rearm);
    }

    /// Says whether a session that was open has begun to close, or is closed already, and nobody has been
    /// [told](Self::take_closing).
    pub fn owes_closing(&self) -> bool {
        let is_open = self.phase == Phase::Open;
        !is_open && self.owed.has(Owed::Closing)
    }

    /// Says the same, once.
    pub fn take_closing(&mut self) -> bool {
        self.owes_closing() && self.owed.remove(Owed::Closing)
    }

    /// Returns the record of the end, made now if there is none yet: the first cause wins.
    fn record(&mut self, now: Moment, cause: Cause) -> &mut Evidence {
        let known = self.buffers.as_ref().and_then(|held| held.end);
        let end = known.unwrap_or_else(|| self.snapshot(now, cause));
        let held = self.buffers.get_or_insert_with(Box::default);
        held.end.get_or_insert(end)
    }

    fn queue_goodbye(
        &mut self,
        env: &mut Env,
        now: Moment,
        code: CloseCode,
        reason: &str,
        parting: Parting,
    ) {
        #[cfg(feature = "websocket")]
        let body = close_body(code, reason);
        #[cfg(not(feature = "websocket"))]
        let body = {
            let _ = (code, reason);
            []
        };
        self.queue_close(env, now, &body, parting);
    }
}

/// Says whether a frame that begins with this byte goes on with the message of the one before it.
#[cfg(feature = "websocket")]
fn is_continuation(first: u8) -> bool {
    first & 0x0f == 0
}

/// What is wrong with a handshake that is not over in time.
pub(super) const TOO_LATE: &str = "the opening handshake took too long";

impl Cause {
    /// Says whether the peer did something that makes its answer to our Close not worth waiting for, or
    /// holds what we cannot spare meanwhile.
    const fn is_fault_of_peer(self) -> bool {
        matches!(
            self,
            Self::SlowPeer
                | Self::PingFlood
                | Self::PongFlood
                | Self::RateLimited
                | Self::SendQueueFull
                | Self::ProtocolError
                | Self::InvalidUtf8
                | Self::MessageTooBig
                | Self::MemoryLimit
        )
    }

    /// Says whether we end it, and nobody is to blame.
    const fn is_orderly(self) -> bool {
        matches!(
            self,
            Self::LocalClose | Self::Drain | Self::MaxLifetime | Self::AppIdle | Self::Replaced
        )
    }

    /// Says whether what is queued leaves first, while it makes progress.
    const fn is_patient(self) -> bool {
        self.is_orderly() || matches!(self, Self::PeerEof | Self::PeerClosed | Self::Refused)
    }
}
