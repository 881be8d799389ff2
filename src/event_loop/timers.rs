//! The embedder's timers.

use std::collections::BTreeMap;

use crate::proto::time::Micros;

/// Names one timer of the embedder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    due: Micros,
    number: u64,
}

/// The timers that are still to come, each with the word its embedder gets back.
#[derive(Debug, Default)]
pub(super) struct Timers {
    words: BTreeMap<TimerId, u64>,
    /// How many were ever set: no two have the same name.
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
        id
    }

    /// Cancels a timer; says whether it was still to come.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        self.words.remove(&id).is_some()
    }

    /// Returns when the first is due.
    pub(super) fn first_due(&self) -> Option<Micros> {
        self.words.first_key_value().map(|(id, _)| id.due)
    }

    /// Takes the first, if it is due by then.
    pub(super) fn take_due(&mut self, now: Micros) -> Option<u64> {
        let first = self.words.first_entry()?;
        (first.key().due <= now).then(|| first.remove())
    }
}
