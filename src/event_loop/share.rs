//! What a connection's input costs the loop, counted rather than measured: a stop of the process must not
//! make a connection look busy.

/// Work done so far for the connection whose input is in hand.
#[derive(Debug, Default)]
pub(super) struct Share {
    used: usize,
    /// Work at the last look at the clock.
    looked: usize,
}

impl Share {
    /// Begins with another connection.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Adds work that was done for the connection, or that it has caused.
    pub(super) fn charge(&mut self, work: usize) {
        self.used = self.used.saturating_add(work);
    }

    /// Adds bytes that were read.
    pub(super) fn charge_bytes(&mut self, count: usize) {
        self.charge(count / BYTES);
    }

    /// Adds records that a layer has taken apart.
    pub(super) fn charge_records(&mut self, count: usize) {
        self.charge(count.saturating_mul(RECORD));
    }

    /// Says whether this is as much as a connection may do before others that have waited.
    pub(super) fn is_used_up(&self) -> bool {
        self.used >= SHARE
    }

    /// Says, once, that so much was done that the clock must be read.
    pub(super) fn take_look(&mut self) -> bool {
        let is_due = self.used - self.looked >= LOOK_UP;
        if is_due {
            self.looked = self.used;
        }
        is_due
    }
}

/// The work of decoding one frame, of one callback, or of queueing one message.
pub(super) const STEP: usize = 1;

/// Bytes whose reading costs as much as a step.
const BYTES: usize = 1024;

/// The work of opening a record: its keys and the check of it take a quarter of a microsecond, even if it
/// carries a single byte.
const RECORD: usize = 2;

/// Work of one connection before it counts as heavy: some 15 µs, or 40 echoed messages. Three thousand
/// connections that use theirs up at the same time delay the others by 50 ms, once.
const SHARE: usize = 128;

/// Work between two looks at the clock: eight echoed messages.
const LOOK_UP: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_callbacks_messages_and_bytes_all_count() {
        let mut share = Share::default();
        share.begin();
        share.charge(SHARE - 2);
        share.charge_bytes(2 * BYTES - 1);
        assert!(!share.is_used_up());
        share.charge(STEP);
        assert!(share.is_used_up());
        share.begin();
        assert!(!share.is_used_up(), "the next one has its own");
    }

    #[test]
    fn records_of_a_byte_count_as_more_than_their_bytes() {
        let mut share = Share::default();
        let count = SHARE / RECORD;
        share.charge_bytes(count * 23);
        assert!(!share.is_used_up());
        share.charge_records(count);
        assert!(share.is_used_up());
    }

    #[test]
    fn a_message_to_many_asks_for_a_look_at_the_clock_at_once() {
        let mut share = Share::default();
        assert!(!share.take_look());
        share.charge(3_000);
        assert!(share.take_look());
        assert!(!share.take_look(), "once");
        share.charge(usize::MAX);
        assert!(share.take_look() && share.is_used_up());
    }
}
