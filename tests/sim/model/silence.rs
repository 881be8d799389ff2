//! Silence: from when it may be judged, by when it must be, and what the verdict has to be.

use heartwheel::close::{Cause, KernelFigures, Phase};
use heartwheel::config::Proof;
use heartwheel::proto::time::Micros;

use super::lateness::When;
use super::pings::ROUNDING;
use super::watch::{Moves, Watch};

/// What the kernel of the simulation knows of a socket, and the code may only guess from figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) figures: Option<KernelFigures>,
    /// Bytes that have arrived and were not read.
    pub(crate) unread: usize,
    /// The peer's kernel has acknowledged the ping that was asked with.
    pub(crate) has_ping: bool,
}

impl Truth {
    /// The window has no room for what waits, here or in the kernel.
    fn is_shut(&self, is_blocked: bool) -> bool {
        self.figures.is_some_and(|figures| {
            let room = if figures.unacked > 0 {
                1
            } else {
                figures.unsent.min(figures.mss).max(1)
            };
            (is_blocked || figures.unacked + figures.unsent > 0) && figures.window < room
        })
    }

    /// Bytes were sent again and again, and there was room for them.
    pub(super) fn is_path_dead(&self) -> bool {
        self.figures.is_some_and(|figures| {
            figures.unacked + figures.unsent > 0 && figures.retransmits > 0 && !self.is_shut(true)
        })
    }

    /// Everything that the kernel took is acknowledged.
    fn has_all(&self) -> bool {
        self.figures
            .is_some_and(|figures| figures.unacked + figures.unsent == 0)
    }
}

impl Watch {
    /// Where in the stream the ping ends that the peer has to answer.
    pub(crate) fn asked_place(&self) -> Option<u64> {
        self.ask.and_then(|ask| ask.written).map(|(_, place)| place)
    }

    /// Returns the fair times at which silence has lasted too long, at the earliest and the latest;
    /// none while no verdict may fall.
    fn silence_ends(&self) -> Option<(Micros, Micros)> {
        let rules = &self.rules;
        let timeout = rules.timeout?;
        let must_read = rules.proof != Proof::Bytes;
        if self.is_paused && must_read {
            return None;
        }
        let mut low = self.proof.low.fair + timeout;
        let mut high = self.proof.high.fair + timeout;
        if rules.interval.is_some() {
            let ask = self.ask?;
            low = low.max(ask.counts.0 + rules.answer());
            high = high.max(ask.counts.1 + rules.answer());
            if ask.is_spared {
                low = low + rules.more();
                high = high + rules.more();
            }
        } else if let Some(changed) = self.changed {
            low = low.max(self.before(changed).fair + timeout);
            high = high.max(changed.fair + timeout);
        }
        if let Some(resumed) = self.resumed
            && must_read
        {
            low = low.max(self.before(resumed).fair + rules.answer());
            high = high.max(resumed.fair + rules.answer());
        }
        Some((low, high))
    }

    /// Works out what a verdict of silence must be that is about to be spoken, and whether it may be.
    pub(crate) fn expect_verdict(&mut self, now: When, truth: &Truth) {
        let Some((low, _)) = self.silence_ends() else {
            self.fail(now, "judged though no question is out")
        };
        self.demand(now, now.fair >= low, || {
            format!("judged early by {:?}", low - now.fair)
        });
        let is_looked_at = !self.is_paused || self.rules.proof == Proof::Bytes;
        let is_unread = truth.unread > 0 && is_looked_at && now.fair < low + LONGEST_BACKLOG;
        self.demand(now, !is_unread, || {
            format!("judged with {} bytes unread", truth.unread)
        });
        self.slow = self.slowness(now, truth);
        self.expected = Some(self.cause_of_silence(truth));
    }

    /// Compares what became of that with whether the peer is slow rather than dead, which gives it one
    /// more W.
    pub(crate) fn handle_spared(&mut self, now: When, is_spared: bool) {
        self.demand(now, self.slow.is_none_or(|slow| slow == is_spared), || {
            format!("slow {:?}, spared {is_spared}", self.slow)
        });
        if let Some(ask) = &mut self.ask
            && is_spared
        {
            ask.is_spared = true;
            self.expected = None;
        }
    }

    /// "If the kernel's queue shrank by acknowledgements since the ping was queued, the peer is slow,
    /// not dead." None where it is a matter of a few milliseconds.
    fn slowness(&self, now: When, truth: &Truth) -> Option<bool> {
        let Some(ask) = self.ask.filter(|ask| !ask.is_spared) else {
            return Some(false);
        };
        let Some(figures) = truth.figures else {
            // What the kernel took of the output before the ping is all there is to go by.
            return match (ask.written, ask.moves) {
                (Some(_), _) | (None, Moves::No) => Some(false),
                (None, Moves::Perhaps) => None,
                (None, Moves::Surely) => Some(true),
            };
        };
        let moves = figures.retransmits == 0 && figures.window > 0;
        if truth.has_ping || !moves {
            return Some(false);
        }
        let acked = Micros::from_millis(figures.last_ack_ms.into());
        // After another policy a ping counts from an interval after it was queued or written.
        let later = self.rules.interval.filter(|_| self.changed.is_some());
        let [low, high] = [ask.counts.0, ask.counts.1].map(|at| at - later.unwrap_or_default());
        let since = ask.written.map_or(high, |(when, _)| when.fair);
        if acked + ROUNDING + ROUNDING < now.fair - since {
            return Some(true);
        }
        let longest = self.before(now).fair.max(now.fair) - low;
        (acked > longest + self.rules.on_time()).then_some(false)
    }

    /// The table of the architecture chapter, from top to bottom.
    fn cause_of_silence(&self, truth: &Truth) -> Cause {
        let is_spared = self.ask.is_some_and(|ask| ask.is_spared);
        let has_pings = self.rules.interval.is_some();
        if truth.is_shut(self.is_blocked) {
            return Cause::WriteStalled;
        }
        if has_pings && truth.is_path_dead() {
            return Cause::PathDead;
        }
        let is_held_up = is_spared && truth.figures.is_some() && !truth.has_ping;
        if self.is_ping_waiting || is_held_up {
            return Cause::WriteStalled;
        }
        if !has_pings {
            return Cause::Silent;
        }
        if !self.is_heard && truth.has_all() {
            return Cause::PeerUnresponsive;
        }
        Cause::PongTimeout
    }

    /// Demands that whatever was over when the turn looked has had its consequences.
    pub(crate) fn check_overdue(&mut self, expired: When, is_unread: bool) {
        let held = self.rules.tick + ROUNDING + ROUNDING;
        let ruled = self.ruled.fair;
        let over = |end: Micros| expired.fair >= end.max(ruled) + held;
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting => {
                let end = self.since.high.fair + self.rules.connect;
                self.demand(expired, !over(end), || "the dial takes too long".into());
                return;
            }
            Phase::Handshaking => {
                let end = self.since.high.fair + self.rules.handshake;
                self.demand(expired, !over(end), || {
                    "the handshake takes too long".into()
                });
                return;
            }
            Phase::Closing => {
                let end = self.goodbye_ends();
                self.demand(expired, !over(end), || "the goodbye takes too long".into());
                return;
            }
            Phase::Open => {}
        }
        if let Some(write) = self.rules.write
            && self.is_blocked
        {
            let end = self.progress.high.fair + write;
            self.demand(expired, !over(end), || {
                "output stands still for longer than W".into()
            });
        }
        self.check_limits(expired, held);
        let Some((_, high)) = self.silence_ends() else {
            return;
        };
        if !over(high) || self.ask.is_some_and(|ask| ask.is_doubtful) {
            return;
        }
        if self.is_paused && (is_unread || self.input.is_within() || self.is_undecoded) {
            // They may have been noticed at any time since, or not yet.
            self.proof.high = expired;
            return;
        }
        let is_backlog = is_unread || self.is_undecoded;
        if is_backlog && !over(high + BACKLOG) {
            return;
        }
        self.fail(
            expired,
            format!("a dead peer is still there, {:?} late", expired.fair - high),
        );
    }

    /// Limits of ours, in real time, and the peer's slowness.
    fn check_limits(&self, expired: When, held: Micros) {
        if let (Some(idle), false) = (self.rules.app_idle, self.is_paused) {
            let end = (self.last_message.high.at + idle).max(self.ruled.at) + held;
            self.demand(expired, expired.at < end, || "idle for too long".into());
        }
        if let Some(lifetime) = self.rules.lifetime {
            let oldest = lifetime + Micros::new(lifetime.as_micros() / 10);
            let end = (self.began.at + oldest).max(self.ruled.at) + held;
            self.demand(expired, expired.at < end, || "too old".into());
        }
        if let (Some(end), false) = (self.slow_ends().map(|ends| ends.1), self.is_paused) {
            let is_over = expired.fair >= end.max(self.ruled.fair) + held + ROUNDING;
            self.demand(expired, !is_over, || "a message comes too slowly".into());
        }
    }

    /// Returns the fair times at which the unfinished message is too slow, at the earliest and the
    /// latest.
    pub(super) fn slow_ends(&self) -> Option<(Micros, Micros)> {
        let unfinished = self.unfinished?;
        let (sure, most) = self.input.unfinished();
        let rules = &self.rules;
        let floor = |bytes: u64| {
            let earned = (bytes * 1_000).checked_div(rules.slow_floor)?;
            Some(Micros::from_millis(earned).max(rules.slow_grace))
        };
        // The rate counts from when the message was known to be long, the total from its beginning.
        let end = |long: Option<Micros>, begun: Micros, bytes: u64| {
            let by_rate = long.and_then(|long| Some(long + floor(bytes)?));
            let by_total = rules.message.map(|total| begun + total);
            by_rate.into_iter().chain(by_total).min()
        };
        let long = self.long;
        Some((
            end(
                long.map(|long| self.before(long.low).fair),
                self.before(unfinished.low).fair,
                sure,
            )?,
            end(long.map(|long| long.high.fair), unfinished.high.fair, most)?,
        ))
    }
}

/// For how long bytes that nobody has read yet speak for a peer, and may at the most.
const LONGEST_BACKLOG: Micros = Micros::from_secs(1);
const BACKLOG: Micros = Micros::from_millis(1_100);
