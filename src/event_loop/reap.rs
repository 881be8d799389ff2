//! The end of connections: each is freed and reported once.

use super::conn::Mark;
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
#[cfg(feature = "websocket")]
use super::handler::Answered;
use super::handler::{Closed, Handler, Rejected};
use super::history::Ended;
use super::in_hand::News;
use super::token::ConnId;
use crate::close::Evidence;
use crate::peer::PeerAddr;
use crate::proto::time::Micros;
use crate::sys::{Probe, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Step 7: frees ended connections and reports each exactly once. Their number is limited, and
    /// so is the time (`ends`), because callbacks take time; at least one is reported. The rest
    /// follows in the next turn.
    pub(super) fn reap_doomed<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        most: usize,
        ends: Micros,
    ) -> usize {
        let mut count = 0;
        while count < most
            && (count == 0 || self.now.at < ends)
            && let Some(key) = self.doomed.first()
        {
            count += 1;
            // While it is on the list still: the callback may panic.
            if let Some(conn) = self.conns.get(key) {
                self.tell_closing(handler, conn.id(key, self.names));
            }
            self.pop_doomed();
            self.reap(handler, key);
        }
        if count > 0 {
            self.listeners.wake(self.now.at);
        }
        count
    }

    fn pop_doomed(&mut self) {
        let conns = &mut self.conns;
        self.doomed.pop(|key| Some(&mut conns.get_mut(key)?.marks));
    }

    /// Frees large buffers that are not needed, piece by piece while there is time.
    pub(super) fn free_waste(&mut self) {
        let ends = self.progress.slice(self.now.at, FREEING_SLICE);
        let mut surplus = self.env.pool.surplus();
        for _ in 0..FREED_PIECES {
            if surplus == 0 {
                return;
            }
            let piece = surplus.min(FREED_PIECE);
            self.env.pool.free_some(piece);
            surplus -= piece;
            if self.is_past(ends) {
                return;
            }
        }
    }

    #[cfg(feature = "websocket")]
    fn report_answered<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        (id, peer, endpoint): (ConnId, PeerAddr, Endpoint),
        (status, answers): (u16, u32),
        (evidence, reason): (&Evidence, &str),
    ) {
        let answered = Answered {
            id,
            peer,
            endpoint,
            status,
            answers,
            evidence,
            reason,
        };
        handler.on_answered(&mut Context::new(self), answered);
    }

    /// Only WebSocket listeners speak HTTP.
    #[cfg(not(feature = "websocket"))]
    fn report_answered<C, H: Handler<C, S, Data = D>>(
        &self,
        _handler: &mut H,
        _who: (ConnId, PeerAddr, Endpoint),
        _answers: (u16, u32),
        _why: (&Evidence, &str),
    ) {
    }

    fn reap<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, key: usize) {
        self.wheel.cancel(key);
        self.leave_address(key);
        self.uncount(key);
        self.leave_topics(key);
        self.deferrals.forget(key);
        self.timers.leave(key);
        let mut conn = self.conns.remove(key);
        let id = conn.id(key, self.names);
        let (peer, endpoint) = (self.peers.forget(conn.peer), conn.endpoint());
        if !self.guests.leave(key) {
            self.group.leave();
        }
        let evidence = conn.session.evidence(self.now);
        let mut reason = conn.session.reason().to_owned();
        if let Some(missing) = self.proxied.forget(key, evidence.cause) {
            reason = missing.to_owned();
        }
        let status = conn.session.answered();
        let answers = conn.session.answers();
        conn.session.discard(&mut self.env);
        // Closing the descriptor takes it out of the selector: nobody else holds it.
        drop(conn.socket);
        self.env.stats.count_end(evidence.cause);
        log::debug!("{id} of {peer:?} ended: {evidence}");
        let was_open = conn.marks.has(Mark::Welcome);
        self.history.push(Ended {
            at: self.now.at.into(),
            id: Some(id),
            peer: peer.clone(),
            endpoint,
            was_open,
            status,
            evidence,
        });
        match endpoint {
            Endpoint::Listener(listener) => self.listeners.leave(listener),
            Endpoint::Client(client) => {
                #[cfg(feature = "tls")]
                if !was_open {
                    self.note_tls_fault(client, evidence.cause, &reason);
                }
                let news = News::Ended { was_open, evidence };
                self.in_hand.begin_telling(client, news);
            }
        }
        if was_open {
            let closed = Closed {
                id,
                peer,
                endpoint,
                data: conn.data,
                evidence: &evidence,
                reason: &reason,
            };
            handler.on_close(&mut Context::new(self), closed);
        } else if let Some(status) = status {
            let (answers, why) = ((status, answers), (&evidence, reason.as_str()));
            self.report_answered(handler, (id, peer, endpoint), answers, why);
        } else {
            self.env.stats.rejected += 1;
            let rejected = Rejected {
                id: Some(id),
                peer,
                endpoint,
                evidence: &evidence,
                reason: &reason,
            };
            handler.on_rejected(&mut Context::new(self), rejected);
        }
        self.in_hand.end_telling();
        self.refresh_now();
        if let Endpoint::Client(client) = endpoint {
            self.client_ended(handler, client, was_open, &evidence);
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Puts a connection on the list to be reaped.
    pub(super) fn doom(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && self.doomed.push(&mut conn.marks, key)
        {
            self.vacate(key);
        }
    }

    /// Tells a simulator the cause of an end, once it is known.
    pub(super) fn probe_cause(&mut self, key: usize) {
        if let Some(conn) = self.conns.get(key)
            && let Some(cause) = conn.session.cause()
        {
            self.system.probe(&conn.socket, Probe::Cause(cause));
        }
    }
}

/// Connections reaped in one turn, and time for it: callbacks and closing sockets take some.
pub(super) const REAPED: usize = 256;
pub(super) const REAPING_SLICE: Micros = Micros::from_millis(2);

/// Bytes of large buffers freed at a time, so many times in one turn, and time for it: the system takes
/// 80 µs to take a MiB back, or several times that.
const FREED_PIECE: usize = 1024 * 1024;
const FREED_PIECES: usize = 32;
const FREEING_SLICE: Micros = Micros::from_millis(2);
