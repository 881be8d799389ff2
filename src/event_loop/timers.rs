//! The embedder's timers: of the loop, and of single connections.

use std::collections::{BTreeMap, BTreeSet};

use super::token::ConnId;
use crate::proto::time::Micros;

/// The id of one timer of the embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    due: Micros,
    number: u64,
}

/// The pending timers, each with the embedder's user data.
///
/// To set, to cancel and to take one costs the logarithm of their number, and so does each timer of a
/// connection that ends.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pending: BTreeMap<TimerId, Timer>,
    /// Those of connections, by slot.
    of_conns: BTreeSet<(usize, TimerId)>,
    /// When the first one is due. Each turn asks for it twice.
    first_due: Option<Micros>,
    /// How many timers were ever set, so that no two have the same id.
    set: u64,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) word: u64,
    /// The connection that it belongs to, if it is not the loop's.
    pub(super) conn: Option<ConnId>,
}

impl Timers {
    pub(super) fn set(&mut self, due: Micros, word: u64) -> TimerId {
        self.insert(due, Timer { word, conn: None })
    }

    /// Sets a timer that ends with a connection, at the latest when its slot is [left](Self::leave).
    pub(super) fn set_for(&mut self, conn: ConnId, due: Micros, word: u64) -> TimerId {
        let conn = Some(conn);
        self.insert(due, Timer { word, conn })
    }

    fn insert(&mut self, due: Micros, timer: Timer) -> TimerId {
        self.set += 1;
        let id = TimerId {
            due,
            number: self.set,
        };
        if let Some(conn) = timer.conn {
            self.of_conns.insert((conn.index(), id));
        }
        self.pending.insert(id, timer);
        self.find_first();
        id
    }

    /// Cancels a timer. Returns whether it was still pending.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        let removed = self.pending.remove(&id);
        if let Some(conn) = removed.and_then(|timer| timer.conn) {
            self.of_conns.remove(&(conn.index(), id));
        }
        self.find_first();
        removed.is_some()
    }

    /// Cancels all timers of the connection in a slot.
    pub(super) fn leave(&mut self, slot: usize) {
        while let Some(&(key, id)) = self.of_conns.range((slot, TimerId::FIRST)..).next()
            && key == slot
        {
            self.cancel(id);
        }
    }

    /// Returns when the first timer is due.
    pub(super) fn first_due(&self) -> Option<Micros> {
        self.first_due
    }

    /// Takes the first timer, if it is due.
    pub(super) fn take_due(&mut self, now: Micros) -> Option<Timer> {
        if self.first_due.is_none_or(|due| due > now) {
            return None;
        }
        let (&id, &first) = self.pending.first_key_value()?;
        self.cancel(id);
        Some(first)
    }

    fn find_first(&mut self) {
        self.first_due = self.pending.first_key_value().map(|(id, _)| id.due);
    }
}

impl TimerId {
    /// No id is less.
    const FIRST: Self = Self {
        due: Micros::ZERO,
        number: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::token::Names;
    use crate::proto::heartbeat::PingPhase;

    /// A connection in a slot.
    fn conn(slot: usize) -> ConnId {
        let names = Names {
            shard: 0,
            start: PingPhase::ZERO,
        };
        names.of(slot, PingPhase::ZERO)
    }

    fn millis(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    fn take_all(timers: &mut Timers) -> Vec<(u64, Option<usize>)> {
        std::iter::from_fn(|| timers.take_due(Micros::MAX))
            .map(|timer| (timer.word, timer.conn.map(|conn| conn.index())))
            .collect()
    }

    #[test]
    fn timers_of_both_kinds_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        timers.set_for(conn(7), millis(30), 3);
        timers.set(millis(20), 2);
        timers.set_for(conn(8), millis(10), 1);
        timers.set(millis(30), 4);
        assert_eq!(timers.first_due(), Some(millis(10)));
        assert_eq!(timers.take_due(millis(9)), None);
        let expected = [(1, Some(8)), (2, None), (3, Some(7)), (4, None)];
        assert_eq!(take_all(&mut timers), expected);
        assert_eq!(timers.first_due(), None);
        assert!(timers.of_conns.is_empty());
    }

    #[test]
    fn a_slot_that_is_left_takes_its_timers_along_and_no_others() {
        let mut timers = Timers::default();
        for slot in [6, 7, 8] {
            for word in 0..100 {
                timers.set_for(conn(slot), millis(word % 7), word);
            }
        }
        timers.set(millis(0), 1_000);
        timers.leave(7);
        timers.leave(9);
        let left = take_all(&mut timers);
        assert_eq!(left.len(), 201);
        assert!(left.iter().all(|&(_, slot)| slot != Some(7)));
        assert!(timers.of_conns.is_empty() && timers.pending.is_empty());
    }

    #[test]
    fn what_was_cancelled_or_taken_is_pending_no_more() {
        let mut timers = Timers::default();
        let [first, second] = [1, 2].map(|word| timers.set_for(conn(7), millis(word), word));
        assert!(timers.cancel(first));
        assert!(!timers.cancel(first));
        assert_eq!(timers.first_due(), Some(millis(2)));
        assert_eq!(take_all(&mut timers), [(2, Some(7))]);
        assert!(!timers.cancel(second));
    }
}
