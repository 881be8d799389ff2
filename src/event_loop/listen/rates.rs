//! Rates of new connections.

use crate::error::ConfigError;
use crate::proto::time::Micros;

/// Until when the new connections of each listener so far are paid for.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Rates(Vec<Micros>);

impl Rates {
    /// Returns the record of the listener of that number.
    pub(in crate::event_loop) fn of(&mut self, listener: usize) -> &mut Micros {
        if self.0.len() <= listener {
            self.0.resize(listener + 1, Micros::ZERO);
        }
        &mut self.0[listener]
    }
}

/// So many a second, one second's worth at once. (A leaky bucket kept as a single time: the generic
/// cell rate algorithm, ITU-T I.371.)
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
