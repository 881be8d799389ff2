//! Rates of new connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::ConfigError;
use crate::event_loop::token::ListenerId;
use crate::proto::time::Micros;

/// Until when the new connections of each listener so far are paid for, in all loops of a group.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Rates(HashMap<ListenerId, Record>);

#[derive(Debug, Default)]
struct Record {
    paid: Micros,
    /// Loops that have a listener of this id.
    loops: usize,
}

impl Rates {
    /// Counts one more listener of this id.
    pub(super) fn join(&mut self, listener: ListenerId) {
        self.0.entry(listener).or_default().loops += 1;
    }

    /// Counts one less, and forgets what the last of them has paid.
    pub(in crate::event_loop) fn leave(&mut self, listener: ListenerId) {
        if let Entry::Occupied(mut record) = self.0.entry(listener) {
            record.get_mut().loops -= 1;
            if record.get().loops == 0 {
                record.remove();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the record of the listeners of this id.
    pub(super) fn of(&mut self, listener: ListenerId) -> &mut Micros {
        &mut self.0.entry(listener).or_default().paid
    }
}

/// A rate: so many a second, and one second's worth at once. (A leaky bucket stored as a single time:
/// the generic cell rate algorithm, GCRA, ITU-T I.371.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    cost: Micros,
}

impl Rate {
    pub(super) fn new(
        field: &'static str,
        per_second: Option<u32>,
    ) -> Result<Option<Self>, ConfigError> {
        match per_second {
            None => Ok(None),
            Some(rate @ 1..=1_000_000) => Ok(Some(Self {
                cost: Micros::new(1_000_000 / u64::from(rate)),
            })),
            Some(_) => Err(ConfigError::new(field, "must be from 1 to 1000000")),
        }
    }

    /// Takes one from the rate, if there is one left.
    pub(super) fn take(self, paid: &mut Micros, now: Micros) -> bool {
        let after = now.max(*paid) + self.cost;
        if after > now + BURST {
            return false;
        }
        *paid = after;
        true
    }
}

/// How far ahead of its rate an address may be.
const BURST: Micros = Micros::from_secs(1);
