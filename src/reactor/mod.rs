//! The loop: one mio poll drives every socket. The law of this layer: mio, sockets and the clock live
//! here and nowhere else, and every decision about a connection is made by its
//! [`Session`](crate::proto::session::Session).

mod accept;
mod admission;
mod alarm;
#[cfg(feature = "websocket")]
mod calendar;
mod client;
mod clock;
mod conn;
mod context;
mod core;
mod dial;
mod drain;
mod entropy;
mod group;
mod handler;
mod history;
mod kernel;
mod lanes;
mod listener;
mod output;
mod peers;
mod remote;
mod resolver;
mod socket;
mod token;
mod turn;
#[cfg(feature = "websocket")]
mod upgrade;
mod wake_timer;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Waker};

pub use client::{ClientConfig, ClientEvent, DialError, ReconnectConfig};
pub use context::{ConnInfo, Context};
pub use group::Group;
#[cfg(feature = "websocket")]
pub use handler::{Answered, HttpAnswer};
pub use handler::{Closed, Handler, Offer, Origin, Readiness, Rejected, Rejection, Welcome};
pub use history::Ended;
pub use listener::{Keepalive, ListenerConfig, SocketOptions, WireFactory};
pub use remote::{Remote, RemoteError};
pub use token::{ClientId, ConnId, ListenerId, SourceId};

use self::core::{Core, check_room};
use crate::config::ReactorConfig;
use crate::error::Error;
use crate::proto::session::Env;
use crate::proto::time::Micros;
use crate::stats::Stats;
use token::Target;

/// A loop that holds connections, to be run on its own or turned inside another loop.
///
/// `D` is what the embedder keeps for each connection. Single-threaded: it may be moved to another
/// thread, not shared; [`remote`](Self::remote) is the way in from elsewhere.
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
/// use heartwheel::config::ReactorConfig;
/// use heartwheel::proto::message::Message;
/// use heartwheel::reactor::{ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};
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
/// # Ok::<(), heartwheel::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Reactor<D = ()> {
    poll: Poll,
    events: Events,
    /// The last wait was interrupted or failed: what is ready was not asked to its end.
    unasked: bool,
    core: Core<D>,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Turn {
    /// Events taken from the wait.
    pub events: usize,
    /// Timers of connections that were due.
    pub expired: usize,
    /// Connections that ended.
    pub ended: usize,
    /// How much later than it should the wait ended, plus the time spent in the turn.
    pub delay: Micros,
}

/// Names one timer of the embedder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    due: Micros,
    number: u64,
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
        check_room::<D>(config.max_connections)?;
        let poll = Poll::new().map_err(Error::Poll)?;
        let registry = poll.registry().try_clone().map_err(Error::Poll)?;
        let waker = Waker::new(&registry, Target::Waker.token()).map_err(Error::Poll)?;
        let env = Env::new(entropy::source(config.seed));
        let events = Events::with_capacity(config.events);
        let place = (group.clone(), group.join()?);
        Ok(Self {
            poll,
            events,
            unasked: false,
            core: Core::new(config, registry, waker, env, place),
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

    /// Runs turns until [`Context::stop`], [`Remote::stop`], or the end of a drain.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`], which leaves the loop unable to go on.
    pub fn run<H: Handler<Data = D>>(&mut self, handler: &mut H) -> Result<(), Error> {
        self.core.look_ahead();
        while !self.is_stopped() {
            self.turn_now(handler, None)?;
        }
        self.core.stopping = false;
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
        if !self.core.unwound {
            self.wait(limit)?;
        }
        self.core.unwound = true;
        Ok(self.core.turn(handler, &self.events))
    }

    /// Waits for events. After a turn that a panic cut short, its other events come first.
    fn wait(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        let timeout = self.core.prepare_wait(limit);
        self.core.taken = 0;
        self.core.forget_refusals();
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
        if self.unasked || self.core.taken >= self.events.capacity() {
            return Some(Duration::ZERO);
        }
        let now = self.core.clock.now().at;
        let wake = self.core.next_wake(now);
        (wake < Micros::MAX).then(|| (wake - now).into())
    }

    /// Says whether [`run`](Self::run) would return: stopped or drained, with every end reported. Whoever
    /// turns the loop goes on until then.
    pub fn is_stopped(&self) -> bool {
        // Clients that a drain keeps from dialing are told of it first.
        let is_drained = self.core.drain.is_some() && self.core.stopped.is_empty();
        (self.core.stopping || is_drained) && self.core.conns.is_empty()
    }

    /// Returns a context, to send or close outside of a callback. The next turn sees to it.
    pub fn context(&mut self) -> Context<'_, D> {
        self.core.refresh_now();
        Context::new(&mut self.core)
    }

    /// Registers a foreign source, edge-triggered; [`Handler::on_source`] hears of it.
    ///
    /// # Errors
    ///
    /// [`Error::Register`] with what the selector said.
    pub fn register(
        &mut self,
        source: &mut impl Source,
        interest: Interest,
    ) -> Result<SourceId, Error> {
        self.core.register_source(source, interest)
    }

    /// Returns the handle for other threads.
    pub fn remote(&self) -> Remote {
        self.core.remote.clone()
    }

    /// Returns the address a listener really has, port and all.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.core
            .listeners
            .get(id.0 as usize)
            .map(|listener| listener.addr)
    }

    /// Returns which loop of its group this is; zero where there is one.
    pub fn shard(&self) -> usize {
        self.core.names.shard.into()
    }

    /// Returns how many connections there are, in whatever phase.
    pub fn len(&self) -> usize {
        self.core.conns.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.core.conns.is_empty()
    }

    /// Returns the last ends, the newest first; see [`ReactorConfig::history`].
    pub fn history(&self) -> impl Iterator<Item = &Ended> {
        self.core.history.iter()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        self.core.env.stats()
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
