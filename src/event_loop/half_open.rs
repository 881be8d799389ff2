//! What a connection counts for at its address: open, and half-open until its handshake is over.

use slab::Slab;

use super::conn::{Conn, Mark};
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::token::{ConnId, Names};
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Removes an ended connection from the count of its address.
    pub(super) fn leave_address(&mut self, key: usize) {
        self.leave_half_open(key);
        if let Some(conn) = self.conns.get_mut(key)
            && conn.marks.remove(Mark::Counted)
            && let Some(ip) = self.peers.addr(conn.peer).ip()
        {
            let addresses = &mut self.group.arrivals().addresses;
            addresses.leave_open(ip, self.now.at);
        }
    }

    /// Removes a connection from the half-open ones of its address, once. For a dialed connection,
    /// the next client may dial that address.
    pub(super) fn leave_half_open(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if !conn.marks.remove(Mark::HalfOpen) {
            return;
        }
        let peer = self.peers.addr(conn.peer);
        match conn.endpoint() {
            Endpoint::Listener(_) => {
                let Some(ip) = peer.ip() else { return };
                let addresses = &mut self.group.arrivals().addresses;
                addresses.leave_half_open(ip, self.now.at);
                let (conns, names) = (&self.conns, self.names);
                self.waiting
                    .leave(ip, |id| Self::is_half_open(conns, names, id));
            }
            Endpoint::Client(id) => {
                let client = self.clients.get_mut(id);
                if let Some(lane) = client.and_then(|client| client.lane.take()) {
                    self.clients.lanes.leave(&lane);
                }
            }
        }
    }

    /// Removes an ended connection from the half-open ones of its address before it is reaped, so
    /// that no other connection is closed in its place.
    pub(super) fn vacate(&mut self, key: usize) {
        if let Endpoint::Listener(_) = self.conns[key].endpoint() {
            self.leave_half_open(key);
        }
    }

    /// Says whether this connection still counts as half-open.
    pub(super) fn is_half_open(conns: &Slab<Conn<D, S>>, names: Names, id: ConnId) -> bool {
        let key = id.index();
        conns
            .get(key)
            .is_some_and(|conn| conn.marks.has(Mark::HalfOpen) && conn.id(key, names) == id)
    }
}
