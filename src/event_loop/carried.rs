//! Connections with input left, for which no further edge will come.

use super::conn::Mark;
use super::token::ConnId;
use super::work::WorkList;
use crate::proto::flags::Flags;

/// Two queues of connections with input left. Each connection is in one of them at most.
///
/// A heavy connection used up its share when it was read last. It waits behind all others, which had
/// nothing but the bad luck to come when the time of a turn was over.
#[derive(Debug)]
pub(super) struct Carried {
    light: WorkList<Mark, ConnId>,
    heavy: WorkList<Mark, ConnId>,
}

impl Carried {
    /// Reserves room for so many connections.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            light: WorkList::with_capacity(Mark::Carried, capacity),
            heavy: WorkList::new(Mark::Carried),
        }
    }

    /// Adds a connection at the end of its queue, unless it is in one.
    pub(super) fn push(&mut self, marks: &mut Flags<Mark>, id: ConnId) {
        match marks.has(Mark::Heavy) {
            false => self.light.push(marks, id),
            true => self.heavy.push(marks, id),
        };
    }

    /// Returns the connections that have waited without having used up a share.
    pub(super) fn light(&mut self) -> &mut WorkList<Mark, ConnId> {
        &mut self.light
    }

    /// Returns the connections that used up their share.
    pub(super) fn heavy(&mut self) -> &mut WorkList<Mark, ConnId> {
        &mut self.heavy
    }

    /// Says whether others than heavy connections wait.
    pub(super) fn has_light(&self) -> bool {
        !self.light.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }
}
