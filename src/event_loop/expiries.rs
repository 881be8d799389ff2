//! Connections with due timers, and whether they may wait.

use std::collections::VecDeque;

use crate::proto::time::Micros;
use crate::proto::wheel::Wheel;

/// Connections that the wheel found due and nobody has handled yet.
#[derive(Debug)]
pub(super) struct Expiries {
    /// Their slots, the earliest first. Those before `taken` are handled.
    keys: Vec<usize>,
    taken: usize,
    /// Slots of those among them whose sockets must be looked at first.
    doubtful: VecDeque<usize>,
    /// A look at the next socket may be put off.
    may_put_off_looks: bool,
    /// The wheel has more due keys.
    has_more: bool,
    /// Turns in a row that put them off.
    put_off: u32,
    /// Since when each turn has left some that need no look.
    behind_since: Option<Micros>,
}

impl Expiries {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            keys: Vec::with_capacity(capacity),
            taken: 0,
            doubtful: VecDeque::new(),
            may_put_off_looks: false,
            has_more: false,
            put_off: 0,
            behind_since: None,
        }
    }

    /// Says whether this turn puts expiries off, because sockets come first. The number of turns in
    /// a row is limited.
    pub(super) fn put_off(&mut self, is_pressed: bool) -> bool {
        let is_put_off = is_pressed && self.put_off < MOST_PUT_OFF;
        self.put_off = if is_put_off { self.put_off + 1 } else { 0 };
        is_put_off
    }

    /// Collects the due keys of the wheel, behind those that are left of the last turn, up to the
    /// budget. Returns how many there are.
    pub(super) fn collect(&mut self, wheel: &mut Wheel, now: Micros, budget: usize) -> usize {
        if self.taken == self.keys.len() {
            self.keys.clear();
        } else {
            self.keys.drain(..self.taken);
        }
        self.taken = 0;
        let most = budget.saturating_sub(self.keys.len());
        self.has_more = most == 0 || wheel.advance(now, most, &mut self.keys);
        self.may_put_off_looks = true;
        self.keys.len()
    }

    /// Returns for how long this turn may handle those that need no look: for so long at least, and longer
    /// the longer some have been left. So pings take as much of a busy loop as they need.
    pub(super) fn slice(&self, now: Micros, least: Micros) -> Micros {
        let behind = self.behind_since.map_or(Micros::ZERO, |since| now - since);
        least.max(Micros::new(behind.as_micros() / 2))
    }

    /// Notes what this turn has left.
    pub(super) fn end_turn(&mut self, now: Micros) {
        self.behind_since = match self.has_plain() || self.has_more {
            true => self.behind_since.or(Some(now)),
            false => None,
        };
        if self.doubtful.is_empty() && self.doubtful.capacity() > MOST_KEPT {
            self.doubtful = VecDeque::new();
        }
    }

    /// Takes the next.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let next = self.peek();
        self.taken += usize::from(next.is_some());
        next
    }

    /// Returns how many collected keys are left.
    pub(super) fn len(&self) -> usize {
        self.keys.len() - self.taken
    }

    /// Returns the next, without taking it.
    pub(super) fn peek(&self) -> Option<usize> {
        self.keys.get(self.taken).copied()
    }

    /// Puts the look at a socket off until all other due keys are handled. Returns whether it may
    /// be put off.
    pub(super) fn put_off_look(&mut self, key: usize) -> bool {
        if self.may_put_off_looks {
            self.doubtful.push_back(key);
        }
        self.may_put_off_looks
    }

    /// Takes the next whose socket must be looked at now.
    pub(super) fn begin_look(&mut self) -> Option<usize> {
        self.may_put_off_looks = false;
        self.doubtful.pop_front()
    }

    /// Says whether a turn had too little time for what is due.
    pub(super) fn is_behind(&self) -> bool {
        self.has_plain() || !self.doubtful.is_empty()
    }

    fn has_plain(&self) -> bool {
        self.taken < self.keys.len()
    }

    /// Says whether nothing is left that is known to be due.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_behind() && !self.has_more
    }
}

/// Room for doubtful connections that is kept while there are none.
const MOST_KEPT: usize = 1024;

/// Most turns in a row that put expiries off.
const MOST_PUT_OFF: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wheel::Wheel;

    #[test]
    fn the_longer_pings_are_left_the_more_time_they_get() {
        let millis = Micros::from_millis;
        let mut wheel = Wheel::new(millis(10), Micros::ZERO);
        for key in 0..3 {
            wheel.schedule(key, millis(10));
        }
        let mut expiries = Expiries::with_capacity(8);
        assert_eq!(expiries.collect(&mut wheel, millis(20), 8), 3);
        assert_eq!(expiries.slice(millis(20), millis(3)), millis(3));
        expiries.pop();
        expiries.end_turn(millis(23));
        assert!(expiries.is_behind());
        assert_eq!(expiries.collect(&mut wheel, millis(30), 8), 2);
        expiries.pop();
        expiries.end_turn(millis(33));
        assert_eq!(expiries.slice(millis(43), millis(3)), millis(10));
        expiries.pop();
        expiries.end_turn(millis(50));
        assert!(!expiries.is_behind());
        assert_eq!(expiries.slice(millis(60), millis(3)), millis(3));
    }
}
