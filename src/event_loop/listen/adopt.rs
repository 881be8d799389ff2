//! Connections that somebody else has accepted are taken in.

use std::os::fd::OwnedFd;

use super::adoption::{Adoption, Arrival};
use super::refusal::Refusal;
use crate::close::Phase;
use crate::error::{ConfigError, Error};
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::{ConnId, ListenerId};
use crate::proto::time::Micros;
use crate::sys::{Seal, System};

impl<D, S: System> EventLoop<D, S> {
    /// Takes over a connected socket. See [`Context::adopt`](crate::Context::adopt).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no such listener. [`Error::Adopt`] if the socket will not do.
    pub fn adopt_socket(
        &mut self,
        listener: ListenerId,
        socket: OwnedFd,
        adoption: Adoption<D>,
    ) -> Result<(), Error> {
        let options = match self.listeners.get(listener) {
            Some(listener)
                if adoption.opened.is_some() && !matches!(listener.seal(), Seal::None) =>
            {
                let reason = "has TLS, which begins with a handshake: adopt an open connection on a listener without";
                return Err(ConfigError::new("listener", reason).into());
            }
            Some(listener) => listener.options(),
            None => return Err(ConfigError::new("listener", "was closed").into()),
        };
        let taken = self.system.take_over(socket, options);
        let (socket, peer) = taken.map_err(Error::Adopt)?;
        self.progress.spoil_plan();
        let arrival = Arrival::adopted(socket, peer, adoption);
        self.adopted.push(listener, arrival);
        Ok(())
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Takes in those who were handed over, a limited number in each turn.
    pub(in crate::event_loop) fn admit_adopted<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        if self.adopted.is_empty() {
            return;
        }
        let room = self.room();
        let ends = self.progress.slice(self.now.at, ADOPTING_SLICE);
        for _ in 0..self.config.accept_budget {
            let Some((listener, arrival)) = self.adopted.pop() else {
                break;
            };
            self.admit(handler, listener, arrival, room);
            self.refresh_now();
            if self.now.at >= ends {
                break;
            }
        }
    }

    /// Refuses those who still wait, because the loop stops.
    pub(in crate::event_loop) fn refuse_adopted<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        while let Some((listener, arrival)) = self.adopted.pop() {
            let endpoint = Endpoint::Listener(listener);
            self.report_refused(handler, arrival.peer, endpoint, Refusal::Draining);
        }
    }

    /// Opens a connection that is open already, or asks the handler about one that has no opening handshake
    /// before it.
    pub(super) fn begin<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        opened: Option<D>,
    ) {
        let conn = self.conn(id);
        if conn.is_none_or(|conn| conn.session.phase() != Phase::Open) {
            return;
        }
        match opened {
            Some(data) => self.welcome(handler, id, data),
            None => self.offer_plain(handler, id),
        }
    }
}

/// Time in one turn for those who were handed over.
const ADOPTING_SLICE: Micros = Micros::from_millis(2);
