//! Where a message is put together that does not lie complete in the decoder's input.

use std::mem;

use super::copy;
use super::pool::Pool;

/// A message in the making, in storage that grows with the bytes received and with nothing else: a
/// length that a peer merely declares costs nothing.
#[derive(Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
    /// The message was handed out. Its bytes stay until they are taken or the next one begins.
    complete: bool,
}

impl Assembly {
    /// Forgets a message that was handed out; to be called before anything new is decoded.
    pub(super) fn forget_complete(&mut self) {
        if self.complete {
            self.bytes.clear();
            self.complete = false;
        }
    }

    /// Appends bytes received: through the classes of the pool first, then in storage that doubles, which
    /// a long message outgrows without being copied where the allocator can move pages.
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

    /// Declares the first `len` bytes to be the whole message.
    pub(super) fn complete(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.complete = true;
    }

    /// Takes the complete message, storage and all; empty if there is none.
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

    /// Gives the storage back, whatever is in it.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.bytes.clear();
        self.release(pool);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether an unfinished message is in here.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.bytes.is_empty() && !self.complete
    }
}
