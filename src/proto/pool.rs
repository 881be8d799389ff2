//! Buffers that idle connections do not own.
//!
//! A connection borrows storage while bytes are in it and gives it back when they are gone. The pool
//! is last-in first-out, so that the buffer handed out next is the one still warm in the cache.

/// A pool of byte buffers in three classes, 4, 16 and 64 KiB.
///
/// It keeps at most [`KEPT`](Self::KEPT) bytes free and lets the rest go back to the allocator. However
/// many buffers of one class come back, one of each other class finds room too. A request above the
/// largest class is served by the allocator and never kept.
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
    /// Invariant: the sum of the lengths of all buffers in `free`, at most `KEPT`.
    free_bytes: usize,
}

impl Pool {
    /// Most bytes that are kept free, 256 KiB.
    pub const KEPT: usize = 256 * 1024;

    /// Length of the largest class, 64 KiB.
    pub const LARGEST: usize = CLASSES[CLASSES.len() - 1];

    /// Takes a buffer of the smallest class that holds `size` bytes; its contents are arbitrary.
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

    /// Gives a buffer back. One that is of no class, or too many, is freed.
    pub fn give(&mut self, buffer: Box<[u8]>) {
        let Some(class) = CLASSES.iter().position(|&len| len == buffer.len()) else {
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

    /// Gives back a vector whose storage may have come from here, such as a message put together.
    pub fn give_vec(&mut self, mut bytes: Vec<u8>) {
        if (1..=Self::LARGEST).contains(&bytes.capacity()) {
            // Filled to its capacity, the vector turns into a box without moving.
            bytes.resize(bytes.capacity(), 0);
            self.give(bytes.into_boxed_slice());
        }
    }

    /// Returns the length of the buffer that [`take`](Self::take) gives for `size` bytes.
    pub(super) fn class(size: usize) -> usize {
        let class = CLASSES.into_iter().find(|&len| size <= len);
        class.unwrap_or(size)
    }

    /// Returns the bytes kept free right now.
    pub fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// Returns the bytes held back for the first buffer of every other class.
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
    }
}
