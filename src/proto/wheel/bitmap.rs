//! The set of occupied slots: one bit for each slot, and one summary bit for each word of them.

/// A set of slot numbers that finds its next member in a few instructions.
///
/// ```text
///   summary   [ 1 0 0 1 .. ]            one bit for 64 slots: set if that word is not zero
///               |     |
///   words     [0010..] [0] [0] [1000..] one bit for each slot
/// ```
#[derive(Debug)]
pub(super) struct Bitmap {
    words: Box<[u64]>,
    /// Invariant: bit `w` is set exactly when `words[w]` is not zero.
    summary: Box<[u64]>,
}

impl Bitmap {
    /// Creates an empty set of slots below `slots`.
    pub(super) fn new(slots: usize) -> Self {
        let words = slots.div_ceil(BITS);
        Self {
            words: vec![0; words].into_boxed_slice(),
            summary: vec![0; words.div_ceil(BITS)].into_boxed_slice(),
        }
    }

    /// Adds a slot. Does nothing if it is a member.
    #[inline]
    pub(super) fn insert(&mut self, slot: usize) {
        // Usually the slot is a member already, and this check costs less than a store.
        if !self.contains(slot) {
            let word = slot / BITS;
            self.words[word] |= 1 << (slot % BITS);
            self.summary[word / BITS] |= 1 << (word % BITS);
        }
    }

    /// Removes a slot. Does nothing if it is not a member.
    pub(super) fn remove(&mut self, slot: usize) {
        let word = slot / BITS;
        self.words[word] &= !(1 << (slot % BITS));
        if self.words[word] == 0 {
            self.summary[word / BITS] &= !(1 << (word % BITS));
        }
    }

    /// Returns the first member at or above `slot`. The search does not wrap around.
    pub(super) fn first_from(&self, slot: usize) -> Option<usize> {
        let word = slot / BITS;
        let rest = self.words.get(word)? & (u64::MAX << (slot % BITS));
        if rest != 0 {
            return Some(word * BITS + lowest(rest));
        }
        let word = Self::first_in(&self.summary, word + 1)?;
        Some(word * BITS + lowest(self.words[word]))
    }

    /// Returns whether a slot is a member.
    #[inline]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.words[slot / BITS] & (1 << (slot % BITS)) != 0
    }

    /// Panics if a summary bit does not match its word, or if it has not so many members.
    pub(super) fn assert_consistent(&self, members: usize) {
        for (word, &bits) in self.words.iter().enumerate() {
            let claim = self.summary[word / BITS] & (1 << (word % BITS)) != 0;
            assert_eq!(claim, bits != 0, "summary bit of word {word}");
        }
        let bits: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        assert_eq!(bits as usize, members, "members");
    }

    /// Returns the first set bit at or above `bit`.
    fn first_in(words: &[u64], bit: usize) -> Option<usize> {
        let mut word = bit / BITS;
        let mut rest = words.get(word)? & (u64::MAX << (bit % BITS));
        while rest == 0 {
            word += 1;
            rest = *words.get(word)?;
        }
        Some(word * BITS + lowest(rest))
    }
}

/// Bits in a word.
const BITS: usize = 64;

/// The number of the lowest set bit, at most 64.
const fn lowest(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_member_is_found_across_words_and_summary_words() {
        let members = [0, 1, 63, 64, 4095, 4096, 8191];
        let mut bitmap = Bitmap::new(8192);
        members.iter().for_each(|&slot| bitmap.insert(slot));
        for from in 0..8192 {
            let expected = members.iter().copied().find(|&slot| slot >= from);
            assert_eq!(bitmap.first_from(from), expected, "from {from}");
        }
    }

    #[test]
    fn a_word_keeps_its_summary_bit_until_its_last_member_leaves() {
        let mut bitmap = Bitmap::new(8192);
        bitmap.insert(5000);
        bitmap.insert(5001);
        bitmap.remove(5000);
        bitmap.assert_consistent(1);
        assert_eq!(bitmap.first_from(0), Some(5001));
        bitmap.remove(5001);
        bitmap.assert_consistent(0);
        assert_eq!(bitmap.first_from(0), None);
    }

    #[test]
    fn fewer_slots_than_a_word_has_bits_are_a_set_too() {
        let mut bitmap = Bitmap::new(8);
        assert_eq!(bitmap.first_from(7), None);
        bitmap.insert(7);
        assert!(bitmap.contains(7) && !bitmap.contains(6));
        assert_eq!(bitmap.first_from(0), Some(7));
    }
}
