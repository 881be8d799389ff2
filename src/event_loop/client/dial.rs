//! Dialing: starts connections, and does what follows when one ends.

use std::io;

use super::clients::ClientState;
use super::event::{ClientEvent, DialError, StopReason};
use super::request::LastEnd;
use crate::close::{Cause, Evidence, Phase};
use crate::event_loop::answer::Decision;
use crate::event_loop::conn::Mark;
use crate::event_loop::context::Context;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::in_hand::{News, Told};
use crate::event_loop::token::ClientId;
use crate::event_loop::wire_factory::Contact;
use crate::proto::backoff::delay_after_close;
use crate::proto::flags::Flags;
use crate::proto::session::Session;
use crate::proto::time::Micros;
use crate::proto::wire::Role;
use crate::sys::System;

impl<D: Default, S: System> EventLoop<D, S> {
    /// Starts every dial that is due, and tells clients that were stopped before their dial.
    pub(in crate::event_loop) fn dial_due<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        self.tell_losses(handler);
        self.tell_all_stopped(handler);
        self.end_look_ups(handler);
        while let Some((ends, id)) = self.clients.first_limited()
            && ends <= self.now.at
        {
            self.stop_dialing(id, StopReason::Time);
        }
        let ends = self.progress.slice(self.now.at, DIALING_SLICE);
        while let Some((due, id)) = self.clients.first_dial()
            && due <= self.now.at
        {
            self.clients.enter(id, ClientState::Dialing);
            self.begin_attempt(handler, id);
            if self.is_past(ends) {
                break;
            }
        }
        while let Some((lane, id)) = self.clients.lanes.first_ready() {
            let is_waiting = matches!(self.clients.state(id), Some(ClientState::Queued(_)));
            let dialed = match is_waiting {
                true => self.dial_now(handler, id),
                false => Ok(false),
            };
            match dialed {
                Ok(true) => self.clients[id].lane = Some(lane),
                Ok(false) | Err(_) => self.clients.lanes.leave(&lane),
            }
            self.clients.lanes.done();
            if let Err(error) = dialed {
                self.dial_failed(handler, id, error);
            }
            if self.is_past(ends) {
                break;
            }
        }
    }

    /// Continues with a client whose callback panicked in the last turn.
    pub(in crate::event_loop) fn follow_up<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        told: Told,
    ) {
        let id = told.client;
        match told.news {
            News::Dialing => self.retry(handler, id, None, None),
            News::Failed(error) => self.retry(handler, id, Some(&error), None),
            #[cfg(feature = "websocket")]
            News::Redirected => self.go_there(handler, id),
            News::Ended { was_open, evidence } => {
                self.client_ended(handler, id, was_open, &evidence);
            }
        }
    }

    /// Calls the handler. If it panics, the next turn continues with the client.
    fn tell<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        client: ClientId,
        event: ClientEvent,
        news: News,
    ) {
        self.in_hand.begin_telling(client, news);
        handler.on_client(&mut Context::new(self), client, event);
        self.in_hand.end_telling();
    }

    /// Keeps what was wrong with TLS, if that ended the attempt.
    #[cfg(feature = "tls")]
    pub(in crate::event_loop) fn note_tls_fault(&mut self, id: ClientId, cause: Cause, why: &str) {
        if matches!(cause, Cause::TlsHandshake | Cause::TlsError)
            && let Some(client) = self.clients.get_mut(id)
        {
            client.error = Some(DialError::Tls(why.to_owned()));
        }
    }

    /// Does what follows when a client's connection has ended, whether it opened or not.
    pub(in crate::event_loop) fn client_ended<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        was_open: bool,
        evidence: &Evidence,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if was_open {
            client.handle_close(self.now.at, evidence);
            self.retry(handler, id, None, Some(evidence));
        } else {
            let error = client
                .error
                .take()
                .unwrap_or_else(|| DialError::of_end(evidence));
            // Another address of a proxy would answer the same, and who was dialed has answered where TLS began.
            let is_tcp = evidence.phase == Phase::Connecting && error.is_of_address();
            if is_tcp && !client.addrs.is_empty() {
                self.dial_next(handler, id);
            } else if let Some(error) = self.follow(handler, id, error) {
                self.attempt_failed(handler, id, error);
            }
        }
    }

    fn begin_attempt<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.begin_attempt();
        let request = client.dial_request();
        self.in_hand.begin_telling(id, News::Dialing);
        let decision = handler.on_dial(&mut Context::new(self), id, request);
        self.in_hand.end_telling();
        if !self.clients.is(id, ClientState::Dialing) {
            // The callback has stopped it.
            return;
        }
        let client = &mut self.clients[id];
        match decision {
            Decision::Later => {
                let ends = client.gives_up();
                self.clients.enter(id, ClientState::PutOff(ends));
            }
            Decision::Now(request) => match client.adopt(request) {
                Ok(()) => self.find_address(handler, id),
                Err(error) => self.attempt_failed(handler, id, DialError::Request(error)),
            },
        }
    }

    /// Goes where the server sends a client, if it may; else returns what its attempt failed with.
    #[cfg(feature = "websocket")]
    fn follow<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: DialError,
    ) -> Option<DialError> {
        if self.clients.is(id, ClientState::Stopped) {
            return Some(error);
        }
        let client = &mut self.clients[id];
        let (code, to) = match client.follow(error) {
            Ok(followed) => followed,
            Err(error) => return Some(error),
        };
        // No connection yet: a callback that stops the client now finds none to close.
        client.addrs.clear();
        self.clients.enter(id, ClientState::Dialing);
        let event = ClientEvent::Redirected { code, to };
        self.tell(handler, id, event, News::Redirected);
        self.go_there(handler, id);
        None
    }

    /// Goes where a redirect leads, unless the client was stopped when it heard of that.
    #[cfg(feature = "websocket")]
    fn go_there<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        if self.clients.is(id, ClientState::Dialing) {
            self.find_address(handler, id);
        }
    }

    #[cfg(not(feature = "websocket"))]
    fn follow<C, H: Handler<C, S, Data = D>>(
        &self,
        _handler: &mut H,
        _id: ClientId,
        error: DialError,
    ) -> Option<DialError> {
        Some(error)
    }

    /// Dials the next address, or queues for it.
    pub(super) fn dial_next<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
    ) {
        let client = &mut self.clients[id];
        let next = client.addrs.last().cloned();
        match next.filter(|_| client.takes_turns()) {
            Some(addr) => {
                let (ends, width) = (client.gives_up(), client.config.handshakes_at_once);
                let lane = client.lane_to(addr.clone());
                self.clients.enter(id, ClientState::Queued(ends));
                if let Some(ahead) = self.clients.lanes.join(lane, id, width) {
                    let event = ClientEvent::AwaitsTurn { addr, ahead };
                    handler.on_client(&mut Context::new(self), id, event);
                }
            }
            None => {
                if let Err(error) = self.dial_now(handler, id) {
                    self.dial_failed(handler, id, error);
                }
            }
        }
    }

    /// Dials the next address. Returns whether the dial is in progress: it is not if there is none, or the
    /// client was stopped. A failure is left to [`dial_failed`](Self::dial_failed).
    fn dial_now<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
    ) -> Result<bool, DialError> {
        let client = &mut self.clients[id];
        let Some(addr) = client.addrs.pop() else {
            return Ok(false);
        };
        let attempt = client.attempt();
        // No connection yet: a callback that stops the client now finds none to close.
        self.clients.enter(id, ClientState::Dialing);
        let event = ClientEvent::Dialing {
            attempt,
            addr: addr.clone(),
        };
        self.tell(handler, id, event, News::Dialing);
        if self.clients.is(id, ClientState::Stopped) {
            return Ok(false);
        }
        if self.group.enter(self.config.max_connections).is_none() {
            // Another address would not change that.
            self.clients[id].addrs.clear();
            return Err(DialError::Full);
        }
        let client = &self.clients[id];
        let seal = client
            .seal()
            .ok_or_else(|| io::ErrorKind::InvalidInput.into());
        let layer = seal.and_then(|seal| self.system.layer(Role::Client, &seal));
        let dialed = layer.and_then(|layer| {
            let socket = self.system.dial(&addr, &client.config.socket)?;
            Ok((socket, layer))
        });
        let dialed = dialed.inspect_err(|_| self.group.leave());
        let dialed = dialed.and_then(|(socket, layer)| {
            self.refresh_now();
            let contact = Contact::new(addr.clone(), Endpoint::Client(id));
            let client = &self.clients[id];
            let (policy, wire) = (client.policy, client.config.wire.make(&contact));
            let phase = self.next_phase();
            let mut session = Session::dialed(&mut self.env, policy, wire, phase, self.now);
            if let Some(layer) = layer {
                session.keep_aside(self.now, Box::new(layer));
            }
            let mut marks = Flags::NONE;
            marks.set(Mark::HalfOpen, self.clients[id].takes_turns());
            self.insert(socket, session, addr.clone(), Endpoint::Client(id), marks)
        });
        let conn = dialed.map_err(|error| {
            log::debug!("dialing {addr} failed: {error}");
            DialError::from(&error)
        })?;
        self.clients[id].begin_tunnel();
        self.env.stats.dialed += 1;
        self.clients.enter(id, ClientState::Active(conn));
        Ok(true)
    }

    /// Does what follows when a dial has failed at once: the next address, or the end of the attempt.
    fn dial_failed<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: DialError,
    ) {
        match self.clients[id].addrs.is_empty() {
            true => self.attempt_failed(handler, id, error),
            false => self.dial_next(handler, id),
        }
    }

    pub(super) fn attempt_failed<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: DialError,
    ) {
        if let Some(client) = self.clients.get_mut(id) {
            client.handle_failure(LastEnd::Failed(error.clone()));
        }
        let event = ClientEvent::Failed {
            error: error.clone(),
        };
        self.tell(handler, id, event, News::Failed(error.clone()));
        self.retry(handler, id, Some(&error), None);
    }

    fn retry<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: Option<&DialError>,
        evidence: Option<&Evidence>,
    ) {
        let cause = evidence.map(|evidence| evidence.cause);
        let code = evidence.and_then(|evidence| evidence.close_code);
        let mut asked = self.asked_delay(error);
        if let (Some(Cause::PeerClosed), Some(code)) = (cause, code) {
            asked = delay_after_close(code, self.env.random());
        }
        let (random, now) = (self.env.random(), self.read_clock());
        if self.clients.is(id, ClientState::Stopped) {
            // A callback stopped it just now; it is on the list of those still to be told.
            return;
        }
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match client.retry_delay(error, cause, asked, now, random) {
            Ok(delay) => {
                self.schedule_dial(id, delay);
                let delay = delay.into();
                let event = ClientEvent::Waiting { delay };
                handler.on_client(&mut Context::new(self), id, event);
            }
            Err(why) => {
                client.stop = Some(why);
                self.clients.enter(id, ClientState::Stopped);
                self.tell_stopped(handler, id);
            }
        }
    }

    /// Tells the clients that have stopped by now. Those that stop while others hear of it are told in the
    /// next turn, and a drain does not wait for them.
    pub(in crate::event_loop) fn tell_all_stopped<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        for _ in 0..self.clients.stopped() {
            let Some(id) = self.clients.first_stopped() else {
                break;
            };
            self.tell_stopped(handler, id);
        }
    }

    /// Tells what a client that has stopped has not sent, and then its end. It stays on the books in
    /// between, so that a panic does not keep its end from being told.
    fn tell_stopped<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        if let Some(lost) = self.give_up_kept(id) {
            handler.on_client(&mut Context::new(self), id, ClientEvent::Unsent { lost });
        }
        let Some(client) = self.clients.remove(id) else {
            return;
        };
        self.env.release(client.policy);
        let why = client.stop.unwrap_or(StopReason::Asked);
        handler.on_client(&mut Context::new(self), id, ClientEvent::Stopped { why });
    }

    /// Returns how much longer the server asks us to wait.
    #[cfg(feature = "websocket")]
    fn asked_delay(&mut self, error: Option<&DialError>) -> Micros {
        self.look_at_calendar();
        let asked = error.and_then(|error| error.asked_delay(self.env.date()));
        asked.unwrap_or(Micros::ZERO)
    }

    #[cfg(not(feature = "websocket"))]
    fn asked_delay(&self, _error: Option<&DialError>) -> Micros {
        Micros::ZERO
    }
}

/// Time in one turn for dials; the rest of those that are due follows in the next one.
const DIALING_SLICE: Micros = Micros::from_millis(2);
