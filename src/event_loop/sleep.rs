//! Whether the machine has slept. The caller passes the clocks' times. How late the loop is by
//! these clocks, [`Lateness`](crate::proto::lateness::Lateness) knows.

use crate::proto::time::Micros;

/// How long the machine has slept.
#[derive(Debug)]
pub(super) struct Sleep {
    /// How long, as far as we have noticed.
    slept: Micros,
    /// A sleep of the machine ends the wait; true from the first client on.
    is_watched: bool,
}

impl Sleep {
    /// Starts with `slept`, the time that the machine has slept until now.
    pub(super) fn new(slept: Micros) -> Self {
        Self {
            slept,
            is_watched: false,
        }
    }

    /// Notes that a sleep of the machine ends the wait.
    pub(super) fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Says whether a sleep of the machine ends the wait.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Returns how long the machine has slept since the last call, if it has. `slept` is the total.
    pub(super) fn take(&mut self, slept: Micros) -> Option<Micros> {
        let span = slept - self.slept;
        self.slept = self.slept.max(slept);
        (span >= LEAST_SLEEP).then_some(span)
    }
}

/// A shorter sleep is ignored: two clocks that are read one after the other differ slightly anyway.
const LEAST_SLEEP: Micros = Micros::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_a_machine_that_slept_is_noticed_once() {
        let mut sleep = Sleep::new(Micros::ZERO);
        assert_eq!(sleep.take(Micros::ZERO), None);
        let slept = Micros::from_secs(600);
        assert_eq!(sleep.take(slept), Some(slept));
        assert_eq!(sleep.take(slept), None);
    }
}
