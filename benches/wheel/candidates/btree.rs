//! The standard library's sorted set.

use std::collections::BTreeSet;

use heartwheel::proto::time::Micros;

use super::Timers;

/// Deadlines in order, and the deadline of each key, without which it would not be found there.
pub(super) struct BTree {
    sorted: BTreeSet<(u64, u32)>,
    deadlines: Vec<u64>,
}

impl Timers for BTree {
    const NAME: &'static str = "btree";

    fn new(keys: usize) -> Self {
        Self {
            sorted: BTreeSet::new(),
            deadlines: vec![0; keys],
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.deadlines[key] = deadline.as_micros();
        self.sorted.insert((deadline.as_micros(), key as u32));
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        self.cancel(key);
        self.schedule(key, deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.sorted.remove(&(self.deadlines[key], key as u32));
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while let Some(&(at, key)) = self.sorted.first()
            && at <= now.as_micros()
        {
            self.sorted.pop_first();
            expired.push(key as usize);
        }
    }
}
