//! A byte queue (ring buffer) that borrows its storage from the [`Pool`] only while it has bytes.
//!
//! Two calls fill the ring, so that a socket can read directly into it: [`Ring::spare_mut`] lends
//! the free space, and [`Ring::commit`] says how many bytes of it were filled. Two calls drain it:
//! [`Ring::filled`] or [`Ring::contiguous_mut`], then [`Ring::consume`].

use std::fmt;
use std::mem;
use std::ops::Range;

use super::copy;
use super::pool::Pool;

/// A byte queue in borrowed storage. It takes 32 bytes when it has no storage.
///
/// The storage does not go back by itself. Call [`release`](Self::release) when the bytes are gone.
/// It does nothing while bytes are left, so you may call it after every read. A ring that is
/// dropped frees its storage and does not return it to the pool.
///
/// ```
/// use heartwheel::proto::pool::Pool;
/// use heartwheel::proto::ring::Ring;
///
/// let mut pool = Pool::default();
/// let mut ring = Ring::default();
/// assert_eq!(ring.capacity(), 0);
///
/// ring.spare_mut(&mut pool)[..5].copy_from_slice(b"hello");
/// ring.commit(5);
/// assert_eq!(ring.contiguous_mut(), b"hello");
///
/// ring.consume(5);
/// ring.release(&mut pool);
/// assert_eq!((ring.capacity(), pool.free_bytes()), (0, 4096));
/// ```
#[derive(Default)]
pub struct Ring {
    storage: Box<[u8]>,
    /// Invariant: less than the capacity; zero when there is no storage, or no byte in it.
    head: usize,
    /// Invariant: at most the capacity.
    len: usize,
}

impl Ring {
    /// Lends the free space after the newest byte, as one slice. It is empty only if the ring is
    /// full.
    ///
    /// A ring without storage first borrows a buffer of the smallest class. If the free space at
    /// the end of the storage is the smaller part, and the bytes fit into the free space before
    /// them, the bytes are moved to the front first. That happens only after at least as many bytes
    /// were consumed, so each byte is moved at most once on average, and the bytes seldom wrap
    /// around.
    pub fn spare_mut(&mut self, pool: &mut Pool) -> &mut [u8] {
        if self.storage.is_empty() {
            self.storage = pool.take(1);
        }
        let end = self.head + self.len;
        if self.len <= self.head
            && let Some(behind) = self.capacity().checked_sub(end)
            && behind < self.head
        {
            self.storage.copy_within(self.head..end, 0);
            self.head = 0;
        }
        let spare = self.spare();
        &mut self.storage[spare]
    }

    /// Adds the first `n` bytes of the space lent by [`spare_mut`](Self::spare_mut) to the queue.
    ///
    /// # Panics
    ///
    /// If `n` is more than was lent.
    pub fn commit(&mut self, n: usize) {
        assert!(
            n <= self.spare().len(),
            "committed more bytes than were lent"
        );
        self.len += n;
    }

    /// Appends bytes. The ring grows as needed; the caller enforces the limit.
    ///
    /// If there are no bytes to append, no storage is borrowed.
    pub fn extend(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.reserve(bytes.len(), pool);
        let spare = self.spare();
        if let Some((near, far @ [_, ..])) = bytes.split_at_checked(spare.len()) {
            copy::fill(&mut self.storage[spare], near);
            // Bytes that do not fit after the newest byte go to the front of the storage.
            copy::fill(&mut self.storage, far);
        } else {
            copy::fill(&mut self.storage[spare], bytes);
        }
        self.len += bytes.len();
    }

    /// Appends two slices, one behind the other. The same as two calls of [`extend`](Self::extend),
    /// but cheaper where both fit after the newest byte.
    pub(super) fn extend_both(&mut self, first: &[u8], second: &[u8], pool: &mut Pool) {
        let len = first.len() + second.len();
        self.reserve(len, pool);
        let spare = self.spare();
        match self.storage[spare].get_mut(..len) {
            Some(spare) => {
                let (near, far) = spare.split_at_mut(first.len());
                near.copy_from_slice(first);
                copy::fill(far, second);
                self.len += len;
            }
            None => {
                self.extend(first, pool);
                self.extend(second, pool);
            }
        }
    }

    /// Makes room for `additional` more bytes. If the ring must grow, its capacity at least
    /// doubles. Above the largest class it grows by at least a quarter only, so that little of it
    /// is unused.
    pub fn reserve(&mut self, additional: usize, pool: &mut Pool) {
        let (needed, capacity) = (self.len + additional, self.capacity());
        if needed > capacity {
            let step = if capacity < Pool::LARGEST {
                capacity
            } else {
                capacity / 4
            };
            let size = needed.max(capacity + step);
            match capacity {
                0 => self.storage = pool.take(size),
                _ => self.move_to(pool.take(size), pool),
            }
        }
    }

    /// If storage above the largest class is less than a quarter full, moves to storage of half the
    /// size.
    pub(crate) fn slim(&mut self, pool: &mut Pool) {
        let capacity = self.capacity();
        if capacity > Pool::LARGEST && self.len < capacity / 4 {
            self.move_to(pool.take(capacity / 2), pool);
        }
    }

    /// Moves to the next class of storage (above the largest class: to twice the capacity), and
    /// makes the bytes contiguous. If the capacity is at the limit, does nothing and returns false.
    ///
    /// A limit between two classes counts as the larger class.
    pub fn grow(&mut self, limit: usize, pool: &mut Pool) -> bool {
        if self.capacity() >= limit {
            return false;
        }
        let wanted = (self.capacity() * 2).clamp(1, limit);
        self.move_to(pool.take(wanted), pool);
        true
    }

    /// Moves to storage of at least `size` bytes, unless the ring has that much already.
    pub fn widen(&mut self, size: usize, pool: &mut Pool) {
        if self.storage.is_empty() {
            self.storage = pool.take(size);
        } else if self.capacity() < size {
            self.move_to(pool.take(size), pool);
        }
    }

    /// Moves to storage of the smallest class that holds the bytes. Without bytes, gives the
    /// storage back. Storage above the largest class stays, because too many bytes would have to be
    /// copied.
    pub fn narrow(&mut self, pool: &mut Pool) {
        if self.len == 0 {
            self.release(pool);
        } else if self.capacity() <= Pool::LARGEST && Pool::class(self.len) < self.capacity() {
            self.move_to(pool.take(self.len), pool);
        }
    }

    /// Moves to storage of the smallest class that holds the bytes, whatever that costs.
    pub(crate) fn fit(&mut self, pool: &mut Pool) {
        if self.len == 0 {
            self.release(pool);
        } else if Pool::class(self.len) < self.capacity() {
            self.move_to(pool.take(self.len), pool);
        }
    }

    /// Returns all bytes as one slice, oldest first. The bytes are moved only if they wrap around.
    #[inline]
    pub fn contiguous_mut(&mut self) -> &mut [u8] {
        if self.head + self.len > self.capacity() {
            self.storage.rotate_left(self.head);
            self.head = 0;
        }
        &mut self.storage[self.head..self.head + self.len]
    }

    /// Removes the `n` oldest bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer than `n`.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "consumed more bytes than there are");
        self.len -= n;
        self.head += n;
        if self.len == 0 {
            self.head = 0;
        } else if self.head >= self.capacity() {
            self.head -= self.capacity();
        }
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.head = 0;
    }

    /// Removes the newest bytes, so that at most `len` bytes are left.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            self.head = 0;
        }
    }

    /// Takes the storage and says where in it the bytes lie, which do not wrap around.
    pub(super) fn into_storage(self) -> (Vec<u8>, Range<usize>) {
        let bytes = self.head..self.head + self.len;
        assert!(bytes.end <= self.capacity(), "the bytes do not wrap around");
        (self.storage.into_vec(), bytes)
    }

    /// Makes a ring of storage that is filled at `bytes`.
    pub(super) fn from_storage(storage: Vec<u8>, bytes: Range<usize>) -> Self {
        assert!(bytes.end <= storage.len(), "the bytes are in the storage");
        let len = bytes.len();
        Self {
            storage: storage.into_boxed_slice(),
            head: if len == 0 { 0 } else { bytes.start },
            len,
        }
    }

    /// Gives the storage back if it has no bytes.
    pub fn release(&mut self, pool: &mut Pool) {
        if self.len == 0 && !self.storage.is_empty() {
            pool.give(mem::take(&mut self.storage));
        }
    }

    /// Returns all bytes, oldest first. The second slice is empty unless the bytes wrap around.
    pub fn filled(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        match end.checked_sub(self.capacity()) {
            None | Some(0) => (&self.storage[self.head..end], &[]),
            Some(wrapped) => (&self.storage[self.head..], &self.storage[..wrapped]),
        }
    }

    /// Returns the number of bytes in the ring.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no byte is in the ring.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether the ring must grow before another byte fits; false without storage.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity() && self.len > 0
    }

    /// Returns the size of the storage in bytes; zero without storage.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// The free space after the newest byte, up to the end of the storage or the oldest byte.
    fn spare(&self) -> Range<usize> {
        let end = self.head + self.len;
        match end.checked_sub(self.capacity()) {
            None => end..self.capacity(),
            Some(wrapped) => wrapped..self.head,
        }
    }

    fn move_to(&mut self, mut storage: Box<[u8]>, pool: &mut Pool) {
        let (older, newer) = self.filled();
        copy::fill(&mut storage, older);
        copy::fill(&mut storage[older.len()..], newer);
        self.head = 0;
        let old = mem::replace(&mut self.storage, storage);
        if !old.is_empty() {
            pool.give(old);
        }
    }
}

/// Shows the sizes but not the bytes. They are the peer's data and do not belong in a log.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("head", &self.head)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(ring: &mut Ring, bytes: &[u8], pool: &mut Pool) {
        let spare = ring.spare_mut(pool);
        spare[..bytes.len()].copy_from_slice(bytes);
        ring.commit(bytes.len());
    }

    #[test]
    fn a_new_ring_owns_nothing() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        assert_eq!(ring.capacity(), 0);
        assert!(ring.is_empty() && !ring.is_full());
        assert_eq!(ring.filled(), (&[][..], &[][..]));
        assert_eq!(ring.contiguous_mut(), b"");
        ring.consume(0);
        ring.extend(b"", &mut pool);
        ring.release(&mut pool);
        assert_eq!((ring.capacity(), pool.free_bytes()), (0, 0));
        assert_eq!(size_of::<Ring>(), 32);
    }

    #[test]
    fn release_keeps_storage_with_bytes_in_it() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        ring.extend(b"ab", &mut pool);
        ring.consume(1);
        ring.release(&mut pool);
        assert_eq!(ring.contiguous_mut(), b"b");
        assert_eq!(pool.free_bytes(), 0);
        ring.consume(1);
        ring.release(&mut pool);
        assert_eq!((ring.capacity(), pool.free_bytes()), (0, 4096));
    }

    #[test]
    fn emptying_starts_again_at_the_front() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        fill(&mut ring, &[1; 4000], &mut pool);
        ring.consume(4000);
        assert_eq!(ring.spare_mut(&mut pool).len(), 4096);
    }

    #[test]
    fn a_short_rest_moves_to_the_front_before_more_is_read() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        fill(&mut ring, &[1; 4090], &mut pool);
        ring.consume(4080);
        assert_eq!(ring.spare_mut(&mut pool).len(), 4086);
        assert_eq!(ring.filled(), (&[1; 10][..], &[][..]));
    }

    #[test]
    fn nothing_moves_while_more_is_free_behind_than_in_front() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        fill(&mut ring, &[1; 100], &mut pool);
        ring.consume(60);
        assert_eq!(ring.spare_mut(&mut pool).len(), 3996);
        assert_eq!(ring.head, 60);
    }

    #[test]
    fn a_long_rest_wraps_and_is_put_in_one_piece_on_demand() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        fill(&mut ring, &[1; 4096], &mut pool);
        assert!(ring.is_full());
        assert_eq!(ring.spare_mut(&mut pool).len(), 0);
        ring.consume(96);
        fill(&mut ring, &[2; 96], &mut pool);
        assert_eq!(ring.filled(), (&[1; 4000][..], &[2; 96][..]));
        let whole = [[1; 4000].as_slice(), &[2; 96]].concat();
        assert_eq!(ring.contiguous_mut(), whole);
        assert_eq!(ring.filled(), (&whole[..], &[][..]));
    }

    #[test]
    fn growing_goes_through_the_classes_to_the_limit() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        assert!(!ring.grow(0, &mut pool));
        for expected in [4096, 16_384, 65_536] {
            assert!(ring.grow(65_536, &mut pool));
            assert_eq!(ring.capacity(), expected);
        }
        assert!(!ring.grow(65_536, &mut pool));
        assert!(ring.grow(100_000, &mut pool));
        assert_eq!(ring.capacity(), 100_000);
        assert_eq!(pool.free_bytes(), 4096 + 16_384 + 65_536);
    }

    #[test]
    fn widening_and_narrowing_keep_the_bytes_and_fit_the_storage() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        ring.widen(65_536, &mut pool);
        assert_eq!(ring.capacity(), 65_536);
        for (len, capacity) in [(4097, 16_384), (16_384, 16_384), (4096, 4096), (1, 4096)] {
            ring.widen(65_536, &mut pool);
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            fill(&mut ring, &bytes, &mut pool);
            ring.narrow(&mut pool);
            assert_eq!(ring.capacity(), capacity);
            assert_eq!(ring.filled().0, bytes);
            ring.consume(len);
        }
        ring.narrow(&mut pool);
        assert_eq!(ring.capacity(), 0);
    }

    #[test]
    fn storage_beyond_the_largest_class_is_not_narrowed() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        ring.widen(100_000, &mut pool);
        ring.widen(65_536, &mut pool);
        fill(&mut ring, b"a", &mut pool);
        ring.narrow(&mut pool);
        assert_eq!(ring.capacity(), 100_000);
    }

    #[test]
    fn growing_keeps_wrapped_bytes_in_order() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        ring.extend(&[1; 4096], &mut pool);
        ring.consume(10);
        ring.extend(&[2; 10], &mut pool);
        assert!(ring.grow(65_536, &mut pool));
        assert_eq!(ring.filled().0, [[1; 4086].as_slice(), &[2; 10]].concat());
    }

    #[test]
    fn truncating_forgets_the_newest_bytes() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        ring.extend(b"abcdef", &mut pool);
        ring.truncate(9);
        assert_eq!(ring.len(), 6);
        ring.truncate(2);
        assert_eq!(ring.filled().0, b"ab");
    }

    #[test]
    #[should_panic(expected = "committed more bytes than were lent")]
    fn committing_more_than_was_lent_is_a_bug() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        fill(&mut ring, &[0; 10], &mut pool);
        ring.commit(4087);
    }

    #[test]
    #[should_panic(expected = "consumed more bytes than there are")]
    fn consuming_more_than_there_is_is_a_bug() {
        Ring::default().consume(1);
    }
}
