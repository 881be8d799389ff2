//! All listeners of a loop.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::listener::{Listener, Terms};
#[cfg(feature = "websocket")]
use super::proxies::Proxies;
use crate::event_loop::token::{ListenerId, Numbers};
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::proto::session::PolicyId;
use crate::proto::time::Micros;

/// All listeners by id. A stale id finds nothing, however soon another listener has come.
///
/// What was accepted outlives its listener: the rules for web pages and the proxies of one that was closed
/// are kept for as long as connections of it are left, for they may still ask for an upgrade.
#[derive(Debug)]
pub(in crate::event_loop) struct Listeners<L> {
    open: BTreeMap<ListenerId, Listener<L>>,
    /// Those that were closed and have connections left.
    closed: BTreeMap<ListenerId, Closed>,
    numbers: Numbers,
    /// Nobody is known to wait, and none rests, until an event says otherwise. Each turn asks twice.
    is_calm: bool,
}

/// What is left of a listener that was closed.
#[derive(Debug)]
struct Closed {
    /// Connections of it, one at least.
    conns: usize,
    #[cfg(feature = "websocket")]
    proxies: Proxies,
    #[cfg(feature = "websocket")]
    visitors: Visitors,
}

impl<L> Default for Listeners<L> {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            numbers: Numbers::default(),
            is_calm: true,
        }
    }
}

impl<L> Listeners<L> {
    /// Returns the id of the next one. It is given away by [`insert`](Self::insert).
    pub(super) fn next_id(&self) -> ListenerId {
        let is_taken = |number| {
            let id = ListenerId(number);
            self.open.contains_key(&id) || self.closed.contains_key(&id)
        };
        ListenerId(self.numbers.next(is_taken))
    }

    pub(super) fn insert(&mut self, id: ListenerId, listener: Listener<L>) {
        self.is_calm = false;
        self.numbers.give(id.0);
        self.open.insert(id, listener);
    }

    /// Closes one at once, if it is there; returns the policy that it used.
    pub(super) fn close(&mut self, id: ListenerId) -> Option<PolicyId> {
        let (terms, conns) = self.open.remove(&id)?.close();
        let Terms {
            policy,
            #[cfg(feature = "websocket")]
            proxies,
            #[cfg(feature = "websocket")]
            visitors,
            ..
        } = terms;
        if conns > 0 {
            let closed = Closed {
                conns,
                #[cfg(feature = "websocket")]
                proxies,
                #[cfg(feature = "websocket")]
                visitors,
            };
            self.closed.insert(id, closed);
        }
        Some(policy)
    }

    pub(in crate::event_loop) fn get(&self, id: ListenerId) -> Option<&Listener<L>> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener<L>> {
        self.is_calm = false;
        self.open.get_mut(&id)
    }

    /// Returns the ids of those that are open.
    pub(in crate::event_loop) fn ids(&self) -> impl Iterator<Item = ListenerId> {
        self.open.keys().copied()
    }

    /// Says whether any lets guests in, who need descriptors beside the connections that have a place.
    pub(super) fn take_guests(&self) -> bool {
        self.open.values().any(Listener::takes_guests)
    }

    /// Returns how many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns how many were closed and have connections left.
    #[cfg(test)]
    pub(super) fn closed(&self) -> usize {
        self.closed.len()
    }

    /// Returns the rules for web pages of a listener that has connections left, open or not.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) fn visitors(&self, id: ListenerId) -> Option<&Visitors> {
        match self.open.get(&id) {
            Some(listener) => Some(listener.visitors()),
            None => self.closed.get(&id).map(|closed| &closed.visitors),
        }
    }

    /// Returns the proxies of a listener that has connections left, open or not.
    #[cfg(feature = "websocket")]
    pub(super) fn proxies(&self, id: ListenerId) -> Option<&Proxies> {
        match self.open.get(&id) {
            Some(listener) => Some(listener.proxies()),
            None => self.closed.get(&id).map(|closed| &closed.proxies),
        }
    }

    /// Counts a connection out that one of them, open or not, has accepted.
    pub(in crate::event_loop) fn leave(&mut self, id: ListenerId) {
        if let Some(listener) = self.open.get_mut(&id) {
            listener.leave();
        } else if let Some(closed) = self.closed.get_mut(&id) {
            closed.conns -= 1;
            if closed.conns == 0 {
                self.closed.remove(&id);
            }
        }
    }

    /// Notes that connections may wait to be accepted. A stale id is that of one that was closed since the
    /// wait.
    pub(in crate::event_loop) fn note_ready(&mut self, id: ListenerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.note_ready();
        }
    }

    /// Returns the next that is to accept, behind this one.
    pub(super) fn next_ready(
        &mut self,
        behind: Option<ListenerId>,
        now: Micros,
    ) -> Option<ListenerId> {
        if self.is_calm {
            return None;
        }
        let behind = behind.map_or(Unbounded, Excluded);
        let mut others = self.open.range_mut((behind, Unbounded));
        let next = others.find_map(|(&id, listener)| listener.may_accept(now).then_some(id));
        self.is_calm = next.is_none() && self.find_next_try(now).is_none();
        next
    }

    /// Lets those try again that rest for want of descriptors.
    pub(in crate::event_loop) fn wake(&mut self, now: Micros) {
        for listener in self.open.values_mut() {
            listener.wake(now);
        }
    }

    /// Returns when the first is to accept, other than at an event.
    pub(in crate::event_loop) fn next_try(&self, now: Micros) -> Option<Micros> {
        match self.is_calm {
            true => None,
            false => self.find_next_try(now),
        }
    }

    fn find_next_try(&self, now: Micros) -> Option<Micros> {
        let listeners = self.open.values();
        listeners
            .filter_map(|listener| listener.next_try(now))
            .min()
    }
}
