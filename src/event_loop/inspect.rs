//! What the loop shows of itself, for numbers and checks.

use super::conn::Mark;
use super::core::EventLoop;
use super::history::Ended;
use super::token::ConnId;
use crate::proto::lateness::Lateness;
use crate::proto::pool::Pool;
use crate::proto::session::Session;
use crate::proto::wheel::Wheel;
use crate::stats::Stats;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Returns the last ends, the newest first; see
    /// [`ReactorConfig::history`](crate::config::ReactorConfig::history).
    pub fn history(&self) -> impl Iterator<Item = &Ended> {
        self.history.iter()
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        self.env.stats()
    }

    /// Returns when the loop was late.
    pub fn lateness(&self) -> &Lateness {
        self.env.lateness()
    }

    /// Returns the timers of connections, by slot.
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// Returns the pool of buffers.
    pub fn pool(&self) -> &Pool {
        self.env.pool()
    }

    /// Returns the bytes of the buffers that no connection has borrowed: those in the pool, and the one
    /// that connections at rest are read into.
    pub fn free_bytes(&self) -> usize {
        self.pool().free_bytes() + self.ring.capacity()
    }

    /// Returns the loop's view of each connection, for a simulator to check.
    pub fn inspect(&self) -> impl Iterator<Item = Inspected<'_, S>> {
        self.conns.iter().map(|(key, conn)| Inspected {
            id: conn.id(key, self.names),
            socket: &conn.socket,
            session: &conn.session,
            is_welcome: conn.marks.has(Mark::Welcome),
            is_carried: conn.marks.has(Mark::Carried),
            is_dirty: conn.marks.has(Mark::Dirty),
        })
    }
}

/// One connection as the loop sees it, for a check from outside.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspected<'a, S: System> {
    /// Its id.
    pub id: ConnId,
    /// Its socket.
    pub socket: &'a S::Socket,
    /// Its session.
    pub session: &'a Session,
    /// The handler has accepted it.
    pub is_welcome: bool,
    /// It has input left for the next turn.
    pub is_carried: bool,
    /// It has output to write in the next turn.
    pub is_dirty: bool,
}
