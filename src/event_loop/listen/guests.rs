//! Connections for which there is no place, let in to be told so: a health check hears the truth from
//! whoever answers requests, even while the loop drains or is full.
//!
//! They are few, and the oldest makes way for the next: a crowd of clients that find no place must not keep
//! a health check out. None of them opens.

use std::collections::VecDeque;

use crate::event_loop::token::ConnId;

/// Connections without a place, the oldest first, until they are reaped.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Guests(VecDeque<ConnId>);

impl Guests {
    /// Guests that are there at once: enough for the checks of several balancers that come together.
    pub(super) const LIVE: usize = 16;

    /// Most of them, with those among them that have ended in this turn.
    pub(in crate::event_loop) const MOST: usize = 2 * Self::LIVE;

    /// Returns how many there are.
    pub(in crate::event_loop) fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether this slot is one of theirs.
    pub(in crate::event_loop) fn have(&self, key: usize) -> bool {
        self.0.iter().any(|id| id.index() == key)
    }

    pub(super) fn enter(&mut self, id: ConnId) {
        self.0.push_back(id);
    }

    /// Returns the one at a place, from the oldest on.
    pub(super) fn at(&self, place: usize) -> Option<ConnId> {
        self.0.get(place).copied()
    }

    /// Returns all, the oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.0.iter().copied()
    }

    /// Lets one go that is reaped. Returns whether it was one.
    pub(in crate::event_loop) fn leave(&mut self, key: usize) -> bool {
        let place = self.0.iter().position(|id| id.index() == key);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }
}
