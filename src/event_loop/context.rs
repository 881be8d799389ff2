//! What a callback can do. It only marks; the loop acts later.

use std::any::Any;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

#[cfg(feature = "websocket")]
use super::answer::HttpAnswer;
use super::answer::{Rejection, Welcome};
use super::client::ClientConfig;
use super::conn::{Conn, Mark};
use super::core::EventLoop;
use super::deferrals::Verdict;
use super::delivery::BroadcastId;
use super::endpoint::Endpoint;
use super::history::Ended;
use super::listen::{Adoption, ListenerConfig};
use super::share::STEP;
use super::timers::TimerId;
#[cfg(feature = "websocket")]
use super::token::RequestId;
use super::token::{ClientId, ConnId, ListenerId};
use crate::close::{Cause, CloseCode, Liveness, Phase, Rtt};
use crate::config::{HeartbeatConfig, LimitsConfig, WireKind};
use crate::error::{AnswerError, Error, SendError, SubscribeError};
use crate::peer::PeerAddr;
use crate::proto::codec::Codec;
use crate::proto::message::{Message, SharedMessage};
use crate::proto::policy::Policy;
use crate::proto::session::{Env, Session};
use crate::stats::Stats;
#[cfg(feature = "tls")]
use crate::sys::{Layer, Tls};
use crate::sys::{Listening, Native, System};

/// The reactor, as a callback sees it.
///
/// Most methods only mark: bytes leave, sockets close and callbacks run after the present callback
/// has returned. There are two exceptions: a send to a full queue first offers the queue to the
/// kernel, and a listener opens and closes at once. A call with the id of a connection, client or
/// listener that is gone does nothing.
#[derive(Debug)]
pub struct Context<'a, D, S: System = Native> {
    core: &'a mut EventLoop<D, S>,
}

/// What is known about one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The peer's address; see [`Offer::peer`](super::Offer::peer).
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// The wire that it speaks.
    pub wire: WireKind,
    /// Its present phase.
    pub phase: Phase,
    /// Time since it was accepted or dialed.
    pub age: Duration,
    /// Time since the last proof of life.
    pub last_proof: Duration,
    /// Round-trip times. `None` until the first one is measured.
    pub rtt: Option<Rtt>,
    /// Numbers of pings due, written and answered.
    pub pings: (u32, u32, u32),
    /// How many pings the peer has sent: at most 16 777 215, where the count stays.
    pub pings_received: u32,
    /// Whether the peer answers in time. To list those that do not, go through the
    /// [`connections`](Context::connections).
    pub liveness: Liveness,
    /// Bytes of messages queued in user space.
    pub queued: usize,
    /// Bytes of memory that it holds for messages in transit, as they were counted last, and for its
    /// subscriptions, without the names of the topics.
    pub memory: usize,
}

impl<D, S: System> EventLoop<D, S> {
    /// Returns a context, to send or close outside of a callback. The next turn does the rest.
    pub fn context(&mut self) -> Context<'_, D, S> {
        self.progress.spoil_plan();
        self.refresh_now();
        Context::new(self)
    }
}

impl<D> Context<'_, D> {
    /// Returns the socket of a listener; see [`Reactor::listener_fd`](crate::reactor::Reactor::listener_fd).
    pub fn listener_fd(&self, id: ListenerId) -> Option<BorrowedFd<'_>> {
        self.core.listener_socket(id).map(Listening::fd)
    }
}

impl<'a, D, S: System> Context<'a, D, S> {
    pub(super) fn new(core: &'a mut EventLoop<D, S>) -> Self {
        Self { core }
    }

    /// Returns the loop, for calls that only one kind of system has.
    pub(crate) fn event_loop(&mut self) -> &mut EventLoop<D, S> {
        self.core
    }

    /// Queues a message.
    ///
    /// If the queue has no room, it is first offered to the kernel, unless the kernel has refused
    /// it since the last wait. So the queue is full only if a burst exceeds the queue plus the
    /// socket's buffer.
    ///
    /// Do not send in a loop until the queue is full: if the peer reads as fast as you send, that
    /// never ends. Limit how much one callback sends.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if there is no open connection with this id. [`SendError::Full`] if
    /// the queue has no room; [`on_writable`](super::Handler::on_writable) follows when it has.
    /// [`SendError::Encode`] if the wire cannot carry the message.
    pub fn send(&mut self, id: ConnId, message: Message<'_>) -> Result<(), SendError> {
        let is_full = |session: &Session, env: &Env| session.is_full_for(env, message);
        self.send_behind(id, |core, key| {
            core.send_with(key, is_full, |session, env, now| {
                session.send(env, now, message)
            })
        })
    }

    /// Queues a message that was encoded once for many connections.
    ///
    /// # Errors
    ///
    /// The same as [`send`](Self::send).
    pub fn send_shared(&mut self, id: ConnId, message: &SharedMessage) -> Result<(), SendError> {
        self.send_behind(id, |core, key| core.send_shared(key, message))
    }

    /// Sends a message to every connection that is open now, whatever its wire.
    ///
    /// This only begins the broadcast, and takes the same time for any number of connections. The
    /// loop hands it out to some of them in each turn, beside its other work. When the last one has
    /// had its turn, [`on_broadcast`](super::Handler::on_broadcast) says how many queues took the
    /// message.
    ///
    /// The order for each connection is that of the calls: what is [sent](Self::send) to it later,
    /// a later broadcast, and its [close](Self::close) come behind the message. Connections that
    /// open later do not get it. Broadcasts share no memory with connections, and the message is
    /// not copied.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if broadcasts come faster than they are handed out: 1024 are under way,
    /// or those under way hold 16 MiB. Then nothing is sent. There is room again at an
    /// [`on_broadcast`](super::Handler::on_broadcast). If none is under way, a message of any size
    /// is accepted.
    pub fn broadcast(&mut self, message: &SharedMessage) -> Result<BroadcastId, SendError> {
        self.begin_broadcast(message, None)
    }

    /// Sends a message to every connection that is open now but one, such as its sender. See
    /// [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    ///
    /// The same as [`broadcast`](Self::broadcast).
    pub fn broadcast_except(
        &mut self,
        except: ConnId,
        message: &SharedMessage,
    ) -> Result<BroadcastId, SendError> {
        self.begin_broadcast(message, Some(except))
    }

    /// Has a connection subscribe to a topic: from now on it gets what is [published](Self::publish)
    /// there. Returns whether it did not subscribe before.
    ///
    /// A topic is a name of your choice, and exists while somebody subscribes to it. There are no
    /// wildcards. All subscriptions of a connection end with it; in
    /// [`on_close`](super::Handler::on_close) it has none. A connection without topics costs nothing.
    /// Its first subscription takes some 150 bytes, each further one some 50, each topic its name and
    /// some 150: they count against [`memory_limit`](crate::config::ReactorConfig::memory_limit), with
    /// each name once. At the limit the connection ends that holds most, which may be this one. If
    /// peers choose the names, limit their length, and with [`topics`](Self::topics) their number for
    /// each peer.
    ///
    /// `examples/chat.rs` is a chat whose rooms are topics.
    ///
    /// ```
    /// use heartwheel::{ConnId, Context, Handler, Message, SharedMessage};
    ///
    /// struct Chat;
    ///
    /// impl Handler for Chat {
    ///     type Data = ();
    ///
    ///     fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
    ///         if let Err(error) = cx.subscribe(id, "lobby") {
    ///             eprintln!("{id}: {error}");
    ///         }
    ///     }
    ///
    ///     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    ///         let said = SharedMessage::new(message);
    ///         if let Err(error) = cx.publish_except(id, "lobby", &said) {
    ///             eprintln!("{id}: {error}");
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Closed`] if there is no open connection with this id; it opens right before
    /// [`on_open`](super::Handler::on_open). The same if this subscription had it end, because memory
    /// is short and it holds most. [`SubscribeError::TooLong`] if the name is longer than
    /// 65 535 bytes. [`SubscribeError::TooMany`] if the connection subscribes to 16 384 other topics.
    /// [`SubscribeError::NamesTooLong`] if its topics would take more than 8 MiB: names of 350 bytes and less never
    /// do.
    pub fn subscribe(&mut self, id: ConnId, topic: &str) -> Result<bool, SubscribeError> {
        self.core.share.charge(STEP);
        self.core.subscribe(id, topic)
    }

    /// Takes a connection out of a topic. Returns whether it subscribed to it.
    ///
    /// It still gets what was published before.
    pub fn unsubscribe(&mut self, id: ConnId, topic: &str) -> bool {
        self.core.share.charge(STEP);
        self.core.unsubscribe(id, topic)
    }

    /// Sends a message to every connection that subscribes to a topic now, whatever its wire, in all
    /// loops of the [`Group`](super::Group).
    ///
    /// The message is encoded once for each wire, and all queues share its bytes. The order for each
    /// connection is that of the calls, as for a [broadcast](Self::broadcast): what is
    /// [sent](Self::send) to it, published or broadcast later, and its [close](Self::close) come
    /// behind. Who subscribes later does not get it.
    ///
    /// Up to 256 subscribers get it in their queues at once. To more of them it is handed out in
    /// pieces, beside the loop's other work. Either way [`on_broadcast`](super::Handler::on_broadcast)
    /// follows with the id that this returns, and says how many queues took the message. A subscriber
    /// whose queue is full is treated as its limits say ([`overflow`](crate::config::LimitsConfig::overflow)):
    /// the message is dropped for it and [`on_writable`](super::Handler::on_writable) follows, or it is
    /// closed. The others get the message in any case.
    ///
    /// The other loops of a group that have topics get the message at the end of the turn, and its
    /// recipients there are those that subscribe when their loop takes it. What one loop publishes
    /// reaches every subscriber in the order of the calls. Each of these loops has its own
    /// [`on_broadcast`](super::Handler::on_broadcast), with an id and a count of its own.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if the topic has more than 256 subscribers and broadcasts come faster than
    /// they are handed out (see [`broadcast`](Self::broadcast)), or if 16 MiB wait here for other loops
    /// that do not keep up. Then nobody gets the message.
    pub fn publish(
        &mut self,
        topic: &str,
        message: &SharedMessage,
    ) -> Result<BroadcastId, SendError> {
        self.publish_to(topic, message, None)
    }

    /// Sends a message to every connection that subscribes to a topic now but one, such as its sender.
    /// See [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// The same as [`publish`](Self::publish).
    pub fn publish_except(
        &mut self,
        except: ConnId,
        topic: &str,
        message: &SharedMessage,
    ) -> Result<BroadcastId, SendError> {
        self.publish_to(topic, message, Some(except))
    }

    /// Returns the topics that a connection subscribes to.
    pub fn topics(&self, id: ConnId) -> impl Iterator<Item = &str> + '_ {
        let key = self.core.conn(id).map(|_| id.index());
        key.into_iter()
            .flat_map(|key| self.core.topics.names_of(key))
    }

    /// Returns how many connections of this loop subscribe to a topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.subscribers(topic)
    }

    /// Returns each topic with the number of its subscribers in this loop, in no order.
    pub fn all_topics(&self) -> impl Iterator<Item = (&str, usize)> + '_ {
        self.core.topics.iter()
    }

    /// Sends a ping now, in addition to the scheduled ones. Does nothing while an earlier ping
    /// still waits to be written.
    pub fn ping(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            core.conns[key].session.ping(&mut core.env, core.now)
        });
    }

    /// Closes a connection in an orderly way, with cause `local_close`.
    ///
    /// Queued messages leave first, as long as they make progress: see
    /// [`close_total`](crate::config::HeartbeatConfig::close_total). `code` and `reason` are sent
    /// on WebSocket only. A reason is cut to 123 bytes. A code that must not be sent is replaced by
    /// 1000.
    pub fn close(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        self.close_for(id, Cause::LocalClose, Some(code), reason);
    }

    /// Closes a connection because a newer connection of the same user takes its place. The cause
    /// is `replaced`.
    pub fn replace(&mut self, id: ConnId) {
        self.close_for(id, Cause::Replaced, None, "replaced by a newer connection");
    }

    /// Accepts a connection that waits since [`on_accept`](super::Handler::on_accept) returned
    /// [`Decision::Later`](super::Decision::Later). It opens soon after the present callback.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gone`] if it has ended meanwhile: its client left, or its handshake timeout is
    /// over. [`AnswerError::NotWaiting`] if it waits for nothing, or for the answer to a plain
    /// HTTP request, or was accepted or rejected before.
    pub fn accept(&mut self, id: ConnId, welcome: Welcome<D>) -> Result<(), AnswerError> {
        self.core.decide(id, Verdict::Accept(welcome))
    }

    /// Rejects a connection that waits since [`on_accept`](super::Handler::on_accept) returned
    /// [`Decision::Later`](super::Decision::Later). It ends with cause `refused`.
    ///
    /// # Errors
    ///
    /// The same as [`accept`](Self::accept).
    pub fn reject(&mut self, id: ConnId, rejection: Rejection) -> Result<(), AnswerError> {
        self.core.decide(id, Verdict::Reject(rejection))
    }

    /// Answers a plain HTTP request that waits since [`on_http`](super::Handler::on_http) returned
    /// [`Decision::Later`](super::Decision::Later).
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gone`] if the connection has ended meanwhile. [`AnswerError::NotWaiting`] if
    /// the request has its answer, or was never put off.
    #[cfg(feature = "websocket")]
    pub fn answer(&mut self, id: RequestId, answer: HttpAnswer) -> Result<(), AnswerError> {
        self.core
            .decide(id.conn, Verdict::Answer(id.number, answer))
    }

    /// Returns how many connections wait for the handler's answer: see
    /// [`max_deferred`](crate::config::ReactorConfig::max_deferred).
    pub fn deferred(&self) -> usize {
        self.core.deferrals.len()
    }

    /// Stops reading from a connection, so that its peer must wait (backpressure).
    ///
    /// While we do not read, the peer's silence does not end the connection. With proof `bytes`,
    /// bytes that wait in the socket are proof of life.
    pub fn pause(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            core.conns[key].session.handle_pause(core.now)
        });
    }

    /// Reads again after [`pause`](Self::pause).
    pub fn resume(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            // A pause from before the opening begins with it, unless it is taken back.
            core.conns[key].session.handle_resume(core.now)
        });
    }

    /// Tells how much memory the embedder holds for a connection, bytes: messages for which its queue
    /// had no room, for example. They count against
    /// [`memory_limit`](crate::config::ReactorConfig::memory_limit) as if the connection held them,
    /// until another number is given or the connection ends.
    pub fn set_held(&mut self, id: ConnId, bytes: usize) {
        self.with(id, |core, key| {
            core.conns[key].session.set_held(&mut core.env, bytes);
            core.count(key);
            core.relieve();
        });
    }

    /// Changes the heartbeat of one connection.
    ///
    /// Silence counts from now on, and the phase is scaled to the new interval. An `app_idle` that
    /// was off before counts from now on too. The cost does not depend on how many different
    /// heartbeats are in use. A heartbeat that no connection, listener or client uses is freed.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the heartbeat makes no sense for the wire, or if more than 65 536
    /// different pairs of heartbeat and limits would be in use. Nothing has changed then. The id of
    /// a connection that has ended is no error.
    pub fn set_heartbeat(&mut self, id: ConnId, heartbeat: &HeartbeatConfig) -> Result<(), Error> {
        let Some(conn) = self.core.conn(id) else {
            return Ok(());
        };
        let limits = self.core.env.policy(conn.session.policy()).limits.clone();
        let defaults = LimitsConfig::default();
        let asked = self.core.policy(
            heartbeat,
            &defaults,
            conn.session.wire(),
            conn.session.has_pings(),
        )?;
        let policy = Policy { limits, ..asked };
        let mut changed = Ok(());
        self.with(id, |core, key| {
            let session = &mut core.conns[key].session;
            changed = session.set_policy(&mut core.env, core.now, policy);
        });
        Ok(changed?)
    }

    /// Sets a timer. [`on_timer`](super::Handler::on_timer) receives `user_data` back. It is never
    /// early, and late by at most the loop's delay plus 1 ms, the resolution of the wait.
    pub fn set_timer(&mut self, delay: Duration, user_data: u64) -> TimerId {
        let due = self.core.read_clock() + delay.into();
        self.core.timers.set(due, user_data)
    }

    /// Sets a timer of a connection. [`on_conn_timer`](super::Handler::on_conn_timer) receives the id and
    /// `user_data` back, as punctually as for [`set_timer`](Self::set_timer). Returns `None` if there is no
    /// open connection with this id; it opens right before [`on_open`](super::Handler::on_open).
    ///
    /// The timer ends silently when its connection is no longer open: it never comes after
    /// [`on_closing`](super::Handler::on_closing). A connection may have any number of timers, as far as you
    /// set them. Each takes some 120 bytes beside the connection, and one without timers costs nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use heartwheel::{CloseCode, ConnId, Context, Handler, Message, TimerId};
    ///
    /// /// Whoever does not log in within ten seconds must go.
    /// struct Server;
    ///
    /// impl Handler for Server {
    ///     type Data = Option<TimerId>;
    ///
    ///     fn on_open(&mut self, cx: &mut Context<'_, Option<TimerId>>, id: ConnId) {
    ///         let timer = cx.set_conn_timer(id, Duration::from_secs(10), 0);
    ///         if let Some(data) = cx.data_mut(id) {
    ///             *data = timer;
    ///         }
    ///     }
    ///
    ///     fn on_message(
    ///         &mut self,
    ///         cx: &mut Context<'_, Option<TimerId>>,
    ///         id: ConnId,
    ///         message: Message<'_>,
    ///     ) {
    ///         if message.as_text() == Some("let me in")
    ///             && let Some(timer) = cx.data_mut(id).and_then(Option::take)
    ///         {
    ///             cx.cancel_timer(timer);
    ///         }
    ///     }
    ///
    ///     fn on_conn_timer(&mut self, cx: &mut Context<'_, Option<TimerId>>, id: ConnId, _: u64) {
    ///         cx.close(id, CloseCode::POLICY, "log in first");
    ///     }
    /// }
    /// ```
    pub fn set_conn_timer(
        &mut self,
        id: ConnId,
        delay: Duration,
        user_data: u64,
    ) -> Option<TimerId> {
        self.core.conn(id).filter(|conn| conn.is_open())?;
        let due = self.core.read_clock() + delay.into();
        Some(self.core.timers.set_for(id, due, user_data))
    }

    /// Cancels a timer, of the loop or of a connection. Returns whether it was still pending.
    pub fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.core.timers.cancel(id)
    }

    /// Adds a client, which is dialed at once. After a [drain](Self::drain) has begun, it is not
    /// dialed: it gets [`ClientEvent::Stopped`](super::ClientEvent::Stopped).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a field makes no sense.
    pub fn connect(&mut self, config: ClientConfig) -> Result<ClientId, Error> {
        self.core.connect(config)
    }

    /// Opens a listener at once.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense. [`Error::Listen`] if the kernel
    /// refuses the address. [`Error::Register`] if the selector refuses the socket.
    pub fn listen(&mut self, config: ListenerConfig) -> Result<ListenerId, Error> {
        self.core.listen(config)
    }

    /// Changes a listener: its wire, heartbeat, limits, admission and rules for web pages. Returns
    /// whether there is a listener with this id.
    ///
    /// The change applies to connections that are accepted from now on. Earlier connections keep
    /// their wire, and their heartbeat and limits until
    /// [`renew_connections`](Self::renew_connections). Only the rules for web pages apply at once, to
    /// each request that comes. A connection that was not counted for its address when it came is not
    /// counted later.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense or cannot be changed: `addr`, which
    /// must be the address with which the listener was opened or its [real one](Self::local_addr),
    /// and `socket`. Nothing has changed then.
    pub fn set_listener(&mut self, id: ListenerId, config: ListenerConfig) -> Result<bool, Error> {
        self.core.set_listener(id, config)
    }

    /// Gives connections that a listener has accepted earlier the heartbeat and limits that it has now, a
    /// limited number in each turn: to change all of 100 000 takes some 100 turns. Returns whether there is a
    /// listener with this id.
    ///
    /// Each changes as with [`set_heartbeat`](Self::set_heartbeat), so nobody is ended at once because the
    /// new timeout is shorter, and the phases of pings are scaled. What `set_heartbeat` has given to a connection is
    /// lost. Whoever is in the opening handshake has the new terms from its opening on. What was negotiated
    /// stays: the subprotocol, compression, TLS. A connection of another wire than the listener has now keeps
    /// what it has.
    ///
    /// ```
    /// use heartwheel::{Context, ListenerConfig, ListenerId};
    ///
    /// fn reload(
    ///     cx: &mut Context<'_, ()>,
    ///     listener: ListenerId,
    ///     config: ListenerConfig,
    /// ) -> Result<(), heartwheel::error::Error> {
    ///     cx.set_listener(listener, config)?;
    ///     cx.renew_connections(listener);
    ///     Ok(())
    /// }
    /// ```
    pub fn renew_connections(&mut self, id: ListenerId) -> bool {
        self.core.renew_connections(id)
    }

    /// Takes over a connected socket that somebody else has accepted: TCP or Unix. For example, one from an HTTP
    /// server that has accepted its upgrade to WebSocket, or from a supervisor.
    ///
    /// The next turn takes it in as if `listener` had accepted it, with its wire, heartbeat and limits, and it
    /// counts as one of its connections. A listener [without a socket](ListenerConfig::nowhere) serves only
    /// for this. `adoption` says how far the connection is. Its end is always reported, even if it is
    /// refused. The socket becomes non-blocking, and the options that an accepted one has are set on it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) with the field `listener` if there is none with this id, or if
    /// it has TLS and the connection is [open](Adoption::opened): TLS begins with a handshake.
    /// [`Error::Adopt`](crate::Error::Adopt) if the socket is not a connected stream socket. The socket is
    /// closed then.
    ///
    /// ```no_run
    /// use std::net::TcpStream;
    ///
    /// use heartwheel::reactor::{Adoption, ListenerConfig};
    /// use heartwheel::{Reactor, ReactorConfig, WireFactory};
    ///
    /// /// Goes on with a connection that another part of the program has upgraded to WebSocket.
    /// fn go_on(upgraded: TcpStream, received: Vec<u8>) -> Result<(), heartwheel::Error> {
    ///     let mut reactor = Reactor::<String>::new(ReactorConfig::default())?;
    ///     let upgrades = reactor.listen(ListenerConfig::nowhere(WireFactory::Line))?;
    ///     let adoption = Adoption {
    ///         received,
    ///         opened: Some("whoever the other part says it is".to_owned()),
    ///     };
    ///     reactor.context().adopt(upgrades, upgraded, adoption)
    /// }
    /// ```
    pub fn adopt(
        &mut self,
        listener: ListenerId,
        socket: impl Into<OwnedFd>,
        adoption: Adoption<D>,
    ) -> Result<(), Error> {
        self.core.adopt_socket(listener, socket.into(), adoption)
    }

    /// Closes a listener at once: its address is free when this returns. Returns whether there was
    /// a listener with this id.
    ///
    /// Connections that it has accepted stay. Opening handshakes go on under its rules, and whoever
    /// waits to be [accepted](Self::accept) waits on. The kernel
    /// resets connections that were not accepted yet, and refuses later ones.
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.core.close_listener(id)
    }

    /// Returns the address that a listener is bound to, with its real port.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.core.local_addr(id)
    }

    /// Dials for a client that [`on_dial`](super::Handler::on_dial) put off:
    /// [`on_dial`](super::Handler::on_dial) is asked again, in this turn or the next. Returns whether
    /// the client was put off. If not, nothing happens: one that waits after a failure goes on waiting.
    /// While `on_dial` runs, its client is not put off yet.
    pub fn dial(&mut self, id: ClientId) -> bool {
        self.core.dial_after_all(id)
    }

    /// Stops a client: its connection is closed in an orderly way, and it is not dialed again.
    pub fn disconnect(&mut self, id: ClientId) {
        if let Some(conn) = self.core.disconnect(id) {
            self.close(conn, CloseCode::NORMAL, "");
        }
    }

    /// Sends a message to a client's open connection, or keeps it until there is one, as its
    /// [`queue`](ClientConfig::queue) says.
    ///
    /// The client hears of kept messages that are lost: [`ClientEvent::Unsent`](super::ClientEvent::Unsent).
    /// A loop that stops loses them without a word.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) if a connection is open. Otherwise [`SendError::Closed`] if there is
    /// no client with this id, or it has no queue. [`SendError::Full`] if the queue has no room and its
    /// policy is to refuse, or the message is too long for it.
    pub fn send_client(&mut self, id: ClientId, message: Message<'_>) -> Result<(), SendError> {
        match self.core.open_conn_of(id) {
            Some(conn) => self.send(conn, message),
            None => self.core.keep_for(id, message),
        }
    }

    /// Returns the ids of all clients, in their order. A client is one until it hears
    /// [`ClientEvent::Stopped`](super::ClientEvent::Stopped).
    pub fn clients(&self) -> Vec<ClientId> {
        self.core.clients.ids()
    }

    /// Returns the ids of all open connections, in the order of their slots.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.core
            .conns
            .iter()
            .filter(|(_, conn)| conn.is_open())
            .map(|(key, conn)| conn.id(key, self.core.names))
    }

    /// Returns connections of a part of the slots, in any phase, and where the next part begins: `None` behind the
    /// last one. To go through all of very many without holding up the others, begin with 0, take a part at a
    /// time, and go on in a later turn.
    ///
    /// A connection that is there all the while is met once, unless it opened or ended meanwhile.
    pub fn connections_of(
        &self,
        slots: Range<usize>,
    ) -> (impl Iterator<Item = ConnId> + '_, Option<usize>) {
        let next = (slots.end < self.core.broadcasts.reach()).then_some(slots.end);
        let conns = slots.filter_map(|key| {
            let conn = self.core.conns.get(key)?;
            Some(conn.id(key, self.core.names))
        });
        (conns, next)
    }

    /// Returns how many connections of a listener there are, in any phase. `None` if it is closed.
    pub fn listener_connections(&self, id: ListenerId) -> Option<usize> {
        Some(self.core.listeners.get(id)?.conns())
    }

    /// Returns the number of this loop in its group, from 0 on.
    pub fn shard(&self) -> usize {
        self.core.shard()
    }

    /// Returns the number of connections, in any phase.
    pub fn len(&self) -> usize {
        self.core.conns.len()
    }

    /// Says whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.core.conns.is_empty()
    }

    /// Returns the embedder's data of a connection.
    pub fn data(&self, id: ConnId) -> Option<&D> {
        let conn = self.core.conn(id)?;
        conn.marks.has(Mark::Welcome).then_some(&conn.data)
    }

    /// Returns the embedder's data of a connection, to change it.
    pub fn data_mut(&mut self, id: ConnId) -> Option<&mut D> {
        let conn = self.core.conn_mut(id)?;
        conn.marks.has(Mark::Welcome).then_some(&mut conn.data)
    }

    /// Returns the codec of a connection, if it is of this type: what it has learned in its handshake,
    /// for example. It is there from [`on_accept`](super::Handler::on_accept) to
    /// [`on_closing`](super::Handler::on_closing).
    pub fn codec<C: Codec>(&self, id: ConnId) -> Option<&C> {
        let codec: &dyn Any = self.core.conn(id)?.session.codec()?;
        codec.downcast_ref()
    }

    /// Returns the codec of a connection, to change it, if it is of this type.
    ///
    /// The session may call the codec right after this callback, so leave it able to do what it could
    /// do before: bytes of an unfinished frame are not offered to it anew, and nothing that is queued
    /// is encoded again. Its [rules](Codec::rules) must stay the same. What is changed here applies to
    /// frames that are decoded or encoded from now on. To send something, use [`send`](Self::send).
    ///
    /// ```
    /// use heartwheel::error::ProtocolError;
    /// use heartwheel::proto::codec::{Codec, Decoded};
    /// use heartwheel::proto::wire::EncodeError;
    /// use heartwheel::{ConnId, Context, Handler, Message, MessageKind};
    ///
    /// /// One byte is one message, and comes back as often as is asked for.
    /// #[derive(Debug)]
    /// struct Bytes {
    ///     times: usize,
    /// }
    ///
    /// impl Codec for Bytes {
    ///     fn decode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
    ///         Ok(Decoded::Message { consumed: 1, kind: MessageKind::Binary, payload: 0..1 })
    ///     }
    ///
    ///     fn encode(
    ///         &mut self,
    ///         _: MessageKind,
    ///         payload: &[u8],
    ///         out: &mut Vec<u8>,
    ///     ) -> Result<(), EncodeError> {
    ///         out.extend(payload.repeat(self.times));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     type Data = ();
    ///
    ///     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    ///         if let Some(codec) = cx.codec_mut::<Bytes>(id) {
    ///             codec.times += 1;
    ///         }
    ///         let _ = cx.send(id, message);
    ///     }
    /// }
    /// ```
    pub fn codec_mut<C: Codec>(&mut self, id: ConnId) -> Option<&mut C> {
        let codec: &mut dyn Any = self.core.conn_mut(id)?.session.codec_mut()?;
        codec.downcast_mut()
    }

    /// Returns what is known about the TLS of a connection. `None` if it has none, or there is no such
    /// connection.
    ///
    /// ```
    /// use heartwheel::{Context, Decision, Handler, Offer, Rejection, Welcome};
    ///
    /// struct Staff;
    ///
    /// impl Handler for Staff {
    ///     type Data = Vec<u8>;
    ///
    ///     // Each connection keeps the certificate that its client has shown.
    ///     fn on_accept(
    ///         &mut self,
    ///         cx: &mut Context<'_, Vec<u8>>,
    ///         offer: &Offer<'_>,
    ///     ) -> Result<Decision<Welcome<Vec<u8>>>, Rejection> {
    ///         let shown = cx.tls(offer.id).and_then(|tls| tls.certificates().first());
    ///         let shown = shown.map(|certificate| certificate.to_vec());
    ///         Ok(Welcome::with(shown.unwrap_or_default()).into())
    ///     }
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&self, id: ConnId) -> Option<&Tls> {
        self.core.conn(id)?.layer()?.as_any()?.downcast_ref()
    }

    /// Returns our listener or client that a connection belongs to. It costs less than [`info`](Self::info), which
    /// tells more.
    pub fn endpoint(&self, id: ConnId) -> Option<Endpoint> {
        self.core.conn(id).map(Conn::endpoint)
    }

    /// Returns what is known about a connection.
    pub fn info(&self, id: ConnId) -> Option<ConnInfo> {
        let conn = self.core.conn(id)?;
        let heartbeat = conn.session.heartbeat();
        Some(ConnInfo {
            peer: self.core.peers.addr(conn.peer),
            endpoint: conn.endpoint(),
            wire: conn.session.wire(),
            phase: conn.session.phase(),
            age: conn.session.age(self.core.now).into(),
            last_proof: heartbeat.last_proof(self.core.now).into(),
            rtt: heartbeat.rtt(),
            pings: heartbeat.pings(),
            pings_received: conn.session.pings_received(),
            liveness: conn.session.liveness(&self.core.env, self.core.now),
            queued: conn.session.queued(),
            memory: conn.session.tally().bytes + self.core.topics.bytes_of(id.index()),
        })
    }

    /// Returns the time of this callback, counted from when the loop's [`Group`](super::Group) was
    /// made, or the loop itself if it is in no other group. It never goes back.
    ///
    /// It may go forward within a callback: a send that offers a full queue to the kernel reads the
    /// clock again, and so do timers, clients and drains, which count from the present time.
    pub fn now(&self) -> Duration {
        self.core.now.at.into()
    }

    /// Returns how late the loop is in this turn, so far.
    pub fn loop_delay(&self) -> Duration {
        self.core.env.lateness.delay(self.core.now.at).into()
    }

    /// Returns the last ends, the newest first; see [`ReactorConfig::history`].
    ///
    /// [`ReactorConfig::history`]: crate::config::ReactorConfig::history
    pub fn history(&self) -> impl Iterator<Item = &Ended> {
        self.core.history.iter()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        self.core.env.stats()
    }

    /// Closes every connection with cause `drain`, spread evenly over `window`. New connections are
    /// refused and no client is dialed. Who waits to be [accepted](Self::accept) on a WebSocket
    /// listener is answered 503, also by [`stop`](Self::stop).
    ///
    /// [`Reactor::run`](crate::reactor::Reactor::run) returns when the last connection has ended or
    /// the window is over.
    pub fn drain(&mut self, window: Duration) {
        self.core.start_drain(window);
    }

    /// Says whether the loop drains, so that it takes nobody in.
    pub fn is_draining(&self) -> bool {
        self.core.drain.is_some()
    }

    /// Says whether there are as many connections as there may be, in all loops of the group: by
    /// [`max_connections`](crate::config::ReactorConfig::max_connections), or by the descriptors that the
    /// system allows. Newcomers are then refused.
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// Makes [`Reactor::run`](crate::reactor::Reactor::run) return after this turn. Connections
    /// that are still open are then closed at once and reported as usual, with cause `local_close`.
    pub fn stop(&mut self) {
        self.core.stop();
    }

    pub(super) fn close_for(
        &mut self,
        id: ConnId,
        cause: Cause,
        code: Option<CloseCode>,
        reason: &str,
    ) {
        self.with(id, |core, key| {
            core.settle_broadcasts(key);
            let session = &mut core.conns[key].session;
            session.close(&mut core.env, core.now, cause, code, reason);
        });
    }

    /// Does something to a connection. The end of the turn handles the consequences.
    fn with<R>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(&mut EventLoop<D, S>, usize) -> R,
    ) -> Option<R> {
        self.core.conn(id)?;
        let result = act(self.core, id.index());
        self.core.mark_touched(id);
        Some(result)
    }

    /// Sends to a connection, behind the broadcasts that it has not got yet.
    fn send_behind(
        &mut self,
        id: ConnId,
        send: impl FnOnce(&mut EventLoop<D, S>, usize) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.core.share.charge(STEP);
        let sent = self.with(id, |core, key| {
            core.settle_broadcasts(key);
            send(core, key)
        });
        sent.unwrap_or(Err(SendError::Closed))
    }

    fn publish_to(
        &mut self,
        topic: &str,
        message: &SharedMessage,
        except: Option<ConnId>,
    ) -> Result<BroadcastId, SendError> {
        self.core
            .share
            .charge(STEP * (1 + self.core.subscribers(topic)));
        self.core.publish(topic, message, except)
    }

    fn begin_broadcast(
        &mut self,
        message: &SharedMessage,
        except: Option<ConnId>,
    ) -> Result<BroadcastId, SendError> {
        // Whoever has caused it pays for all recipients, although they are served later.
        self.core.share.charge(STEP * self.core.conns.len());
        let broadcasts = &mut self.core.broadcasts;
        broadcasts.check_room(message)?;
        Ok(broadcasts.begin(message.clone(), except))
    }
}
