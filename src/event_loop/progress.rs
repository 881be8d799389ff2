//! How far a turn and its wait have come.

use crate::proto::time::Micros;

/// How far the present wait and turn have come, or the last ones.
///
/// If a callback panics, this stays as it was at that moment. The next turn is given the same
/// events. It goes on behind the one whose handling the panic cut short, because an event is taken
/// before it is handled.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the coming wait must end.
    wake: Micros,
    /// Work may have been added since `wake` was found.
    is_stale: bool,
    /// When the present turn began.
    began: Micros,
    /// Number of events of the last wait whose handling has begun.
    taken: usize,
    /// A turn has begun, and not all of its events are handled.
    is_unwound: bool,
    /// When reading stops in this turn. Further input is carried over.
    reading_ends: Micros,
    /// Number of connections that the last turn reaped.
    reaped: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            wake: Micros::MAX,
            is_stale: true,
            began: Micros::ZERO,
            taken: 0,
            is_unwound: false,
            reading_ends: Micros::ZERO,
            reaped: 0,
        }
    }

    /// Notes when the coming wait must end.
    pub(super) fn plan_wait(&mut self, wake: Micros) {
        self.wake = wake;
        self.is_stale = false;
    }

    /// Notes that the embedder may add work between two turns.
    pub(super) fn spoil_plan(&mut self) {
        self.is_stale = true;
    }

    /// Returns when the coming wait must end, if that was found after all work was added.
    pub(super) fn planned(&self) -> Option<Micros> {
        (!self.is_stale).then_some(self.wake)
    }

    /// Begins a wait, whose events are all new. Returns when it must end.
    pub(super) fn begin_wait(&mut self) -> Micros {
        self.taken = 0;
        self.wake
    }

    /// Begins a turn. Until [`end_events`](Self::end_events), a panic leaves events behind.
    pub(super) fn begin_turn(&mut self, now: Micros) {
        self.began = now;
        self.is_unwound = true;
        self.is_stale = true;
    }

    /// Returns when a step that begins at `now` stops, if it may take `most`. In a turn that has
    /// taken long already, each step gets only a part of what that was, and leaves the rest of its work
    /// for the next turn. So the turn does not get much longer, and no step starves behind a callback.
    pub(super) fn slice(&self, now: Micros, most: Micros) -> Micros {
        let taken = now - self.began;
        let is_long = taken >= LONG;
        let part = Micros::new(taken.as_micros() / PARTS);
        now + if is_long { most.min(part) } else { most }
    }

    /// Begins with the events of the turn, whose reading stops at `reading_ends`. Returns how many
    /// events an earlier turn has taken.
    pub(super) fn begin_events(&mut self, reading_ends: Micros) -> usize {
        self.reading_ends = reading_ends;
        self.taken
    }

    /// Takes the next event, before it is handled.
    pub(super) fn take_event(&mut self) {
        self.taken += 1;
    }

    /// Notes that all events are handled.
    pub(super) fn end_events(&mut self) {
        self.is_unwound = false;
    }

    /// Notes how many connections the turn reaped.
    pub(super) fn end_reaping(&mut self, reaped: usize) {
        self.reaped = reaped;
    }

    /// Returns how many events of the last wait are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Says whether a panic cut the last turn short, so that events of it are left.
    pub(super) fn is_unwound(&self) -> bool {
        self.is_unwound
    }

    /// Says whether the events of this turn may still be read.
    pub(super) fn has_time_to_read(&self, now: Micros) -> bool {
        now < self.reading_ends
    }

    /// Returns when reading stops in this turn, for those for whom it goes on until then at least.
    pub(super) fn reading_ends(&self, least: Micros) -> Micros {
        self.reading_ends.max(least)
    }

    /// Returns how many connections the last turn reaped.
    pub(super) fn reaped(&self) -> usize {
        self.reaped
    }
}

/// A turn is long from then on. A later step gets such a part of what the turn has taken.
const LONG: Micros = Micros::from_millis(5);
const PARTS: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_panic_the_next_turn_goes_on_behind_the_event_that_was_in_hand() {
        let mut progress = Progress::new();
        progress.begin_wait();
        progress.begin_turn(Micros::ZERO);
        assert_eq!(progress.begin_events(Micros::from_millis(1)), 0);
        progress.take_event();
        progress.take_event();
        // The second one's callback panics: there is no other wait.
        assert!(progress.is_unwound());
        progress.begin_turn(Micros::ZERO);
        assert_eq!(progress.begin_events(Micros::from_millis(2)), 2);
        progress.take_event();
        progress.end_events();
        assert_eq!((progress.taken(), progress.is_unwound()), (3, false));
        progress.begin_wait();
        progress.begin_turn(Micros::ZERO);
        assert_eq!(progress.begin_events(Micros::from_millis(3)), 0);
    }

    #[test]
    fn steps_of_a_long_turn_get_little_time() {
        let millis = Micros::from_millis;
        let mut progress = Progress::new();
        progress.begin_turn(millis(100));
        for (now, ends) in [
            (millis(100), millis(103)),
            (millis(104), millis(107)),
            (millis(108), millis(108) + Micros::new(500)),
            (millis(132), millis(134)),
            (millis(200), millis(203)),
        ] {
            assert_eq!(progress.slice(now, millis(3)), ends);
        }
        let short = Micros::new(100);
        assert_eq!(progress.slice(millis(108), short), millis(108) + short);
    }
}
