//! Silence: from when it may be judged, by when it must be, and what the verdict has to be.

use std::rc::Rc;

use heartwheel::close::{Cause, KernelFigures, Phase};
use heartwheel::config::Proof;
use heartwheel::proto::time::Micros;

use super::lateness::{Deadline, Intervals, When};
use super::pings::ROUNDING;
use super::watch::{Between, Moves, Watch};

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

    /// Returns the deadlines that must all be over before silence has lasted too long; none while no
    /// verdict may fall.
    ///
    /// "Silence is two deadlines, proof + T and written + (T - I), each with its own a", and a third one
    /// where we did not read.
    fn silence(&self, ours: &Intervals, now: Micros) -> Option<Vec<Deadline>> {
        let rules = &self.rules;
        let timeout = rules.timeout?;
        let must_read = rules.proof != Proof::Bytes;
        if self.is_paused && must_read {
            return None;
        }
        let mut deadlines = vec![Deadline::after(self.proof.times(), timeout)];
        if rules.interval.is_some() {
            let ask = self.ask?;
            // After another policy T counts from the ping.
            let later = rules.interval.filter(|_| self.changed.is_some());
            let later = later.unwrap_or_default();
            deadlines.push(Deadline {
                over: (ask.counts.0 + rules.answer(), ask.counts.1 + rules.answer()),
                armed: (ask.counts.0 - later, ask.counts.1 - later),
                most: rules.answer(),
                is_delayed: self.was_delayed(ask.counts, ours, now),
                granted: self.delay(ask.counts),
            });
            if ask.is_spared {
                for deadline in &mut deadlines {
                    deadline.over.0 = deadline.over.0 + rules.more();
                    deadline.over.1 = deadline.over.1 + rules.more();
                }
            }
        } else if let Some(changed) = self.changed {
            deadlines.push(Deadline::after((changed.began, changed.at), timeout));
        }
        if let Some(resumed) = self.resumed
            && must_read
        {
            deadlines.push(Deadline::after((resumed.began, resumed.at), rules.answer()));
        }
        for deadline in &mut deadlines {
            deadline.most = rules.answer();
        }
        Some(deadlines)
    }

    /// Returns how much later than an interval after the proof the ping that asks is, at least and at most.
    fn delay(&self, counts: (Micros, Micros)) -> (Micros, Micros) {
        let interval = self.rules.interval.unwrap_or_default();
        let (first, last) = self.proof.times();
        let least = counts.0 - (last + interval);
        (least - ROUNDING, counts.1 - (first + interval) + ROUNDING)
    }

    /// Says whether the ping that asks was late for our own lateness alone, perhaps and for certain. The
    /// deadline of the proof is put off for that already; both together would be a turn more than F51 has.
    fn was_delayed(&self, counts: (Micros, Micros), ours: &Intervals, now: Micros) -> (bool, bool) {
        let Some(interval) = self.rules.interval.filter(|_| self.changed.is_none()) else {
            return (false, false);
        };
        let (first, last) = self.proof.times();
        let rounding = self.rules.widest() + ROUNDING;
        let rounding = rounding.max(self.rules.tick.max(Micros::from_millis(10)));
        let between = |from, to| ours.total(from, now) - ours.total(to, now);
        let perhaps = (counts.0 - (last + interval))
            <= between(first + interval, counts.1) + rounding + rounding + ROUNDING + ROUNDING;
        let late = counts.1 - (first + interval);
        let surely = late + ROUNDING + ROUNDING
            <= between(last + interval, counts.0) + rounding + rounding - ROUNDING - ROUNDING;
        (perhaps, surely)
    }

    /// Works out what a verdict of silence must be that is about to be spoken, and whether it may be.
    pub(crate) fn expect_verdict(&mut self, now: When, truth: &Truth) {
        let ours = Rc::clone(&self.ours);
        let ours = &*ours.borrow();
        let Some(silence) = self.silence(ours, now.at) else {
            // The answer may be among bytes that were read just now and that nobody has decoded.
            self.demand(now, self.is_undecoded, || {
                "judged though no question is out".into()
            });
            self.slow = None;
            self.expected = Some(self.cause_of_silence(truth));
            return;
        };
        let early = silence.iter().map(|one| one.earliest(ours, now.at));
        let low = early.max().unwrap_or_default();
        self.demand(now, now.at >= low, || {
            format!("judged early by {:?}: {silence:?}", low - now.at)
        });
        self.forgiven = Some(self.forgiven_at(now, ours, &silence));
        // "Bytes that a budget left unread put a verdict off, for proof `message` and `pong` by at most
        // T - I", and for `bytes` they are proof.
        let is_patient = match self.rules.proof {
            Proof::Bytes => true,
            Proof::Message | Proof::Pong => !self.is_paused && now.at < low + self.rules.answer(),
        };
        self.demand(now, truth.unread == 0 || !is_patient, || {
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
        let acked = Micros::from(figures.last_ack);
        // After another policy a ping counts from an interval after it was queued or written.
        let later = self.rules.interval.filter(|_| self.changed.is_some());
        let [low, high] = [ask.counts.0, ask.counts.1].map(|at| at - later.unwrap_or_default());
        let since = ask.written.map_or(high, |(when, _)| when.at);
        if acked + ROUNDING + ROUNDING < now.at - since {
            return Some(true);
        }
        let longest = now.at - low;
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
        let ruled = self.ruled.at;
        let over = |end: Micros| expired.at >= end.max(ruled) + held;
        let ours = Rc::clone(&self.ours);
        let ours = &*ours.borrow();
        // What a budget left unread gives more time once, and is seen to in the turn after at the latest.
        if is_unread {
            self.last_unread = Some(expired);
        }
        let lately = self.longest_turn + self.longest_turn + self.rules.tick + BACKLOG;
        let was_unread = self
            .last_unread
            .is_some_and(|unread| expired.at <= unread.at + lately);
        let again = |span| if was_unread { span } else { Micros::ZERO };
        let after =
            |armed: Between, span| Deadline::after(armed.times(), span).latest(ours, expired.at);
        match self.phase {
            Phase::Closed => return,
            Phase::Connecting => {
                let end = after(self.since, self.rules.connect);
                self.demand(expired, !over(end), || "the dial takes too long".into());
                return;
            }
            Phase::Handshaking => {
                let end = after(self.since, self.rules.handshake);
                self.demand(expired, !over(end) || was_unread, || {
                    "the handshake takes too long".into()
                });
                return;
            }
            Phase::Closing => {
                let end = self.goodbye_ends(ours, expired.at) + again(self.rules.close);
                self.demand(expired, !over(end), || "the goodbye takes too long".into());
                return;
            }
            Phase::Open => {}
        }
        if self.is_broken() {
            return;
        }
        if let Some(write) = self.rules.write
            && self.is_blocked
        {
            let end = after(self.progress, write);
            self.demand(expired, !over(end), || {
                "output stands still for longer than W".into()
            });
        }
        self.check_limits(expired, held, ours, again);
        let Some(silence) = self.silence(ours, expired.at) else {
            return;
        };
        let late = silence.iter().map(|one| one.latest(ours, expired.at));
        let high = late.max().unwrap_or_default();
        if !over(high) || self.ask.is_some_and(|ask| ask.is_doubtful) {
            return;
        }
        if self.is_paused && (is_unread || self.input.is_within() || self.is_undecoded) {
            // They may have been noticed at any time since, or not yet.
            self.proof.high = expired;
            return;
        }
        let is_backlog = is_unread || self.is_undecoded;
        if is_backlog && !over(high + self.rules.answer() + BACKLOG) {
            return;
        }
        self.fail(
            expired,
            format!("a dead peer is still there, {:?} late", expired.at - high),
        );
    }

    /// Limits of ours, in real time, and the peer's slowness.
    fn check_limits(
        &self,
        expired: When,
        held: Micros,
        ours: &Intervals,
        again: impl Fn(Micros) -> Micros,
    ) {
        if let (Some(idle), false) = (self.rules.app_idle, self.is_paused) {
            let end = self.last_message.high.at + idle + again(idle);
            let end = end.max(self.ruled.at) + held;
            self.demand(expired, expired.at < end, || {
                format!("idle for too long since {:?}", self.last_message)
            });
        }
        if let Some(lifetime) = self.rules.lifetime {
            let oldest = lifetime + Micros::new(lifetime.as_micros() / 10);
            let end = (self.began.at + oldest).max(self.ruled.at) + held;
            self.demand(expired, expired.at < end, || "too old".into());
        }
        let slow = self.slow_ends(ours, expired.at);
        if let (Some((_, end)), false) = (slow, self.is_paused) {
            let end = end + again(self.rules.slow_grace);
            let is_over = expired.at >= end.max(self.ruled.at) + held + ROUNDING;
            self.demand(expired, !is_over, || "a message comes too slowly".into());
        }
    }

    /// Returns the times at which the unfinished message is too slow, at the earliest and the latest. "What
    /// counts a peer's rate is credited with the whole time in which we did not read."
    pub(super) fn slow_ends(&self, ours: &Intervals, now: Micros) -> Option<(Micros, Micros)> {
        let unfinished = self.unfinished?;
        let (sure, most) = self.input.unfinished();
        let rules = &self.rules;
        let floor = |bytes: u64| {
            let earned = (bytes * 1_000).checked_div(rules.slow_floor)?;
            Some(Micros::from_millis(earned).max(rules.slow_grace))
        };
        // The rate counts from when the message was known to be long, the total from its beginning.
        let by_rate = |long: Option<(Micros, Micros)>, bytes: u64| {
            let (counts, credit) = long?;
            Some(counts + floor(bytes)? + ours.total(credit, now))
        };
        let by_total = |end: fn(&Deadline, &Intervals, Micros) -> Micros| {
            let total = rules.message?;
            let deadline = Deadline::after(unfinished.times(), total);
            Some(end(&deadline, ours, now))
        };
        let long = self.long.map(|long| long.times());
        let low = by_rate(long, sure).into_iter();
        let high = by_rate(long.map(|(low, high)| (high, low)), most).into_iter();
        Some((
            low.chain(by_total(Deadline::earliest)).min()?,
            high.chain(by_total(Deadline::latest)).min()?,
        ))
    }

    /// Returns how much later than the timeout the verdict falls for our lateness, at least and at most.
    fn forgiven_at(&self, now: When, ours: &Intervals, silence: &[Deadline]) -> (Micros, Micros) {
        let timeout = self.rules.timeout.unwrap_or_default();
        let (first, last) = self.proof.times();
        let early = silence.iter().map(|one| one.earliest(ours, now.at));
        let late = silence.iter().map(|one| one.latest(ours, now.at));
        let least = early.max().unwrap_or_default() - (last + timeout);
        let most = late.max().unwrap_or_default() - (first + timeout);
        // Of more lateness than a loop remembers it does not know the sum.
        let all = match ours.count(first) > REMEMBERED {
            true => Micros::MAX,
            false => ours.total(first, now.at),
        };
        (least.min(ours.total(last, now.at)), most.min(all))
    }
}

/// What it may take beyond that until somebody comes to them.
const BACKLOG: Micros = Micros::from_millis(100);

/// Intervals of lateness that a loop keeps for their sum, with room for what is counted otherwise here.
const REMEMBERED: usize = 2_000;
