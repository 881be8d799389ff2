//! Where a message is put together that does not lie complete in the decoder's input.

use std::mem;

use super::copy;
use super::pool::Pool;

/// A message in the making, in storage that grows with the bytes received and with nothing else: a
/// length that a peer merely declares costs nothing.
#[derive(Default)]
pub(super) struct Assembly {
    storage: Box<[u8]>,
    /// Invariant: at most the length of `storage`.
    len: usize,
    /// The message was handed out. Its bytes stay until they are taken or the next one begins.
    complete: bool,
}

impl Assembly {
    /// Forgets a message that was handed out; to be called before anything new is decoded.
    pub(super) fn forget_complete(&mut self) {
        if self.complete {
            self.len = 0;
            self.complete = false;
        }
    }

    /// Appends bytes received.
    pub(super) fn extend(&mut self, bytes: &[u8], pool: &mut Pool) {
        let len = self.len + bytes.len();
        if len > self.storage.len() {
            let mut storage = pool.take(len.max(self.storage.len() * 2));
            copy::fill(&mut storage, self.bytes());
            let old = mem::replace(&mut self.storage, storage);
            if !old.is_empty() {
                pool.give(old);
            }
        }
        copy::fill(&mut self.storage[self.len..len], bytes);
        self.len = len;
    }

    /// Declares the first `len` bytes to be the whole message.
    pub(super) fn complete(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.complete = true;
    }

    /// Takes the complete message, storage and all; empty if there is none.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if !self.complete {
            return Vec::new();
        }
        let mut message = mem::take(&mut self.storage).into_vec();
        message.truncate(self.len);
        self.len = 0;
        self.complete = false;
        message
    }

    /// Gives the storage back, unless an unfinished message is in it.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.forget_complete();
        if self.len == 0 && !self.storage.is_empty() {
            pool.give(mem::take(&mut self.storage));
        }
    }

    /// Gives the storage back, whatever is in it.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.len = 0;
        self.release(pool);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage[..self.len]
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether an unfinished message is in here.
    pub(super) fn is_unfinished(&self) -> bool {
        self.len > 0 && !self.complete
    }
}
