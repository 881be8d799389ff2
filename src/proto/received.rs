//! The storage of a message that was received, which may leave with the message.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::pool::Pool;
use super::ring::Ring;

/// One more owner of the storage of a received message, and where in it the message lies. An outbox
/// that sends the message on becomes one instead of copying it.
#[derive(Clone)]
pub(crate) struct Received {
    storage: Arc<Vec<u8>>,
    /// Invariant: within the storage.
    range: Range<usize>,
}

impl Received {
    /// Length from which it costs less to share a message than to copy it, bytes.
    pub(crate) const LEAST: usize = 8 * 1024;

    /// Wraps a message that was put together. Large storage of which more than a fifth is empty is cut
    /// to the message: nobody can do that once it is shared.
    pub(crate) fn assembled(mut storage: Vec<u8>) -> Self {
        if storage.capacity() > Pool::LARGEST && is_loose(&storage, storage.len()) {
            storage.shrink_to_fit();
        }
        let range = 0..storage.len();
        Self::within(storage, range)
    }

    /// Wraps a message that lies in the storage of a ring, with other bytes.
    pub(super) fn within(storage: Vec<u8>, range: Range<usize>) -> Self {
        assert!(range.end <= storage.len(), "the message is in its storage");
        Self {
            storage: Arc::new(storage),
            range,
        }
    }

    /// Returns the message.
    pub(crate) fn data(&self) -> &[u8] {
        &self.storage[self.range.clone()]
    }

    /// Becomes one more owner, of a part of the message.
    ///
    /// # Panics
    ///
    /// If the part exceeds the message.
    #[cfg_attr(
        all(not(feature = "websocket"), not(test)),
        expect(dead_code, reason = "only WebSocket shares what it received")
    )]
    pub(super) fn part(&self, part: Range<usize>) -> Self {
        assert!(part.end <= self.len(), "a part lies within its message");
        Self {
            storage: Arc::clone(&self.storage),
            range: self.range.start + part.start..self.range.start + part.end,
        }
    }

    /// Returns the address of the counts of owners, which the storage has to itself.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.storage) as usize
    }

    /// Returns the size of the storage, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Says whether a buffer of the pool is kept for a message that needs much less.
    pub(super) fn is_loose(&self) -> bool {
        self.storage.capacity() <= Pool::LARGEST && is_loose(&self.storage, self.len())
    }

    /// Gives the storage back, unless it has another owner.
    pub(crate) fn give(self, pool: &mut Pool) {
        if let Ok(storage) = Arc::try_unwrap(self.storage) {
            pool.give_vec(storage);
        }
    }
}

/// Shows the length but not the bytes. They are the peer's data and do not belong in a log.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

fn is_loose(storage: &Vec<u8>, used: usize) -> bool {
    storage.capacity() > used + used / 4
}

/// The storage of a ring, lent for a callback that may share the message in it.
#[derive(Debug)]
pub(crate) struct Loan {
    message: Received,
    /// Where the bytes behind the message lie in the storage.
    rest: Range<usize>,
}

impl Loan {
    /// Says whether a message of the length is worth a loan, in a ring of so many bytes: what lies
    /// behind it would have to move, if the message is shared.
    pub(crate) fn is_worth(message: usize, ring: usize) -> bool {
        message >= Received::LEAST && ring - message <= message / 4
    }

    /// Takes everything out of a ring whose bytes do not wrap around: a message that lies at `range`
    /// of the bytes, and what comes behind the first `consumed` bytes.
    pub(crate) fn of(ring: &mut Ring, range: Range<usize>, consumed: usize) -> Self {
        let (storage, bytes) = mem::take(ring).into_storage();
        let message = bytes.start + range.start..bytes.start + range.end;
        Self {
            message: Received::within(storage, message),
            rest: bytes.start + consumed..bytes.end,
        }
    }

    pub(crate) fn message(&self) -> &Received {
        &self.message
    }

    /// Returns the ring with the rest: the same storage, unless somebody else now holds it.
    pub(crate) fn end(self, pool: &mut Pool) -> Ring {
        let Self { message, rest } = self;
        match Arc::try_unwrap(message.storage) {
            Ok(storage) => Ring::from_storage(storage, rest),
            Err(shared) => {
                let mut ring = Ring::default();
                ring.extend(&shared[rest], pool);
                ring
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(bytes: &[u8], pool: &mut Pool) -> Ring {
        let mut ring = Ring::default();
        ring.extend(bytes, pool);
        ring
    }

    #[test]
    fn a_loan_that_nobody_shares_returns_the_same_storage() {
        let mut pool = Pool::default();
        let mut lender = ring(b"<message>rest", &mut pool);
        let address = lender.filled().0.as_ptr();
        let loan = Loan::of(&mut lender, 1..8, 9);
        assert_eq!(loan.message().data(), b"message");
        let rest = loan.end(&mut pool);
        assert_eq!(rest.filled().0, b"rest");
        assert_eq!(rest.filled().0.as_ptr(), address.wrapping_add(9));
    }

    #[test]
    fn a_shared_message_keeps_its_storage_and_the_rest_moves() {
        let mut pool = Pool::default();
        let mut lender = ring(b"<message>rest", &mut pool);
        let loan = Loan::of(&mut lender, 1..8, 9);
        let shared = loan.message().part(0..4);
        let rest = loan.end(&mut pool);
        assert_eq!(
            (shared.data(), rest.filled().0),
            (&b"mess"[..], &b"rest"[..])
        );
        let kept = pool.free_bytes();
        shared.give(&mut pool);
        assert_eq!(pool.free_bytes(), kept + 4096);
    }

    #[test]
    fn a_loan_of_all_bytes_that_is_shared_leaves_a_ring_without_storage() {
        let mut pool = Pool::default();
        let mut lender = ring(b"message", &mut pool);
        let loan = Loan::of(&mut lender, 0..7, 7);
        let _shared = loan.message().part(0..7);
        assert_eq!(loan.end(&mut pool).capacity(), 0);
    }

    #[test]
    fn large_storage_is_cut_to_its_message() {
        let mut loose = Vec::with_capacity(1 << 20);
        loose.extend([7; 300_000]);
        let message = Received::assembled(loose);
        assert!(message.storage.capacity() < 400_000);
        assert_eq!(message.data(), [7; 300_000]);
    }
}
