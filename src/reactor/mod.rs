//! One mio poll loop drives every socket.
//!
//! The law of this layer: it holds only the wait. The [`event_loop`](crate::event_loop) holds what
//! a turn does, and [`sys`](crate::sys) holds what a turn asks of the system.

mod sources;

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::{Events, Poll};

pub use crate::event_loop::{
    Adoption, BroadcastDone, BroadcastId, ClientConfig, ClientEvent, ClientId, Closed,
    CommandError, ConnId, ConnIdError, ConnInfo, Contact, Context, Decision, DialError,
    DialRequest, Ended, Endpoint, Group, HandleError, Handler, LastEnd, ListenerConfig, ListenerId,
    LoopHandle, Lost, MakeCodec, Offer, QueueConfig, QueueOverflow, Readiness, ReconnectConfig,
    Rejected, Rejection, SourceId, StopReason, TimerId, Turn, Welcome, WireFactory,
};
#[cfg(feature = "websocket")]
pub use crate::event_loop::{Answered, HttpAnswer, RequestId};
pub use crate::sys::{Keepalive, ListenAddr, SocketOptions};

use crate::config::ReactorConfig;
use crate::error::Error;
use crate::event_loop::EventLoop;
use crate::stats::Stats;
use crate::sys::{Event, Listening, Native, entropy};

/// A loop that holds connections. Run it on its own, or turn it inside another loop.
///
/// `D` is the embedder's data for each connection, and `C` the embedder's type of commands from other
/// threads; the [`Handler`] that the reactor is run with says both. A reactor is single-threaded: it may
/// move to another thread, but threads cannot share it. Other threads use its [`handle`](Self::handle).
///
/// # Inside another loop
///
/// Sleep until the reactor's descriptor is readable or [`next_timeout`](Self::next_timeout) is
/// over. Then call [`turn`](Self::turn) with a limit of zero. Ask for the next timeout again after
/// each turn, and after each other use of the reactor. It is zero if another turn must follow at
/// once. End the outer loop when [`is_stopped`](Self::is_stopped) returns true.
///
/// The outer loop may wait for the descriptor level-triggered or edge-triggered, such as tokio's
/// `AsyncFd` or epoll with `EPOLLET`. A turn either takes all events of the selector, so that a
/// later event is a new edge, or leaves a timeout of zero. With `AsyncFd`, call `clear_ready`
/// before the turn.
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
pub struct Reactor<D = (), C = ()> {
    poll: Poll,
    events: Events,
    /// The last wait was interrupted or failed: the selector may still hold ready events.
    unasked: bool,
    pub(crate) core: EventLoop<D>,
    /// Any thread may own it, whatever the commands are.
    commands: PhantomData<fn(C)>,
}

impl<D: Default, C> Reactor<D, C> {
    /// Makes a loop without sockets.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense. [`Error::Poll`] if the system gives no
    /// selector.
    pub fn new(config: ReactorConfig) -> Result<Self, Error> {
        Self::in_group(config, &Group::new())
    }

    /// Makes one more loop of a group, without sockets.
    ///
    /// # Errors
    ///
    /// The same as [`new`](Self::new), and [`Error::Config`] if the group already has
    /// [`Group::MOST`] loops.
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
            commands: PhantomData,
        })
    }

    /// Listens on an address. It may be called at any time, also between two turns; a callback has
    /// [`Context::listen`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense. [`Error::Listen`] if the kernel
    /// refuses the address. [`Error::Register`] if the selector refuses the socket.
    pub fn listen(&mut self, config: ListenerConfig) -> Result<ListenerId, Error> {
        self.core.listen(config)
    }

    /// Changes a listener for later connections. Returns whether there is a listener with this id.
    /// See [`Context::set_listener`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense or cannot be changed. Nothing has
    /// changed then.
    pub fn set_listener(&mut self, id: ListenerId, config: ListenerConfig) -> Result<bool, Error> {
        self.core.set_listener(id, config)
    }

    /// Closes a listener at once, and keeps the connections that it has accepted. Returns whether
    /// there was a listener with this id. See [`Context::close_listener`].
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.core.close_listener(id)
    }

    /// Adds a client, which is dialed in the next turn. After a [drain](Context::drain) has begun,
    /// it is not dialed: it gets [`ClientEvent::Stopped`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense.
    pub fn connect(&mut self, config: ClientConfig) -> Result<ClientId, Error> {
        self.core.connect(config)
    }

    /// Runs turns until [`Context::stop`], [`LoopHandle::stop`], or the end of a drain.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`]: the loop cannot go on.
    pub fn run<H>(&mut self, handler: &mut H) -> Result<(), Error>
    where
        H: Handler<C, Data = D>,
        C: 'static,
        D: 'static,
    {
        self.core.look_ahead();
        while !self.is_stopped() {
            self.turn_now(handler, None)?;
        }
        self.core.handle_stopped();
        Ok(())
    }

    /// Waits until something is due, at most for `limit`, and does all that is due.
    ///
    /// # Errors
    ///
    /// Only [`Error::Poll`]. A fault of one connection ends that connection only.
    pub fn turn<H>(&mut self, handler: &mut H, limit: Option<Duration>) -> Result<Turn, Error>
    where
        H: Handler<C, Data = D>,
        C: 'static,
        D: 'static,
    {
        self.core.look_ahead();
        self.turn_now(handler, limit)
    }

    /// Does a turn without looking ahead first: the caller, or the end of the turn before, has done
    /// so.
    fn turn_now<H>(&mut self, handler: &mut H, limit: Option<Duration>) -> Result<Turn, Error>
    where
        H: Handler<C, Data = D>,
        C: 'static,
        D: 'static,
    {
        if !self.core.is_unwound() {
            self.wait(limit)?;
        }
        let events = self.events.iter().map(Event::from);
        Ok(self.core.turn(handler, events, self.events.capacity()))
    }

    /// Waits for events. If a panic cut the last turn short, its remaining events come first.
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

    /// Returns the longest time to sleep before the next [`turn`](Self::turn). Zero means that work
    /// is left over. `None` means that no deadline is due: only an event ends the sleep.
    ///
    /// Work is left over if
    ///
    /// - the last turn used up a budget,
    /// - the last wait gave [`ReactorConfig::events`] events, so that the selector may hold more,
    /// - the last wait was interrupted or failed,
    /// - a callback panicked, or
    /// - the reactor [is stopped](Self::is_stopped), or the next turn will end it.
    pub fn next_timeout(&self) -> Option<Duration> {
        // An outer loop that waits for edges hears no more of events that are ready already.
        if self.unasked || self.core.taken() >= self.events.capacity() {
            return Some(Duration::ZERO);
        }
        self.core.next_timeout()
    }

    /// Says whether [`run`](Self::run) would return: the reactor is stopped or drained, every
    /// end is reported, and what other threads had queued is handed over. If you turn the loop yourself, go on until this is true.
    pub fn is_stopped(&self) -> bool {
        self.core.is_stopped()
    }

    /// Returns a context, to send or close outside of a callback. The next turn does the rest.
    pub fn context(&mut self) -> Context<'_, D> {
        self.core.context()
    }

    /// Returns a handle for other threads.
    pub fn handle(&self) -> LoopHandle<D, C> {
        self.core.handle()
    }

    /// Returns the address that a listener is bound to, with its real port.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.core.local_addr(id)
    }

    /// Returns the socket of a listener, for another loop or another process that is to accept from it
    /// too. `None` if there is no listener with this id, or if it [has no
    /// socket](ListenerConfig::nowhere).
    pub fn listener_fd(&self, id: ListenerId) -> Option<BorrowedFd<'_>> {
        self.core.listener_socket(id).map(Listening::fd)
    }

    /// Returns the number of this loop in its group, from 0 on.
    pub fn shard(&self) -> usize {
        self.core.shard()
    }

    /// Returns the number of connections, in any phase.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Says whether there are no connections.
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

/// The selector's descriptor. It is readable when the selector holds events. See
/// [`next_timeout`](Reactor::next_timeout) for other reasons to turn.
impl<D, C> AsFd for Reactor<D, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

/// The selector's descriptor. It is readable when the selector holds events. See
/// [`next_timeout`](Reactor::next_timeout) for other reasons to turn.
impl<D, C> AsRawFd for Reactor<D, C> {
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
