//! Without the feature `deflate`, no message is compressed.

use super::{Env, Event, Session};
use crate::error::ProtocolError;
use crate::proto::message::Message;
use crate::proto::time::Moment;
use crate::proto::websocket::Compression;
use crate::proto::websocket::handshake::Acceptance;
use crate::proto::wire::{MessageKind, Payload};

impl Session {
    /// Opens a WebSocket session as a client whose handshake succeeded.
    pub fn handle_acceptance(&mut self, env: &mut Env, now: Moment, _: &Acceptance<'_>) {
        self.handle_handshake(env, now, &[]);
    }

    pub(super) fn compression(&self) -> Compression {
        Compression::Off
    }

    pub(super) fn inflate(
        &self,
        _: &mut Env,
        _: MessageKind,
        _: Payload,
        _: &[u8],
    ) -> Result<Event, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    pub(super) fn queue_compressed(&self, _: &mut Env, _: Moment, _: Message<'_>) -> bool {
        false
    }
}
