//! When a session may say what: its clocks kept beside it, in the plainest way.
//!
//! Where the session knows of a proof of life that cannot be seen from outside (a fragment, a ping), the
//! time kept here is an earlier one: what is checked then is less, and still true.

use std::time::Duration;

use heartwheel::close::{Cause, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Proof};
use heartwheel::proto::time::{Micros, Moment};

#[derive(Debug)]
pub(super) struct Law {
    /// When the loop was late.
    stops: Vec<(Micros, Micros)>,
    pub(super) phase: Phase,
    phase_since: Micros,
    proof: Micros,
    /// When the policy was changed, if no proof has come since.
    renewed: Option<Micros>,
    /// When reading went on, if no proof has come since.
    resumed: Option<Micros>,
    first_ping_written: Option<Micros>,
    /// The peer was found slow, and given more time, since the last proof.
    is_spared: bool,
    /// When the last message came or went.
    message: Micros,
    /// When no message can have been unfinished, the last time.
    whole: Micros,
    progress: Micros,
    /// When a message first found the queue full.
    full: Option<Micros>,
    /// When output was last accepted.
    flushed: Micros,
    cause: Option<Cause>,
    /// Since when the grid is the present one, and pings due by then.
    grid_since: Micros,
    grid_pings: u64,
}

impl Law {
    pub(super) fn new(phase: Phase, now: Moment) -> Self {
        Self {
            stops: Vec::new(),
            phase,
            phase_since: now.at,
            proof: now.at,
            renewed: None,
            resumed: None,
            first_ping_written: None,
            is_spared: false,
            message: now.at,
            whole: now.at,
            progress: now.at,
            full: None,
            flushed: now.at,
            cause: None,
            grid_since: now.at,
            grid_pings: 0,
        }
    }

    /// The loop was late from then to then, which peers are forgiven for.
    pub(super) fn note_stop(&mut self, from: Micros, to: Micros) {
        if from < to {
            self.stops.push((from, to));
        }
    }

    /// Says whether a deadline is over that was armed at `since`: later by the longest stop since then, at
    /// most by `most`, and counted from the end of a stop that it fell into.
    fn is_over(&self, since: Micros, span: Micros, most: Micros, now: Moment) -> bool {
        let deadline = since + span;
        let longest = self.stops.iter().map(|&(from, to)| to - from.max(since));
        let around = |&&(from, to): &&(Micros, Micros)| from <= deadline && deadline < to;
        let from = self
            .stops
            .iter()
            .find(around)
            .map_or(deadline, |stop| stop.1);
        now.at >= from + longest.max().unwrap_or_default().min(most)
    }

    /// Phases go forward only, and the first cause stays but for a goodbye that was not completed.
    pub(super) fn note_state(&mut self, phase: Phase, cause: Option<Cause>, now: Moment) {
        assert!(
            rank(phase) >= rank(self.phase),
            "{:?} after {:?}",
            phase,
            self.phase
        );
        if phase != self.phase {
            self.phase = phase;
            self.phase_since = now.at;
            if phase == Phase::Open {
                self.note_proof(now);
                self.message = now.at;
                self.whole = now.at;
                self.grid_since = now.at;
            }
        }
        if let (Some(first), Some(later)) = (self.cause, cause) {
            let is_orderly = matches!(first, Cause::LocalClose | Cause::PeerClosed);
            assert!(
                first == later || (is_orderly && later == Cause::CloseTimeout),
                "{first} became {later}"
            );
        }
        assert!(
            cause.is_some() || self.cause.is_none(),
            "the cause is forgotten"
        );
        let is_ending = matches!(phase, Phase::Closing | Phase::Closed);
        assert_eq!(cause.is_some(), is_ending, "{cause:?} while {phase:?}");
        self.cause = cause;
    }

    pub(super) fn note_bytes(&mut self, times: &HeartbeatConfig, now: Moment) {
        if times.proof == Proof::Bytes {
            self.note_proof(now);
        }
    }

    pub(super) fn note_message_in(&mut self, times: &HeartbeatConfig, now: Moment) {
        self.message = now.at;
        self.whole = now.at;
        if times.proof == Proof::Message {
            self.note_proof(now);
        }
    }

    /// Notes that a message found no room in the queue.
    pub(super) fn note_full(&mut self, now: Moment) {
        self.full.get_or_insert(now.at);
    }

    pub(super) fn note_message_out(&mut self, now: Moment) {
        self.message = now.at;
    }

    pub(super) fn note_answer(&mut self, now: Moment) {
        self.note_proof(now);
    }

    pub(super) fn note_ping_written(&mut self, now: Moment) {
        let written = now.at;
        if self.first_ping_written.is_none() {
            self.first_ping_written = Some(written);
            // In the kernel's queue it may be given more time anew.
            self.is_spared = false;
        }
    }

    /// Output was accepted; that of a message puts `app_idle` off.
    pub(super) fn note_written(&mut self, is_message: bool, now: Moment) {
        self.progress = now.at;
        self.flushed = now.at;
        if is_message {
            self.message = now.at;
        }
    }

    /// Output began to wait.
    pub(super) fn note_progress(&mut self, now: Moment) {
        self.progress = now.at;
    }

    pub(super) fn note_resumed(&mut self, now: Moment) {
        self.resumed = Some(now.at);
        self.whole = now.at;
    }

    pub(super) fn note_policy(&mut self, now: Moment, pings_due: u64) {
        self.renewed = Some(now.at);
        self.first_ping_written = None;
        self.is_spared = false;
        self.grid_since = now.at;
        self.grid_pings = pings_due;
    }

    fn note_proof(&mut self, now: Moment) {
        self.proof = now.at;
        self.renewed = None;
        self.resumed = None;
        self.first_ping_written = None;
        self.is_spared = false;
    }

    /// A slow peer is given more time, once until the ping is written and once after that.
    pub(super) fn note_spared(&mut self, times: &HeartbeatConfig) {
        // Of a proof by message not every one is seen here.
        assert!(
            !self.is_spared || times.proof == Proof::Message,
            "spared twice"
        );
        self.is_spared = true;
    }

    /// The grid calls for one ping an interval, with the slack one more.
    pub(super) fn check_pings(&self, times: &HeartbeatConfig, now: Moment, pings_due: u64) {
        let count = pings_due - self.grid_pings;
        let Some(interval) = times.interval.map(Micros::from) else {
            assert_eq!(count, 0, "pings without an interval");
            return;
        };
        let beats = (now.at - self.grid_since).as_micros() / interval.as_micros();
        assert!(count <= beats + 2, "{count} pings in {beats} intervals");
    }

    /// A verdict of silence: never before the timeout, nor before a ping could be answered.
    pub(super) fn check_silence(
        &self,
        cause: Cause,
        times: &HeartbeatConfig,
        is_paused: bool,
        now: Moment,
    ) {
        let timeout = Micros::from(times.timeout.expect("a verdict needs a timeout"));
        let since = self.proof.max(self.renewed.unwrap_or(Micros::ZERO));
        let most = timeout - times.interval.map(Micros::from).unwrap_or_default();
        assert!(
            self.is_over(since, timeout, most, now),
            "{cause} {:?} after the proof",
            now.at - since
        );
        if self.is_spared && times.proof != Proof::Message {
            let timeout = times.timeout.unwrap_or_default();
            let more = Micros::from(times.write_timeout.unwrap_or(timeout).min(timeout));
            assert!(
                self.is_over(since, Micros::from(timeout) + more, most, now),
                "spared in vain"
            );
        }
        let must_read = times.proof != Proof::Bytes;
        assert!(!(is_paused && must_read), "{cause} while we do not read");
        let Some(interval) = times.interval.map(Micros::from) else {
            let is_known = matches!(cause, Cause::Silent | Cause::WriteStalled);
            assert!(is_known, "{cause} without pings");
            return;
        };
        let answer = timeout - interval;
        if let Some(resumed) = self.resumed.filter(|_| must_read) {
            assert!(
                self.is_over(resumed, answer, answer, now),
                "{cause} soon after reading again"
            );
        }
        let Some(written) = self.first_ping_written else {
            // It never left, and the kernel may know why.
            assert!(
                matches!(cause, Cause::WriteStalled | Cause::PathDead),
                "{cause} without a ping that was written"
            );
            return;
        };
        // A ping that only the wheel and the slack made late counts from its due time. Whether it is put
        // off depends on what made it late.
        let early = Micros::from(TICK + slack(times) * 2 + Duration::from_millis(1));
        assert!(
            now.at + early >= written + answer,
            "{cause} {:?} after the ping",
            now.at - written
        );
    }

    /// Any other end that a deadline brought about.
    pub(super) fn check_deadline(
        &self,
        cause: Cause,
        times: &HeartbeatConfig,
        limits: &LimitsConfig,
        (age, was_paused): (Micros, bool),
        now: Moment,
    ) {
        let is_due = |since: Micros, span: Option<Duration>| {
            let span = Micros::from(span.expect("the deadline is on"));
            self.is_over(since, span, span, now)
        };
        let phase_over = |span| is_due(self.phase_since, Some(span));
        let is_due = match cause {
            Cause::WriteStalled => is_due(self.progress, times.write_timeout),
            Cause::ConnectTimeout => phase_over(times.connect_timeout),
            Cause::HandshakeTimeout => phase_over(times.handshake_timeout),
            Cause::SlowPeer => {
                let floor = (limits.slow_floor > 0).then_some(limits.slow_grace);
                let drain = floor.map(|grace| grace.max(times.write_timeout.unwrap_or_default()));
                let reads_slowly = self
                    .full
                    .zip(drain)
                    .is_some_and(|(full, drain)| now.at >= full + Micros::from(drain));
                let sends_slowly = || {
                    is_due(
                        self.whole,
                        floor.into_iter().chain(limits.message_timeout).min(),
                    )
                };
                reads_slowly || (!was_paused && sends_slowly())
            }
            Cause::AppIdle => {
                let idle = times.app_idle.expect("the deadline is on");
                now.at >= self.message + Micros::from(idle)
            }
            Cause::MaxLifetime => {
                let lifetime = times.max_lifetime.expect("the deadline is on");
                age >= Micros::from(lifetime * 9 / 10)
            }
            other => panic!("{other} by a deadline"),
        };
        assert!(is_due, "{cause} too early: {self:?} at {now:?}");
    }

    /// A goodbye is given up. Where nobody is blamed, what is queued leaves first while it makes progress,
    /// and the close timeout runs from the last byte.
    pub(super) fn check_close(&self, times: &HeartbeatConfig, has_output: bool, now: Moment) {
        let is_over = |since: Micros, span: Duration| {
            let span = Micros::from(span);
            self.is_over(since, span, span, now)
        };
        let is_blamed = !matches!(
            self.cause,
            Some(
                Cause::LocalClose
                    | Cause::Drain
                    | Cause::MaxLifetime
                    | Cause::AppIdle
                    | Cause::Replaced
                    | Cause::Refused
                    | Cause::PeerEof
                    | Cause::PeerClosed
            )
        );
        let is_due = if is_blamed {
            is_over(self.phase_since, times.close_timeout)
        } else if has_output {
            times
                .write_timeout
                .is_some_and(|write| is_over(self.progress, write))
        } else {
            is_over(self.flushed.max(self.phase_since), times.close_timeout)
        };
        let is_late = is_over(self.phase_since, times.close_total) && !is_blamed;
        assert!(is_due || is_late, "given up too early: {self:?} at {now:?}");
    }
}

pub(super) const TICK: Duration = Duration::from_millis(10);

/// The slack in force, rounded up to milliseconds.
fn slack(times: &HeartbeatConfig) -> Duration {
    let slack = times.ping_slack.unwrap_or_else(|| {
        let hundredth = times.interval.unwrap_or_default() / 100;
        hundredth.min(Duration::from_millis(50))
    });
    slack + Duration::from_millis(1)
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Connecting => 0,
        Phase::Handshaking => 1,
        Phase::Open => 2,
        Phase::Closing => 3,
        Phase::Closed => 4,
    }
}
