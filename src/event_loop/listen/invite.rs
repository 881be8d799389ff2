//! What becomes of those for whom there is no place: they are let in as guests, one for another.

use super::guests::Guests;
use super::refusal::Refusal;
use crate::close::Phase;
use crate::event_loop::conn::{Mark, Ready};
use crate::event_loop::core::EventLoop;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::{ConnId, SLOT_BITS};
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Says whether a newcomer finds no place: there are as many connections as there may be, in all loops of
    /// the group.
    pub(in crate::event_loop) fn is_full(&self) -> bool {
        self.group.len() >= self.room()
    }

    /// Says whether nobody is left but guests.
    pub(in crate::event_loop) fn has_only_guests(&self) -> bool {
        self.conns.len() == self.guests.len()
    }

    fn is_crowded_by_guests(&self) -> bool {
        let live = self.guests.ids().filter(|&id| self.is_live(id));
        live.count() >= Guests::LIVE
    }

    fn is_live(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| {
            !conn.marks.has(Mark::Doomed) && conn.session.phase() != Phase::Closed
        })
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Ends guests that wait, for whom a drain does not.
    pub(in crate::event_loop) fn end_guests(&mut self) {
        let guests: Vec<_> = self.guests.ids().collect();
        for id in guests {
            if self.is_live(id) && !self.conns[id.index()].session.has_output() {
                self.end_half_open(id.index(), Refusal::Draining);
            }
        }
    }

    /// Makes room for a guest that is refused for this reason otherwise. Returns whether there is some.
    pub(super) fn make_room_for_guest<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        refusal: Refusal,
    ) -> bool {
        // A drain does not wait for guests, who ask how it goes.
        let is_over = refusal == Refusal::Draining && self.has_only_guests();
        let is_for_want = matches!(refusal, Refusal::Draining | Refusal::Full);
        if !is_for_want || is_over || self.guests.len() >= Guests::MOST || !self.has_spare_slot() {
            return false;
        }
        for place in 0..self.guests.len() {
            if !self.is_crowded_by_guests() {
                break;
            }
            if let Some(id) = self.guests.at(place) {
                self.see_off(handler, id);
            }
        }
        !self.is_crowded_by_guests()
    }

    /// Lets a guest go, for the next one or because it asks nothing in time. What it asks may lie unread, and
    /// an answer may be leaving.
    pub(in crate::event_loop) fn see_off<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) {
        if !self.is_live(id) {
            return;
        }
        let key = id.index();
        if self.conns[key].session.phase() == Phase::Connecting {
            self.finish_connect(handler, id);
        }
        if !self.is_live(id) {
            return;
        }
        // Behind a header that has just been taken lies a request, perhaps.
        let conn = &mut self.conns[key];
        let has_input = conn.session.has_input() || conn.has_waiting_bytes();
        if conn.session.phase() == Phase::Handshaking && has_input {
            conn.ready.insert(Ready::Readable);
            self.read(handler, id);
        }
        if self.is_live(id) && !self.conns[key].session.has_output() {
            let refusal = match self.drain {
                Some(_) => Refusal::Draining,
                None => Refusal::Full,
            };
            self.end_half_open(key, refusal);
        }
    }

    /// Says whether the slot of one more connection has an id.
    fn has_spare_slot(&self) -> bool {
        self.conns.vacant_key() < 1 << SLOT_BITS
    }
}
