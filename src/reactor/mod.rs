//! One mio poll loop drives every socket. The law of this layer: only the wait is here; what a turn does is
//! the [`event_loop`](crate::event_loop)'s, and what it asks of the system is [`sys`](crate::sys)'s.

mod sources;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::{Events, Poll};

#[cfg(feature = "websocket")]
pub use crate::event_loop::{Answered, HttpAnswer};
pub use crate::event_loop::{
    ClientConfig, ClientEvent, ClientId, Closed, ConnId, ConnInfo, Context, DialError, Ended,
    Endpoint, Group, HandleError, Handler, ListenerConfig, ListenerId, LoopHandle, Offer,
    Readiness, ReconnectConfig, Rejected, Rejection, SourceId, TimerId, Turn, Welcome, WireFactory,
};
pub use crate::sys::{Keepalive, SocketOptions};

use crate::config::ReactorConfig;
use crate::error::Error;
use crate::event_loop::EventLoop;
use crate::stats::Stats;
use crate::sys::{Event, Native, entropy};

/// A loop that holds connections, to be run on its own or turned inside another loop.
///
/// `D` is what the embedder keeps for each connection. Single-threaded: it may be moved to another
/// thread, not shared; [`handle`](Self::handle) is the way in from elsewhere.
///
/// # Inside another loop
///
/// Sleep until the reactor's descriptor is readable or [`next_timeout`](Self::next_timeout) is over,
/// then call [`turn`](Self::turn) with a limit of zero. Ask for the next timeout anew after each turn, and
/// after each use of the reactor between turns; it is zero where another turn is to follow at once.
///
/// That holds for a loop that waits for the descriptor level-triggered, and for one that does so
/// edge-triggered, such as tokio's `AsyncFd` or epoll with `EPOLLET`: a turn either takes everything that
/// the selector holds, so that what comes later is a new edge, or leaves a timeout of zero. With `AsyncFd`,
/// call `clear_ready` before the turn. Leave the outer loop where [`is_stopped`](Self::is_stopped) says so.
///
/// ```no_run
/// use heartwheel::{
///     ConnId, Context, Handler, ListenerConfig, Message, Reactor, ReactorConfig, WireFactory,
/// };
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Data = ();
///
///     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
///         if let Err(error) = cx.send(id, message) {
///             eprintln!("{id}: {error}");
///         }
///     }
/// }
///
/// let mut reactor = Reactor::new(ReactorConfig::default())?;
/// reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
/// reactor.run(&mut Echo)?;
/// # Ok::<(), heartwheel::Error>(())
/// ```
#[derive(Debug)]
pub struct Reactor<D = ()> {
    poll: Poll,
    events: Events,
    /// The last wait was interrupted or failed: what is ready was not asked to its end.
    unasked: bool,
    pub(crate) core: EventLoop<D>,
}

impl<D: Default> Reactor<D> {
    /// Makes a loop without sockets.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names a field that makes no sense, [`Error::Poll`] if the system gives no
    /// selector.
    pub fn new(config: ReactorConfig) -> Result<Self, Error> {
        Self::in_group(config, &Group::new())
    }

    /// Makes one more loop of a group, without sockets.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and where the group has [`Group::MOST`] loops.
    pub fn in_group(config: ReactorConfig, group: &Group) -> Result<Self, Error> {
        config.check()?;
        let poll = Poll::new().map_err(Error::Poll)?;
        let registry = poll.registry().try_clone().map_err(Error::Poll)?;
        let system = Native::new(registry, group.start()).map_err(Error::Poll)?;
        let events = Events::with_capacity(config.events);
        let (waker, entropy) = (system.waker(), entropy(config.seed));
        Ok(Self {
            poll,
            events,
            unasked: false,
            core: EventLoop::new(config, system, waker, entropy, group)?,
        })
    }

    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names a field that makes no sense, [`Error::Listen`] says what the kernel has
    /// against the address.
    pub fn listen(&mut self, config: ListenerConfig) -> Result<ListenerId, Error> {
        self.core.listen(config)
    }

    /// Adds a client, to be dialed in the next turn. Once a [drain](Context::drain) has begun none is dialed: it
    /// is told [`ClientEvent::Stopped`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names a field that makes no sense.
    pub fn connect(&mut self, config: ClientConfig) -> Result<ClientId, Error> {
        self.core.connect(config)
    }

    /// Runs turns until [`Context::stop`], [`LoopHandle::stop`], or the end of a drain.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`], which leaves the loop unable to go on.
    pub fn run<H: Handler<Data = D>>(&mut self, handler: &mut H) -> Result<(), Error> {
        self.core.look_ahead();
        while !self.is_stopped() {
            self.turn_now(handler, None)?;
        }
        self.core.handle_stopped();
        Ok(())
    }

    /// Waits until something is due, at most `limit`, and does everything that is.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`], and nothing else: a connection's fault ends that connection.
    pub fn turn<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        limit: Option<Duration>,
    ) -> Result<Turn, Error> {
        self.core.look_ahead();
        self.turn_now(handler, limit)
    }

    /// Does a turn right after a look ahead, which the end of another turn is too.
    fn turn_now<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        limit: Option<Duration>,
    ) -> Result<Turn, Error> {
        if !self.core.is_unwound() {
            self.wait(limit)?;
        }
        let events = self.events.iter().map(Event::from);
        Ok(self.core.turn(handler, events, self.events.capacity()))
    }

    /// Waits for events. After a turn that a panic cut short, its other events come first.
    fn wait(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        let timeout = self.core.prepare_wait(limit);
        let waited = self.poll.poll(&mut self.events, timeout);
        self.unasked = waited.is_err();
        if let Err(error) = waited {
            self.events.clear();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(Error::Poll(error));
            }
        }
        Ok(())
    }

    /// Returns the longest time to sleep before the next [`turn`](Self::turn); zero where work was left
    /// over, `None` where nothing is due but events.
    ///
    /// Work is left over where a budget of the last turn was used up, where it gave as many events as
    /// [`ReactorConfig::events`], so that the selector may hold more, where its wait was interrupted or
    /// failed, where a callback panicked, and once the reactor [is stopped](Self::is_stopped).
    pub fn next_timeout(&self) -> Option<Duration> {
        // An outer loop that waits for edges hears no more of events that are ready already.
        if self.unasked || self.core.taken() >= self.events.capacity() {
            return Some(Duration::ZERO);
        }
        self.core.next_timeout()
    }

    /// Says whether [`run`](Self::run) would return: stopped or drained, with every end reported. Whoever
    /// turns the loop goes on until then.
    pub fn is_stopped(&self) -> bool {
        self.core.is_stopped()
    }

    /// Returns a context, to send or close outside of a callback. The next turn sees to it.
    pub fn context(&mut self) -> Context<'_, D> {
        self.core.context()
    }

    /// Returns the handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.core.handle()
    }

    /// Returns the address a listener really has, port and all.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.core.local_addr(id)
    }

    /// Returns which loop of its group this is; zero where there is one.
    pub fn shard(&self) -> usize {
        self.core.shard()
    }

    /// Returns how many connections there are, in whatever phase.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Returns the last ends, the newest first; see [`ReactorConfig::history`].
    pub fn history(&self) -> impl Iterator<Item = &Ended> {
        self.core.history()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        self.core.stats()
    }
}

/// The selector's descriptor: readable when the selector holds events. What else a turn has to do is in
/// [`next_timeout`](Reactor::next_timeout).
impl<D> AsFd for Reactor<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

/// The selector's descriptor: readable when the selector holds events. What else a turn has to do is in
/// [`next_timeout`](Reactor::next_timeout).
impl<D> AsRawFd for Reactor<D> {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Handler for Nobody {
        type Data = ();
    }

    #[test]
    fn after_a_wait_that_failed_nobody_sleeps_on_what_may_be_ready() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let events = std::mem::replace(&mut reactor.events, Events::with_capacity(0));
        let zero = Some(Duration::ZERO);
        // The system gives no fewer events than one.
        assert!(matches!(
            reactor.turn(&mut Nobody, zero),
            Err(Error::Poll(_))
        ));
        assert_eq!(reactor.next_timeout(), zero);
        reactor.events = events;
        assert_eq!(reactor.next_timeout(), zero);
        reactor.turn(&mut Nobody, zero).expect("the selector works");
        assert_eq!(reactor.next_timeout(), None);
    }
}
