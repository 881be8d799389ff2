//! The last ends, kept for a later look.

use std::collections::VecDeque;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::token::ConnId;
use crate::close::Evidence;
use crate::peer::PeerAddr;

/// One end in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// When it was reported, on the loop's clock; see [`Context::now`](super::Context::now).
    pub at: Duration,
    /// The id that the connection had. `None` if it was refused before it had one.
    pub id: Option<ConnId>,
    /// The peer's address; see [`Offer::peer`](super::Offer::peer).
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// Whether it ever opened.
    pub was_open: bool,
    /// The status of the last answer, if it carried plain HTTP requests.
    pub status: Option<u16>,
    /// Why it ended, and what was known then.
    pub evidence: Evidence,
}

/// The newest ends, at most `most`.
#[derive(Debug, Default)]
pub(super) struct History {
    ends: VecDeque<Ended>,
    most: usize,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        Self {
            ends: VecDeque::new(),
            most,
        }
    }

    pub(super) fn push(&mut self, ended: Ended) {
        if self.ends.len() >= self.most {
            self.ends.pop_front();
        }
        if self.most > 0 {
            self.ends.push_back(ended);
        }
    }

    /// Returns the ends, the newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Ended> {
        self.ends.iter().rev()
    }
}
