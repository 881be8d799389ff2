//! A heap, as schedulers have it.

use heartwheel::proto::time::Micros;

use super::Timers;

/// A heap of four children a node that knows where each key is.
pub(super) struct Heap {
    heap: Vec<(u64, u32)>,
    places: Vec<u32>,
}

impl Heap {
    fn place(&mut self, place: usize, entry: (u64, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && entry.0 < self.heap[(place - 1) / 4].0 {
            let parent = (place - 1) / 4;
            self.place(place, self.heap[parent]);
            place = parent;
        }
        self.place(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * 4 + 1;
            let children = first..self.heap.len().min(first + 4);
            let Some(least) = children.min_by_key(|&child| self.heap[child].0) else {
                break;
            };
            if entry.0 <= self.heap[least].0 {
                break;
            }
            self.place(place, self.heap[least]);
            place = least;
        }
        self.place(place, entry);
    }

    fn remove(&mut self, place: usize) {
        let last = self.heap.pop().expect("not empty");
        if place < self.heap.len() {
            let removed = self.heap[place];
            self.heap[place] = last;
            if last < removed {
                self.rise(place)
            } else {
                self.sink(place)
            }
        }
    }
}

impl Timers for Heap {
    const NAME: &'static str = "heap";

    fn new(keys: usize) -> Self {
        Self {
            heap: Vec::with_capacity(keys),
            places: vec![0; keys],
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.heap.push((deadline.as_micros(), key as u32));
        self.rise(self.heap.len() - 1);
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let place = self.places[key] as usize;
        let old = self.heap[place].0;
        self.heap[place].0 = deadline.as_micros();
        if deadline.as_micros() < old {
            self.rise(place)
        } else {
            self.sink(place)
        }
    }

    fn cancel(&mut self, key: usize) {
        self.remove(self.places[key] as usize);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while let Some(&(at, key)) = self.heap.first().filter(|entry| entry.0 <= now.as_micros()) {
            debug_assert!(at <= now.as_micros());
            self.remove(0);
            expired.push(key as usize);
        }
    }
}
