//! The ids of broadcasts and of published messages, and what became of each.

use crate::error::SendError;

/// The id of one broadcast of a loop, or of one message published there. The id of a later one is
/// greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId(u64);

impl BroadcastId {
    /// Returns the id as one number, for a log or another thread.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of the first one.
    pub(super) const FIRST: Self = Self(0);

    /// Returns the id of the one after this.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A broadcast that is over, or a message that was published to all subscribers of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastDone {
    /// What [`Context::broadcast`](super::Context::broadcast) or
    /// [`Context::publish`](super::Context::publish) returned.
    pub id: BroadcastId,
    /// Connections whose queue took the message.
    pub sent: usize,
    /// Connections whose queue had no room for it, or whose wire cannot carry it.
    pub dropped: usize,
}

impl BroadcastDone {
    /// Begins to count.
    pub(super) const fn new(id: BroadcastId) -> Self {
        Self {
            id,
            sent: 0,
            dropped: 0,
        }
    }

    /// Notes what became of the message for one connection.
    pub(super) fn count(&mut self, sent: &Result<(), SendError>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(SendError::Closed) => {}
            Err(SendError::Full { .. } | SendError::Encode(_)) => self.dropped += 1,
        }
    }
}
