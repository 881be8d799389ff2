//! The opening handshake of WebSocket, both sides, and the plain requests before it: heads parsed, the
//! handler asked, answers queued.

use super::client::DialError;
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handler::{Handler, Head, HttpAnswer, Offer, Rejection, Welcome};
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::proto::http::response::{refusal, response_to};
use crate::proto::http::{
    self, Arrival, BodyError, Exchange, HeadLimits, HeadProgress, HttpDate, Persistence, Request,
    Unwelcome, Visitors,
};
use crate::proto::policy::Limits;
use crate::proto::ring::Ring;
use crate::proto::websocket::handshake::{
    ResponseError, Upgrade, accept_for, accept_response, error_response, parse_more_response,
};
use crate::proto::wire::Role;
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Goes on with an opening handshake; says whether more may follow: frames, where the connection opened, or
    /// the request behind one that was answered.
    pub(super) fn handshake<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) -> bool {
        let was_answered = self.conns[id.index()].session.exchange().answers();
        match self.conns[id.index()].session.role() {
            Role::Server => self.serve_request(handler, id, ring),
            Role::Client => self.follow_handshake(handler, id, ring),
        }
        self.probe_cause(id.index());
        let session = &self.conns[id.index()].session;
        match session.phase() {
            Phase::Open => true,
            Phase::Connecting => false,
            // The next request may be there.
            Phase::Handshaking => session.exchange().answers() > was_answered,
            // Closed as soon as it was open: what follows is frames, perhaps the peer's Close.
            Phase::Closing if session.was_open() => true,
            Phase::Closing | Phase::Closed => {
                ring.consume(ring.len());
                false
            }
        }
    }

    /// Says whether the answer still counts: a callback may have closed the very connection that it was
    /// asked about.
    fn is_handshaking(&self, id: ConnId) -> bool {
        self.conns[id.index()].session.phase() == Phase::Handshaking
    }

    fn limits(&self, id: ConnId) -> &Limits {
        &self
            .env
            .policy(self.conns[id.index()].session.policy())
            .limits
    }

    fn head_limits(&self, id: ConnId) -> HeadLimits {
        let limits = self.limits(id);
        HeadLimits {
            max_bytes: limits.max_head,
            max_headers: limits.max_headers,
        }
    }

    /// Returns the date that a response is to bear, and keeps it for those that a session makes by itself.
    pub(super) fn date(&mut self) -> Option<HttpDate> {
        let date = self.system.date(self.env.date());
        self.env.set_date(date);
        date
    }

    /// Waits for the rest of a head, without what is done with in front of it.
    fn await_head(&mut self, id: ConnId, ring: &mut Ring, mut progress: HeadProgress) {
        ring.consume(progress.take_done());
        self.conns[id.index()]
            .session
            .set_head_progress(&mut self.env, progress);
    }

    /// Waits for the rest of a request, without what is done with in front of it.
    fn await_request(&mut self, id: ConnId, ring: &mut Ring, mut exchange: Exchange) {
        ring.consume(exchange.take_done());
        self.conns[id.index()]
            .session
            .set_exchange(&mut self.env, exchange);
    }

    /// Reads the request at the front, and answers it once it is whole: by an upgrade, or plainly.
    fn serve_request<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) {
        let (limits, date) = (self.head_limits(id), self.date());
        if self.conns[id.index()].session.has_output() {
            // One answer at a time, as far as the socket takes it.
            self.write(id.index());
            if !self.is_handshaking(id) {
                return;
            }
        }
        let mut exchange = self.conns[id.index()].session.exchange();
        let input: &[u8] = ring.contiguous_mut();
        let (mut request, len) = match exchange.head(input, &limits) {
            Ok(None) => return self.await_request(id, ring, exchange),
            Ok(Some(parsed)) => parsed,
            Err(error) => {
                let response = http::error_response(&error, date.as_ref());
                self.refuse_broken(id, &error.to_string(), &response);
                return;
            }
        };
        if let Some(Err(unwelcome)) = self.judge_visitor(id, |door| door.check_host(&request)) {
            self.turn_away(id, &request, &unwelcome);
            return;
        }
        if !request.wants_upgrade_to("websocket") {
            let most = self.limits(id).max_body;
            match exchange.complete(&mut request, len, input, most) {
                Ok(Arrival::Whole(total)) => {
                    self.answer_http(handler, id, &request, &exchange);
                    ring.consume(total);
                }
                Ok(Arrival::Awaited) => self.await_request(id, ring, exchange),
                Ok(Arrival::Invited) => {
                    let session = &mut self.conns[id.index()].session;
                    session.invite_body(&mut self.env, self.now);
                    self.await_request(id, ring, exchange);
                }
                Err(error) => self.refuse_body(id, &request, error),
            }
            return;
        }
        let upgrade = match Upgrade::of(&request) {
            Ok(upgrade) => upgrade,
            Err(error) => {
                let response = error_response(&error, date.as_ref());
                self.refuse_broken(id, &error.to_string(), &response_to(&request, response));
                return;
            }
        };
        if self.drain.is_some() {
            self.reject(id, Rejection::new(503, "going away\n"));
            return;
        }
        if self.conns[id.index()].session.has_output() {
            // What it asked before it does not take: a ping would go between the answers.
            self.reject(id, Rejection::new(503, "answers wait to be taken\n"));
            return;
        }
        if let Some(Err(unwelcome)) = self.judge_visitor(id, |door| door.check_origin(&request)) {
            self.turn_away(id, &request, &unwelcome);
            return;
        }
        let conn = &self.conns[id.index()];
        let (peer, endpoint) = (self.peers.addr(conn.peer), conn.endpoint());
        let offer = Offer {
            id,
            peer,
            endpoint,
            head: Head::Request(&upgrade),
        };
        let answer = handler.on_accept(&mut Context::new(self), &offer);
        if !self.is_handshaking(id) {
            return;
        }
        match answer {
            Ok(welcome) => {
                self.accept_upgrade(handler, id, &upgrade, welcome);
                ring.consume(len);
            }
            Err(rejection) => self.reject(id, rejection),
        }
    }

    /// Asks the rules of the connection's listener, if that is still there.
    fn judge_visitor<T>(&self, id: ConnId, question: impl FnOnce(&Visitors) -> T) -> Option<T> {
        let Endpoint::Listener(listener) = self.conns[id.index()].endpoint() else {
            return None;
        };
        let listener = self.listeners.get(listener.0 as usize)?;
        Some(question(&listener.visitors))
    }

    fn turn_away(&mut self, id: ConnId, request: &Request<'_>, unwelcome: &Unwelcome) {
        let (date, headers) = (self.date(), [("Content-Type", "text/plain")]);
        let body = unwelcome.body().as_bytes();
        let response = http::response(
            unwelcome.status(),
            Persistence::Close,
            date.as_ref(),
            &headers,
            body,
        );
        let response = response_to(request, response.expect("the head is constant and sound"));
        self.refuse_with(id, Cause::Refused, &unwelcome.to_string(), &response);
    }

    fn accept_upgrade<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        upgrade: &Upgrade<'_>,
        welcome: Welcome<D>,
    ) {
        let (date, subprotocol) = (self.date(), welcome.subprotocol.as_deref());
        match accept_response(upgrade, subprotocol, date.as_ref(), &welcome.headers) {
            Ok(response) => {
                let conn = &mut self.conns[id.index()];
                conn.session
                    .handle_handshake(&mut self.env, self.now, &response);
                self.welcome(handler, id, welcome.data);
            }
            Err(error) => {
                log::error!("the handler's answer to {id} cannot be sent: {error}");
                self.reject(id, Rejection::new(500, "internal error\n"));
            }
        }
    }

    fn answer_http<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        request: &Request<'_>,
        exchange: &Exchange,
    ) {
        let answer = handler.on_http(&mut Context::new(self), id, request);
        self.refresh_now();
        if !self.is_handshaking(id) {
            return;
        }
        let (date, persistence) = (self.date(), self.persistence(id, request, exchange));
        let HttpAnswer {
            status,
            headers,
            body,
        } = answer;
        match http::response(status, persistence, date.as_ref(), &headers, &body) {
            Ok(response) => self.answer(id, request, status, persistence, response),
            Err(error) => {
                log::error!("the handler's answer to {id} cannot be sent: {error}");
                self.reject(id, Rejection::new(500, "internal error\n"));
            }
        }
    }

    /// Says whether the connection is kept behind the answer to this request. Not where the answer before it
    /// has not been taken: nobody queues more than two.
    fn persistence(&self, id: ConnId, request: &Request<'_>, exchange: &Exchange) -> Persistence {
        match self.drain.is_some() || self.conns[id.index()].session.has_output() {
            true => Persistence::Close,
            false => exchange.persistence(request, self.limits(id).max_requests),
        }
    }

    /// Refuses a plain request for its body, which is an answer as any other.
    fn refuse_body(&mut self, id: ConnId, request: &Request<'_>, error: BodyError) {
        let status = error.status();
        let response = refusal(status, error, &[], self.date().as_ref());
        self.answer(id, request, status, Persistence::Close, response);
    }

    fn answer(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        status: u16,
        persistence: Persistence,
        response: Vec<u8>,
    ) {
        let response = response_to(request, response);
        let session = &mut self.conns[id.index()].session;
        session.answer(&mut self.env, self.now, status, &response, persistence);
        self.mark_dirty(id.index());
    }

    fn reject(&mut self, id: ConnId, rejection: Rejection) {
        let (date, body) = (self.date(), rejection.body.as_bytes());
        let response = http::response(
            rejection.status,
            Persistence::Close,
            date.as_ref(),
            &rejection.headers,
            body,
        );
        let response = response.unwrap_or_else(|error| {
            log::error!("the handler's rejection of {id} cannot be sent: {error}");
            let none: [(&str, &str); 0] = [];
            http::response(500, Persistence::Close, date.as_ref(), &none, b"")
                .expect("an empty response is sound")
        });
        let reason = rejection.body.lines().next().unwrap_or_default();
        self.refuse_with(id, Cause::Refused, reason, &response);
    }

    /// Ends an opening handshake because we are going away: as a server with 503, unless nothing was asked since
    /// the last answer; as a client at once.
    pub(super) fn end_handshake_for_drain(&mut self, id: ConnId) {
        let session = &mut self.conns[id.index()].session;
        match session.role() {
            Role::Server if session.is_between_requests() => {
                session.part(&mut self.env, self.now, Cause::Drain);
                self.mark_dirty(id.index());
            }
            Role::Server => {
                let headers = [("Retry-After", "1"), ("Content-Type", "text/plain")];
                let response = http::response(
                    503,
                    Persistence::Close,
                    self.date().as_ref(),
                    &headers,
                    b"going away\n",
                );
                let response = response.expect("the head is constant and sound");
                self.refuse_with(id, Cause::Drain, "", &response);
            }
            Role::Client => self.end_dial(id, Cause::Drain),
        }
    }

    fn refuse_broken(&mut self, id: ConnId, reason: &str, response: &[u8]) {
        self.refuse_with(id, Cause::ProtocolError, reason, response);
    }

    fn refuse_with(&mut self, id: ConnId, cause: Cause, reason: &str, response: &[u8]) {
        self.conns[id.index()]
            .session
            .refuse(&mut self.env, self.now, cause, reason, response);
        self.mark_dirty(id.index());
    }

    fn follow_handshake<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        ring: &mut Ring,
    ) {
        let limits = self.head_limits(id);
        let conn = &self.conns[id.index()];
        let (peer, endpoint) = (self.peers.addr(conn.peer), conn.endpoint());
        let Endpoint::Client(client_id) = endpoint else {
            return;
        };
        let client = &self.clients[client_id];
        let expected = accept_for(client.key);
        let offered = client.config.subprotocols.clone();
        let mut progress = self.conns[id.index()].session.head_progress();
        let (response, len) = match parse_more_response(
            &mut progress,
            ring.contiguous_mut(),
            &expected,
            &offered,
            &limits,
        ) {
            Ok(None) => return self.await_head(id, ring, progress),
            Ok(Some(parsed)) => parsed,
            Err(error) => {
                let error = DialError::Handshake(error);
                let is_refusal =
                    matches!(error, DialError::Handshake(ResponseError::Status { .. }));
                let cause = if is_refusal {
                    Cause::Refused
                } else {
                    Cause::ProtocolError
                };
                self.clients[client_id].error = Some(error);
                self.end_dial(id, cause);
                return;
            }
        };
        let offer = Offer {
            id,
            peer,
            endpoint,
            head: Head::Response(&response),
        };
        let answer = handler.on_accept(&mut Context::new(self), &offer);
        if !self.is_handshaking(id) {
            return;
        }
        match answer {
            Ok(welcome) => {
                self.conns[id.index()]
                    .session
                    .handle_handshake(&mut self.env, self.now, &[]);
                self.welcome(handler, id, welcome.data);
                ring.consume(len);
            }
            Err(_) => self.end_dial(id, Cause::Refused),
        }
    }

    fn end_dial(&mut self, id: ConnId, cause: Cause) {
        self.conns[id.index()].session.end(self.now, cause, None);
        self.mark_dirty(id.index());
    }

    /// Returns the request that opens a client's connection, with a fresh nonce.
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
