//! The way between two hosts: how long it takes, and whether anything gets through.

use heartwheel::proto::time::Micros;

/// Towards the acceptor, or towards the dialer: the side that a packet is sent to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Direction {
    pub(crate) delay: Micros,
    /// Up to this much more, drawn for each packet. TCP keeps the order.
    pub(crate) jitter: Micros,
    /// Nothing gets through, and nobody is told.
    pub(crate) is_down: bool,
    /// Bytes a second, where the way is narrow.
    pub(crate) rate: Option<u64>,
}

/// Both directions, by the side they lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    pub(crate) to: [Direction; 2],
}

impl Path {
    /// Returns the longest that a question and its answer take on a way that is up.
    pub(crate) fn round_trip(&self) -> Micros {
        self.to.iter().fold(Micros::ZERO, |sum, direction| {
            sum + direction.delay + direction.jitter
        })
    }

    /// Returns the shortest that a question and its answer take.
    pub(crate) fn shortest(&self) -> Micros {
        self.to[0].delay + self.to[1].delay
    }
}
