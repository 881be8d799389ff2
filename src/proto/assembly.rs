//! Storage for a message that is not complete in the decoder's input.

use std::mem;

use super::copy;
use super::pool::Pool;

/// An incomplete message. Its storage grows only with the bytes received: a length that a peer only
/// announces uses no memory.
#[derive(Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
    /// The message was returned. Its bytes stay until they are taken or the next message begins.
    complete: bool,
}

impl Assembly {
    /// Discards a message that was returned. Call it before anything new is decoded.
    pub(super) fn forget_complete(&mut self) {
        if self.complete {
            self.bytes.clear();
            self.complete = false;
        }
    }

    /// Appends received bytes. The storage grows through the classes of the pool first, then by
    /// doubling. The allocator can often extend such large storage by moving pages, without copying
    /// a long message.
    pub(super) fn extend(&mut self, bytes: &[u8], pool: &mut Pool) {
        let needed = self.bytes.len() + bytes.len();
        if self.bytes.capacity() < needed && needed <= Pool::LARGEST {
            let mut larger = Vec::from(pool.take(needed));
            larger.clear();
            copy::append(&mut larger, &self.bytes);
            pool.give_vec(mem::replace(&mut self.bytes, larger));
        }
        copy::append(&mut self.bytes, bytes);
    }

    /// Marks the first `len` bytes as the complete message.
    pub(super) fn complete(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.complete = true;
    }

    /// Takes the complete message with its storage; empty if there is none.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if !mem::take(&mut self.complete) {
            return Vec::new();
        }
        mem::take(&mut self.bytes)
    }

    /// Gives the storage back, unless an unfinished message is in it.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.forget_complete();
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            pool.give_vec(mem::take(&mut self.bytes));
        }
    }

    /// Gives the storage back, even if it has bytes.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.bytes.clear();
        self.release(pool);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the size of the storage, bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there is an unfinished message.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.bytes.is_empty() && !self.complete
    }
}
