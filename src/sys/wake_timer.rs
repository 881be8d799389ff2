//! A timer that stays set over many waits.
//!
//! A wait with a timeout sets a timer in the kernel, and removes it when an event comes first. That
//! is a twentieth of the cost of a small message, although the deadline is usually the same as for
//! the wait before. If it was the same for many waits in a row, it is set in a timer that the
//! selector watches. While that timer is set, waits up to its deadline need no timeout. A loop that
//! always sleeps until its deadline never sets this timer.

use std::io;

use mio::Registry;

use super::system::Token;
use crate::proto::time::Micros;

/// The token of the timer's events.
pub(super) const WAKE_TIMER: mio::Token = mio::Token(Token::SYSTEM.0 + 1);

/// The timer, and the deadline of the last waits.
#[derive(Debug)]
pub(super) struct WakeTimer {
    #[cfg(all(feature = "sockets", target_os = "linux"))]
    timer: Option<std::os::fd::OwnedFd>,
    /// When it expires; [`Micros::MAX`] while it is not set.
    due: Micros,
    /// The deadline of the last wait.
    wake: Micros,
    /// The number of waits in a row with this deadline.
    waits: u32,
}

impl WakeTimer {
    pub(super) fn new() -> Self {
        Self {
            #[cfg(all(feature = "sockets", target_os = "linux"))]
            timer: None,
            due: Micros::MAX,
            wake: Micros::MAX,
            waits: 0,
        }
    }

    /// Returns whether the timer will end a wait that starts at `now` and must end by `wake`.
    pub(super) fn covers(&mut self, registry: &Registry, now: Micros, wake: Micros) -> bool {
        if now < self.due && self.due <= wake {
            return true;
        }
        if wake != self.wake {
            self.wake = wake;
            self.waits = 0;
            return false;
        }
        self.waits += 1;
        if self.waits < ENOUGH_WAITS {
            return false;
        }
        self.waits = 0;
        if let Err(error) = self.set(registry, wake - now) {
            log::debug!("could not set the wake-up timer, waits use timeouts: {error}");
            return false;
        }
        self.due = wake;
        true
    }

    /// Notes that the timer has expired.
    pub(super) fn acknowledge(&mut self) {
        self.due = Micros::MAX;
    }

    /// Sets the timer. This also resets its count of expiries, so the count need not be read.
    #[cfg(all(feature = "sockets", target_os = "linux"))]
    fn set(&mut self, registry: &Registry, span: Micros) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        use std::time::Duration;

        use mio::unix::SourceFd;
        use mio::{Interest, event::Source};
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
            timerfd_settime,
        };

        if self.timer.is_none() {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            SourceFd(&timer.as_raw_fd()).register(registry, WAKE_TIMER, Interest::READABLE)?;
            self.timer = Some(timer);
        }
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(Duration::from(span)).map_err(io::Error::other)?,
        };
        let timer = self.timer.as_ref().expect("it was made just now");
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    #[cfg(not(all(feature = "sockets", target_os = "linux")))]
    fn set(&self, _registry: &Registry, _span: Micros) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The number of waits in a row with the same deadline after which it is set in the timer. So at
/// least this many waits share the cost of one more system call. A loop that only has heartbeats
/// gets there if more answers than this arrive between two ticks.
const ENOUGH_WAITS: u32 = 64;

#[cfg(all(test, feature = "sockets", target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::super::clock::{Hands, Start};
    use super::*;

    const NOW: Micros = Micros::from_secs(1);
    const WAKE: Micros = Micros::from_millis(1_020);

    fn covers(timer: &mut WakeTimer, poll: &Poll, wake: Micros) -> bool {
        timer.covers(poll.registry(), NOW, wake)
    }

    #[test]
    fn many_waits_for_one_deadline_need_no_timeout_any_more() {
        let mut poll = Poll::new().expect("a selector");
        let mut events = Events::with_capacity(4);
        let clock = Hands::System(Start::now());
        let mut timer = WakeTimer::new();
        for _ in 0..3 {
            for wait in 0..ENOUGH_WAITS {
                assert!(!covers(&mut timer, &poll, WAKE), "{wait}");
            }
            let set = clock.at();
            assert!(covers(&mut timer, &poll, WAKE));
            assert!(covers(&mut timer, &poll, WAKE));
            let patience = Some(Duration::from_secs(20));
            poll.poll(&mut events, patience).expect("the wait works");
            assert!(clock.at() - set >= WAKE - NOW);
            let tokens: Vec<_> = events.iter().map(|event| event.token()).collect();
            assert_eq!(tokens, [WAKE_TIMER]);
            timer.acknowledge();
            // Another deadline in between, so that the count begins anew.
            assert!(!covers(&mut timer, &poll, WAKE + NOW));
        }
    }

    #[test]
    fn it_covers_no_wait_that_must_end_sooner_nor_one_after_it_is_due() {
        let poll = Poll::new().expect("a selector");
        let mut timer = WakeTimer::new();
        for _ in 0..=ENOUGH_WAITS {
            covers(&mut timer, &poll, WAKE);
        }
        let sooner = Micros::new(WAKE.as_micros() - 1);
        assert!(!covers(&mut timer, &poll, sooner));
        assert!(covers(&mut timer, &poll, WAKE + NOW));
        assert!(!timer.covers(poll.registry(), WAKE, WAKE + NOW));
    }

    #[test]
    fn deadlines_that_change_are_not_worth_it() {
        let poll = Poll::new().expect("a selector");
        let mut timer = WakeTimer::new();
        for tick in 0..1_000 {
            let wake = WAKE + Micros::from_millis(tick / u64::from(ENOUGH_WAITS));
            assert!(!covers(&mut timer, &poll, wake));
        }
        assert!(timer.timer.is_none());
    }
}
