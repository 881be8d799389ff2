//! Connections from which reading has stopped, because memory is short.

use std::collections::VecDeque;

use super::token::ConnId;
use crate::proto::time::Micros;

/// Those connections, and until when. All wait equally long, so the first to come is the first to be
/// read again.
#[derive(Debug, Default)]
pub(super) struct HeldBack(VecDeque<(Micros, ConnId)>);

impl HeldBack {
    pub(super) fn push(&mut self, due: Micros, id: ConnId) {
        self.0.push_back((due, id));
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<ConnId> {
        self.0.pop_front().map(|(_, id)| id)
    }

    /// Returns when the first one is to be read again.
    pub(super) fn first_due(&self) -> Option<Micros> {
        self.0.front().map(|&(due, _)| due)
    }
}
