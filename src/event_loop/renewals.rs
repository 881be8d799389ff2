//! Whose connections have still to take over what their listener was changed to.

use std::collections::BTreeSet;

use super::token::ListenerId;

/// Listeners whose earlier connections have still to take over the present terms.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    listeners: BTreeSet<ListenerId>,
    /// The slot that comes next.
    next: usize,
}

impl Renewals {
    /// Begins with one more. All slots are gone through from the first one: who has taken over already costs
    /// a look.
    pub(super) fn begin(&mut self, listener: ListenerId) {
        self.listeners.insert(listener);
        self.next = 0;
    }

    /// Says whether those of a listener have.
    pub(super) fn concern(&self, listener: ListenerId) -> bool {
        self.listeners.contains(&listener)
    }

    /// Says whether slots are left to look at.
    pub(super) fn has_work(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Returns the slot that comes next, of `reach`. Behind the last one the work is over.
    pub(super) fn take_next(&mut self, reach: usize) -> Option<usize> {
        if self.next >= reach {
            self.listeners.clear();
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}
