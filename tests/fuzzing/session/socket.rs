//! The kernel's part: bytes that have arrived, and room for bytes to go.

use heartwheel::proto::ring::Ring;

#[derive(Debug)]
pub(super) struct Socket {
    /// Bytes that have arrived and are not read yet.
    pub(super) arrived: Vec<u8>,
    /// The peer has ended its output; we have seen that.
    pub(super) is_ended: bool,
    pub(super) is_end_seen: bool,
    /// Reading fails, as after a reset.
    pub(super) is_reset: bool,
    /// Bytes that it still takes.
    pub(super) room: usize,
    /// It has not refused output since it last had room.
    pub(super) is_writable: bool,
    /// Most bytes that one read gets.
    pub(super) chunk: usize,
    /// The next bytes to arrive go unnoticed.
    pub(super) is_unnoticed: bool,
}

impl Socket {
    pub(super) fn new() -> Self {
        Self {
            arrived: Vec::new(),
            is_ended: false,
            is_end_seen: false,
            is_reset: false,
            room: usize::MAX,
            is_writable: true,
            chunk: usize::MAX,
            is_unnoticed: false,
        }
    }

    /// Reads once into the spare room of the ring, and returns how much.
    pub(super) fn read(
        &mut self,
        ring: &mut Ring,
        pool: &mut heartwheel::proto::pool::Pool,
    ) -> usize {
        let spare = ring.spare_mut(pool);
        let count = self.arrived.len().min(spare.len()).min(self.chunk);
        spare[..count].copy_from_slice(&self.arrived[..count]);
        self.arrived.drain(..count);
        ring.commit(count);
        count
    }
}
