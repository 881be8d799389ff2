//! The textbook wheel.

use std::hint::black_box;

use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;

use super::{TICK, Timers};

/// One doubly linked list a slot, sentinels behind the keys. A key set to another time moves at once,
/// or, if `LAZY` and to a later one, when its old slot comes up.
pub(super) struct List<const LAZY: bool> {
    nodes: Vec<Node>,
    keys: usize,
    now: u64,
}

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    prev: u32,
    at: u64,
}

impl<const LAZY: bool> List<LAZY> {
    const SLOTS: usize = Wheel::DEFAULT_SLOTS;

    fn tick_of(&self, deadline: Micros) -> u64 {
        let tick = black_box(TICK).as_micros();
        deadline.as_micros().div_ceil(tick).max(self.now + 1)
    }

    fn sentinel(&self, tick: u64) -> usize {
        self.keys + tick as usize % Self::SLOTS
    }

    fn unlink(&mut self, key: usize) {
        let Node { next, prev, .. } = self.nodes[key];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
    }

    fn link(&mut self, key: usize, at: u64) {
        let sentinel = self.sentinel(at);
        let next = self.nodes[sentinel].next;
        let prev = sentinel as u32;
        self.nodes[key] = Node { next, prev, at };
        self.nodes[sentinel].next = key as u32;
        self.nodes[next as usize].prev = key as u32;
    }
}

impl<const LAZY: bool> Timers for List<LAZY> {
    const NAME: &'static str = if LAZY { "lazy_list" } else { "list" };

    fn new(keys: usize) -> Self {
        let alone = |node| Node {
            next: node as u32,
            prev: node as u32,
            at: 0,
        };
        Self {
            nodes: (0..keys + Self::SLOTS).map(alone).collect(),
            keys,
            now: 0,
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.link(key, self.tick_of(deadline));
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let at = self.tick_of(deadline);
        if LAZY && at >= self.nodes[key].at {
            self.nodes[key].at = at;
            return;
        }
        self.unlink(key);
        self.link(key, at);
    }

    fn cancel(&mut self, key: usize) {
        self.unlink(key);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while self.now < now.as_micros() / TICK.as_micros() {
            self.now += 1;
            let sentinel = self.sentinel(self.now);
            let mut key = self.nodes[sentinel].next as usize;
            while key != sentinel {
                let Node { next, at, .. } = self.nodes[key];
                if at <= self.now {
                    self.unlink(key);
                    expired.push(key);
                } else if LAZY {
                    self.unlink(key);
                    self.link(key, at);
                }
                key = next as usize;
            }
        }
    }
}
