//! What a callback can do: mark, never act.

use std::time::Duration;

use super::client::ClientConfig;
use super::conn::{Mark, Ready};
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handle::LoopHandle;
use super::history::Ended;
use super::timers::TimerId;
use super::token::{ClientId, ConnId};
use crate::close::{Cause, CloseCode, Phase, Rtt};
use crate::config::{HeartbeatConfig, LimitsConfig, WireKind};
use crate::error::{Error, SendError};
use crate::peer::PeerAddr;
use crate::proto::message::{Message, SharedMessage};
use crate::proto::policy::Policy;
use crate::proto::session::{Env, Session};
use crate::proto::time::Moment;
use crate::stats::Stats;
use crate::sys::{Native, System};

/// The reactor as a callback sees it.
///
/// Everything here only marks: bytes leave, sockets close and callbacks run after the present one has
/// returned. There is one exception: a send that its queue has no room for offers the queue to the kernel
/// first. An id that is stale finds nothing and changes nothing.
#[derive(Debug)]
pub struct Context<'a, D, S: System = Native> {
    core: &'a mut EventLoop<D, S>,
}

/// What is known of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The peer's address; see [`Offer::peer`](super::Offer::peer).
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// What it speaks.
    pub wire: WireKind,
    /// How far it has come.
    pub phase: Phase,
    /// Time since it was accepted or dialed.
    pub age: Duration,
    /// Time since the last proof of life.
    pub last_proof: Duration,
    /// Round-trip times, once there is a sample.
    pub rtt: Option<Rtt>,
    /// Pings due, written and answered.
    pub pings: (u32, u32, u32),
    /// Bytes of messages queued in user space.
    pub queued: usize,
}

impl<D, S: System> EventLoop<D, S> {
    /// Returns a context, to send or close outside of a callback. The next turn sees to it.
    pub fn context(&mut self) -> Context<'_, D, S> {
        self.refresh_now();
        Context::new(self)
    }
}

impl<'a, D, S: System> Context<'a, D, S> {
    pub(super) fn new(core: &'a mut EventLoop<D, S>) -> Self {
        Self { core }
    }

    /// Returns the loop, for what only one kind of system has.
    pub(crate) fn event_loop(&mut self) -> &mut EventLoop<D, S> {
        self.core
    }

    /// Queues a message.
    ///
    /// Where the queue has no room, what waits in it is offered to the kernel at once, unless the kernel has
    /// refused it since the last wait. So the queue is full only where a burst exceeds it and the socket's
    /// buffer. Whoever sends until it is full, to a peer that reads as fast, never comes to an end: bound
    /// what one callback sends.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if there is no such open connection, [`SendError::Full`] if its queue has
    /// no room ([`on_writable`](super::Handler::on_writable) comes when it has), or
    /// [`SendError::Encode`] if its wire cannot carry the message.
    pub fn send(&mut self, id: ConnId, message: Message<'_>) -> Result<(), SendError> {
        let is_full = |session: &Session, env: &Env| session.is_full_for(env, message);
        self.send_with(id, is_full, |session, env, now| {
            session.send(env, now, message)
        })
    }

    /// Queues a message that was encoded once for many connections.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_shared(&mut self, id: ConnId, message: &SharedMessage) -> Result<(), SendError> {
        let is_full = |session: &Session, env: &Env| session.is_full_for_shared(env, message);
        self.send_with(id, is_full, |session, env, now| {
            session.send_shared(env, now, message)
        })
    }

    /// Queues a message for every open connection, whatever its wire; returns how many took it.
    pub fn broadcast(&mut self, message: &SharedMessage) -> usize {
        let ids: Vec<_> = self.connections().collect();
        ids.into_iter()
            .filter(|&id| self.send_shared(id, message).is_ok())
            .count()
    }

    /// Sends a ping now, outside the grid. Nothing happens while one is still waiting to be written.
    pub fn ping(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            core.conns[key].session.ping(&mut core.env, core.now)
        });
    }

    /// Closes a connection in good order, with cause `local_close`.
    ///
    /// Messages queued before go first, as long as they make progress: see
    /// [`close_total`](crate::config::HeartbeatConfig::close_total). `code` and `reason` (cut at 123 bytes) are for WebSocket; a
    /// code that must not be sent is replaced by 1000.
    pub fn close(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        self.close_for(id, Cause::LocalClose, Some(code), reason);
    }

    /// Closes a connection because a newer one of the same identity takes its place, with cause
    /// `replaced`.
    pub fn replace(&mut self, id: ConnId) {
        self.close_for(id, Cause::Replaced, None, "replaced by a newer connection");
    }

    /// Stops reading from a connection: backpressure for the peer. Silence is not held against it
    /// meanwhile, as far as the wait is ours; what waits in the socket counts as bytes.
    pub fn pause(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            core.conns[key].session.handle_pause(core.now)
        });
    }

    /// Reads again.
    pub fn resume(&mut self, id: ConnId) {
        self.with(id, |core, key| {
            // A pause from before the opening begins with it, unless it is taken back.
            core.conns[key].session.handle_resume(core.now)
        });
    }

    /// Changes the heartbeat of one connection; silence counts from now, the phase is scaled. A limit on the
    /// time without a message that was off counts from now, too. It costs the same however many different
    /// heartbeats are in use; one that no connection, listener or client uses any more is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the heartbeat makes no sense for its wire, or would be one of more than 65 536
    /// different ones, counted with the limits they go with; nothing has changed then. A stale id is no
    /// error.
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

    /// Sets a timer; [`on_timer`](super::Handler::on_timer) gets `user_data` back, never early, late by at
    /// most the loop's delay and the poller's millisecond.
    pub fn set_timer(&mut self, delay: Duration, user_data: u64) -> TimerId {
        let due = self.core.read_clock() + delay.into();
        self.core.timers.set(due, user_data)
    }

    /// Cancels a timer; says whether it was still to come.
    pub fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.core.timers.cancel(id)
    }

    /// Adds a client, to be dialed at once. Once a [drain](Self::drain) has begun none is dialed: it is told
    /// [`ClientEvent::Stopped`](super::ClientEvent::Stopped).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if something in it makes no sense.
    pub fn connect(&mut self, config: ClientConfig) -> Result<ClientId, Error> {
        self.core.connect(config)
    }

    /// Stops a client: it is not dialed again, and its connection is closed in good order.
    pub fn disconnect(&mut self, id: ClientId) {
        if let Some(conn) = self.core.disconnect(id) {
            self.close(conn, CloseCode::NORMAL, "");
        }
    }

    /// Returns the ids of all open connections, in the order of their slots.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.core
            .conns
            .iter()
            .filter(|(_, conn)| {
                conn.session.phase() == Phase::Open && conn.marks.has(Mark::Welcome)
            })
            .map(|(key, conn)| conn.id(key, self.core.names))
    }

    /// Returns how many connections there are, in whatever phase.
    pub fn len(&self) -> usize {
        self.core.conns.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.core.conns.is_empty()
    }

    /// Returns what is kept for a connection.
    pub fn data(&self, id: ConnId) -> Option<&D> {
        let conn = self.core.conn(id)?;
        conn.marks.has(Mark::Welcome).then_some(&conn.data)
    }

    /// Returns what is kept for a connection, to change it.
    pub fn data_mut(&mut self, id: ConnId) -> Option<&mut D> {
        let conn = self.core.conn_mut(id)?;
        conn.marks.has(Mark::Welcome).then_some(&mut conn.data)
    }

    /// Returns what is known of a connection.
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
            queued: conn.session.queued(),
        })
    }

    /// Returns the time at which this callback happens, since the loop's clock began: when its
    /// [`Group`](super::Group) was made, or the loop itself where it is in no other. It never goes back. A send that offered a full queue to the kernel has
    /// read the clock anew, and so has whatever is counted from now: a timer, a client, a drain.
    pub fn now(&self) -> Duration {
        self.core.now.at.into()
    }

    /// Returns how late the loop is in this turn so far.
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

    /// Returns the handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.core.inbox.handle().clone()
    }

    /// Closes every connection with cause `drain`, spread flat over the window; new ones are refused, and
    /// no client is dialed any more.
    /// [`Reactor::run`](crate::reactor::Reactor::run) returns when the last is gone or the window is over.
    pub fn drain(&mut self, window: Duration) {
        self.core.start_drain(window);
    }

    /// Makes [`Reactor::run`](crate::reactor::Reactor::run) return after this turn. At its end every connection
    /// that is left is closed as it is, and reported as any other: the cause is `local_close`.
    pub fn stop(&mut self) {
        self.core.stopping = true;
    }

    pub(super) fn close_for(
        &mut self,
        id: ConnId,
        cause: Cause,
        code: Option<CloseCode>,
        reason: &str,
    ) {
        self.with(id, |core, key| {
            let session = &mut core.conns[key].session;
            session.close(&mut core.env, core.now, cause, code, reason);
        });
    }

    /// Does something to a connection and sees to its consequences at the end of the turn.
    fn with<R>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(&mut EventLoop<D, S>, usize) -> R,
    ) -> Option<R> {
        self.core.conn(id)?;
        let result = act(self.core, id.index());
        self.core.probe_cause(id.index());
        // The one whose input is in hand is seen to as soon as the callback has returned.
        if !self.core.in_hand.is_input_of(id) {
            self.core.mark_dirty(id.index());
        }
        Some(result)
    }

    /// Sends where there is room, or where there is once the kernel has taken what it will.
    fn send_with(
        &mut self,
        id: ConnId,
        is_full: impl FnOnce(&Session, &Env) -> bool,
        send: impl FnOnce(&mut Session, &mut Env, Moment) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let sent = self.with(id, |core, key| {
            if is_full(&core.conns[key].session, &core.env) {
                core.offer(key);
                if core.conns[key].ready.has(Ready::Broken) {
                    // It is about to end, and not because its queue is full.
                    return Err(SendError::Closed);
                }
            }
            send(&mut core.conns[key].session, &mut core.env, core.now)
        });
        let result = sent.unwrap_or(Err(SendError::Closed));
        // With nothing queued there is no room to come: the message is larger than the queue.
        if let Err(SendError::Full { queued: 1.., .. }) = result
            && let Some(conn) = self.core.conn_mut(id)
        {
            conn.marks.insert(Mark::WantsRoom);
        }
        result
    }
}
