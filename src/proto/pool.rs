//! Buffers that connections borrow, so that idle connections hold none.
//!
//! A connection borrows a buffer while it has bytes, and returns it afterwards. The pool is last-in
//! first-out, so the next buffer is the one that is still in the cache.

use std::mem;
use std::sync::Arc;

use super::shares::{Share, Shares};

/// A pool of byte buffers in three classes: 4, 16 and 64 KiB.
///
/// It keeps at most [`KEPT`](Self::KEPT) free bytes and returns the rest to the allocator. Even if
/// very many buffers of one class come back, one of each other class still has room. A request
/// above the largest class goes to the allocator and its buffer is never kept.
///
/// Returning a large buffer to the system takes time in proportion to its size, about one
/// millisecond for 12 MiB. A loop that must not stop for a hundred of them [puts that
/// off](Self::put_off_frees) and frees them bit by bit.
///
/// ```
/// use heartwheel::proto::pool::Pool;
///
/// let mut pool = Pool::default();
/// let buffer = pool.take(100);
/// assert_eq!(buffer.len(), 4096);
/// pool.give(buffer);
/// assert_eq!(pool.free_bytes(), 4096);
/// ```
#[derive(Debug, Default)]
pub struct Pool {
    free: [Vec<Box<[u8]>>; CLASSES.len()],
    /// Invariant: the total length of all buffers in `free`, at most `KEPT`.
    free_bytes: usize,
    /// Buffers larger than the largest class that are not yet freed.
    waste: Vec<Waste>,
    /// Invariant: the total capacity of all buffers in `waste`.
    waste_bytes: usize,
    /// Total size of such buffers taken since [`surplus`](Self::surplus) was asked for.
    taken: usize,
    /// How many bytes of them are kept back, because as much may be taken again at once.
    kept: usize,
    /// Whether such buffers go to `waste`.
    puts_off: bool,
    /// Bytes that several queues share.
    shares: Shares,
}

/// A large buffer that is no longer needed.
#[derive(Debug)]
enum Waste {
    Owned(Vec<u8>),
    /// Freed by its last owner, which may be somebody else.
    Shared(Arc<[u8]>),
}

impl Waste {
    fn len(&self) -> usize {
        match self {
            Self::Owned(buffer) => buffer.capacity(),
            Self::Shared(buffer) => buffer.len(),
        }
    }
}

impl Pool {
    /// The limit for free bytes that are kept: 256 KiB.
    pub const KEPT: usize = 256 * 1024;

    /// Length of the largest class, 64 KiB.
    pub const LARGEST: usize = CLASSES[CLASSES.len() - 1];

    /// Takes a buffer of the smallest class that holds `size` bytes. Its contents are arbitrary.
    pub fn take(&mut self, size: usize) -> Box<[u8]> {
        let Some(class) = CLASSES.iter().position(|&len| size <= len) else {
            return vec![0; size].into_boxed_slice();
        };
        match self.free[class].pop() {
            Some(buffer) => {
                self.free_bytes -= buffer.len();
                buffer
            }
            None => vec![0; CLASSES[class]].into_boxed_slice(),
        }
    }

    /// Takes an empty vector for `size` bytes, more than the largest class. One that waits to be freed is
    /// used again: its memory need not come from the system.
    #[cfg_attr(
        all(not(feature = "websocket"), not(test)),
        expect(dead_code, reason = "only WebSocket shares what it received")
    )]
    pub(crate) fn take_large(&mut self, size: usize) -> Vec<u8> {
        self.taken += size;
        let fits = |waste: &Waste| match waste {
            Waste::Owned(buffer) => (size..=size.saturating_mul(2)).contains(&buffer.capacity()),
            Waste::Shared(_) => false,
        };
        let newest = self.waste.len().saturating_sub(LOOKED_AT);
        let found = self.waste[newest..].iter().rposition(fits);
        match found.map(|at| self.waste.swap_remove(newest + at)) {
            Some(Waste::Owned(mut buffer)) => {
                self.waste_bytes -= buffer.capacity();
                buffer.clear();
                buffer
            }
            Some(Waste::Shared(_)) | None => Vec::with_capacity(size),
        }
    }

    /// Gives a buffer back. It is freed if it has the size of no class, or if too many are free.
    pub fn give(&mut self, buffer: Box<[u8]>) {
        let Some(class) = CLASSES.iter().position(|&len| len == buffer.len()) else {
            self.waste(buffer.len(), || Waste::Owned(buffer.into_vec()));
            return;
        };
        let free_bytes = self.free_bytes + buffer.len();
        if free_bytes + ALL_CLASSES <= Self::KEPT
            || free_bytes + self.reserved_beside(class) <= Self::KEPT
        {
            self.free_bytes += buffer.len();
            self.free[class].push(buffer);
        }
    }

    /// Gives back a vector whose storage may be from the pool, such as an assembled message.
    pub fn give_vec(&mut self, mut bytes: Vec<u8>) {
        if (1..=Self::LARGEST).contains(&bytes.capacity()) {
            // A vector that is filled to its capacity becomes a box without a copy.
            bytes.resize(bytes.capacity(), 0);
            self.give(bytes.into_boxed_slice());
        } else {
            self.waste(bytes.capacity(), || Waste::Owned(bytes));
        }
    }

    /// Counts bytes that a queue shares with others: once, however many hold them. `None` for so few
    /// that each queue counts them.
    pub(super) fn share(&mut self, bytes: &Arc<[u8]>) -> Option<Share> {
        (bytes.len() >= Shares::LEAST).then(|| self.shares.enter(bytes))
    }

    /// Counts storage of another kind that a queue shares with others: so many bytes, which have the
    /// address to themselves.
    pub(super) fn share_at(&mut self, address: usize, bytes: usize) -> Share {
        self.shares.enter_at(address, bytes)
    }

    /// Counts that a queue lets go of storage that it shared.
    pub(super) fn unshare(&mut self, share: Share) {
        self.shares.leave(share);
    }

    /// Gives back bytes that were [shared](Self::share). Other owners can still use them.
    pub(super) fn give_shared(&mut self, bytes: Arc<[u8]>, share: Option<Share>) {
        if let Some(share) = share {
            self.shares.leave(share);
        }
        if Arc::strong_count(&bytes) == 1 {
            self.waste(bytes.len(), || Waste::Shared(bytes));
        }
    }

    /// From now on, buffers larger than the largest class are not freed when they come back. Call
    /// [`free_some`](Self::free_some) again and again to free them.
    pub fn put_off_frees(&mut self) {
        self.puts_off = true;
    }

    /// Frees about `bytes` bytes of what was [put off](Self::put_off_frees), or one buffer that can
    /// only be freed as a whole. Returns whether any buffers are left to free.
    pub fn free_some(&mut self, bytes: usize) -> bool {
        let mut left = bytes;
        while left > 0
            && let Some(waste) = self.waste.pop()
        {
            let len = waste.len();
            self.waste_bytes -= len;
            match waste {
                Waste::Owned(mut buffer) if len > left => {
                    buffer.truncate(len - left);
                    buffer.shrink_to(len - left);
                    self.keep_waste(Waste::Owned(buffer));
                    return true;
                }
                Waste::Owned(_) | Waste::Shared(_) => {}
            }
            left = left.saturating_sub(len);
        }
        if self.waste.is_empty() {
            self.waste = Vec::new();
        }
        self.has_waste()
    }

    /// Returns whether there are buffers left to free.
    pub fn has_waste(&self) -> bool {
        !self.waste.is_empty()
    }

    /// Returns how many bytes of those buffers should be freed now. As many as were
    /// [taken](Self::take_large) since the last call stay, and half of what stayed then, down to
    /// nothing. Call it once a turn.
    pub(crate) fn surplus(&mut self) -> usize {
        let half = match self.kept / 2 {
            ..=Self::LARGEST => 0,
            half => half,
        };
        self.kept = mem::take(&mut self.taken).max(half);
        self.waste_bytes.saturating_sub(self.kept)
    }

    fn waste(&mut self, len: usize, waste: impl FnOnce() -> Waste) {
        if self.puts_off && len > Self::LARGEST {
            self.keep_waste(waste());
        }
    }

    fn keep_waste(&mut self, waste: Waste) {
        self.waste_bytes += waste.len();
        self.waste.push(waste);
    }

    /// Returns the bytes in buffers that are [left to free](Self::has_waste).
    pub fn waste_bytes(&self) -> usize {
        self.waste_bytes
    }

    /// Returns the bytes that queues share with others, each block counted once.
    pub fn shared_bytes(&self) -> usize {
        self.shares.bytes()
    }

    /// Returns the length of the buffer that [`take`](Self::take) gives for `size` bytes.
    pub(super) fn class(size: usize) -> usize {
        let class = CLASSES.into_iter().find(|&len| size <= len);
        class.unwrap_or(size)
    }

    /// Returns the number of free bytes that are kept now.
    pub fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// Returns the bytes reserved for one buffer of each other class that has no free buffer.
    fn reserved_beside(&self, class: usize) -> usize {
        let classes = CLASSES.iter().zip(&self.free).enumerate();
        classes
            .filter(|(other, (_, free))| *other != class && free.is_empty())
            .map(|(_, (len, _))| len)
            .sum()
    }
}

/// Lengths of the classes, bytes, ascending.
const CLASSES: [usize; 3] = [4 * 1024, 16 * 1024, 64 * 1024];

/// Buffers that wait to be freed of which one may be used again.
const LOOKED_AT: usize = 16;

/// Length of one buffer of each class, bytes.
const ALL_CLASSES: usize = CLASSES[0] + CLASSES[1] + CLASSES[2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_smallest_class_that_holds_it() {
        let mut pool = Pool::default();
        assert_eq!(pool.take(0).len(), 4096);
        assert_eq!(pool.take(4096).len(), 4096);
        assert_eq!(pool.take(4097).len(), 16_384);
        assert_eq!(pool.take(65_536).len(), 65_536);
        assert_eq!(pool.take(65_537).len(), 65_537);
    }

    #[test]
    fn the_last_buffer_given_is_the_next_taken() {
        let mut pool = Pool::default();
        let (first, second) = (pool.take(1), pool.take(1));
        let address = second.as_ptr();
        pool.give(first);
        pool.give(second);
        let again = pool.take(1);
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn more_than_the_limit_is_freed() {
        let mut pool = Pool::default();
        give(&mut pool, 4096, 100);
        give(&mut pool, 16_384, 100);
        give(&mut pool, 65_536, 100);
        assert!(pool.free_bytes() <= Pool::KEPT);
        assert!(pool.free_bytes() > Pool::KEPT - 65_536);
    }

    #[test]
    fn many_buffers_of_one_class_leave_room_for_one_of_each_other() {
        for many in CLASSES {
            let mut pool = Pool::default();
            give(&mut pool, many, 100);
            for other in CLASSES {
                give(&mut pool, other, 1);
            }
            assert!(pool.free.iter().all(|free| !free.is_empty()), "{many}");
            assert!(pool.free_bytes() <= Pool::KEPT);
        }
    }

    /// Takes buffers and gives them back, all at once.
    fn give(pool: &mut Pool, size: usize, count: usize) {
        let taken: Vec<_> = (0..count).map(|_| pool.take(size)).collect();
        taken.into_iter().for_each(|buffer| pool.give(buffer));
    }

    #[test]
    fn a_buffer_of_no_class_is_freed() {
        let mut pool = Pool::default();
        let large = pool.take(100_000);
        pool.give(large);
        assert_eq!(pool.free_bytes(), 0);
        assert!(!pool.has_waste());
    }

    #[test]
    fn large_buffers_are_freed_bit_by_bit_where_that_is_asked_for() {
        const MIB: usize = 1024 * 1024;
        let mut pool = Pool::default();
        pool.put_off_frees();
        pool.give(vec![0; 10 * MIB].into());
        pool.give_vec(Vec::with_capacity(3 * MIB));
        let shared: Arc<[u8]> = vec![0; 2 * MIB].into();
        let entries = [(); 2].map(|()| pool.share(&shared));
        assert_eq!(pool.shared_bytes(), 2 * MIB);
        pool.give_shared(Arc::clone(&shared), entries[0]);
        assert_eq!(pool.waste.len(), 2, "another has it still");
        pool.give_shared(shared, entries[1]);
        assert_eq!(pool.shared_bytes(), 0);
        let held = |pool: &Pool| -> usize {
            let sum = pool.waste.iter().map(Waste::len).sum();
            assert_eq!(pool.waste_bytes(), sum);
            sum
        };
        for step in 1..=14 {
            let before = held(&pool);
            assert_eq!(pool.free_some(MIB), step < 14, "{before}");
            // What is shared goes as one.
            let freed = before - held(&pool);
            assert_eq!(freed, if step == 1 { 2 * MIB } else { MIB });
        }
        assert!(!pool.has_waste());
        assert_eq!(pool.waste.capacity(), 0);
    }

    #[test]
    fn large_storage_is_used_again_before_it_is_freed() {
        const MIB: usize = 1024 * 1024;
        let mut pool = Pool::default();
        pool.put_off_frees();
        let mut first = pool.take_large(MIB);
        first.push(1);
        let address = first.as_ptr();
        pool.give_vec(first);
        assert_eq!(
            pool.take_large(MIB / 4).capacity(),
            MIB / 4,
            "too large for that"
        );
        let again = pool.take_large(MIB - 1);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
        assert!(!pool.has_waste());
    }

    #[test]
    fn no_more_large_storage_is_kept_than_was_taken_lately() {
        const MIB: usize = 1024 * 1024;
        let mut pool = Pool::default();
        pool.put_off_frees();
        for _ in 0..3 {
            pool.give_vec(Vec::with_capacity(MIB));
        }
        assert_eq!(pool.surplus(), 3 * MIB, "nobody has taken any");
        let taken = pool.take_large(MIB);
        assert_eq!(pool.surplus(), MIB);
        pool.give_vec(taken);
        assert_eq!(pool.surplus(), 3 * MIB - MIB / 2, "that is some time ago");
        assert_eq!(pool.surplus(), 3 * MIB - MIB / 4);
        assert_eq!(pool.surplus(), 3 * MIB - MIB / 8);
        assert_eq!(pool.surplus(), 3 * MIB);
    }
}
