//! What is kept between compressed messages, and while one is inflated.

use crate::proto::deflate::{Inflation, Window};

/// What a connection keeps for compression, while there is any of it.
#[derive(Debug, Default)]
pub(super) struct Deflated {
    /// The message that is being inflated.
    pub(super) inflation: Option<Inflation>,
    /// What later messages of the peer may refer to.
    pub(super) received: Window,
    /// What later messages of ours may refer to.
    pub(super) sent: Window,
}

impl Deflated {
    /// Says whether nothing is kept any more.
    pub(super) fn is_empty(&self) -> bool {
        self.inflation.is_none() && self.received.bytes().is_empty() && self.sent.bytes().is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        let inflation = self.inflation.as_ref().map_or(0, Inflation::memory);
        size_of::<Self>() + inflation + self.received.capacity() + self.sent.capacity()
    }
}
