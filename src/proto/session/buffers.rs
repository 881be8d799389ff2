//! What a session borrows while it is not idle.

use super::End;
use crate::proto::outbox::Outbox;
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::time::{Micros, Stamp};
use crate::proto::{binary, line};

/// Storage for bytes on their way in and out, and the few words that matter only meanwhile.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Wire bytes received and not yet decoded. Steps out while they are decoded and handled.
    pub(super) rx: Ring,
    pub(super) tx: Outbox,
    #[cfg(feature = "websocket")]
    pub(super) websocket: crate::proto::websocket::Decoder,
    pub(super) line: line::LineDecoder,
    pub(super) binary: binary::BinaryDecoder,
    /// When the unfinished message at the front of the input began, and the bytes it has brought.
    pub(super) unfinished: Option<Unfinished>,
    /// Fair time at which output last made progress, or began to wait. Valid while `tx` is not empty.
    pub(super) progress: Stamp,
    /// When the ping that waits was due, if the grid called for it.
    pub(super) ping_due: Option<Micros>,
    pub(super) end: Option<End>,
    /// What the peer's Close frame gave as its reason, or why its handshake was refused, or the rule that
    /// it broke.
    pub(super) reason: String,
}

/// The clock of an unfinished message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfinished {
    /// Fair time of its first byte.
    pub(super) since: Stamp,
    pub(super) bytes: u64,
    /// Fair time from which it was known to be long: only then is its rate judged.
    pub(super) long_since: Option<Stamp>,
}

impl Buffers {
    /// Says whether nothing in here is needed any more.
    pub(super) fn is_idle(&self) -> bool {
        self.rx.is_empty()
            && self.tx.is_empty()
            && self.unfinished.is_none()
            && self.end.is_none()
            && self.decoders_are_idle()
    }

    /// Says whether no decoder is within a message.
    pub(super) fn decoders_are_idle(&self) -> bool {
        #[cfg(feature = "websocket")]
        if !self.websocket.is_idle() {
            return false;
        }
        self.line.is_idle() && self.binary.is_idle()
    }

    /// Returns the times in here, all of them fair.
    pub(super) fn fair_stamps(&mut self) -> impl Iterator<Item = &mut Stamp> {
        let unfinished = self.unfinished.as_mut();
        let since = unfinished.map(|unfinished| &mut unfinished.since);
        std::iter::once(&mut self.progress).chain(since)
    }

    /// Gives all storage back and is as new, but for small capacities.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        let waiting = self.rx.len();
        self.rx.consume(waiting);
        self.rx.release(pool);
        self.tx.clear(pool);
        #[cfg(feature = "websocket")]
        self.websocket.release(pool);
        self.line.discard(pool);
        self.binary.discard(pool);
        self.unfinished = None;
        self.ping_due = None;
        self.end = None;
        self.reason.clear();
    }
}
