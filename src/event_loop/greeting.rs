//! The handshake of an own wire: its codec leads it, and the handler is asked at the end.

use super::answer::{Decision, Rejection};
use super::core::EventLoop;
use super::deciding::TOO_MANY;
use super::handler::{Handler, Head};
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::proto::ring::Ring;
use crate::proto::session::{Awaited, Shaken};
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Decodes one step of a handshake. Returns whether more input may follow.
    pub(super) fn shake_hands<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) -> bool {
        let key = id.index();
        let session = &mut self.conns[key].session;
        let (consumed, shaken) =
            session.shake_hands(&mut self.env, self.now, ring.contiguous_mut());
        ring.consume(consumed);
        if shaken == Shaken::Complete {
            self.offer_shaken(handler, id);
        }
        self.probe_cause(key);
        match self.conns[key].session.phase() {
            Phase::Open => true,
            Phase::Connecting | Phase::Handshaking => shaken == Shaken::Consumed,
            Phase::Closing | Phase::Closed => {
                // Nothing that follows a refusal is read.
                ring.consume(ring.len());
                false
            }
        }
    }

    fn offer_shaken<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        let answer = self.ask(handler, id, Head::None(std::marker::PhantomData));
        let session = &mut self.conns[key].session;
        if session.phase() != Phase::Handshaking {
            // The handler has closed it.
            return;
        }
        match answer {
            Ok(Decision::Now(welcome)) => {
                session.accept_own(&mut self.env, self.now);
                self.welcome(handler, id, welcome.data);
            }
            Ok(Decision::Later) if self.defer(id, Awaited::Verdict) => {}
            Ok(Decision::Later) => self.reject_shaken(key, &Rejection::new(503, TOO_MANY)),
            Err(rejection) => self.reject_shaken(key, &rejection),
        }
    }

    /// Ends a connection that the handler has rejected: its codec tells the peer, if it has a handshake.
    pub(super) fn reject_shaken(&mut self, key: usize, rejection: &Rejection) {
        let session = &mut self.conns[key].session;
        if session.has_handshake() {
            session.end_deferral();
            let told = (rejection.status, rejection.body.as_str());
            session.reject_own(&mut self.env, self.now, Cause::Refused, told);
            self.mark_dirty(key);
        } else {
            self.end_refused(key);
        }
    }
}
