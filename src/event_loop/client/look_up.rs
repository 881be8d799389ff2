//! Names of hosts: looked up elsewhere, waited for within the connect timeout, and dialed here.

use std::net::SocketAddr;

use super::event::DialError;
use super::target::ClientState;
use crate::close::Cause;
use crate::event_loop::core::EventLoop;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::ClientId;
use crate::proto::time::Micros;
use crate::sys::{Asker, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Takes up what looking names up has brought.
    pub(in crate::event_loop) fn take_resolved<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        if !self.looked_up {
            return;
        }
        while let Some((Asker(id), found)) = self.system.next_found(self.now.at) {
            let id = ClientId(id);
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            // It may have given up meanwhile, and ask for another name now.
            if client.host() != found.name {
                continue;
            }
            if let Some(ends) = client.look_up_ends.take() {
                self.look_ups.remove(&(ends, id));
                self.resolved(handler, id, &found.addrs);
            }
        }
        self.looked_up = false;
    }

    fn resolved<H: Handler<S, Data = D>>(
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
            addr
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
    pub(super) fn end_look_ups<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        let is_due = |core: &Self| {
            let now = core.now.at;
            core.look_up_ends(now).is_some_and(|ends| ends <= now)
        };
        if is_due(self) {
            // What was found is not too late, if only we come to it late.
            self.looked_up = true;
            self.take_resolved(handler);
        }
        while is_due(self)
            && let Some((_, id)) = self.look_ups.pop_first()
        {
            let client = &mut self.clients[id];
            client.look_up_ends = None;
            self.system.give_up_name(client.host(), Asker(id.0));
            self.attempt_failed(handler, id, DialError::Timeout(Cause::ConnectTimeout));
        }
    }

    /// Finds out what to dial, and dials it.
    pub(super) fn find_address<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let client = &mut self.clients[id];
        if let Some(addr) = client.literal() {
            client.addrs = vec![addr];
            return self.dial_next(handler, id);
        }
        client.state = ClientState::Resolving;
        let asked = self.system.look_up(client.host(), Asker(id.0), self.now.at);
        match asked {
            Ok(Some(found)) => self.resolved(handler, id, &found.addrs),
            Ok(None) => {
                let connect = self.env.policy(client.policy).timing.connect;
                let ends = self.now.at + Micros::from_millis(connect.into());
                client.look_up_ends = Some(ends);
                self.look_ups.insert((ends, id));
            }
            Err(error) => self.attempt_failed(handler, id, DialError::from(&error)),
        }
    }
}
