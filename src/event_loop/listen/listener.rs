//! One listener: what it offers, and how it rests when descriptors run out.

use super::admission::Admission;
use super::config::ListenerConfig;
use super::proxies::Proxies;
use crate::error::ConfigError;
use crate::event_loop::group::CALM;
use crate::event_loop::wire_factory::{Contact, WireFactory};
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::proto::session::{PolicyId, Wire};
use crate::proto::time::Micros;
use crate::sys::{Seal, SocketOptions};

/// A listener.
#[derive(Debug)]
pub(in crate::event_loop) struct Listener<L> {
    /// Where it accepts; nowhere, if it only takes in what others have accepted.
    place: Option<Place<L>>,
    options: SocketOptions,
    terms: Terms,
    /// Connections of it that there are.
    conns: usize,
    /// Connections may wait to be accepted.
    ready: bool,
    /// Accepting rests until then, because no socket could be had.
    paused_until: Option<Micros>,
    /// When there was last no room for somebody who came.
    shortage: Option<Micros>,
}

/// A listening socket and its address.
#[derive(Debug)]
pub(super) struct Place<L> {
    pub(super) socket: L,
    pub(super) addr: PeerAddr,
    /// What was asked for, which may name no port.
    pub(super) asked: PeerAddr,
}

/// What holds for those who come, parsed. It can be changed while listening.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) wire: WireFactory,
    pub(super) policy: PolicyId,
    pub(super) admission: Admission,
    pub(super) proxies: Proxies,
    pub(super) seal: Seal,
    /// Who finds no place may still ask.
    pub(super) takes_guests: bool,
    #[cfg(feature = "websocket")]
    pub(super) visitors: Visitors,
}

impl<L> Listener<L> {
    pub(super) fn new(place: Option<Place<L>>, options: SocketOptions, terms: Terms) -> Self {
        Self {
            place,
            options,
            terms,
            conns: 0,
            ready: false,
            paused_until: None,
            shortage: None,
        }
    }

    pub(in crate::event_loop) fn socket(&self) -> Option<&L> {
        self.place.as_ref().map(|place| &place.socket)
    }

    /// Returns the address it really has, if it listens anywhere.
    pub(in crate::event_loop) fn addr(&self) -> Option<&PeerAddr> {
        self.place.as_ref().map(|place| &place.addr)
    }

    /// Returns its address for a log line.
    pub(super) fn name(&self) -> String {
        match self.addr() {
            Some(addr) => addr.to_string(),
            None => "a listener without a socket".to_owned(),
        }
    }

    pub(super) fn options(&self) -> &SocketOptions {
        &self.options
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.terms.admission
    }

    pub(super) fn takes_guests(&self) -> bool {
        self.terms.takes_guests
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.terms.proxies
    }

    /// Returns what lies between the sockets and the sessions of those who come.
    pub(super) fn seal(&self) -> &Seal {
        &self.terms.seal
    }

    pub(in crate::event_loop) fn policy(&self) -> PolicyId {
        self.terms.policy
    }

    pub(in crate::event_loop) fn wire(&self) -> &WireFactory {
        &self.terms.wire
    }

    /// Makes the wire of a new connection.
    pub(super) fn make_wire(&self, contact: &Contact) -> Wire {
        self.terms.wire.make(contact)
    }

    #[cfg(feature = "websocket")]
    pub(super) fn visitors(&self) -> &Visitors {
        &self.terms.visitors
    }

    /// Checks that a configuration is for this very socket.
    pub(super) fn check_place(&self, config: &ListenerConfig) -> Result<(), ConfigError> {
        if let Some(addr) = &config.addr {
            let name = addr.name();
            let place = self.place.as_ref();
            if place.is_none_or(|place| ![&place.addr, &place.asked].contains(&&name)) {
                return Err(ConfigError::new(
                    "addr",
                    format!("is that of another listener: this one has {}", self.name()),
                ));
            }
        }
        if config.socket != self.options {
            return Err(ConfigError::new(
                "socket",
                "cannot be changed: close the listener, and listen again",
            ));
        }
        Ok(())
    }

    /// Changes what holds for those who come from now on; returns what held before.
    pub(super) fn set_terms(&mut self, terms: Terms) -> Terms {
        std::mem::replace(&mut self.terms, terms)
    }

    /// Ends it, and with it those that the kernel holds for it.
    pub(super) fn close(self) -> (Terms, usize) {
        (self.terms, self.conns)
    }

    /// Returns how many connections of it there are.
    pub(in crate::event_loop) fn conns(&self) -> usize {
        self.conns
    }

    /// Counts one more connection of it.
    pub(super) fn enter(&mut self) {
        self.conns += 1;
    }

    /// Counts one connection less.
    pub(super) fn leave(&mut self) {
        self.conns -= 1;
    }

    /// Notes that connections may wait to be accepted.
    pub(super) fn note_ready(&mut self) {
        self.ready = true;
    }

    /// Notes that none waits any more.
    pub(super) fn note_drained(&mut self) {
        self.ready = false;
    }

    /// Lets accepting rest.
    pub(super) fn pause(&mut self, until: Micros) {
        self.paused_until = Some(until);
    }

    /// Lets it try again at this time, if it rests for longer.
    pub(super) fn wake(&mut self, now: Micros) {
        if let Some(until) = &mut self.paused_until {
            *until = (*until).min(now);
        }
    }

    /// Says whether to accept now. Whoever has rested for long enough tries again.
    pub(super) fn may_accept(&mut self, now: Micros) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.ready = true;
        }
        self.ready && self.paused_until.is_none()
    }

    /// Returns when to accept next, other than at an event.
    pub(super) fn next_try(&self, now: Micros) -> Option<Micros> {
        self.paused_until.or_else(|| self.ready.then_some(now))
    }

    /// Notes that there was no room for somebody who came, and says whether that is news.
    pub(super) fn note_shortage(&mut self, now: Micros) -> bool {
        let before = self.shortage.replace(now);
        before.is_none_or(|before| now - before > CALM)
    }
}
