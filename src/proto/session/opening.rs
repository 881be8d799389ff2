//! The opening handshake of WebSocket, both sides, and the plain HTTP requests before it: what is asked, and
//! what it comes to.

use super::closing::TOO_LATE;
use super::{Awaited, Env, Session};
use crate::close::{Cause, Phase};
use crate::proto::http::response::{refusal, response_to};
use crate::proto::http::{
    self, Arrival, BodyError, CONTINUE, Exchange, HeadLimits, InvalidHead, Persistence, Request,
    Unwelcome, Visitors,
};
use crate::proto::policy::Limits;
use crate::proto::time::Moment;
use crate::proto::websocket::handshake::{
    Acceptance, InvalidHandshake, ResponseError, Upgrade, error_response,
};
#[cfg(not(feature = "deflate"))]
use crate::proto::websocket::handshake::{accept_response, parse_more_response};
#[cfg(feature = "deflate")]
use crate::proto::websocket::handshake::{accept_response_with, parse_more_response_with};
use crate::proto::wire::Role;

/// What a server finds in front of its input.
#[derive(Debug)]
pub enum Asked<'i> {
    /// Nothing whole: wait for more bytes. So many at the front are done with.
    Nothing(usize),
    /// Something that is refused, without asking the application: the answer is queued, and nothing else is
    /// read.
    Refused,
    /// A plain request: ask the application, and hand its answer to
    /// [`answer_request`](Session::answer_request).
    Plain(PlainRequest<'i>),
    /// A request to upgrade, and the length of its head. [`check_upgrade`](Session::check_upgrade) goes on.
    Upgrade(Request<'i>, usize),
}

/// A whole plain request, with its body.
#[derive(Debug)]
pub struct PlainRequest<'i> {
    request: Request<'i>,
    exchange: Exchange,
    len: usize,
}

impl<'i> PlainRequest<'i> {
    /// Returns the request.
    pub fn request(&self) -> &Request<'i> {
        &self.request
    }

    /// Returns how many bytes of the input it takes.
    #[expect(clippy::len_without_is_empty, reason = "no request is empty")]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Who is let in by the server as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Door<'a> {
    /// Which hosts and origins are welcome; all where there are no rules.
    pub visitors: Option<&'a Visitors>,
    /// The server goes away, and takes nobody in.
    pub is_leaving: bool,
    /// The server has no place for this one, and lets it ask plainly at most.
    pub is_full: bool,
}

impl Door<'_> {
    fn check(
        &self,
        rule: impl FnOnce(&Visitors) -> Result<(), Unwelcome>,
    ) -> Result<(), Unwelcome> {
        self.visitors.map_or(Ok(()), rule)
    }
}

/// What a client finds in front of its input.
#[derive(Debug)]
pub enum Replied<'i> {
    /// Nothing whole: wait for more bytes. So many at the front are done with.
    Nothing(usize),
    /// Something that opens nothing: the session is over.
    Failed(ResponseError),
    /// A response that completes the handshake, and its length: ask the application, and then call
    /// [`handle_acceptance`](Session::handle_acceptance) or [`end`](Session::end).
    Accepted(Acceptance<'i>, usize),
}

impl Session {
    /// Looks at the request in front of what a server has read. What was queued should have been offered to the
    /// socket before: there is one answer at a time, as far as the socket takes it.
    ///
    /// # Panics
    ///
    /// If the session is not [`Handshaking`](Phase::Handshaking).
    pub fn next_request<'i>(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &'i [u8],
        door: Door<'_>,
    ) -> Asked<'i> {
        let (limits, most) = (self.head_limits(env), self.limits(env).max_body);
        let mut exchange = self.exchange();
        let (mut request, len) = match exchange.head(input, &limits) {
            Ok(None) => return self.await_request(env, exchange),
            Ok(Some(found)) => found,
            Err(error) => {
                let response = http::error_response(&error, env.date().as_ref());
                self.refuse_broken(env, now, &error.to_string(), &response);
                return Asked::Refused;
            }
        };
        if let Err(unwelcome) = door.check(|rules| rules.check_host(&request)) {
            self.refuse_visitor(env, now, &request, &unwelcome);
            return Asked::Refused;
        }
        if request.wants_upgrade_to("websocket") {
            return Asked::Upgrade(request, len);
        }
        match exchange.complete(&mut request, len, input, most) {
            Ok(Arrival::Whole(len)) => Asked::Plain(PlainRequest {
                request,
                exchange,
                len,
            }),
            Ok(Arrival::Awaited) => self.await_request(env, exchange),
            Ok(Arrival::Invited) => {
                self.queue_head(env, now, CONTINUE);
                self.await_request(env, exchange)
            }
            Err(error) => {
                self.refuse_body(env, now, &request, error);
                Asked::Refused
            }
        }
    }

    /// Returns the request to upgrade where it keeps all rules (RFC 6455, section 4.2.1) and its sender is
    /// welcome; then ask the application, and call [`accept_upgrade`](Self::accept_upgrade) or
    /// [`reject_upgrade`](Self::reject_upgrade). Else it is refused.
    pub fn check_upgrade<'r>(
        &mut self,
        env: &mut Env,
        now: Moment,
        request: &'r Request<'r>,
        door: Door<'_>,
    ) -> Option<Upgrade<'r>> {
        let upgrade = match Upgrade::of(request) {
            Ok(upgrade) => upgrade,
            Err(error) => {
                let response = error_response(&error, env.date().as_ref());
                let response = response_to(request, response);
                self.refuse_broken(env, now, &error.to_string(), &response);
                return None;
            }
        };
        let closed = match (door.is_leaving, door.is_full) {
            (true, _) => Some("going away"),
            (false, true) => Some("too many connections"),
            (false, false) => None,
        };
        if let Some(reason) = closed {
            let headers = [("Retry-After", "1")];
            self.refuse_plainly(env, now, Cause::Refused, 503, &headers, reason);
            return None;
        }
        if self.has_output() {
            // What it asked before it does not take: a ping would go between the answers.
            let reason = "answers wait to be taken";
            self.refuse_plainly(env, now, Cause::Refused, 503, &[], reason);
            return None;
        }
        if let Err(unwelcome) = door.check(|rules| rules.check_origin(request)) {
            self.refuse_visitor(env, now, request, &unwelcome);
            return None;
        }
        Some(upgrade)
    }

    /// Opens the session as a server. Where it has ended meanwhile nothing happens.
    ///
    /// # Errors
    ///
    /// The application's answer cannot be sent: the peer was told so with status 500.
    pub fn accept_upgrade(
        &mut self,
        env: &mut Env,
        now: Moment,
        upgrade: &Upgrade<'_>,
        subprotocol: Option<&str>,
        headers: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<(), InvalidHandshake> {
        if self.phase != Phase::Handshaking {
            return Ok(());
        }
        #[cfg(feature = "deflate")]
        let built = {
            let (date, deflate) = (env.date(), self.limits(env).deflate);
            accept_response_with(
                upgrade,
                subprotocol,
                deflate.as_ref(),
                date.as_ref(),
                headers,
            )
        }
        .map(|(response, agreed)| {
            self.agree(now, agreed);
            response
        });
        #[cfg(not(feature = "deflate"))]
        let built = accept_response(upgrade, subprotocol, env.date().as_ref(), headers);
        match built {
            Ok(response) => {
                self.handle_handshake(env, now, &response);
                Ok(())
            }
            Err(error) => {
                self.refuse_plainly(env, now, Cause::Refused, 500, &[], "internal error");
                Err(error)
            }
        }
    }

    /// Ends the opening handshake with the application's answer; the first line of the body is for the record.
    /// Where it has ended meanwhile nothing happens.
    ///
    /// # Errors
    ///
    /// The answer cannot be sent: the peer was told so with status 500.
    pub fn reject_upgrade(
        &mut self,
        env: &mut Env,
        now: Moment,
        status: u16,
        headers: &[(impl AsRef<str>, impl AsRef<str>)],
        body: &str,
    ) -> Result<(), InvalidHead> {
        if self.phase != Phase::Handshaking {
            return Ok(());
        }
        let (date, close) = (env.date(), Persistence::Close);
        match http::response(status, close, date.as_ref(), headers, body.as_bytes()) {
            Ok(response) => {
                let reason = body.lines().next().unwrap_or_default();
                self.refuse(env, now, Cause::Refused, reason, &response);
                Ok(())
            }
            Err(error) => {
                self.refuse_plainly(env, now, Cause::Refused, 500, &[], "internal error");
                Err(error)
            }
        }
    }

    /// Answers a plain request. The connection is kept for another one where the client may send one and takes
    /// its answers, and where the server does not go away. Where the session has ended meanwhile nothing
    /// happens.
    ///
    /// # Errors
    ///
    /// The application's answer cannot be sent: the peer was told so with status 500.
    pub fn answer_request(
        &mut self,
        env: &mut Env,
        now: Moment,
        plain: &PlainRequest<'_>,
        is_leaving: bool,
        (status, headers, body): (u16, &[(impl AsRef<str>, impl AsRef<str>)], &[u8]),
    ) -> Result<(), InvalidHead> {
        if self.phase != Phase::Handshaking {
            return Ok(());
        }
        // Nobody queues more than two.
        let persistence = match is_leaving || self.has_output() {
            true => Persistence::Close,
            false => {
                let most = self.limits(env).max_requests;
                plain.exchange.persistence(&plain.request, most)
            }
        };
        let date = env.date();
        let built = http::response(status, persistence, date.as_ref(), headers, body);
        let (answer, is_sound) = match built {
            Ok(response) => ((status, persistence, response), Ok(())),
            Err(error) => {
                let response = refusal(500, "internal error", &[], date.as_ref());
                ((500, Persistence::Close, response), Err(error))
            }
        };
        let (status, persistence, response) = answer;
        let response = response_to(&plain.request, response);
        self.answer(env, now, status, &response, persistence);
        is_sound
    }

    /// Looks at the response in front of what a client has read. `accept` is the key that it must name, and
    /// `offered` are the subprotocols it may choose from.
    pub fn next_response<'i>(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &'i [u8],
        accept: &[u8; 28],
        offered: &[impl AsRef<str>],
    ) -> Replied<'i> {
        let (limits, mut progress) = (self.head_limits(env), self.head_progress());
        #[cfg(feature = "deflate")]
        let parsed = {
            let deflate = self.limits(env).deflate;
            let deflate = deflate.as_ref();
            parse_more_response_with(&mut progress, input, accept, offered, deflate, &limits)
        };
        #[cfg(not(feature = "deflate"))]
        let parsed = parse_more_response(&mut progress, input, accept, offered, &limits);
        match parsed {
            Ok(None) => {
                let done = progress.take_done();
                self.held(env).head = progress;
                Replied::Nothing(done)
            }
            Ok(Some((acceptance, len))) => Replied::Accepted(acceptance, len),
            Err(error) => {
                let cause = match error {
                    ResponseError::Status { .. } => Cause::Refused,
                    _ => Cause::ProtocolError,
                };
                self.end(now, cause, None);
                Replied::Failed(error)
            }
        }
    }

    /// Ends an opening handshake because we go away: as a server with 503, unless nothing was asked since the
    /// last answer; as a client at once.
    pub(super) fn leave_handshake(&mut self, env: &mut Env, now: Moment) {
        match self.part.role() {
            Role::Client => self.end(now, Cause::Drain, None),
            Role::Server if self.is_between_requests() => self.part(env, now, Cause::Drain),
            Role::Server => self.leave(env, now, Cause::Drain),
        }
    }

    /// Ends an opening handshake that took too long.
    pub(super) fn refuse_late(&mut self, env: &mut Env, now: Moment, cause: Cause) {
        self.refuse_plainly(env, now, cause, 408, &[], TOO_LATE);
    }

    /// Waits for the rest of a request, without what is done with in front of it.
    fn await_request<'i>(&mut self, env: &mut Env, mut exchange: Exchange) -> Asked<'i> {
        let done = exchange.take_done();
        self.held(env).exchange = exchange;
        Asked::Nothing(done)
    }

    /// Refuses a request, to upgrade or not, with a status, fields and words of ours: for who sent it, and not
    /// for what it asks.
    pub fn refuse_request(
        &mut self,
        env: &mut Env,
        now: Moment,
        request: &Request<'_>,
        cause: Cause,
        (status, headers, reason): (u16, &[(&str, &str)], &str),
    ) {
        let response = refusal(status, reason, headers, env.date().as_ref());
        let response = response_to(request, response);
        self.refuse(env, now, cause, reason, &response);
    }

    /// Refuses a plain request for its body, which is an answer as any other.
    fn refuse_body(&mut self, env: &mut Env, now: Moment, request: &Request<'_>, error: BodyError) {
        let status = error.status();
        let response = refusal(status, error, &[], env.date().as_ref());
        let response = response_to(request, response);
        self.answer(env, now, status, &response, Persistence::Close);
    }

    fn refuse_visitor(
        &mut self,
        env: &mut Env,
        now: Moment,
        request: &Request<'_>,
        unwelcome: &Unwelcome,
    ) {
        let date = env.date();
        let response = refusal(unwelcome.status(), unwelcome.body(), &[], date.as_ref());
        let response = response_to(request, response);
        let reason = unwelcome.to_string();
        self.refuse(env, now, Cause::Refused, &reason, &response);
    }

    fn refuse_broken(&mut self, env: &mut Env, now: Moment, reason: &str, response: &[u8]) {
        self.refuse(env, now, Cause::ProtocolError, reason, response);
    }

    /// Refuses with words of ours, which are the body and, where the peer is turned away, the record's reason.
    pub(super) fn refuse_plainly(
        &mut self,
        env: &mut Env,
        now: Moment,
        cause: Cause,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) {
        let response = refusal(status, body, headers, env.date().as_ref());
        let response = self.for_request(env, response);
        let reason = match cause {
            Cause::Refused => body,
            _ => "",
        };
        self.refuse(env, now, cause, reason, &response);
    }

    /// Makes a response one to the plain request that waits for its answer, if one does: a `HEAD` gets no body.
    fn for_request(&mut self, env: &mut Env, response: Vec<u8>) -> Vec<u8> {
        if self.awaited() != Some(Awaited::Answer) {
            return response;
        }
        let (limits, mut exchange) = (self.head_limits(env), self.exchange());
        let mut input = self.take_input(env);
        let response = match exchange.head(input.contiguous_mut(), &limits) {
            Ok(Some((request, _))) => response_to(&request, response),
            Ok(None) | Err(_) => response,
        };
        self.put_input(env, input);
        response
    }

    fn limits<'e>(&self, env: &'e Env) -> &'e Limits {
        &env.policy(self.policy).limits
    }

    fn head_limits(&self, env: &Env) -> HeadLimits {
        let limits = self.limits(env);
        HeadLimits {
            max_bytes: limits.max_head,
            max_headers: limits.max_headers,
        }
    }
}
