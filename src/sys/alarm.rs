//! A timer that ends a wait after the machine has slept.
//!
//! A wait uses the monotonic clock, which stands still while the machine sleeps. So a loop would go
//! on waiting after the machine wakes: for the rest of its wait, as if no time had passed. This
//! timer uses the boot-time clock. If it became due during the sleep, it ends the wait as soon as
//! the machine wakes. Only loops with clients have one.

use std::io;

use mio::Registry;

use super::system::Token;

/// The token of the timer's events.
pub(super) const ALARM: mio::Token = mio::Token(Token::SYSTEM.0);

/// The timer. It is registered with the selector.
#[derive(Debug)]
pub(super) struct Alarm {
    #[cfg(all(feature = "sockets", target_os = "linux"))]
    timer: std::fs::File,
}

#[cfg(all(feature = "sockets", target_os = "linux"))]
impl Alarm {
    pub(super) fn register(registry: &Registry) -> io::Result<Self> {
        Self::with_period(registry, PERIOD)
    }

    fn with_period(registry: &Registry, period: std::time::Duration) -> io::Result<Self> {
        use std::os::fd::AsRawFd;

        use mio::unix::SourceFd;
        use mio::{Interest, event::Source};
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
            timerfd_settime,
        };

        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let period = Timespec::try_from(period).map_err(io::Error::other)?;
        let spec = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        SourceFd(&timer.as_raw_fd()).register(registry, ALARM, Interest::READABLE)?;
        Ok(Self {
            timer: timer.into(),
        })
    }

    /// Starts the next period. The kernel does that when the expiry is read.
    pub(super) fn acknowledge(&self) {
        use std::io::Read;

        if let Err(error) = (&self.timer).read(&mut [0; 8])
            && error.kind() != io::ErrorKind::WouldBlock
        {
            log::warn!("could not set the timer that ends a wait after the machine slept: {error}");
        }
    }
}

#[cfg(not(all(feature = "sockets", target_os = "linux")))]
impl Alarm {
    pub(super) fn register(_registry: &Registry) -> io::Result<Self> {
        Ok(Self {})
    }

    pub(super) fn acknowledge(&self) {}
}

/// After a sleep of at least this length, the loop wakes up at once.
#[cfg(all(feature = "sockets", target_os = "linux"))]
const PERIOD: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(all(test, feature = "sockets", target_os = "linux"))]
mod tests {
    use std::time::Duration;

    #[test]
    fn it_goes_off_again_and_again() {
        let mut poll = mio::Poll::new().expect("a selector");
        let period = Duration::from_millis(20);
        let alarm = super::Alarm::with_period(poll.registry(), period).expect("a timer");
        let mut events = mio::Events::with_capacity(4);
        for _ in 0..5 {
            let patience = Some(Duration::from_secs(20));
            poll.poll(&mut events, patience).expect("the wait works");
            assert_eq!(events.iter().count(), 1);
            alarm.acknowledge();
        }
    }
}
