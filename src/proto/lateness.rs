//! When the loop itself was late, and by how much that puts deadlines of peers off.
//!
//! An *interval of lateness* starts when a wait should have ended (or when its turn began, if that
//! was earlier) plus the larger of one tick and 10 ms. It ends with the turn. A deadline that
//! blames a peer is put off by the longest single interval since it was armed, never by the sum.
//! With the sum, a loop that is always busy would never close dead peers. The longest is enough,
//! because a peer's bytes wait in its socket, and each socket is read before its verdict.

use std::collections::VecDeque;

use crate::proto::time::{Micros, Moment};

/// The intervals of lateness of one loop.
///
/// The driver of a loop calls [`begin_turn`](Self::begin_turn) and [`end_turn`](Self::end_turn),
/// since this has no clock. It takes 50 KiB for each loop, reserved at the start, so that a late
/// turn allocates nothing. A loop that is never late does not touch that memory.
///
/// ```
/// use heartwheel::proto::lateness::Lateness;
/// use heartwheel::proto::time::Micros;
///
/// let millis = Micros::from_millis;
/// let mut lateness = Lateness::new(millis(10));
/// // A turn of 50 ms, of which 10 ms are nobody's concern.
/// lateness.begin_turn(millis(1_000));
/// lateness.end_turn(millis(1_050), millis(2_000));
/// assert_eq!(lateness.longest_since(millis(900), millis(1_500)), millis(40));
///
/// // A deadline at 1.2 s, armed at 0.9 s.
/// let judged = lateness.judged(millis(1_200), millis(900), millis(300), millis(1_500));
/// assert_eq!(judged, millis(1_240));
/// ```
#[derive(Debug)]
pub struct Lateness {
    threshold: Micros,
    /// From when the present turn, or the wait before it, counts as late.
    late_from: Micros,
    /// When the last turn began that came right after a stop of the whole process.
    resumed: Micros,
    /// All intervals that are over, summed.
    total: Micros,
    /// Those longer than all later ones. Invariant: each ends later and is shorter than the one before it.
    longest: VecDeque<Longest>,
    /// The latest intervals, all of them, in their order.
    recent: VecDeque<Interval>,
    /// When the last one ended that is no longer among them.
    forgotten: Micros,
    health: Health,
}

/// An interval of lateness that is over.
#[derive(Clone, Copy, Debug)]
struct Interval {
    start: Micros,
    end: Micros,
    /// How long all before it were, summed.
    before: Micros,
}

/// One that none of the later ones is as long as.
#[derive(Clone, Copy, Debug)]
struct Longest {
    start: Micros,
    end: Micros,
    /// Less than from start to end where it stands for two.
    len: Micros,
}

impl Lateness {
    /// Starts for a loop with this tick that was never late.
    pub fn new(tick: Micros) -> Self {
        Self {
            threshold: tick.max(LEAST),
            late_from: Micros::MAX,
            resumed: Micros::ZERO,
            total: Micros::ZERO,
            longest: VecDeque::with_capacity(LONGEST + 1),
            recent: VecDeque::with_capacity(RECENT),
            forgotten: Micros::ZERO,
            health: Health::default(),
        }
    }

    /// Notes that the wait is over and a turn begins at `now`.
    pub fn begin_turn(&mut self, now: Micros) -> Moment {
        if self.delay(now) > STALL && !self.is_busy() {
            self.resumed = now;
        }
        self.late_from = self.late_from.min(now + self.threshold);
        self.moment(now)
    }

    /// Says whether the loop was late shortly before the wait that has just ended: whoever calls it does
    /// other work in between, time and again. That is no stop.
    fn is_busy(&self) -> bool {
        let latest = self.recent.back();
        latest.is_some_and(|late| late.end + ON_TIME > self.late_from)
    }

    /// Says whether what was due by this time was missed because of the last stop of the process, however
    /// many turns it takes to see to it. What came due later is late for other reasons.
    pub(crate) fn is_missed(&self, due: Micros) -> bool {
        due < self.resumed
    }

    /// Notes that the turn ends at `now`, and that the next wait should end by `should_end`.
    pub fn end_turn(&mut self, now: Micros, should_end: Micros) -> Moment {
        let late = now - self.late_from;
        if late > Micros::ZERO {
            self.remember(self.late_from, now);
        }
        self.health.note(now, late);
        self.late_from = should_end.max(now) + self.threshold;
        self.moment(now)
    }

    /// Notes at `now`, before a wait, that the wait should end by `should_end`. This replaces what
    /// [`end_turn`](Self::end_turn) said, because work may be added or removed between turns.
    /// Lateness up to now stays.
    pub fn look_ahead(&mut self, now: Micros, should_end: Micros) {
        if now + self.threshold < self.late_from {
            self.late_from = should_end.max(now) + self.threshold;
        }
    }

    /// Notes that the caller's limit ends the wait by `until`, if that is earlier than what
    /// [`end_turn`](Self::end_turn) said.
    pub fn limit_wait(&mut self, until: Micros) {
        self.late_from = self.late_from.min(until + self.threshold);
    }

    /// Returns `now` as a moment of the present turn.
    pub fn moment(&self, now: Micros) -> Moment {
        Moment {
            at: now,
            delay: self.delay(now),
        }
    }

    /// Returns how long a turn may take, or a wait be late, before it counts: the larger of the
    /// tick and 10 ms.
    pub fn threshold(&self) -> Micros {
        self.threshold
    }

    /// Returns how late the present turn is at `now`, even if that is too little to count.
    pub fn delay(&self, now: Micros) -> Micros {
        match self.late_from {
            Micros::MAX => Micros::ZERO,
            late_from => (now + self.threshold) - late_from,
        }
    }

    /// Returns the longest interval from `armed` to `now`. Of an interval that began before
    /// `armed`, only the part after it counts.
    ///
    /// The result is exact as long as at most 64 intervals are each longer than all later ones.
    /// Beyond that it may be too large by one sixtieth of the longest.
    pub fn longest_since(&self, armed: Micros, now: Micros) -> Micros {
        let present = now - self.late_from.max(armed);
        let first = self.longest.partition_point(|one| one.end <= armed);
        let mut later = self.longest.range(first..);
        // It may be cut, and then the next one, which is not, may be longer.
        let cut = later.next().map(|one| one.len.min(one.end - armed));
        let whole = later.next().map(|one| one.len);
        present.max(cut.max(whole).unwrap_or_default())
    }

    /// Returns the sum of the lateness from `since` to `now`.
    ///
    /// What counts a peer's rate is credited with this sum: the time in which nobody read. It is
    /// exact for the latest 2 048 intervals, and never too small beyond them.
    pub fn total_since(&self, since: Micros, now: Micros) -> Micros {
        let is_past = self.recent.back().is_none_or(|latest| latest.end <= since);
        if is_past && now <= self.late_from {
            return Micros::ZERO;
        }
        self.counted_since(since, now)
            .unwrap_or_else(|| self.total(now).min(now - since))
    }

    /// Returns the same, or `None` where not all intervals since then are remembered.
    pub(crate) fn counted_since(&self, since: Micros, now: Micros) -> Option<Micros> {
        if since < self.forgotten {
            return None;
        }
        let present = now - self.late_from.max(since);
        let first = self.recent.partition_point(|one| one.end <= since);
        let past = self
            .recent
            .get(first)
            .map(|one| self.total - (one.before + (since - one.start)));
        Some(present + past.unwrap_or_default())
    }

    /// Returns the sum of all lateness up to `now`.
    pub fn total(&self, now: Micros) -> Micros {
        self.total + (now - self.late_from)
    }

    /// Returns from when on a peer may be blamed for a deadline that was armed, or last put off, at
    /// `armed`. That is the deadline plus the longest interval since then, at most `most`. A
    /// deadline that falls into an interval counts from the interval's end. Before the deadline,
    /// the result is the deadline itself, because the later lateness is not known yet.
    ///
    /// The result never becomes earlier as time goes on. It is later than `now` if the deadline
    /// falls into the lateness of the present turn.
    pub fn judged(&self, deadline: Micros, armed: Micros, most: Micros, now: Micros) -> Micros {
        self.judged_after(deadline, armed, Micros::ZERO, most, now)
    }

    /// Returns the same for what was armed late for our lateness, by `granted`: so much of the longest
    /// interval is in the deadline already.
    pub(crate) fn judged_after(
        &self,
        deadline: Micros,
        armed: Micros,
        granted: Micros,
        most: Micros,
        now: Micros,
    ) -> Micros {
        if now < deadline {
            return deadline;
        }
        let longest = self.longest_since(armed, now);
        if longest == Micros::ZERO {
            return deadline;
        }
        self.on_time_after(deadline, now) + (longest - granted).min(most).min(MOST)
    }

    /// Returns the share of recent time in which the loop was not late, in thousandths: a moving
    /// mean with a time constant of ten seconds.
    pub fn health(&self) -> u32 {
        self.health.share()
    }

    /// Returns when the loop was not late first, at `deadline` or after it.
    fn on_time_after(&self, deadline: Micros, now: Micros) -> Micros {
        if (self.late_from..now).contains(&deadline) {
            return now;
        }
        if deadline < self.forgotten {
            return self.on_time_after_forgotten(deadline);
        }
        let next = self.recent.partition_point(|one| one.end <= deadline);
        match self.recent.get(next) {
            Some(one) if one.start <= deadline => one.end,
            Some(_) | None => deadline,
        }
    }

    /// Returns the same of a time around which not all intervals are remembered. Of a short one that is
    /// forgotten it is known that it was no longer than the next that is not, and over before that.
    fn on_time_after_forgotten(&self, deadline: Micros) -> Micros {
        let next = self.longest.partition_point(|one| one.end <= deadline);
        match self.longest.get(next) {
            Some(one) if one.start <= deadline => (deadline + one.len).min(one.end),
            Some(one) => (deadline + one.len).min(one.start).min(self.forgotten),
            None => deadline,
        }
    }

    /// Keeps an interval in mind that is over.
    fn remember(&mut self, start: Micros, end: Micros) {
        if self.recent.len() == RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forgotten = oldest.end;
        }
        let before = self.total;
        self.recent.push_back(Interval { start, end, before });
        let len = end - start;
        self.total = self.total + len;
        while self.longest.back().is_some_and(|one| one.len <= len) {
            self.longest.pop_back();
        }
        self.longest.push_back(Longest { start, end, len });
        if self.longest.len() > LONGEST {
            self.merge();
        }
    }

    /// Makes one of the two neighbours whose lengths differ least: as long as the first, and over when the
    /// second was. So nobody is forgiven for less.
    fn merge(&mut self) {
        let less = |place: &usize| self.longest[*place].len - self.longest[place + 1].len;
        let place = (0..self.longest.len() - 1).min_by_key(less);
        if let Some(place) = place
            && let Some(first) = self.longest.remove(place)
        {
            self.longest[place].len = first.len;
            self.longest[place].start = first.start;
        }
    }
}

/// How much of recent time the loop was late.
#[derive(Debug, Default)]
struct Health {
    noted: Micros,
    /// Lateness in the window, µs.
    late: u64,
}

impl Health {
    fn note(&mut self, now: Micros, late: Micros) {
        if self.late == 0 && late == Micros::ZERO {
            self.noted = now;
            return;
        }
        let window = u128::from(HEALTH_WINDOW.as_micros());
        let passed = u128::from((now - self.noted).as_micros()).min(window);
        let left = u128::from(self.late) * (window - passed) / window;
        let late = (left + u128::from(late.as_micros())).min(window);
        self.late = u64::try_from(late).unwrap_or(u64::MAX);
        self.noted = now;
    }

    fn share(&self) -> u32 {
        let late = self.late * 1_000 / HEALTH_WINDOW.as_micros();
        1_000 - u32::try_from(late).unwrap_or(1_000)
    }
}

/// What a turn may take, and a wait be late, without its being counted, where the tick is no longer.
const LEAST: Micros = Micros::from_millis(10);

/// A wait that ends this much too late has been a stop of the whole process, not a busy turn.
const STALL: Micros = Micros::from_millis(250);

/// How long the loop must have been on time before that.
const ON_TIME: Micros = Micros::from_secs(3);

/// The most that any deadline is put off by: six days, which together with the longest deadline is less
/// than what times of 32 bits tell apart.
const MOST: Micros = Micros::from_secs(6 * 24 * 60 * 60);

/// Intervals kept in either list, of 24 and of 16 bytes.
const RECENT: usize = 2_048;
const LONGEST: usize = 64;

const HEALTH_WINDOW: Micros = Micros::from_secs(10);

#[cfg(test)]
mod tests;
