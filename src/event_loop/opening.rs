//! Opening: a byte stream is established, the connection is offered to the handler, and it opens if the
//! handler accepts it.

use super::answer::{Decision, Rejection, Welcome};
use super::conn::{Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handler::{Handler, Head, Offer};
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Continues a stream that is not established: its dial, or its own handshake.
    pub(super) fn finish_connect<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) {
        let has_header = self.conn(id).is_some() && self.proxied.awaits_header(id.index());
        if has_header && !self.take_header(handler, id) {
            return;
        }
        let now = self.now;
        let Some(conn) = self.conn(id) else {
            return;
        };
        if conn.session.phase() != Phase::Connecting {
            // Closed by a callback, while a client made way for it.
            return;
        }
        if !self.go_through(id) {
            return;
        }
        let conn = &mut self.conns[id.index()];
        let is_open = has_header && conn.is_unsealed();
        match if is_open {
            Ok(true)
        } else {
            conn.open(&mut self.env, now)
        } {
            Ok(true) => {
                self.connected(handler, id);
                if has_header {
                    self.carry(id.index());
                }
            }
            // An event is a hint: not connected yet. Or a layer waits for the rest of what has come.
            Ok(false) => {
                if conn.layer().is_some() {
                    self.rearm(id.index());
                    let conn = &self.conns[id.index()];
                    let before = conn.session.tally().bytes;
                    self.settle(id.index());
                    self.limit_growth(id.index(), before);
                }
            }
            Err(error) => {
                conn.fail_to_open(&mut self.env, now, &error);
                self.mark_dirty(id.index());
            }
        }
    }

    fn connected<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        let request = self.opening_request(id);
        let conn = &mut self.conns[key];
        conn.ready.insert(Ready::Writable);
        conn.session
            .handle_connected(&mut self.env, self.now, &request);
        if conn.layer().is_some() {
            // No event will tell of what its handshake has read beyond, nor of what lies behind that.
            conn.ready.insert(Ready::Readable);
            self.carry(key);
        }
        self.mark_dirty(key);
        if self.conns[key].session.phase() == Phase::Open {
            self.offer_plain(handler, id);
        }
    }

    /// Offers a connection of a wire without opening handshake to the handler.
    pub(super) fn offer_plain<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) {
        if self.conn(id).is_none() {
            return;
        }
        self.in_hand.begin_offer(id);
        let answer = self.ask(handler, id, Head::None(std::marker::PhantomData));
        self.in_hand.end_offer();
        if self
            .conn(id)
            .is_none_or(|conn| conn.session.phase() != Phase::Open)
        {
            // Closed while it was being judged: it never opened.
            return;
        }
        match answer {
            Ok(Decision::Now(welcome)) => self.welcome(handler, id, welcome.data),
            Ok(Decision::Later) => self.defer_plain(handler, id),
            Err(_) => self.end_refused(id.index()),
        }
    }

    /// Ends a connection that the handler has rejected, where there are no words for it.
    pub(super) fn end_refused(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.session.end(self.now, Cause::Refused, None);
        }
        self.mark_dirty(key);
    }

    /// Asks the handler about a connection that is about to open.
    pub(super) fn ask<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        head: Head<'_>,
    ) -> Result<Decision<Welcome<D>>, Rejection> {
        let conn = &self.conns[id.index()];
        let offer = Offer {
            id,
            peer: self.peers.addr(conn.peer),
            endpoint: conn.endpoint(),
            head,
        };
        handler.on_accept(&mut Context::new(self), &offer)
    }

    /// Opens an accepted connection.
    pub(super) fn welcome<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        data: D,
    ) {
        let key = id.index();
        self.leave_half_open(key);
        #[cfg(feature = "websocket")]
        self.proxied.settle(key);
        let conn = &mut self.conns[key];
        conn.data = data;
        conn.marks.insert(Mark::Welcome);
        self.broadcasts.note_open(key);
        self.env.stats.opened += 1;
        if let Endpoint::Client(client) = self.conns[key].endpoint() {
            let now = self.now.at;
            self.clients[client].backoff.handle_open(now);
        }
        self.mark_dirty(key);
        self.in_hand.begin_offer(id);
        self.send_kept(key);
        handler.on_open(&mut Context::new(self), id);
        self.in_hand.end_offer();
        self.refresh_now();
    }

    /// Only WebSocket has an opening request.
    #[cfg(not(feature = "websocket"))]
    fn opening_request(&self, _id: ConnId) -> Vec<u8> {
        Vec::new()
    }
}
