//! Whether the machine has slept. What its clocks say is handed in; how late the loop is by them, its
//! [`Lateness`](crate::proto::lateness::Lateness) knows.

use crate::proto::time::Micros;

/// How long the machine has slept.
#[derive(Debug)]
pub(super) struct Sleep {
    /// As far as it was noticed.
    slept: Micros,
    /// A wait ends where the machine has slept in it; from the first client on.
    is_watched: bool,
}

impl Sleep {
    /// Begins to look; `slept` is for how long the machine has slept until now.
    pub(super) fn new(slept: Micros) -> Self {
        Self {
            slept,
            is_watched: false,
        }
    }

    /// Notes that waits end where the machine has slept in them.
    pub(super) fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Says whether they do.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Returns for how long the machine has slept since this was last asked, if it has; `slept` is how long
    /// in all.
    pub(super) fn take(&mut self, slept: Micros) -> Option<Micros> {
        let span = slept - self.slept;
        self.slept = self.slept.max(slept);
        (span >= LEAST_SLEEP).then_some(span)
    }
}

/// A machine that slept for less was hardly gone; reading two clocks one after the other differs too.
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
