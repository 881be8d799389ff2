//! The handshakes of layers, such as TLS: each step of one may take as much time as a hundred heartbeats,
//! so they have a queue and a budget of their own.

use super::conn::{Mark, Ready};
use super::core::EventLoop;
use super::handler::Handler;
use super::token::ConnId;
use crate::close::Phase;
use crate::proto::time::Micros;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Notes that the socket of a connection is ready for something, and its layer is not open yet.
    pub(super) fn put_to_shaking(&mut self, id: ConnId, is_doubtful: bool) {
        if let Some(conn) = self.conn_mut(id) {
            if is_doubtful {
                conn.ready.insert(Ready::Doubtful);
            }
            let key = id.index();
            self.shaking.push(&mut self.conns[key].marks, id);
        }
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Continues handshakes of layers, in the order in which their peers have spoken: at least one, and more
    /// while there is time. So each is held up by those before it, and nobody else by more than that time.
    pub(super) fn shake_hands_of_layers<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        if self.shaking.is_empty() {
            return;
        }
        self.catch_up();
        let ends = self.progress.slice(self.now.at, SHAKING_SLICE);
        for _ in 0..self.shaking.len() {
            let (conns, names) = (&mut self.conns, self.names);
            let next = self.shaking.pop(|id| {
                let conn = conns.get_mut(id.index())?;
                (conn.id(id.index(), names) == id).then_some(&mut conn.marks)
            });
            let Some((id, Some(marks))) = next else {
                continue;
            };
            if marks.has(Mark::Doomed) {
                continue;
            }
            if self.conns[id.index()].session.phase() == Phase::Connecting {
                self.finish_connect(handler, id);
            } else {
                // Somebody looked at it earlier, such as an expiry: what comes now is for the session.
                self.carry(id.index());
            }
            if self.is_past(ends) {
                return;
            }
        }
    }
}

/// Time in one turn for the handshakes of layers.
const SHAKING_SLICE: Micros = Micros::from_millis(2);
