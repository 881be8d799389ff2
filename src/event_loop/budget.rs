//! The memory that all connections hold: counted as it grows, and limited.
//!
//! Near the limit, reading stops for a while from connections that hold more than the average. At the
//! limit, the one that holds most ends, and the next, until it fits.

use std::cmp::Reverse;

use super::core::EventLoop;
use crate::proto::time::Micros;
use crate::sys::{Probe, System};

impl<D, S: System> EventLoop<D, S> {
    /// Gives back what a connection needs no more, and counts what it still holds.
    #[inline]
    pub(super) fn settle(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        conn.session.release(&mut self.env);
        if !conn.session.is_released() || conn.layer_memory() > 0 {
            self.count(key);
        }
    }

    /// Sees to the limit after a connection was read that held so much before: if memory is short and it
    /// holds more now, it may have to wait, or some connection to end.
    #[inline]
    pub(super) fn limit_growth(&mut self, key: usize, before: usize) {
        if self.conns[key].session.tally().bytes > before {
            self.limit_memory(key);
        }
    }

    /// Counts a connection to which much was sent since it was counted last, and sees to the limit also
    /// where the message is one that queues share: `shared` is what they shared before.
    pub(super) fn count_sent(&mut self, key: usize, shared: usize) {
        let session = &self.conns[key].session;
        let is_uncounted = session.memory() > session.tally().bytes + UNCOUNTED;
        if is_uncounted {
            self.count(key);
        }
        if is_uncounted || self.env.pool.shared_bytes() > shared {
            self.relieve();
        }
    }

    /// Counts what a connection holds now.
    pub(super) fn count(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        let layer = conn.layer_memory();
        let bytes = conn.session.memory() + layer;
        let weight = conn.session.weight() + layer;
        self.set_count(key, bytes, weight);
        self.conns[key].session.release(&mut self.env);
    }

    /// Takes a connection that is about to go out of the count.
    pub(super) fn uncount(&mut self, key: usize) {
        if self.conns[key].session.tally().bytes > 0 {
            self.set_count(key, 0, 0);
        }
    }

    fn set_count(&mut self, key: usize, bytes: usize, weight: usize) {
        let tally = self.conns[key].session.tally_mut(&mut self.env);
        if let Some((moved, place)) = self.holders.count(tally, key, bytes, weight) {
            let session = &mut self.conns[moved].session;
            session.tally_mut(&mut self.env).place = place;
        }
    }

    /// Returns the bytes that connections hold or share, subscriptions included, or that are kept for clients, and
    /// those that are waiting to be freed.
    pub(super) fn memory(&self) -> usize {
        self.in_use() + self.env.pool.waste_bytes()
    }

    fn in_use(&self) -> usize {
        self.holders.bytes()
            + self.topics.bytes()
            + self.env.pool.shared_bytes()
            + self.clients.kept
    }

    /// Returns how many bytes more there may be.
    pub(super) fn memory_left(&self) -> usize {
        let limit = self.memory_limit().unwrap_or(usize::MAX);
        limit.saturating_sub(self.memory())
    }

    /// Returns the share of this loop in the limit.
    fn memory_limit(&self) -> Option<usize> {
        let limit = self.config.memory_limit?;
        Some(limit / self.group.loops().max(1))
    }

    fn is_memory_short(&self) -> bool {
        let limit = self.memory_limit();
        limit.is_some_and(|limit| self.memory() > limit / 4 * 3)
    }

    /// Stops reading from a connection that has grown, if memory is short and it holds more than the
    /// average; ends connections, if there is too little.
    #[cold]
    fn limit_memory(&mut self, key: usize) {
        if self.is_memory_short() {
            self.relieve();
            self.hold_back(key);
        }
    }

    fn hold_back(&mut self, key: usize) {
        let session = &mut self.conns[key].session;
        let average = self.holders.bytes() / self.holders.len().max(1);
        if session.tally().bytes >= average && session.hold_back(&mut self.env, self.now) {
            self.env.stats.memory_pauses += 1;
            let socket = &self.conns[key].socket;
            self.system.probe(socket, Probe::HeldBack(true));
            let due = self.now.at + HOLD;
            let id = self.conns[key].id(key, self.names);
            self.held_back.push(due, id);
        }
    }

    /// Reads again from connections whose time is over, and from more if memory is no longer short.
    pub(super) fn let_go(&mut self) {
        for _ in 0..LET_GO {
            let Some(due) = self.held_back.first_due() else {
                return;
            };
            if due > self.now.at && self.is_memory_short() {
                return;
            }
            let Some(id) = self.held_back.pop() else {
                return;
            };
            if self.conn(id).is_some() {
                let conn = &mut self.conns[id.index()];
                self.system.probe(&conn.socket, Probe::HeldBack(false));
                conn.session.let_go(self.now);
                self.mark_dirty(id.index());
            }
        }
    }

    /// Ends the connections that hold most, until what is held fits the limit.
    pub(super) fn relieve(&mut self) {
        let Some(limit) = self.memory_limit() else {
            return;
        };
        for _ in 0..ENDED {
            if self.in_use() <= limit {
                break;
            }
            let Some(key) = self.heaviest() else {
                break;
            };
            self.end_for_memory(key);
        }
        // What they held is freed piece by piece, but there must be room for that.
        while self.memory() > limit && self.env.pool.has_waste() {
            let excess = self.memory() - limit;
            self.env.pool.free_some(excess.min(FREED_PIECE));
        }
    }

    /// Returns the connection that holds most, and of several the one that came first.
    fn heaviest(&self) -> Option<usize> {
        let some = self.holders.heaviest().iter().copied();
        let subscribers = self.topics.heaviest().iter().copied();
        some.chain(subscribers).min_by_key(|&key| {
            Reverse(self.conns[key].session.weight() + self.topics.weight_of(key))
        })
    }

    fn end_for_memory(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        self.system.probe(&conn.socket, Probe::Relieved);
        conn.session.handle_memory_limit(&mut self.env, self.now);
        self.count(key);
        self.leave_topics(key);
        self.mark_dirty(key);
    }
}

/// Bytes that a connection may be sent before it is counted, at the latest when its turn to be written
/// has come.
const UNCOUNTED: usize = 16 * 1024;

/// How long reading stops where a connection has grown while memory is short. What it has sent by then
/// is read, so that a message that needs little more can be complete.
const HOLD: Micros = Micros::from_secs(1);

/// Connections read again in one turn.
const LET_GO: usize = 64;

/// Most connections ended at a time. Each frees at least as much as the average holds.
const ENDED: usize = 256;

/// Bytes freed at a time.
const FREED_PIECE: usize = 4 * 1024 * 1024;
