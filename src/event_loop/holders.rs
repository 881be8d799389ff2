//! Which connections hold memory, and how much all of them hold together.

use crate::proto::tally::Tally;

/// The connections that hold memory, in classes by how much. An idle one is not among them, and
/// costs nothing here.
///
/// A class is a quarter of a power of two wide. So the largest is found to within a quarter, however
/// many there are.
#[derive(Debug)]
pub(super) struct Holders {
    /// Invariant: the sum of all tallies.
    bytes: usize,
    /// Invariant: the number of tallies above zero.
    count: usize,
    /// Slots of the connections in each class.
    classes: Box<[Vec<usize>]>,
}

impl Default for Holders {
    fn default() -> Self {
        Self::new()
    }
}

impl Holders {
    pub(super) fn new() -> Self {
        Self {
            bytes: 0,
            count: 0,
            classes: vec![Vec::new(); CLASSES].into(),
        }
    }

    /// Counts a connection anew: it holds so many bytes, and `weight` is what its end would free at
    /// most. Returns the connection that has moved to another place of its class, and the place.
    pub(super) fn count(
        &mut self,
        tally: &mut Tally,
        key: usize,
        bytes: usize,
        weight: usize,
    ) -> Option<(usize, u32)> {
        self.bytes = self.bytes - tally.bytes + bytes;
        let class = class_of(weight.max(bytes));
        let was_counted = tally.bytes > 0;
        tally.bytes = bytes;
        if was_counted && bytes > 0 && class == tally.class {
            return None;
        }
        let moved = if was_counted {
            self.remove(*tally)
        } else {
            None
        };
        if bytes > 0 {
            self.insert(tally, key, class);
        }
        moved
    }

    /// Returns all bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many connections hold any.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns connections of the highest class that has any, a limited number of them: more or less
    /// those that came first.
    pub(super) fn heaviest(&self) -> &[usize] {
        let class = self.classes.iter().rev().find(|class| !class.is_empty());
        class.map_or(&[], |class| &class[..class.len().min(COMPARED)])
    }

    fn insert(&mut self, tally: &mut Tally, key: usize, class: u8) {
        let members = &mut self.classes[usize::from(class)];
        tally.class = class;
        tally.place = u32::try_from(members.len()).expect("there are fewer connections");
        members.push(key);
        self.count += 1;
    }

    fn remove(&mut self, tally: Tally) -> Option<(usize, u32)> {
        let members = &mut self.classes[usize::from(tally.class)];
        members.swap_remove(tally.place as usize);
        self.count -= 1;
        let moved = members.get(tally.place as usize).copied();
        if members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        moved.map(|key| (key, tally.place))
    }
}

/// Returns the class of a connection that holds so many bytes, at least one: the place of its highest
/// bit, and the next two.
fn class_of(bytes: usize) -> u8 {
    let bits = bytes.max(1).ilog2();
    let next = (bytes << 2 >> bits) & 3;
    (bits * 4) as u8 | next as u8
}

/// One for each quarter of a power of two.
const CLASSES: usize = usize::BITS as usize * 4;

/// Most connections of one class that are compared.
const COMPARED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_class_is_a_quarter_of_a_power_of_two() {
        let classes = [1, 4, 5, 6, 7, 8, 1 << 20, (1 << 20) + (1 << 18)].map(class_of);
        assert_eq!(classes, [0, 8, 9, 10, 11, 12, 80, 81]);
    }

    proptest! {
        /// The model is what each connection holds.
        #[test]
        fn the_sum_and_the_places_are_exact(
            steps in prop::collection::vec((0..8usize, prop_oneof![Just(0), 1..5_000usize]), 0..200),
        ) {
            let mut holders = Holders::new();
            let mut tallies = [Tally::default(); 8];
            for (key, bytes) in steps {
                if let Some((moved, place)) = holders.count(&mut tallies[key], key, bytes, bytes) {
                    tallies[moved].place = place;
                }
                let counted = tallies.iter().filter(|tally| tally.bytes > 0);
                prop_assert_eq!(holders.len(), counted.count());
                prop_assert_eq!(holders.bytes(), tallies.iter().map(|tally| tally.bytes).sum());
                for (key, tally) in tallies.iter().enumerate().filter(|(_, tally)| tally.bytes > 0) {
                    let members = &holders.classes[usize::from(tally.class)];
                    prop_assert_eq!(members[tally.place as usize], key);
                    prop_assert_eq!(tally.class, class_of(tally.bytes));
                }
                let most = tallies.iter().map(|tally| tally.bytes).max().unwrap_or(0);
                let found = holders.heaviest().iter().map(|&key| tallies[key].bytes).max();
                prop_assert_eq!(found.unwrap_or(0), most);
            }
        }
    }
}
