//! Lists of connections that wait for work.

use std::collections::VecDeque;

use crate::proto::flags::{Flag, Flags};

/// Connections that wait for one thing, the first to come in front, and the mark that each of them bears.
///
/// Whoever bears the mark is on the list, and nobody who bears it is put there again. Only the list sets the
/// mark and takes it away.
#[derive(Debug)]
pub(super) struct WorkList<F, T> {
    mark: F,
    entries: VecDeque<T>,
}

impl<F: Flag, T: Copy> WorkList<F, T> {
    pub(super) fn new(mark: F) -> Self {
        Self::with_capacity(mark, 0)
    }

    pub(super) fn with_capacity(mark: F, capacity: usize) -> Self {
        let entries = VecDeque::with_capacity(capacity);
        Self { mark, entries }
    }

    /// Adds a connection at the end, unless it is on the list. Returns whether it was added.
    pub(super) fn push(&mut self, marks: &mut Flags<F>, entry: T) -> bool {
        let is_new = !marks.has(self.mark);
        if is_new {
            marks.insert(self.mark);
            self.entries.push_back(entry);
        }
        is_new
    }

    /// Returns the first.
    pub(super) fn first(&self) -> Option<T> {
        self.entries.front().copied()
    }

    /// Takes the first. `marks_of` finds its marks, which are handed back too; a connection that is gone
    /// has none.
    pub(super) fn pop<'a>(
        &mut self,
        marks_of: impl FnOnce(T) -> Option<&'a mut Flags<F>>,
    ) -> Option<(T, Option<&'a mut Flags<F>>)> {
        let entry = self.entries.pop_front()?;
        let mut marks = marks_of(entry);
        if let Some(marks) = &mut marks {
            marks.remove(self.mark);
        }
        Some((entry, marks))
    }

    /// Removes the mark from a connection that is handled early. Its entry stays; whoever takes it
    /// finds no work.
    pub(super) fn withdraw(&self, marks: &mut Flags<F>) {
        marks.remove(self.mark);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::conn::Mark;

    #[test]
    fn each_is_on_the_list_once_and_bears_the_mark_as_long() {
        let mut list = WorkList::new(Mark::Dirty);
        let mut marks = [Flags::NONE; 2];
        for (key, is_new) in [(1, true), (0, true), (1, false)] {
            assert_eq!(list.push(&mut marks[key], key), is_new);
            assert!(marks[key].has(Mark::Dirty));
        }
        assert_eq!(list.len(), 2);
        for first in [1, 0] {
            let next = list.pop(|key: usize| Some(&mut marks[key]));
            let (key, marks) = next.expect("one is left");
            assert_eq!(key, first);
            assert!(!marks.expect("it is there").has(Mark::Dirty));
        }
        assert!(list.is_empty());
    }

    #[test]
    fn one_that_is_seen_to_early_may_come_again() {
        let mut list = WorkList::new(Mark::Dirty);
        let mut marks = Flags::NONE;
        list.push(&mut marks, 0);
        list.withdraw(&mut marks);
        assert!(list.push(&mut marks, 0));
        assert!(list.pop(|_| None).is_some(), "it may be gone");
    }
}
