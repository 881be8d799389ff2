//! Opening: a connection is offered to the handler, and opens if the handler accepts it.

use super::conn::Mark;
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handler::{Handler, Head, Offer};
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Offers a connection of a wire without opening handshake to the handler.
    pub(super) fn offer_plain<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        let offer = Offer {
            id,
            peer: self.peers.addr(conn.peer),
            endpoint: conn.endpoint(),
            head: Head::None(std::marker::PhantomData),
        };
        self.in_hand.begin_offer(id);
        let answer = handler.on_accept(&mut Context::new(self), &offer);
        self.in_hand.end_offer();
        if self
            .conn(id)
            .is_none_or(|conn| conn.session.phase() != Phase::Open)
        {
            // Closed while it was being judged: it never opened.
            return;
        }
        match answer {
            Ok(welcome) => self.welcome(handler, id, welcome.data),
            Err(_) => {
                if let Some(conn) = self.conns.get_mut(id.index()) {
                    conn.session.end(self.now, Cause::Refused, None);
                }
                self.mark_dirty(id.index());
            }
        }
    }

    /// Opens an accepted connection.
    pub(super) fn welcome<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        data: D,
    ) {
        let key = id.index();
        self.leave_half_open(key);
        let conn = &mut self.conns[key];
        conn.data = data;
        conn.marks.insert(Mark::Welcome);
        self.env.stats.opened += 1;
        if let Endpoint::Client(client) = self.conns[key].endpoint() {
            let now = self.now.at;
            self.clients[client].backoff.handle_open(now);
        }
        self.mark_dirty(key);
        self.in_hand.begin_offer(id);
        handler.on_open(&mut Context::new(self), id);
        self.in_hand.end_offer();
        self.refresh_now();
    }
}
