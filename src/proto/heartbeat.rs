//! The heartbeat of one connection: when to ping, and when silence has lasted too long.
//!
//! It knows times and no bytes. Pings are due on a fixed grid, phase + k * interval, that traffic
//! never moves. Proof of life writes a timestamp and touches no timer: the timer learns the truth
//! when it fires. What blames the peer is put off for our own lateness, see [`Lateness`].

use std::time::Duration;

use crate::close::{Cause, KernelFigures, Rtt};
use crate::config::{PingWhen, Proof};
use crate::proto::flags::{Flags, flags};
use crate::proto::lateness::Lateness;
use crate::proto::policy::Timing;
use crate::proto::time::{Fine, Micros, Moment, Stamp};

/// Where on the interval a connection's pings are due: a fraction of it, in 2^-32.
///
/// Phases follow the golden-ratio sequence from a seeded start, so that every window of the interval
/// holds nearly the mean number of pings however many connections there are. A fraction, not a time:
/// with another interval the pings stay spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingPhase(u32);

impl PingPhase {
    /// The beginning of the interval.
    pub const ZERO: Self = Self(0);

    /// Wraps a fraction of the interval, in 2^-32.
    pub const fn new(fraction: u32) -> Self {
        Self(fraction)
    }

    /// Returns the next phase of the golden-ratio sequence.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(STEP))
    }

    /// Returns the phase so many steps later.
    #[cfg(test)]
    pub(crate) const fn after(self, steps: u32) -> Self {
        Self(self.0.wrapping_add(STEP.wrapping_mul(steps)))
    }

    /// Returns how many steps of the sequence lead here from its start; the inverse of so many calls of
    /// [`next`](Self::next).
    pub(crate) const fn steps_from(self, start: Self) -> u32 {
        self.0.wrapping_sub(start.0).wrapping_mul(STEPS_IN_ONE)
    }

    /// Returns the phase as a share of a span.
    pub(crate) fn of(self, span: Micros) -> Micros {
        let share = (u128::from(span.as_micros()) * u128::from(self.0)) >> 32;
        Micros::new(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Returns the fraction, which tells connections apart.
    pub const fn fraction(self) -> u32 {
        self.0
    }
}

/// What a deadline that came due means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is due before this time.
    Wait(Micros),
    /// A ping is due now. Ask again for what comes next.
    Ping,
    /// Silence has lasted for the timeout. To be believed only after one more read of the socket
    /// that finds nothing.
    Silent,
}

/// What a pong turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PongMatch {
    /// It answers a ping of ours, with its round-trip time in µs where that ping was timed.
    Answer {
        /// Round-trip time, if this very ping was the one being timed.
        rtt: Option<Micros>,
    },
    /// Nobody asked for it: legal, counted, no proof beyond its bytes.
    Unsolicited,
    /// A ping of ours waits for its answer, and this pong brings back none of our payloads. It settles
    /// nothing, is counted apart from those that nobody asked for, and is no proof beyond its bytes.
    Mismatched,
}

/// The heartbeat state of one open connection.
///
/// ```text
///           grid point            written               matched pong, or
///  quiet --------------> queued -------------> asked ----------------------> quiet
///                          |                     |      (any proof of life)
///                          | no proof for T, and | no proof for T, and T - I
///                          | T - I since queued  | since the ping was written
///                          v                     v
///                          silent, read once more; W more, once in either state, where
///                          output still moves; then judge
/// ```
///
/// ```
/// use heartwheel::config::HeartbeatConfig;
/// use heartwheel::proto::heartbeat::{Heartbeat, PingPhase, Verdict};
/// use heartwheel::proto::lateness::Lateness;
/// use heartwheel::proto::policy::Timing;
/// use heartwheel::proto::time::{Micros, Moment};
/// use std::time::Duration;
///
/// let config = HeartbeatConfig { ping_slack: Some(Duration::ZERO), ..HeartbeatConfig::tcp() };
/// let timing = Timing::new(&config, Duration::from_millis(10))?;
/// let at = |secs| Moment::on_time(Micros::from_secs(secs));
/// let lateness = Lateness::new(Micros::from_millis(10));
///
/// let mut heartbeat = Heartbeat::new(&timing, PingPhase::ZERO, at(0));
/// assert_eq!(heartbeat.handle_timeout(&timing, at(10), &lateness), Verdict::Ping);
/// heartbeat.handle_ping_written(&timing, at(10), &lateness);
/// heartbeat.handle_bytes(&timing, at(11));
/// let next = heartbeat.handle_timeout(&timing, at(11), &lateness);
/// assert_eq!(next, Verdict::Wait(Micros::from_secs(20)));
/// # Ok::<(), heartwheel::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// When the ping being timed was written; its number is `timed`.
    timed_at: Fine,
    /// Last proof of life.
    proof: Stamp,
    /// From when the first ping since the last proof counts, which was queued or written; `ask` says which.
    asked_at: Stamp,
    /// When reading went on after a pause. Valid while `Fact::Resumed`.
    resumed_at: Stamp,
    /// Next grid point. Valid with an interval.
    next_ping: Stamp,
    /// Last byte read.
    last_in: Stamp,
    /// Last time the kernel accepted a byte.
    last_out: Stamp,
    phase: PingPhase,
    pings_due: u32,
    /// Number of the newest ping written; pings are numbered from 1.
    pings_written: u32,
    /// Number of the newest ping answered. Invariant: at most `pings_written`.
    pings_answered: u32,
    /// Number of the ping being timed, zero when none is.
    timed: u32,
    rtt: Samples,
    /// Bytes that the kernel accepted after the ping at `asked_at`; while it has more than these, that
    /// ping is among them. Valid once it was written.
    behind: u32,
    ask: Ask,
    facts: Flags<Fact>,
}

impl Heartbeat {
    /// Starts the heartbeat of a connection that has just opened. Opening is proof of life.
    pub fn new(timing: &Timing, phase: PingPhase, now: Moment) -> Self {
        let mut heartbeat = Self {
            timed_at: Fine::default(),
            proof: Stamp::new(now.at),
            asked_at: Stamp::default(),
            resumed_at: Stamp::default(),
            next_ping: Stamp::default(),
            last_in: Stamp::new(now.at),
            last_out: Stamp::new(now.at),
            phase,
            pings_due: 0,
            pings_written: 0,
            pings_answered: 0,
            timed: 0,
            rtt: Samples::NONE,
            behind: 0,
            ask: Ask::No,
            facts: Flags::NONE,
        };
        heartbeat.next_ping = heartbeat.grid_after(timing, now.at);
        heartbeat
    }

    /// Starts the time of silence again, for example after the opening handshake. The ping schedule
    /// stays.
    pub fn handle_open(&mut self, timing: &Timing, now: Moment) {
        self.prove(now);
        self.next_ping = self.grid_after(timing, now.at);
    }

    /// Changes to another policy. The phase is scaled. The new timeout counts from the last proof
    /// or from the first ping written from now on, whichever is later; without pings, from now at
    /// the earliest.
    pub fn handle_policy(&mut self, timing: &Timing, now: Moment) {
        self.next_ping = self.grid_after(timing, now.at);
        self.facts.insert(Fact::Renewed);
        self.facts.remove(Fact::Delayed);
        self.asked_at = Stamp::new(now.at);
        self.ask = match timing.interval {
            Some(_) => Ask::No,
            None => Ask::Nobody,
        };
    }

    /// Notes bytes that were read, at the time of the read.
    pub fn handle_bytes(&mut self, timing: &Timing, now: Moment) {
        self.last_in = Stamp::new(now.at);
        self.facts.insert(Fact::In);
        self.facts.insert(Fact::Heard);
        match timing.proof {
            Proof::Bytes => self.prove(now),
            Proof::Message | Proof::Pong => {}
        }
    }

    /// Notes a complete valid data frame or ping.
    pub fn handle_frame(&mut self, timing: &Timing, now: Moment) {
        match timing.proof {
            Proof::Message => self.prove(now),
            Proof::Bytes | Proof::Pong => {}
        }
    }

    /// Notes a pong with the number of a ping, or with none of ours. It also answers the older
    /// pings (RFC 6455, section 5.5.3).
    pub fn handle_pong(&mut self, timing: &Timing, now: Moment, number: Option<u32>) -> PongMatch {
        let outstanding = self.pings_answered + 1..=self.pings_written;
        match number.filter(|number| outstanding.contains(number)) {
            Some(number) => self.settle(timing, now, number),
            None => self.unmatched(number),
        }
    }

    /// Notes a pong on a wire without tokens. It answers the oldest unanswered ping.
    pub fn handle_pong_in_order(&mut self, timing: &Timing, now: Moment) -> PongMatch {
        if self.pings_answered == self.pings_written {
            return PongMatch::Unsolicited;
        }
        self.settle(timing, now, self.pings_answered + 1)
    }

    /// Notes that the kernel accepted `count` bytes of output.
    pub fn handle_written(&mut self, now: Moment, count: usize) {
        match self.ask {
            Ask::Queued => self.ask = Ask::Moving,
            Ask::Written | Ask::Draining => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.behind = self.behind.saturating_add(count);
            }
            Ask::No | Ask::Moving | Ask::Spared | Ask::Nobody => {}
        }
        self.last_out = Stamp::new(now.at);
        self.facts.insert(Fact::Out);
    }

    /// Notes that a ping was queued in addition to the scheduled ones.
    pub fn handle_ping_queued(&mut self, timing: &Timing, now: Moment, lateness: &Lateness) {
        if self.ask == Ask::No && timing.interval.is_some() {
            self.ask_with(Ask::Queued, timing, now, lateness);
        }
    }

    /// Notes that the kernel accepted the whole ping with the number
    /// [`next_number`](Self::next_number). Returns whether a verdict of silence may now come
    /// earlier, because the ping had extra time to leave or was the first.
    pub fn handle_ping_written(
        &mut self,
        timing: &Timing,
        now: Moment,
        lateness: &Lateness,
    ) -> bool {
        let is_sooner = matches!(self.ask, Ask::No | Ask::Spared);
        self.count_ping(now);
        if !self.is_asked() && timing.interval.is_some() {
            self.ask_with(Ask::Written, timing, now, lateness);
            self.behind = 0;
            self.facts.remove(Fact::Heard);
        }
        is_sooner
    }

    /// Notes that we stopped reading. Silence is then our own doing.
    pub fn handle_pause(&mut self) {
        self.facts.insert(Fact::Paused);
    }

    /// Notes that we read again. A proof that must be read then has the usual time to arrive.
    pub fn handle_resume(&mut self, now: Moment) {
        if self.facts.remove(Fact::Paused) {
            self.facts.insert(Fact::Resumed);
            self.resumed_at = Stamp::new(now.at);
        }
    }

    /// Notes that time goes on from `before` to `now` at once, by more than stamps reach; see
    /// [`Session::handle_leap`](crate::proto::session::Session::handle_leap).
    pub fn handle_leap(&mut self, before: Moment, now: Moment) {
        for stamp in [
            &mut self.proof,
            &mut self.asked_at,
            &mut self.resumed_at,
            &mut self.next_ping,
            &mut self.last_in,
            &mut self.last_out,
        ] {
            stamp.leap(before.at, now.at);
        }
    }

    /// Decides what is due at `now`. A [`Verdict::Ping`] counts as queued.
    pub fn handle_timeout(&mut self, timing: &Timing, now: Moment, lateness: &Lateness) -> Verdict {
        self.refresh(now);
        if self.is_silent(timing, now, lateness) {
            return Verdict::Silent;
        }
        if timing.interval.is_some() && self.next_ping.is_due(now.at) {
            let overdue = self.next_ping.age(now.at);
            self.next_ping = self.grid_after(timing, now.at);
            let spared =
                timing.ping_when == PingWhen::Idle && self.proved_within_interval(timing, now);
            let on_time = now.at - overdue + Micros::from_millis(timing.on_time.into());
            let skip = lateness.is_missed(on_time) && !self.facts.has(Fact::Skipped);
            self.facts.set(Fact::Skipped, skip);
            if !spared && !skip {
                self.pings_due = self.pings_due.wrapping_add(1);
                self.handle_ping_queued(timing, now, lateness);
                return Verdict::Ping;
            }
        }
        Verdict::Wait(self.deadline(timing, now, lateness))
    }

    /// Returns since when a ping is due, exactly where the grid's own stamp is rounded up; `None` where
    /// none is due at `now`.
    pub(crate) fn ping_due(&self, timing: &Timing, now: Micros) -> Option<Micros> {
        let interval = timing.interval?;
        if !self.next_ping.is_due(now) {
            return None;
        }
        let rounded = self.next_ping.time(now);
        let (start, step) = match timing.quantum {
            Micros::ZERO => (self.phase.of(interval), interval),
            quantum => (Micros::ZERO, quantum),
        };
        let passed = (rounded - start).as_micros() / step.as_micros();
        Some(start + step.saturating_mul(passed))
    }

    /// Returns since when a ping is due, where [`handle_timeout`](Self::handle_timeout) would ask for one for
    /// no special reason: the peer has proved its life since the last one, no pause or change of policy
    /// matters, and the ping is on time. `None` otherwise, though a ping may be due.
    pub(crate) fn plain_ping_due(
        &self,
        timing: &Timing,
        now: Moment,
        lateness: &Lateness,
    ) -> Option<Micros> {
        let interval = timing.interval?;
        if self.ask != Ask::No
            || self.facts.has_any(special())
            || timing.ping_when == PingWhen::Idle
            || timing
                .timeout
                .is_some_and(|timeout| self.proof.plus(timeout).is_due(now.at))
        {
            return None;
        }
        if is_beyond_rounding(timing, self.promised(interval), Stamp::new(now.at)) {
            return None;
        }
        let due = self.ping_due(timing, now.at)?;
        let on_time =
            now.at - self.next_ping.age(now.at) + Micros::from_millis(timing.on_time.into());
        (!lateness.is_missed(on_time)).then_some(due)
    }

    /// Notes that the kernel accepted the whole ping that was [due](Self::plain_ping_due). Returns the nearest
    /// of the heartbeat's deadlines, and whether older stamps are to be renewed now.
    pub(crate) fn handle_plain_ping(
        &mut self,
        timing: &Timing,
        now: Moment,
        lateness: &Lateness,
    ) -> (Micros, bool) {
        self.asked_at = self.counts_from(timing, now);
        let next_ping = self.grid_next(timing, now.at);
        let is_renewing = self.next_ping.epoch() != next_ping.epoch();
        if is_renewing {
            self.refresh(now);
        }
        self.next_ping = next_ping;
        self.pings_due = self.pings_due.wrapping_add(1);
        self.count_ping(now);
        self.ask = Ask::Written;
        self.behind = 0;
        self.last_out = Stamp::new(now.at);
        self.facts.remove(Fact::Heard);
        self.facts.insert(Fact::Delayed);
        self.facts.insert(Fact::Out);
        (self.deadline(timing, now, lateness), is_renewing)
    }

    /// Says whether the peer was silent for too long.
    pub fn is_silent(&self, timing: &Timing, now: Moment, lateness: &Lateness) -> bool {
        // The deadline of the proof must have passed, whatever else there is.
        let is_proved = |timeout| !self.proof.plus(timeout).is_due(now.at);
        if timing.timeout.is_none_or(is_proved) {
            return false;
        }
        self.silence_ends(timing, now, lateness)
            .is_some_and(|end| end <= now.at)
    }

    /// Says the same where the proof may lie behind input that was not read yet, which gives it T - I more.
    pub(crate) fn is_silent_behind_backlog(
        &self,
        timing: &Timing,
        now: Moment,
        lateness: &Lateness,
    ) -> bool {
        let answer = Micros::from_millis(timing.answer.into());
        self.silence_ends(timing, now, lateness)
            .is_some_and(|end| end + answer <= now.at)
    }

    /// Gives a silent peer more time if it is slow and not dead: our ping is still in our output or
    /// in the kernel's queue, and acknowledgements have shortened that queue. Returns whether it
    /// gives more time: once until the ping is written, and once after that.
    ///
    /// Without kernel figures, output that the kernel accepted counts as acknowledged.
    pub fn spare_slow(
        &mut self,
        timing: &Timing,
        now: Moment,
        kernel: Option<&KernelFigures>,
    ) -> bool {
        self.ask = match (self.ask, kernel) {
            (Ask::Queued | Ask::Moving, Some(kernel)) if self.is_draining(timing, now, kernel) => {
                Ask::Spared
            }
            (Ask::Moving, None) => Ask::Spared,
            (Ask::Written, Some(kernel))
                if self.is_held_up(kernel) && self.is_draining(timing, now, kernel) =>
            {
                Ask::Draining
            }
            _ => return false,
        };
        true
    }

    /// Returns the cause of a silence that one more read has confirmed.
    ///
    /// `ping_waiting`: a ping is still in user-space output. `queued`: any output is.
    pub fn judge(
        &self,
        timing: &Timing,
        ping_waiting: bool,
        queued: bool,
        kernel: Option<KernelFigures>,
    ) -> Cause {
        let has_pings = timing.interval.is_some();
        let is_held_up =
            |figures: KernelFigures| self.ask == Ask::Draining && self.is_held_up(&figures);
        match kernel {
            Some(figures) if figures.is_shut(queued) => Cause::WriteStalled,
            Some(figures) if has_pings && figures.is_path_dead() => Cause::PathDead,
            _ if ping_waiting || kernel.is_some_and(is_held_up) => Cause::WriteStalled,
            _ if !has_pings => Cause::Silent,
            _ if self.facts.has(Fact::Heard) => Cause::PongTimeout,
            Some(figures) if figures.unacked == 0 && figures.unsent == 0 => Cause::PeerUnresponsive,
            Some(_) | None => Cause::PongTimeout,
        }
    }

    /// Returns the nearest of the heartbeat's deadlines, [`Micros::MAX`] when there is none.
    pub fn deadline(&self, timing: &Timing, now: Moment, lateness: &Lateness) -> Micros {
        let ping = match timing.interval {
            Some(_) => self.next_ping.time(now.at),
            None => Micros::MAX,
        };
        // Silence ends no sooner than the deadline of the proof.
        let is_later = |timeout| self.proof.plus(timeout).time(now.at) >= ping;
        if timing.timeout.is_none_or(is_later) {
            return ping;
        }
        self.silence_ends(timing, now, lateness)
            .unwrap_or(Micros::MAX)
            .min(ping)
    }

    /// Returns the number the next ping will have.
    pub fn next_number(&self) -> u32 {
        self.pings_written.wrapping_add(1)
    }

    /// Returns the phase.
    pub fn phase(&self) -> PingPhase {
        self.phase
    }

    /// Returns pings due, written and answered.
    pub fn pings(&self) -> (u32, u32, u32) {
        (self.pings_due, self.pings_written, self.pings_answered)
    }

    /// Returns the round-trip times. `None` until the first one is measured.
    pub fn rtt(&self) -> Option<Rtt> {
        self.rtt.told()
    }

    /// Returns the time since the last byte was read.
    pub fn last_in(&self, now: Moment) -> Option<Micros> {
        self.facts.has(Fact::In).then(|| self.last_in.age(now.at))
    }

    /// Returns the time since the kernel last accepted a byte.
    pub fn last_out(&self, now: Moment) -> Option<Micros> {
        self.facts.has(Fact::Out).then(|| self.last_out.age(now.at))
    }

    /// Returns the time since the last proof of life.
    pub fn last_proof(&self, now: Moment) -> Micros {
        self.proof.age(now.at)
    }

    /// Says whether proof of life is overdue, though no verdict has fallen; see
    /// [`Liveness::Late`](crate::close::Liveness::Late).
    pub fn is_late(&self, timing: &Timing, now: Moment, lateness: &Lateness) -> bool {
        self.overdue_from(timing).is_some_and(|(deadline, armed)| {
            let most = Micros::from_millis(timing.answer.into());
            let (deadline, armed) = (deadline.time(now.at), armed.earliest(now.at));
            lateness.judged(deadline, armed, most, now.at) <= now.at
        })
    }

    /// Returns how much later than the timeout a verdict of silence comes because of our own
    /// lateness: the time by which the deadline was put off, plus the delay of a ping that we sent
    /// late or skipped after a stop. It is no more than we were late in all since the last proof,
    /// which is known for the latest 2 048 times.
    pub fn forgiveness(&self, timing: &Timing, now: Moment, lateness: &Lateness) -> Micros {
        let (Some(timeout), Some(end)) = (timing.timeout, self.silence_ends(timing, now, lateness))
        else {
            return Micros::ZERO;
        };
        let put_off = end - self.proof.plus(timeout).time(now.at);
        put_off.min(lateness.total_since(self.proof.earliest(now.at), now.at))
    }

    /// Returns how late the loop was in all since it last read a byte here.
    pub(crate) fn unread_for(&self, now: Moment, lateness: &Lateness) -> Micros {
        lateness.total_since(self.last_in.time(now.at), now.at)
    }

    /// Says whether the shell does not read at present.
    pub(crate) fn is_paused(&self) -> bool {
        self.facts.has(Fact::Paused)
    }

    /// Says whether a ping has not been answered.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.pings_answered != self.pings_written
    }

    /// Says whether this is the number of the newest ping.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_newest(&self, number: u32) -> bool {
        number == self.pings_written
    }

    /// Says whether a ping has been written since the last proof.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.ask, Ask::Written | Ask::Draining)
    }

    /// Says whether the ping that was written is not acknowledged yet.
    fn is_held_up(&self, kernel: &KernelFigures) -> bool {
        kernel.queued > self.behind
    }

    /// Says whether the kernel's queue has become shorter by acknowledgements since the ping was queued
    /// or written.
    fn is_draining(&self, timing: &Timing, now: Moment, kernel: &KernelFigures) -> bool {
        let last_ack = Micros::from(kernel.last_ack);
        kernel.retransmits == 0 && kernel.window > 0 && last_ack < self.asked_for(timing, now)
    }

    fn prove(&mut self, now: Moment) {
        self.proof = Stamp::new(now.at);
        self.ask = Ask::No;
        self.facts.remove(Fact::Renewed);
        self.facts.remove(Fact::Resumed);
    }

    /// Numbers a ping that was written, and times it if no other is being timed.
    fn count_ping(&mut self, now: Moment) {
        self.pings_written = self.pings_written.wrapping_add(1);
        if self.timed == 0 {
            self.timed = self.pings_written;
            self.timed_at = Fine::new(now.at);
        }
    }

    /// Says what a pong is that settles nothing. One that brings back the number of an answered ping has
    /// come twice, or late: nobody asked for it.
    fn unmatched(&self, number: Option<u32>) -> PongMatch {
        let is_ours = number.is_some_and(|number| (1..=self.pings_answered).contains(&number));
        if self.is_awaiting() && !is_ours {
            PongMatch::Mismatched
        } else {
            PongMatch::Unsolicited
        }
    }

    fn settle(&mut self, timing: &Timing, now: Moment, number: u32) -> PongMatch {
        self.pings_answered = number;
        match timing.proof {
            Proof::Bytes | Proof::Message | Proof::Pong => self.prove(now),
        }
        let rtt = (self.timed == number).then(|| self.timed_at.age(now.at));
        if self.timed != 0 && number >= self.timed {
            self.timed = 0;
        }
        if let Some(rtt) = rtt {
            self.rtt.add(rtt);
        }
        PongMatch::Answer { rtt }
    }

    /// Returns when silence has lasted too long, or `None` while no verdict can fall: the timeout is
    /// off, reading is paused for a proof that must be read, or no ping has asked yet.
    ///
    /// It is up to three deadlines, each put off for our lateness since it was armed: T after the proof,
    /// T - I after a ping was written, and T - I after reading went on. All must have passed. Where it was
    /// our lateness that made the ping late, that is in the first one already, and the second is put off
    /// for as much less.
    pub(crate) fn silence_ends(
        &self,
        timing: &Timing,
        now: Moment,
        lateness: &Lateness,
    ) -> Option<Micros> {
        let most = Micros::from_millis(timing.answer.into());
        let judged = |deadline: Stamp, armed: Stamp| {
            let (deadline, armed) = (deadline.time(now.at), armed.earliest(now.at));
            lateness.judged(deadline, armed, most, now.at)
        };
        let timeout = timing.timeout?;
        let must_read = timing.proof != Proof::Bytes;
        if self.facts.has(Fact::Paused) && must_read {
            return None;
        }
        let more = match self.ask {
            Ask::Spared | Ask::Draining => timing.write.unwrap_or(timeout).min(timeout),
            Ask::No | Ask::Queued | Ask::Moving | Ask::Written | Ask::Nobody => 0,
        };
        let mut end = judged(self.proof.plus(timeout).plus(more), self.proof);
        match self.ask {
            Ask::Queued
            | Ask::Moving
            | Ask::Written
            | Ask::Nobody
            | Ask::Spared
            | Ask::Draining => {
                let answered = self.asked_at.plus(timing.answer).plus(more);
                let (deadline, armed) = (answered.time(now.at), self.armed_at(timing));
                let granted = match self.facts.has(Fact::Delayed) {
                    true => self.delay(timing, now),
                    false => Micros::ZERO,
                };
                let armed = armed.earliest(now.at);
                end = end.max(lateness.judged_after(deadline, armed, granted, most, now.at));
            }
            // Before its end this bounds the wait; after it the next ping does.
            Ask::No if timing.interval.is_some() && end <= now.at => return None,
            Ask::No => {}
        }
        if self.facts.has(Fact::Resumed) && must_read {
            end = end.max(judged(self.resumed_at.plus(timing.answer), self.resumed_at));
        }
        Some(end)
    }

    /// Returns from when on the peer is late, if nothing of ours delays it, and since when it could answer.
    fn overdue_from(&self, timing: &Timing) -> Option<(Stamp, Stamp)> {
        let must_read = timing.proof != Proof::Bytes;
        if self.facts.has(Fact::Paused) && must_read {
            return None;
        }
        let (deadline, armed) = match (timing.interval, timing.timeout) {
            (None, None) => return None,
            (Some(_), _) if self.ask == Ask::No => return None,
            (Some(interval), None) => {
                let interval = interval.as_stamp_millis();
                (self.asked_at.plus(interval), self.asked_at)
            }
            (Some(_), Some(timeout)) => {
                let answered = self.asked_at.plus(timing.answer);
                let end = self.proof.plus(timeout).later(answered);
                (end.less(timing.answer / 2), self.asked_at)
            }
            (None, Some(timeout)) => {
                let since = match self.ask {
                    Ask::No => self.proof,
                    _ => self.proof.later(self.asked_at),
                };
                (since.plus(timeout).less(timeout / 4), since)
            }
        };
        if self.facts.has(Fact::Resumed) && must_read {
            let again = self.resumed_at.plus(timing.answer / 2);
            return Some((deadline.later(again), armed.later(self.resumed_at)));
        }
        Some((deadline, armed))
    }

    /// Returns when the ping that counts from `asked_at` was queued or written.
    fn armed_at(&self, timing: &Timing) -> Stamp {
        let interval = timing.interval.filter(|_| self.facts.has(Fact::Renewed));
        self.asked_at
            .less(interval.map_or(0, Micros::as_stamp_millis))
    }

    /// Returns the first grid point after `now`, rounded to the slack's quantum.
    fn grid_after(&self, timing: &Timing, now: Micros) -> Stamp {
        let Some(interval) = timing.interval else {
            return Stamp::default();
        };
        let phase = self.phase.of(interval);
        let passed = (now - phase).as_micros() / interval.as_micros();
        (0..3)
            .map(|beats| phase + interval.saturating_mul(passed + beats))
            .map(|point| Stamp::new(quantised(point, timing.quantum)))
            .find(|point| !point.is_due(now))
            .unwrap_or_else(|| Stamp::new(now + interval))
    }

    /// Returns the grid point after the one that is due, which is mostly an interval later.
    fn grid_next(&self, timing: &Timing, now: Micros) -> Stamp {
        match (timing.interval, timing.quantum) {
            (Some(interval), Micros::ZERO) => {
                let next = self.next_ping.plus(interval.as_stamp_millis());
                match next.is_due(now) {
                    true => self.grid_after(timing, now),
                    false => next,
                }
            }
            _ => self.grid_after(timing, now),
        }
    }

    /// Notes that the first ping since the last proof was queued or written now.
    fn ask_with(&mut self, ask: Ask, timing: &Timing, now: Moment, lateness: &Lateness) {
        self.ask = ask;
        self.asked_at = self.counts_from(timing, now);
        // Decided now and not at the verdict: the intervals since the promise may be forgotten then.
        let is_delayed = self.is_delayed(timing, now, lateness);
        self.facts.set(Fact::Delayed, is_delayed);
    }

    /// Returns from when a first ping counts that is queued or written now.
    ///
    /// The grid promises one within an interval of the last proof. Where rounding alone makes it later
    /// than that, it counts from then: the rounding is ours, not a reason to judge later. But never does
    /// rounding take more than half the time that the peer has to answer.
    fn counts_from(&self, timing: &Timing, now: Moment) -> Stamp {
        let written = Stamp::new(now.at);
        let Some(interval) = timing.interval else {
            return written;
        };
        if self.facts.has(Fact::Renewed) {
            // T from the ping, where `silence_ends` adds T - I; `armed_at` takes it off again.
            return written.plus(interval.as_stamp_millis());
        }
        let promised = self.promised(interval);
        match is_beyond_rounding(timing, promised, written) {
            true => written,
            false => promised.earlier(written),
        }
    }

    /// Returns until when the grid promises a ping: within an interval of the last proof.
    fn promised(&self, interval: Micros) -> Stamp {
        self.proof.plus(interval.as_stamp_millis())
    }

    /// Returns how much later than promised the ping at `asked_at` is, for our lateness.
    fn delay(&self, timing: &Timing, now: Moment) -> Micros {
        let interval = timing.interval.unwrap_or(Micros::ZERO);
        self.asked_at.time(now.at) - self.promised(interval).time(now.at)
    }

    /// Says whether the ping that asks now is late for no more than our own lateness: the grid promises it
    /// within an interval of the proof. Rounding and what does not count as late may add to it.
    fn is_delayed(&self, timing: &Timing, now: Moment, lateness: &Lateness) -> bool {
        let is_renewed = self.facts.has(Fact::Renewed);
        let Some(interval) = timing.interval.filter(|_| !is_renewed) else {
            return false;
        };
        let promised = self.promised(interval).time(now.at);
        let late = self.delay(timing, now);
        let rounding = Micros::from_millis(timing.on_time.into()).max(lateness.threshold());
        late <= rounding
            || lateness
                .counted_since(promised, now.at)
                .is_some_and(|ours| late <= rounding + rounding + ours)
    }

    /// Returns for how long the ping at `asked_at` has been asking.
    fn asked_for(&self, timing: &Timing, now: Moment) -> Micros {
        self.armed_at(timing).age(now.at)
    }

    fn proved_within_interval(&self, timing: &Timing, now: Moment) -> bool {
        timing
            .interval
            .is_some_and(|interval| self.proof.age(now.at) < interval)
    }

    /// Keeps the stamps that are not otherwise renewed within reach.
    fn refresh(&mut self, now: Moment) {
        self.proof.refresh(now.at);
        self.asked_at.refresh(now.at);
        self.resumed_at.refresh(now.at);
        self.last_in.refresh(now.at);
        self.last_out.refresh(now.at);
    }
}

flags! {
    /// What else is to be remembered of a heartbeat.
    Fact {
        /// A byte was read.
        In,
        /// The kernel accepted a byte.
        Out,
        /// Bytes were read since the ping at `asked_at` was written.
        Heard,
        /// A grid point was passed over after a stall; the next one will not be.
        Skipped,
        /// The policy changed after the last proof.
        Renewed,
        /// The shell does not read at present.
        Paused,
        /// Reading went on after a pause and no proof has come since.
        Resumed,
        /// Our own lateness, and nothing else, delayed the ping at `asked_at`.
        Delayed,
    }
}

/// Says whether a ping that is written now is later than promised by more than rounding makes it.
fn is_beyond_rounding(timing: &Timing, promised: Stamp, written: Stamp) -> bool {
    let rounding = timing.on_time.min(timing.answer / 2);
    written.later(promised.plus(rounding)) == written
}

/// Returns what makes the next ping no plain one.
fn special() -> Flags<Fact> {
    Flags::NONE
        .with(Fact::Skipped)
        .with(Fact::Renewed)
        .with(Fact::Paused)
        .with(Fact::Resumed)
}

/// Round-trip times in microseconds: [`Rtt`] in a quarter of its size.
#[derive(Clone, Copy, Debug)]
struct Samples {
    last: u32,
    /// More than any that is measured while there is none.
    min: u32,
    smoothed: u32,
}

impl Samples {
    const NONE: Self = Self {
        last: 0,
        min: u32::MAX,
        smoothed: 0,
    };

    fn add(&mut self, rtt: Micros) {
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let rtt = rtt.min(u32::MAX - 1);
        let smoothed = match self.min {
            u32::MAX => rtt,
            _ => mean(self.smoothed, rtt),
        };
        *self = Self {
            last: rtt,
            min: self.min.min(rtt),
            smoothed,
        };
    }

    fn told(self) -> Option<Rtt> {
        let micros = |count: u32| Duration::from_micros(count.into());
        (self.min != u32::MAX).then(|| Rtt {
            last: micros(self.last),
            min: micros(self.min),
            smoothed: micros(self.smoothed),
        })
    }
}

/// Moves a mean by an eighth towards the latest sample.
fn mean(smoothed: u32, latest: u32) -> u32 {
    let sum = u64::from(smoothed) * 7 + u64::from(latest);
    u32::try_from(sum / 8).unwrap_or(u32::MAX)
}

/// How far the question for a proof of life has come since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// No ping was due.
    No,
    /// A ping waits in our output.
    Queued,
    /// A ping waits in our output, and output in front of it has been accepted meanwhile.
    Moving,
    /// A ping waits in our output, and has been given more time to leave.
    Spared,
    /// A ping was written.
    Written,
    /// A ping was written, and the kernel is still sending what lies before it.
    Draining,
    /// We send none, and the timeout counts from when that was decided.
    Nobody,
}

/// One step of the golden-ratio sequence: 2^32 / golden ratio, to the nearest odd number. Odd, so that the
/// sequence has every fraction once before it repeats.
const STEP: u32 = 0x9E37_79B9;

/// So many steps add up to a fraction of one: the inverse of [`STEP`], modulo 2^32.
const STEPS_IN_ONE: u32 = 0x144C_BC89;

const _: () = assert!(STEP.wrapping_mul(STEPS_IN_ONE) == 1);

/// Rounds to the nearest multiple of the quantum, if there is one.
fn quantised(point: Micros, quantum: Micros) -> Micros {
    match quantum.as_micros() {
        0 => point,
        quantum => Micros::new((point.as_micros() + quantum / 2) / quantum).saturating_mul(quantum),
    }
}

#[cfg(test)]
mod tests;
