//! The one place that reads the clock that deadlines run on.

use std::time::Instant;

use crate::proto::time::Micros;

/// When core time began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start(Instant);

impl Start {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

/// Where time is read from.
#[derive(Debug)]
pub(crate) enum Hands {
    /// The system's clocks; core time began then.
    System(Start),
    /// A test's: core time, and the time slept.
    #[cfg(test)]
    Scripted(std::sync::Arc<std::sync::Mutex<(Micros, Micros)>>),
}

impl Hands {
    pub(crate) fn at(&self) -> Micros {
        match self {
            // Rounded down to whole microseconds, as deadlines are rounded up.
            Self::System(Start(start)) => {
                let elapsed = start.elapsed();
                Micros::from_secs(elapsed.as_secs()) + Micros::new(elapsed.subsec_micros().into())
            }
            #[cfg(test)]
            Self::Scripted(script) => script.lock().expect("no test panics with it").0,
        }
    }

    /// Returns how much longer the machine has been up than awake: the clock that deadlines run on
    /// stands still while it sleeps, and its peers do not.
    pub(crate) fn slept(&self) -> Micros {
        match self {
            Self::System(_) => system_slept(),
            #[cfg(test)]
            Self::Scripted(script) => script.lock().expect("no test panics with it").1,
        }
    }

    /// Stops the clock, and makes the machine seem to have slept.
    #[cfg(test)]
    pub(crate) fn pretend_sleep(&mut self, span: Micros) {
        let (at, slept) = (self.at(), self.slept() + span);
        *self = Self::Scripted(std::sync::Arc::new(std::sync::Mutex::new((at, slept))));
    }
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
fn system_slept() -> Micros {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    let micros = |time: Timespec| {
        let (secs, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
        Micros::from_secs(secs) + Micros::new(nanos / 1_000)
    };
    let awake = micros(clock_gettime(ClockId::Monotonic));
    micros(clock_gettime(ClockId::Boottime)) - awake
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
