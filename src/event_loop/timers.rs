//! The embedder's timers.

use std::collections::BTreeMap;

use crate::proto::time::Micros;

/// The id of one timer of the embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    due: Micros,
    number: u64,
}

/// The pending timers, each with the embedder's user data.
#[derive(Debug, Default)]
pub(super) struct Timers {
    words: BTreeMap<TimerId, u64>,
    /// When the first one is due. Each turn asks for it twice.
    first_due: Option<Micros>,
    /// How many timers were ever set, so that no two have the same id.
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, due: Micros, word: u64) -> TimerId {
        self.set += 1;
        let id = TimerId {
            due,
            number: self.set,
        };
        self.words.insert(id, word);
        self.find_first();
        id
    }

    /// Cancels a timer. Returns whether it was still pending.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        let was_pending = self.words.remove(&id).is_some();
        self.find_first();
        was_pending
    }

    /// Returns when the first timer is due.
    pub(super) fn first_due(&self) -> Option<Micros> {
        self.first_due
    }

    /// Takes the first timer, if it is due.
    pub(super) fn take_due(&mut self, now: Micros) -> Option<u64> {
        if self.first_due.is_none_or(|due| due > now) {
            return None;
        }
        let first = self.words.pop_first();
        self.find_first();
        first.map(|(_, word)| word)
    }

    fn find_first(&mut self) {
        self.first_due = self.words.first_key_value().map(|(id, _)| id.due);
    }
}
