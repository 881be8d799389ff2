//! Connections with due timers, and whether they may wait.

use crate::proto::time::Micros;
use crate::proto::wheel::Wheel;

/// Connections that the wheel found due and nobody has handled yet.
#[derive(Debug)]
pub(super) struct Expiries {
    /// Their slots, the earliest at the end.
    keys: Vec<usize>,
    /// The wheel has more due keys.
    has_more: bool,
    /// Turns in a row that put them off.
    put_off: u32,
}

impl Expiries {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            keys: Vec::with_capacity(capacity),
            has_more: false,
            put_off: 0,
        }
    }

    /// Says whether this turn puts expiries off, because sockets come first. The number of turns in
    /// a row is limited.
    pub(super) fn put_off(&mut self, is_pressed: bool) -> bool {
        let is_put_off = is_pressed && self.put_off < MOST_PUT_OFF;
        self.put_off = if is_put_off { self.put_off + 1 } else { 0 };
        is_put_off
    }

    /// Collects the due keys of the wheel, up to the budget. Returns how many there are.
    pub(super) fn collect(&mut self, wheel: &mut Wheel, now: Micros, budget: usize) -> usize {
        self.has_more = wheel.advance(now, budget, &mut self.keys);
        self.keys.reverse();
        self.keys.len()
    }

    /// Takes the next.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.keys.pop()
    }

    /// Returns how many collected keys are left.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the next ones.
    pub(super) fn coming(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().rev().copied()
    }

    /// Says whether the wheel has more due keys than the budget allowed.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Says whether nothing is left that is known to be due.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.has_more
    }
}

/// Most turns in a row that put expiries off.
const MOST_PUT_OFF: u32 = 1;
