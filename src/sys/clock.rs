//! The one place that reads the clock for deadlines.

use crate::proto::time::Micros;

/// The start of the core's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start(monotonic::Reading);

impl Start {
    pub(crate) fn now() -> Self {
        Self(monotonic::now())
    }

    /// Returns the time since then in whole microseconds, rounded down, because deadlines are rounded up.
    fn elapsed(self) -> Micros {
        monotonic::since(self.0)
    }
}

/// What [`Instant`](std::time::Instant) reads too, in a third of the steps.
#[cfg(all(feature = "sockets", target_os = "linux"))]
mod monotonic {
    use super::{Micros, micros};
    use rustix::time::{ClockId, clock_gettime};

    pub(super) type Reading = Micros;

    pub(super) fn now() -> Reading {
        micros(clock_gettime(ClockId::Monotonic))
    }

    pub(super) fn since(start: Reading) -> Micros {
        now() - start
    }
}

#[cfg(not(all(feature = "sockets", target_os = "linux")))]
mod monotonic {
    use super::Micros;
    use std::time::Instant;

    pub(super) type Reading = Instant;

    pub(super) fn now() -> Reading {
        Instant::now()
    }

    pub(super) fn since(start: Reading) -> Micros {
        let elapsed = start.elapsed();
        Micros::from_secs(elapsed.as_secs()) + Micros::new(elapsed.subsec_micros().into())
    }
}

/// The source of time.
#[derive(Debug)]
pub(crate) enum Hands {
    /// The system's clocks, and when the core's time began.
    System(Start),
    /// A test's clock: the core's time, and the time slept.
    #[cfg(test)]
    Scripted(std::sync::Arc<std::sync::Mutex<(Micros, Micros)>>),
}

impl Hands {
    pub(crate) fn at(&self) -> Micros {
        match self {
            Self::System(start) => start.elapsed(),
            #[cfg(test)]
            Self::Scripted(script) => script.lock().expect("no test panics with it").0,
        }
    }

    /// Returns how long the machine has slept in total. The clock for deadlines stands still during
    /// a sleep, but the peers do not.
    pub(crate) fn slept(&self) -> Micros {
        match self {
            Self::System(_) => system_slept(),
            #[cfg(test)]
            Self::Scripted(script) => script.lock().expect("no test panics with it").1,
        }
    }

    /// Stops the clock, and adds to the time that the machine has slept.
    #[cfg(test)]
    pub(crate) fn pretend_sleep(&mut self, span: Micros) {
        let (at, slept) = (self.at(), self.slept() + span);
        *self = Self::Scripted(std::sync::Arc::new(std::sync::Mutex::new((at, slept))));
    }
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
fn system_slept() -> Micros {
    use rustix::time::{ClockId, clock_gettime};

    let awake = micros(clock_gettime(ClockId::Monotonic));
    micros(clock_gettime(ClockId::Boottime)) - awake
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
fn micros(time: rustix::time::Timespec) -> Micros {
    let (secs, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    Micros::from_secs(secs) + Micros::new(nanos / 1_000)
}

#[cfg(not(all(feature = "sockets", target_os = "linux")))]
fn system_slept() -> Micros {
    Micros::ZERO
}

#[cfg(all(test, feature = "sockets", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_slept_no_less_later() {
        let (before, after) = (system_slept(), system_slept());
        assert!(after + Micros::from_millis(1) >= before);
    }
}
