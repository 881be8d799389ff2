//! A wake-up on the clock that goes on while the machine sleeps.
//!
//! A wait runs on the monotonic clock, which stands still meanwhile: after a night with a closed lid a
//! loop would still sleep for what was left of its wait. A timer on the boot-time clock that became
//! overdue in the night ends it at once. Only loops with clients have one.

use std::io;

use mio::Registry;

/// The timer, while it is registered.
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

        use super::token::Target;

        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let period = Timespec::try_from(period).map_err(io::Error::other)?;
        let spec = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        let token = Target::Alarm.token();
        SourceFd(&timer.as_raw_fd()).register(registry, token, Interest::READABLE)?;
        Ok(Self {
            timer: timer.into(),
        })
    }

    /// Arms it for the next period: the kernel does so when an expiry is read.
    pub(super) fn acknowledge(&self) {
        use std::io::Read;

        if let Err(error) = (&self.timer).read(&mut [0; 8])
            && error.kind() != io::ErrorKind::WouldBlock
        {
            log::warn!("could not arm the wake-up after a sleep: {error}");
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

/// A sleep of at least this long is noticed as soon as the machine wakes.
#[cfg(all(feature = "sockets", target_os = "linux"))]
const PERIOD: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::ReactorConfig;
    use crate::proto::message::Message;
    use crate::proto::time::Micros;
    use crate::reactor::client::ClientState;
    use crate::reactor::{
        ClientConfig, ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory,
    };

    /// Answers the clients of its own reactor.
    struct Nobody;

    impl Handler for Nobody {
        type Data = ();

        fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {}
    }

    fn turn_until(reactor: &mut Reactor, done: impl Fn(&Reactor) -> bool) {
        for _ in 0..10_000 {
            if done(reactor) {
                return;
            }
            let limit = Some(Duration::from_millis(10));
            reactor.turn(&mut Nobody, limit).expect("the loop turns");
        }
        panic!("it never came to be: {:?}", reactor.stats());
    }

    #[cfg(all(feature = "sockets", target_os = "linux"))]
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

    #[test]
    fn f7_after_a_sleep_a_client_probes_at_once() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a loop");
        let any = ([127, 0, 0, 1], 0).into();
        let listener = ListenerConfig::new(any, WireFactory::Line);
        let id = reactor.listen(listener).expect("a free port");
        let port = reactor.local_addr(id).expect("it is bound").port();
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        reactor.connect(client).expect("it can be dialed");
        turn_until(&mut reactor, |reactor| reactor.stats().opened == 2);
        assert_eq!(reactor.stats().pings_written, 0);
        reactor.core.clock.pretend_sleep(Micros::from_secs(600));
        turn_until(&mut reactor, |reactor| reactor.stats().pongs_matched == 1);
        assert_eq!(reactor.stats().sleeps, 1);
        assert_eq!(reactor.stats().pings_written, 1, "the server asks nobody");
    }

    #[test]
    fn f7_after_a_sleep_a_client_dials_without_the_delays_that_had_added_up() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a loop");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = gone.local_addr().expect("it is bound").port();
        drop(gone);
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        let id = reactor.connect(client).expect("it can be dialed");
        turn_until(&mut reactor, |reactor| reactor.stats().rejected == 1);
        for _ in 0..20 {
            reactor.core.clients[id].backoff.next_delay(u64::MAX);
        }
        let far = Micros::from_secs(60);
        let ClientState::Waiting(due) = reactor.core.clients[id].state else {
            panic!("it waits to dial again");
        };
        reactor.core.dials.remove(&(due, id));
        reactor.core.schedule_dial(id, far);
        reactor.core.clock.pretend_sleep(Micros::from_secs(600));
        turn_until(&mut reactor, |reactor| reactor.stats().sleeps == 1);
        let ClientState::Waiting(due) = reactor.core.clients[id].state else {
            panic!("it waits to dial again");
        };
        let now = reactor.core.clock.now().at;
        assert!(due <= now + Micros::from_millis(500), "{due:?} at {now:?}");
    }
}
