//! Broadcasts: each turn hands them out to some of the connections.

use super::broadcasts::Stop;
use super::conn::{Conn, Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::delivery::BroadcastId;
use super::handler::Handler;
use crate::close::Phase;
use crate::error::SendError;
use crate::proto::message::SharedMessage;
use crate::proto::session::{Env, Session};
use crate::proto::time::{Micros, Moment};
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Hands the broadcasts under way out to the next connections, in the order of their slots or of the
    /// members of a topic: a limited number of them, and not for long. What one gets leaves at once, so
    /// that the next one borrows the same buffers. Reports broadcasts that are over. Returns the number of
    /// connections.
    pub(super) fn step_broadcasts<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) -> usize {
        let most = self.config.broadcast_budget;
        let ends = self.progress.slice(self.now.at, SLICE);
        let mut count = 0;
        // What callbacks begin in this turn ends in a later one.
        let finished = self.broadcasts.finished();
        for _ in 0..self.broadcasts.len() {
            count += self.visit_slots(most - count, ends);
            let Some(done) = self.broadcasts.take_done() else {
                break;
            };
            handler.on_broadcast(&mut Context::new(self), done);
            self.refresh_now();
        }
        self.report_finished(handler, finished, ends);
        count
    }

    /// Reports messages that were handed out at once: at least one, and more until `ends`.
    fn report_finished<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        most: usize,
        ends: Micros,
    ) {
        for _ in 0..most {
            let Some(done) = self.broadcasts.take_finished() else {
                return;
            };
            handler.on_broadcast(&mut Context::new(self), done);
            if self.is_past(ends) {
                return;
            }
        }
    }

    fn visit_slots(&mut self, most: usize, ends: Micros) -> usize {
        let mut count = 0;
        for _ in 0..SLOTS {
            if count == most || self.now.at >= ends {
                break;
            }
            let Some(stop) = self.broadcasts.advance(&self.topics) else {
                break;
            };
            let Stop::Slot(key, first) = stop else {
                continue;
            };
            if let Some(next) = self.broadcasts.coming(&self.topics) {
                self.prefetch_conn(key, next);
            }
            if self.hand_out(key, first) {
                count += 1;
                self.flush(key);
                self.relieve();
                // A write of much takes long.
                self.refresh_now();
            }
        }
        count
    }

    /// Hands out all that is left, because the loop ends.
    pub(super) fn end_broadcasts<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        for _ in 0..self.broadcasts.len() {
            while !self.broadcasts.is_over() {
                self.visit_slots(usize::MAX, Micros::MAX);
            }
            if let Some(done) = self.broadcasts.take_done() {
                handler.on_broadcast(&mut Context::new(self), done);
            }
        }
        let finished = self.broadcasts.finished();
        self.report_finished(handler, finished, Micros::MAX);
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Queues what the broadcasts under way still owe to a connection. What is sent to it
    /// afterwards, or its close, comes behind. Returns whether there was any: then it must be
    /// flushed.
    pub(super) fn settle_broadcasts(&mut self, key: usize) -> bool {
        if self.broadcasts.is_empty() || !self.conns.get(key).is_some_and(Conn::is_open) {
            return false;
        }
        let first = self.broadcasts.take_owed(key);
        let has_topics = self.broadcasts.has_topics() && self.topics.count_of(key) > 0;
        (first.is_some() || has_topics) && self.hand_out(key, first)
    }

    /// Queues what is under way for a connection, if it is open: of the broadcasts to all those from
    /// `first` on, and those to its topics that it has not got. Returns whether there was any.
    pub(super) fn hand_out(&mut self, key: usize, first: Option<BroadcastId>) -> bool {
        let conn = self.conns.get(key).filter(|conn| conn.is_open());
        let id = conn.map(|conn| conn.id(key, self.names));
        if id.is_none() && !self.broadcasts.has_topics() {
            return false;
        }
        let mut has_any = false;
        for index in 0..self.broadcasts.len() {
            // One that is not open gets nothing, and is waited for no longer.
            let taken = self.broadcasts.take(index, key, first, &mut self.topics);
            let (Some((message, except)), Some(id)) = (taken, id) else {
                continue;
            };
            if except == Some(id) {
                continue;
            }
            let message = message.clone();
            let sent = self.send_shared(key, &message);
            self.broadcasts.count(index, &sent);
            if let Err(error) = sent {
                log::debug!("{id}: left out of a broadcast: {error}");
            }
            has_any = true;
        }
        has_any
    }

    /// Queues a shared message for one connection.
    pub(super) fn send_shared(
        &mut self,
        key: usize,
        message: &SharedMessage,
    ) -> Result<(), SendError> {
        let is_full = |session: &Session, env: &Env| session.is_full_for_shared(env, message);
        self.send_with(key, is_full, |session, env, now| {
            session.send_shared(env, now, message)
        })
    }

    /// Sends if there is room, or if there is room after the kernel took what it could.
    pub(super) fn send_with(
        &mut self,
        key: usize,
        is_full: impl FnOnce(&Session, &Env) -> bool,
        send: impl FnOnce(&mut Session, &mut Env, Moment) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if is_full(&self.conns[key].session, &self.env) {
            self.offer(key);
            if self.conns[key].ready.has(Ready::Broken) {
                // It is about to end, and not because its queue is full.
                return Err(SendError::Closed);
            }
        }
        let shared = self.env.pool.shared_bytes();
        let sent = send(&mut self.conns[key].session, &mut self.env, self.now);
        self.share.charge(self.env.take_effort());
        self.count_sent(key, shared);
        let conn = &mut self.conns[key];
        // With nothing queued there is no room to come: the message is larger than the queue.
        if let Err(SendError::Full { queued: 1.., .. }) = sent {
            conn.marks.insert(Mark::WantsRoom);
        }
        match conn.session.phase() {
            Phase::Open => sent,
            // There was no memory for it, if it was not closed before.
            _ => sent.and(Err(SendError::Closed)),
        }
    }
}

impl<D, S: System> Conn<D, S> {
    /// Says whether it is open for the handler, so that a broadcast reaches it.
    pub(super) fn is_open(&self) -> bool {
        self.session.phase() == Phase::Open && self.marks.has(Mark::Welcome)
    }
}

/// Slots that one turn looks at for broadcasts, and time for handing them out.
const SLOTS: usize = 16 * 1024;
const SLICE: Micros = Micros::from_millis(2);
