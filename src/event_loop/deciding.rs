//! Answers that come later: a connection waits for the handler, and goes on once that has decided.

use super::conn::{Mark, Ready};
use super::core::EventLoop;
use super::deferrals::Verdict;
use super::endpoint::Endpoint;
use super::handler::Handler;
use super::token::ConnId;
use crate::close::Phase;
use crate::error::AnswerError;
use crate::proto::session::Awaited;
use crate::proto::time::Micros;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Notes the handler's answer for a connection that waits. A later step acts on it.
    pub(super) fn decide(&mut self, id: ConnId, verdict: Verdict<D>) -> Result<(), AnswerError> {
        let session = &self.conn(id).ok_or(AnswerError::Gone)?.session;
        if matches!(session.phase(), Phase::Closing | Phase::Closed) {
            return Err(AnswerError::Gone);
        }
        if session.awaited() != Some(verdict.settles()) {
            return Err(AnswerError::NotWaiting);
        }
        self.deferrals.answer(id, verdict)
    }

    /// Lets a connection wait, if there is room for one more.
    pub(super) fn defer(&mut self, id: ConnId, awaited: Awaited) -> bool {
        let key = id.index();
        if !self.deferrals.enter(key, awaited) {
            self.env.stats.deferrals_refused += 1;
            return false;
        }
        self.env.stats.deferred += 1;
        let session = &mut self.conns[key].session;
        session.defer(&self.env, self.now, awaited);
        self.mark_dirty(key);
        true
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Goes on with the connections for which the handler has decided, while there is time.
    pub(super) fn take_answers<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        let ends = self.progress.slice(self.now.at, ANSWERS_SLICE);
        for _ in 0..self.deferrals.answers() {
            let Some(id) = self.deferrals.next_answered() else {
                return;
            };
            self.go_on(handler, id);
            self.catch_up();
            if self.now.at >= ends {
                return;
            }
        }
    }

    /// Acts on what another thread has decided before its next call is handled, which may be for the same
    /// connection. Nobody may wait for it any more.
    pub(super) fn decide_now<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        verdict: Verdict<D>,
    ) {
        match self.decide(id, verdict) {
            Ok(()) => {
                self.deferrals.take_newest();
                self.go_on(handler, id);
                self.is_behind = true;
            }
            Err(error) => {
                self.env.stats.answers_missed += 1;
                log::debug!("an answer from another thread for {id} came too late: {error}");
            }
        }
    }

    pub(super) fn go_on<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        if conn.session.awaited().is_none() {
            return;
        }
        // What came meanwhile is read, its end too.
        conn.ready.insert(Ready::Readable);
        if conn.session.wire().is_websocket() {
            conn.session.end_deferral();
            return self.read(handler, id);
        }
        match self.deferrals.take(id.index()) {
            Some(Verdict::Accept(welcome)) => {
                let session = &mut self.conns[id.index()].session;
                session.admit(&mut self.env, self.now);
                self.carry(id.index());
                self.welcome(handler, id, welcome.data);
            }
            Some(Verdict::Reject(rejection)) => self.reject_shaken(id.index(), &rejection),
            #[cfg(feature = "websocket")]
            Some(Verdict::Answer(..)) => {}
            None => {}
        }
    }

    /// Lets a connection without an opening handshake wait, which counts as half-open from now on; or
    /// ends it.
    pub(super) fn defer_plain<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) {
        let key = id.index();
        if !self.defer(id, Awaited::Verdict) {
            let session = &mut self.conns[key].session;
            session.turn_away(&mut self.env, self.now, TOO_MANY);
            return self.mark_dirty(key);
        }
        let conn = &self.conns[key];
        if let Endpoint::Listener(listener) = conn.endpoint()
            && !conn.marks.has(Mark::HalfOpen)
            && let Some(ip) = self.enter_half_open(listener, key)
        {
            self.waiting.enter(ip, id);
            self.make_way(handler, listener, ip, id);
        }
    }
}

/// What the record of a connection says that may not wait.
pub(super) const TOO_MANY: &str = "too many wait for an answer";

/// Time in one turn for what the handler has decided later.
const ANSWERS_SLICE: Micros = Micros::from_millis(2);
