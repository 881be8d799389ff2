//! A count in few bytes.

/// A count of three bytes, which fit where a session would have a gap. It stays at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShortCount([u8; 3]);

impl ShortCount {
    pub(super) fn add(&mut self) {
        let [a, b, c, over] = (self.count() + 1).to_le_bytes();
        if over == 0 {
            self.0 = [a, b, c];
        }
    }

    pub(super) fn count(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_le_bytes([a, b, c, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_count_stays_at_its_end() {
        let mut count = ShortCount::default();
        for _ in 0..300 {
            count.add();
        }
        assert_eq!(count.count(), 300);
        count = ShortCount([0xFE, 0xFF, 0xFF]);
        for _ in 0..3 {
            count.add();
            assert_eq!(count.count(), 0xFF_FFFF);
        }
    }
}
