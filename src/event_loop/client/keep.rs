//! Sending to a client, connected or not.

use super::clients::ClientState;
use super::event::ClientEvent;
use super::queue::Lost;
use crate::error::SendError;
use crate::event_loop::context::Context;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::{ClientId, ConnId};
use crate::proto::message::Message;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Returns the open connection of a client.
    pub(in crate::event_loop) fn open_conn_of(&self, id: ClientId) -> Option<ConnId> {
        let Some(ClientState::Active(conn)) = self.clients.state(id) else {
            return None;
        };
        self.conn(conn)
            .is_some_and(|conn| conn.is_open())
            .then_some(conn)
    }

    /// Keeps a message for a client that has no open connection.
    pub(in crate::event_loop) fn keep_for(
        &mut self,
        id: ClientId,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        let (now, left) = (self.now.at, self.memory_left());
        let has_stopped = self.clients.is(id, ClientState::Stopped);
        let Some(client) = self.clients.get_mut(id).filter(|_| !has_stopped) else {
            return Err(SendError::Closed);
        };
        let Some(config) = client.config.queue.as_ref() else {
            return Err(SendError::Closed);
        };
        let before = client.queue.bytes();
        let kept = client
            .queue
            .push(config, now, message, before.saturating_add(left));
        let (after, has_lost) = (client.queue.bytes(), client.queue.has_lost());
        self.clients.kept = self.clients.kept - before + after;
        if has_lost {
            self.clients.note_loss(id);
        }
        kept
    }

    /// Gives up what is kept for a client that has stopped, and returns what it has lost.
    pub(super) fn give_up_kept(&mut self, id: ClientId) -> Option<Lost> {
        let client = self.clients.get_mut(id)?;
        let bytes = client.queue.bytes();
        client.queue.give_up();
        let lost = client.queue.take_lost();
        self.clients.kept -= bytes;
        lost
    }

    /// Sends what was kept for a client to its connection, which has just opened. No callback runs: one
    /// might close the connection before [`on_open`](Handler::on_open) has told of it.
    pub(in crate::event_loop) fn send_kept(&mut self, key: usize) {
        let Endpoint::Client(id) = self.conns[key].endpoint() else {
            return;
        };
        let client = &mut self.clients[id];
        let Some(config) = client.config.queue.as_ref() else {
            return;
        };
        let before = client.queue.bytes();
        let session = &mut self.conns[key].session;
        while let Some((kind, data)) = client.queue.pop(config, self.now.at) {
            let message = Message::decoded(kind, &data);
            if session
                .send_in_excess(&mut self.env, self.now, message)
                .is_err()
            {
                client.queue.note_unfit();
            }
        }
        if client.queue.has_lost() {
            self.clients.note_loss(id);
        }
        self.clients.kept -= before;
        if before > 0 {
            self.count(key);
            self.relieve();
        }
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Tells which clients have lost messages that they were to send. What they lose while they hear of it
    /// is told in the next turn.
    pub(super) fn tell_losses<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        for _ in 0..self.clients.losses() {
            let Some(id) = self.clients.next_loss() else {
                break;
            };
            let client = self.clients.get_mut(id);
            if let Some(lost) = client.and_then(|client| client.queue.take_lost()) {
                handler.on_client(&mut Context::new(self), id, ClientEvent::Unsent { lost });
            }
        }
    }
}
