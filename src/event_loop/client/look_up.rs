//! Names of hosts: looked up on other threads, within the connect timeout, and dialed here.

use std::net::SocketAddr;

use super::clients::ClientState;
use super::event::DialError;
use crate::close::Cause;
use crate::event_loop::core::EventLoop;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::ClientId;
use crate::proto::time::Micros;
use crate::sys::{Asker, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Handles the results of look-ups.
    pub(in crate::event_loop) fn take_resolved<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        if !self.clients.may_have_found {
            return;
        }
        while let Some((Asker(id), found)) = self.system.next_found(self.now.at) {
            let id = ClientId(id);
            let Some(client) = self.clients.get(id) else {
                continue;
            };
            // It may have given up meanwhile, and ask for another name now.
            if client.host() != found.name {
                continue;
            }
            if let Some(ClientState::LookingUp(_)) = self.clients.state(id) {
                self.clients.enter(id, ClientState::Dialing);
                self.resolved(handler, id, &found.addrs);
            }
        }
        self.clients.may_have_found = false;
    }

    fn resolved<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        addrs: &[SocketAddr],
    ) {
        let client = &mut self.clients[id];
        let port = client.port();
        let with_port = |addr: &SocketAddr| {
            let mut addr = *addr;
            addr.set_port(port);
            addr.into()
        };
        client.addrs = addrs.iter().rev().map(with_port).collect();
        if client.addrs.is_empty() {
            let error = DialError::NameNotFound(client.host().to_owned());
            self.attempt_failed(handler, id, error);
        } else {
            self.dial_next(handler, id);
        }
    }

    /// Ends the attempts whose name has not been found in time.
    pub(super) fn end_look_ups<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        let is_due = |core: &Self| {
            let now = core.now.at;
            core.look_up_ends(now).is_some_and(|ends| ends <= now)
        };
        if is_due(self) {
            // What was found is not too late, if only we come to it late.
            self.clients.may_have_found = true;
            self.take_resolved(handler);
        }
        while is_due(self)
            && let Some((_, id)) = self.clients.first_look_up()
        {
            self.clients.enter(id, ClientState::Dialing);
            self.system
                .give_up_name(self.clients[id].host(), Asker(id.0));
            self.attempt_failed(handler, id, DialError::Timeout(Cause::ConnectTimeout));
        }
    }

    /// Finds the addresses of a client, and dials.
    pub(super) fn find_address<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
    ) {
        let client = &mut self.clients[id];
        if let Some(addr) = client.literal() {
            client.addrs = vec![addr];
            return self.dial_next(handler, id);
        }
        let asked = self.system.look_up(client.host(), Asker(id.0), self.now.at);
        self.clients.enter(id, ClientState::Dialing);
        match asked {
            Ok(Some(found)) => self.resolved(handler, id, &found.addrs),
            Ok(None) => {
                let policy = self.clients[id].policy;
                let connect = self.env.policy(policy).timing.connect;
                let ends = self.now.at + Micros::from_millis(connect.into());
                self.clients.enter(id, ClientState::LookingUp(ends));
            }
            Err(error) => self.attempt_failed(handler, id, DialError::from(&error)),
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Returns when the first look-up in progress has taken too long. Our own lateness puts this
    /// deadline off, as it does for deadlines of peers.
    pub(in crate::event_loop) fn look_up_ends(&self, now: Micros) -> Option<Micros> {
        let (ends, id) = self.clients.first_look_up()?;
        let timing = &self.env.policy(self.clients[id].policy).timing;
        let span = Micros::from_millis(timing.connect.into());
        Some(self.env.lateness.judged(ends, ends - span, span, now))
    }
}
