//! The opening handshake of WebSocket, both sides, and plain requests before it. The session says
//! what to ask the handler.

use super::answer::{Decision, HttpAnswer, Rejection, Welcome};
use super::client::DialError;
use super::context::Context;
use super::core::EventLoop;
use super::deciding::TOO_MANY;
use super::deferrals::Verdict;
use super::endpoint::Endpoint;
use super::handler::{Handler, Head};
use super::listen::Listeners;
use super::token::{ConnId, RequestId};
use crate::close::Phase;
use crate::proto::http::Visitors;
use crate::proto::ring::Ring;
use crate::proto::session::{Asked, Awaited, Door, PlainRequest, Replied};
use crate::proto::websocket::handshake::{Acceptance, Upgrade, accept_for};
use crate::proto::wire::Role;
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Continues an opening handshake. Returns whether more input may follow: frames, if the
    /// connection opened, or the next request.
    pub(super) fn handshake<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) -> bool {
        let key = id.index();
        let done = match self.conns[key].session.role() {
            Role::Server => self.serve_request(handler, id, ring),
            Role::Client => self.follow_handshake(handler, id, ring),
        };
        self.probe_cause(key);
        let session = &self.conns[key].session;
        match session.phase() {
            Phase::Closed => ring.consume(ring.len()),
            // Nothing that follows a refusal is read.
            Phase::Closing if !session.was_open() => ring.consume(ring.len()),
            Phase::Connecting | Phase::Handshaking | Phase::Open | Phase::Closing => {
                ring.consume(done.bytes);
                return done.is_whole;
            }
        }
        false
    }

    /// Handles the first request of the input, after earlier answers were offered to the socket.
    fn serve_request<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) -> Done {
        let key = id.index();
        self.look_at_calendar();
        if self.conns[key].session.has_output() {
            self.write(key);
            if self.conns[key].session.phase() != Phase::Handshaking {
                return Done::NOTHING;
            }
        }
        let input: &[u8] = ring.contiguous_mut();
        let conn = &mut self.conns[key];
        let (is_leaving, is_full) = (self.drain.is_some(), self.guests.have(key));
        let door = Door {
            visitors: visitors_of(&self.listeners, conn.endpoint()),
            is_leaving,
            is_full,
        };
        let (session, env) = (&mut conn.session, &mut self.env);
        match session.next_request(env, self.now, input, door) {
            Asked::Nothing(bytes) => Done::with_part(bytes),
            Asked::Refused => Done::NOTHING,
            Asked::Plain(plain) => {
                let is_welcome = self.learn_sender(id, plain.request());
                match is_welcome && self.answer_http(handler, id, &plain) {
                    true => Done::with_whole(plain.len()),
                    false => Done::NOTHING,
                }
            }
            Asked::Upgrade(request, len) => {
                if !self.learn_sender(id, &request) {
                    return Done::NOTHING;
                }
                let conn = &mut self.conns[key];
                let door = Door {
                    visitors: visitors_of(&self.listeners, conn.endpoint()),
                    is_leaving,
                    is_full,
                };
                let (session, env) = (&mut conn.session, &mut self.env);
                let upgrade = session.check_upgrade(env, self.now, &request, door);
                match upgrade.is_none_or(|upgrade| self.offer_upgrade(handler, id, &upgrade)) {
                    true => Done::with_whole(len),
                    false => Done::NOTHING,
                }
            }
        }
    }

    /// Asks the handler about a WebSocket that is about to open, unless it has decided meanwhile.
    fn ask_once<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        head: Head<'_>,
    ) -> Result<Decision<Welcome<D>>, Rejection> {
        match self.deferrals.take(id.index()) {
            Some(Verdict::Accept(welcome)) => Ok(Decision::Now(welcome)),
            Some(Verdict::Reject(rejection)) => Err(rejection),
            Some(Verdict::Answer(..)) | None => self.ask(handler, id, head),
        }
    }

    /// Answers a plain request. Returns whether it is dealt with: it stays in the input if the answer
    /// is to come later.
    fn answer_http<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        plain: &PlainRequest<'_>,
    ) -> bool {
        let decision = match self.deferrals.take(id.index()) {
            Some(Verdict::Answer(_, answer)) => Decision::Now(answer),
            Some(Verdict::Accept(_) | Verdict::Reject(_)) | None => {
                let number = self.deferrals.number_request();
                let request = RequestId { conn: id, number };
                handler.on_http(&mut Context::new(self), request, plain.request())
            }
        };
        self.refresh_now();
        self.look_at_calendar();
        let HttpAnswer {
            status,
            headers,
            body,
        } = match decision {
            Decision::Now(answer) => answer,
            Decision::Later if self.may_defer(id, Awaited::Answer) => return false,
            Decision::Later => busy(),
        };
        let answer = (status, &headers[..], &body[..]);
        // There is no place for a guest that stays.
        let is_leaving = self.drain.is_some() || self.guests.have(id.index());
        let session = &mut self.conns[id.index()].session;
        let answered = session.answer_request(&mut self.env, self.now, plain, is_leaving, answer);
        if let Err(error) = answered {
            log::error!("the handler's answer to {id} cannot be sent: {error}");
        }
        self.mark_dirty(id.index());
        true
    }

    /// Lets a connection wait for the handler, unless it has ended meanwhile or too many wait.
    fn may_defer(&mut self, id: ConnId, awaited: Awaited) -> bool {
        self.conns[id.index()].session.phase() == Phase::Handshaking && self.defer(id, awaited)
    }

    /// Opens a WebSocket if the handler lets it in. Returns whether its request is dealt with: it stays
    /// in the input if the handler decides later.
    fn offer_upgrade<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        upgrade: &Upgrade<'_>,
    ) -> bool {
        let answer = self.ask_once(handler, id, Head::Request(upgrade));
        self.look_at_calendar();
        let answer = match answer {
            Ok(Decision::Now(welcome)) => Ok(welcome),
            Ok(Decision::Later) if self.may_defer(id, Awaited::Verdict) => return false,
            Ok(Decision::Later) => Err(Rejection::busy()),
            Err(rejection) => Err(rejection),
        };
        let (session, env) = (&mut self.conns[id.index()].session, &mut self.env);
        match answer {
            Ok(welcome) => {
                let subprotocol = welcome.subprotocol.as_deref();
                let opened =
                    session.accept_upgrade(env, self.now, upgrade, subprotocol, &welcome.headers);
                if let Err(error) = opened {
                    log::error!("the handler's answer to {id} cannot be sent: {error}");
                }
                if session.phase() == Phase::Open {
                    self.welcome(handler, id, welcome.data);
                }
            }
            Err(Rejection {
                status,
                headers,
                body,
            }) => {
                let rejected = session.reject_upgrade(env, self.now, status, &headers, &body);
                if let Err(error) = rejected {
                    log::error!("the handler's rejection of {id} cannot be sent: {error}");
                }
            }
        }
        self.mark_dirty(id.index());
        true
    }

    fn follow_handshake<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) -> Done {
        let conn = &mut self.conns[id.index()];
        let Endpoint::Client(client_id) = conn.endpoint() else {
            return Done::NOTHING;
        };
        let client = &mut self.clients[client_id];
        let (accept, offered) = (accept_for(client.key), client.subprotocols());
        let (session, env) = (&mut conn.session, &mut self.env);
        let input = ring.contiguous_mut();
        match session.next_response(env, self.now, input, &accept, offered) {
            Replied::Nothing(bytes) => Done::with_part(bytes),
            Replied::Failed(error) => {
                client.error = Some(DialError::Handshake(error));
                self.mark_dirty(id.index());
                Done::NOTHING
            }
            Replied::Accepted(acceptance, len) => {
                match self.offer_acceptance(handler, id, &acceptance) {
                    true => Done::with_whole(len),
                    false => Done::NOTHING,
                }
            }
        }
    }

    /// Opens a WebSocket that was dialed, if the handler agrees. Returns whether the server's answer is
    /// dealt with: it stays in the input if the handler decides later.
    fn offer_acceptance<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        acceptance: &Acceptance<'_>,
    ) -> bool {
        let answer = self.ask_once(handler, id, Head::Response(acceptance));
        let session = &mut self.conns[id.index()].session;
        if session.phase() != Phase::Handshaking {
            // The handler has closed it.
            return true;
        }
        match answer {
            Ok(Decision::Now(welcome)) => {
                session.handle_acceptance(&mut self.env, self.now, acceptance);
                self.welcome(handler, id, welcome.data);
            }
            Ok(Decision::Later) if self.defer(id, Awaited::Verdict) => return false,
            Ok(Decision::Later) => {
                let session = &mut self.conns[id.index()].session;
                session.turn_away(&mut self.env, self.now, TOO_MANY);
                self.mark_dirty(id.index());
            }
            Err(_) => self.end_refused(id.index()),
        }
        true
    }

    /// Returns the request that opens a client's connection, with a new nonce.
    pub(super) fn opening_request(&mut self, id: ConnId) -> Vec<u8> {
        let Endpoint::Client(client_id) = self.conns[id.index()].endpoint() else {
            return Vec::new();
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.env.random().to_ne_bytes());
        key[8..].copy_from_slice(&self.env.random().to_ne_bytes());
        self.clients[client_id].key = key;
        self.clients[client_id]
            .request()
            .expect("the request was checked when the client was added, or the redirect followed")
    }
}

impl Rejection {
    /// Refuses who may not wait.
    fn busy() -> Self {
        let HttpAnswer {
            status, headers, ..
        } = busy();
        Self {
            status,
            headers,
            body: format!("{TOO_MANY}\n"),
        }
    }
}

/// Answers a request that may not wait.
fn busy() -> HttpAnswer {
    let mut answer = HttpAnswer::text(503, format!("{TOO_MANY}\n"));
    answer.headers.push(("Retry-After".into(), "1".into()));
    answer
}

/// Returns the rules for web pages that a connection came under.
fn visitors_of<L>(listeners: &Listeners<L>, endpoint: Endpoint) -> Option<&Visitors> {
    match endpoint {
        Endpoint::Listener(listener) => listeners.visitors(listener),
        Endpoint::Client(_) => None,
    }
}

/// What was used up of the input.
#[derive(Clone, Copy, Debug)]
struct Done {
    bytes: usize,
    /// A whole head, so that more may follow.
    is_whole: bool,
}

impl Done {
    const NOTHING: Self = Self::with_part(0);

    const fn with_part(bytes: usize) -> Self {
        Self {
            bytes,
            is_whole: false,
        }
    }

    const fn with_whole(bytes: usize) -> Self {
        Self {
            bytes,
            is_whole: true,
        }
    }
}
