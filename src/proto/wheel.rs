//! Timers: a hashed timing wheel. The caller's slab indices are the keys of the timers.
//!
//! A heartbeat timer is set far more often than it fires. Each connection has at most one timer,
//! and it already has a slab index: a small number. So that index is the key of the timer, and one
//! vector holds the node of each key at that index. To set, move or remove a timer takes a few
//! stores. It needs no hash and no allocation.
//!
//! The scheme is the hashed wheel with unsorted lists by G. Varghese and T. Lauck, "Hashed and
//! Hierarchical Timing Wheels", 1987 (scheme 6), with three changes:
//!
//! - A timer stores its absolute 64-bit tick. It does not count rounds.
//! - A slot has four lists (chains), which are walked at the same time. So four cache misses
//!   overlap. With one list each miss would wait for the one before.
//! - A timer that is set to a later tick stays in its slot. It moves when that slot is visited.

mod bitmap;

use std::fmt;
use std::mem;
use std::ptr;

use self::bitmap::Bitmap;
use super::prefetch::prefetch;
use super::time::Micros;

/// One deadline for each key. Keys are slab indices.
///
/// ```text
///   occupied   0 1 0 0 .. 1        one bit a slot, and a summary: finds the next slot to visit
///                |        |
///   heads     [.... 4 ....][....]  slot = tick mod slots; four chains in each
///                | | | |
///   nodes     7 <-> 2 <-> 9        one vector indexed by key: next, prev, tick; 16 bytes each
///
///   pending   [.... 4 ....]        chains taken off a slot that an `advance` has not finished
/// ```
///
/// # When a key expires
///
/// - A deadline is rounded up to a whole tick, and `now` is rounded down. A key never expires
///   early. It expires at the first [`advance`](Self::advance) at or after its rounded deadline,
///   which is less than one tick after the deadline itself.
/// - A deadline that is not after the latest `now` given to `advance` counts as the tick after that
///   `now`. So the key expires with the next tick, never with the ticks that are being handled now,
///   even if that takes several calls. A handler that sets a timer without delay therefore cannot
///   keep the caller in an endless loop.
/// - [`Micros::MAX`] never comes.
/// - If time goes back, nothing changes.
///
/// Keys that are due at the same time expire in no particular order.
///
/// # Costs
///
/// To set, move or cancel a timer takes constant time. An `advance` visits each occupied slot
/// between the last time and the new one once. After a pause of any length, it visits each slot at
/// most once, and handles what is due. A key that is due more than `slots` ticks ahead is visited
/// once in each turn of the wheel until its deadline is near. A key that was set to a later time is
/// visited once in its old slot. A key takes 16 bytes, a slot 16.1 bytes (130 KiB by default).
///
/// # What it is not
///
/// It has no clock and no callbacks. It does not own the keys: cancel a key before you free its
/// slab entry. Then nothing of the old entry is left in the wheel.
///
/// ```
/// use heartwheel::proto::time::Micros;
/// use heartwheel::proto::wheel::Wheel;
///
/// let mut wheel = Wheel::new(Micros::from_millis(10), Micros::ZERO);
/// wheel.schedule(3, Micros::from_secs(10));
/// wheel.schedule(4, Micros::from_secs(20));
/// wheel.schedule(3, Micros::from_secs(15)); // a refresh
/// wheel.cancel(4);
///
/// let mut expired = Vec::new();
/// wheel.advance(Micros::from_millis(14_999), usize::MAX, &mut expired);
/// assert!(expired.is_empty());
/// wheel.advance(Micros::from_secs(15), usize::MAX, &mut expired);
/// assert_eq!(expired, [3]);
/// ```
pub struct Wheel {
    /// One for each key seen so far, whether it is in a chain or not.
    nodes: Vec<Node>,
    /// First keys of the chains, by slot. The extra element at the end holds the pending chains.
    heads: Box<[Chains]>,
    /// Invariant: a slot is in this set exactly when one of its chains is not empty.
    occupied: Bitmap,
    /// Number of slots, minus one.
    mask: u64,
    tick: u64,
    /// Tick of the latest time given to `advance`. Invariant: a key is only armed for a later tick.
    now: u64,
    /// Tick of the slot visited last. Invariant: `now - slots <= cursor <= now`. It is equal to
    /// `now` unless a limit stopped an `advance`.
    cursor: u64,
    /// Tick at which the next occupied slot is visited; [`NEVER`] if there is none. Each turn of a loop
    /// asks for it twice, and it changes seldom.
    next: u64,
    /// Number of armed keys: those that have a timer.
    len: usize,
}

impl Wheel {
    /// Slots of a wheel made by [`new`](Self::new). With a tick of 10 ms one turn takes 82 s, so a
    /// timer of one minute is visited only once.
    pub const DEFAULT_SLOTS: usize = 8192;
    /// The largest number of slots of a wheel.
    pub const MAX_SLOTS: usize = 1 << 18;
    /// Bytes of memory for each key.
    pub(crate) const KEY_BYTES: usize = size_of::<Node>();
    /// The largest number of keys of a wheel. Each key is less than this number.
    pub const MAX_KEYS: usize = 1 << 31;

    /// Creates an empty wheel of [`DEFAULT_SLOTS`](Self::DEFAULT_SLOTS) with a resolution of `tick`.
    ///
    /// # Panics
    ///
    /// If `tick` is zero.
    pub fn new(tick: Micros, now: Micros) -> Self {
        Self::with_slots(tick, Self::DEFAULT_SLOTS, now)
    }

    /// Creates an empty wheel of at least `slots` slots, rounded up to a power of two.
    ///
    /// One turn takes `slots` ticks. It should be longer than the usual timeout.
    ///
    /// # Panics
    ///
    /// If `tick` is zero, or `slots` is zero or above [`MAX_SLOTS`](Self::MAX_SLOTS).
    pub fn with_slots(tick: Micros, slots: usize, now: Micros) -> Self {
        assert!(tick > Micros::ZERO, "a tick takes time");
        assert!(slots > 0, "a wheel has slots");
        assert!(slots <= Self::MAX_SLOTS, "{slots} slots are too many");
        let slots = slots.next_power_of_two();
        let now = floor(now, tick.as_micros());
        Self {
            nodes: Vec::new(),
            heads: vec![EMPTY; slots + 1].into_boxed_slice(),
            occupied: Bitmap::new(slots),
            mask: (slots - 1) as u64,
            tick: tick.as_micros(),
            now,
            cursor: now,
            next: NEVER,
            len: 0,
        }
    }

    /// Reserves memory for all keys less than `keys`, so that arming them neither copies nor
    /// allocates.
    ///
    /// This reserves address space only. Memory is used when a key is first armed.
    ///
    /// # Panics
    ///
    /// If `keys` is above [`MAX_KEYS`](Self::MAX_KEYS).
    pub fn reserve(&mut self, keys: usize) {
        assert!(keys <= Self::MAX_KEYS, "{keys} keys are too many");
        self.nodes
            .reserve_exact(keys.saturating_sub(self.nodes.len()));
    }

    /// Arms a key. If it is armed already, replaces its deadline.
    ///
    /// A later tick costs one store. The node stays in its old slot and moves when that slot is
    /// visited. [`next_deadline`](Self::next_deadline) may therefore be too early once. With an
    /// earlier tick the node moves at once. A deadline that has passed counts as the next tick.
    ///
    /// # Panics
    ///
    /// If `key` is not below [`MAX_KEYS`](Self::MAX_KEYS).
    #[inline]
    pub fn schedule(&mut self, key: usize, deadline: Micros) {
        let at = deadline.as_micros().div_ceil(self.tick).max(self.now + 1);
        if key >= self.nodes.len() {
            self.grow(key);
        }
        let node = &mut self.nodes[key];
        if !node.is_armed() {
            self.len += 1;
        } else if at >= node.at {
            // The slot it is in is visited no later than the old deadline, and then moves the node
            // on.
            node.at = at;
            return;
        } else {
            let Node { next, prev, .. } = *node;
            self.unlink(next, prev);
        }
        self.link(key, at);
    }

    /// Disarms a key, and returns whether it was armed. A key that the wheel has never seen was not
    /// armed.
    ///
    /// This also works for a key that is due but was not yet returned because of a limit. A key
    /// that [`advance`](Self::advance) has returned is no longer armed.
    #[inline]
    pub fn cancel(&mut self, key: usize) -> bool {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.is_armed()) else {
            return false;
        };
        let Node { next, prev, .. } = mem::replace(node, Node::UNLINKED);
        self.unlink(next, prev);
        self.len -= 1;
        true
    }

    /// Moves time to `now` and appends the keys that expire to `expired`. Returns whether to call
    /// it again.
    ///
    /// A key is disarmed when it is appended. The call visits at most `limit` nodes, whether they
    /// expire or only move to another slot. So it appends at most `limit` keys and takes limited
    /// time. `true` means that work is left: call again with the same time or a later one. Perhaps
    /// no key is due in the work that is left. Until then the keys that are left stay armed, and
    /// you may cancel them or set them again. With a limit of zero nothing is visited.
    ///
    /// Run the handlers after the call, over `expired`. They may arm and cancel any key. But if a
    /// handler frees or arms a key that comes later in the list, that entry of the list is out of
    /// date. Skip a key if its slab entry is gone, or if [`deadline`](Self::deadline) returns a
    /// time for it.
    ///
    /// ```
    /// use heartwheel::proto::time::Micros;
    /// use heartwheel::proto::wheel::Wheel;
    ///
    /// let mut wheel = Wheel::new(Micros::from_millis(10), Micros::ZERO);
    /// (0..5).for_each(|key| wheel.schedule(key, Micros::from_millis(30)));
    ///
    /// let mut expired = Vec::new();
    /// while wheel.advance(Micros::from_secs(1), 2, &mut expired) {
    ///     for key in expired.drain(..) {
    ///         wheel.schedule(key, Micros::ZERO); // the next tick, not this drain
    ///     }
    /// }
    /// assert_eq!(wheel.len() + expired.len(), 5);
    /// ```
    pub fn advance(&mut self, now: Micros, limit: usize, expired: &mut Vec<usize>) -> bool {
        self.now = self.now.max(floor(now, self.tick));
        // After a pause longer than one turn each slot is visited once. More visits would find
        // nothing.
        let latest = self.now.saturating_sub(self.mask + 1);
        if self.cursor < latest {
            self.cursor = latest;
            self.next = self.find_next();
        }
        let mut left = limit;
        loop {
            if self.has_pending() {
                left = self.drain_pending(left, expired);
                if self.has_pending() {
                    return true;
                }
            }
            if self.next > self.now {
                self.cursor = self.now;
                return false;
            }
            if left == 0 {
                return true;
            }
            self.cursor = self.next;
            self.detach(self.slot_of(self.next));
        }
    }

    /// Returns the deadline of an armed key, rounded up to a tick. For a deadline that had already
    /// passed when it was set, returns the tick that came next then.
    pub fn deadline(&self, key: usize) -> Option<Micros> {
        let node = self.nodes.get(key).filter(|node| node.is_armed())?;
        Some(self.time_of(node.at))
    }

    /// Returns when [`advance`](Self::advance) next has work to do; `None` if no key is armed.
    ///
    /// The time is never later than the earliest deadline, and never before the tick of the latest
    /// `advance`. While work is left, it is the tick of the latest `advance`. It may be earlier
    /// than every deadline: once for a key that was set to a later time, and once in each turn of
    /// the wheel for a key that is due more than one turn ahead.
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.has_pending() {
            return Some(self.time_of(self.now));
        }
        (self.next != NEVER).then(|| self.time_of(self.next.max(self.now)))
    }

    /// Returns how long to sleep from `now`: zero if work is left, `None` if no key is armed.
    ///
    /// If you sleep in larger units, round this up. Otherwise you wake up before there is work.
    pub fn poll_timeout(&self, now: Micros) -> Option<Micros> {
        if self.has_pending() {
            return Some(Micros::ZERO);
        }
        match self.next {
            NEVER => None,
            next if next <= self.now => Some(Micros::ZERO),
            next => Some(self.time_of(next) - now),
        }
    }

    /// Brings a key's node into the processor's cache, because the key is about to be armed.
    #[inline]
    pub(crate) fn prefetch(&self, key: usize) {
        if let Some(node) = self.nodes.get(key) {
            prefetch(ptr::from_ref(node));
        }
    }

    /// Returns the number of armed keys. Keys that are due but left because of a limit are
    /// included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no key is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the length of a tick.
    pub fn tick(&self) -> Micros {
        Micros::new(self.tick)
    }

    /// Returns the number of slots, a power of two.
    pub fn slots(&self) -> usize {
        self.heads.len() - 1
    }

    /// Panics if the structure is not consistent. It checks all of it; for tests.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        assert!(self.cursor <= self.now, "the cursor is ahead of time");
        let (mut linked, mut occupied, mut nearest) = (0, 0, None);
        for slot in self.filled() {
            for (chain, &first) in self.heads[slot].iter().enumerate() {
                linked += self.assert_chain(slot, chain, first);
            }
            if slot < self.slots() {
                assert!(self.occupied.contains(slot), "bit of slot {slot}");
                occupied += 1;
                let distance = self.distance(slot);
                nearest = Some(nearest.map_or(distance, |least: u64| least.min(distance)));
            }
        }
        let armed = self.nodes.iter().filter(|node| node.is_armed()).count();
        assert_eq!(linked, self.len, "keys linked");
        assert_eq!(armed, self.len, "keys armed");
        self.occupied.assert_consistent(occupied);
        let next = nearest.map_or(NEVER, |distance| self.cursor + 1 + distance);
        assert_eq!(self.find_next(), next, "next slot to visit");
        assert_eq!(self.next, next, "next slot to visit, as kept");
    }

    /// Returns the slots that have keys, with that of the pending ones. Compares many together: most are
    /// empty, and the check is a frequent one.
    fn filled(&self) -> Vec<usize> {
        const TOGETHER: usize = 64;
        let mut filled = Vec::new();
        for (number, slots) in self.heads.chunks(TOGETHER).enumerate() {
            if slots.as_flattened() == &[NIL; TOGETHER * CHAINS][..slots.len() * CHAINS] {
                continue;
            }
            let keyed = slots.iter().enumerate().filter(|(_, one)| **one != EMPTY);
            filled.extend(keyed.map(|(place, _)| number * TOGETHER + place));
        }
        filled
    }

    /// Returns how many ticks after the next one a slot is visited.
    fn distance(&self, slot: usize) -> u64 {
        let from = self.slot_of(self.cursor + 1) as u64;
        (slot as u64).wrapping_sub(from) & self.mask
    }

    /// Checks one chain for `assert_consistent`, and returns its length.
    fn assert_chain(&self, slot: usize, chain: usize, first: u32) -> usize {
        let mut len = 0;
        let mut prev = head_link(slot, chain);
        let mut key = first;
        while key != NIL {
            let node = &self.nodes[index(key)];
            assert_eq!(node.prev, prev, "back link of key {key}");
            if slot < self.slots() {
                let visit = self.cursor + 1 + self.distance(slot);
                let due = node.at.max(self.now);
                assert!(visit <= due, "key {key} is visited after it is due");
            }
            len += 1;
            assert!(len <= self.nodes.len(), "chain of slot {slot} is a ring");
            prev = key;
            key = node.next;
        }
        len
    }

    /// Visits at most `left` pending nodes. Returns how many more nodes may be visited.
    fn drain_pending(&mut self, mut left: usize, expired: &mut Vec<usize>) -> usize {
        let pending = self.slots();
        let mut firsts = mem::replace(&mut self.heads[pending], EMPTY);
        // The four chains are walked in step, so that the loads of one round do not wait for each
        // other.
        while firsts != EMPTY && left > 0 {
            for first in &mut firsts {
                if *first == NIL || left == 0 {
                    continue;
                }
                left -= 1;
                let key = index(*first);
                let node = &mut self.nodes[key];
                *first = node.next;
                if node.at <= self.now {
                    node.prev = UNARMED;
                    self.len -= 1;
                    expired.push(key);
                } else {
                    let at = node.at;
                    self.link(key, at);
                }
            }
        }
        for (chain, &first) in firsts.iter().enumerate() {
            if first != NIL {
                self.nodes[index(first)].prev = head_link(pending, chain);
            }
        }
        self.heads[pending] = firsts;
        left
    }

    /// Takes all chains of a slot and makes them the pending chains, which must be empty.
    ///
    /// The first nodes still point back to the slot. `drain_pending` corrects the nodes that it
    /// leaves.
    fn detach(&mut self, slot: usize) {
        let pending = self.slots();
        debug_assert_eq!(self.heads[pending], EMPTY);
        self.heads[pending] = mem::replace(&mut self.heads[slot], EMPTY);
        self.occupied.remove(slot);
        self.next = self.find_next();
    }

    /// Puts a node at the front of one of the chains of the slot of `at`.
    #[inline]
    fn link(&mut self, key: usize, at: u64) {
        let slot = self.slot_of(at);
        let name = name(key);
        let chain = chain_of(name);
        let next = mem::replace(&mut self.heads[slot][chain], name);
        self.nodes[key] = Node {
            next,
            prev: head_link(slot, chain),
            at,
        };
        if next != NIL {
            self.nodes[index(next)].prev = name;
        }
        self.occupied.insert(slot);
        self.next = self.next.min(self.visit_of(slot));
    }

    /// Connects the neighbours of a node that leaves its chain, whichever chain that is.
    #[inline]
    fn unlink(&mut self, next: u32, prev: u32) {
        if next != NIL {
            self.nodes[index(next)].prev = prev;
        }
        if prev & HEAD == 0 {
            self.nodes[index(prev)].next = next;
            return;
        }
        let head = index(prev & !HEAD);
        let slot = head / CHAINS;
        self.heads[slot][head % CHAINS] = next;
        if next == NIL && slot < self.slots() && self.heads[slot] == EMPTY {
            self.occupied.remove(slot);
            if self.slot_of(self.next) == slot {
                self.next = self.find_next();
            }
        }
    }

    /// Adds unarmed nodes up to and including `key`.
    #[cold]
    fn grow(&mut self, key: usize) {
        assert!(key < Self::MAX_KEYS, "key {key} is too large");
        self.nodes.resize(key + 1, Node::UNLINKED);
    }

    fn has_pending(&self) -> bool {
        self.heads[self.slots()] != EMPTY
    }

    /// Finds the tick at which the next occupied slot after the cursor is visited.
    fn find_next(&self) -> u64 {
        let from = self.slot_of(self.cursor + 1);
        let slot = self.occupied.first_from(from);
        let slot = slot.or_else(|| self.occupied.first_from(0));
        slot.map_or(NEVER, |slot| self.visit_of(slot))
    }

    /// Returns the tick at which a slot is visited, after the cursor.
    #[inline]
    fn visit_of(&self, slot: usize) -> u64 {
        let from = self.cursor + 1;
        from + ((slot as u64).wrapping_sub(from) & self.mask)
    }

    #[inline]
    fn slot_of(&self, tick: u64) -> usize {
        usize::try_from(tick & self.mask).expect("the mask is below MAX_SLOTS")
    }

    fn time_of(&self, tick: u64) -> Micros {
        Micros::new(self.tick.saturating_mul(tick))
    }
}

/// Does not show the nodes: there may be a million.
impl fmt::Debug for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .field("tick", &self.tick())
            .field("slots", &self.slots())
            .field("now", &self.time_of(self.now))
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

/// The wheel's record of a key.
#[derive(Clone, Copy)]
struct Node {
    /// The next key of the chain, or `NIL`.
    next: u32,
    /// The previous key. For the first key of a chain it is `HEAD` plus the number of the chain, so
    /// that unlinking does not need the slot. `UNARMED` if the key is in no chain.
    prev: u32,
    /// The tick at which the key expires. The node may lie in the slot of an earlier tick.
    at: u64,
}

impl Node {
    const UNLINKED: Self = Self {
        next: NIL,
        prev: UNARMED,
        at: 0,
    };

    #[inline]
    fn is_armed(&self) -> bool {
        self.prev != UNARMED
    }
}

/// The tick of what never comes.
const NEVER: u64 = u64::MAX;

/// The first keys of the chains of one slot.
type Chains = [u32; CHAINS];

/// Chains of a slot. With four, the loads overlap well on current machines, and the heads take only
/// 128 KiB.
const CHAINS: usize = 4;

const EMPTY: Chains = [NIL; CHAINS];

/// The end of a chain. No key is that large.
const NIL: u32 = u32::MAX;

/// Marks a `prev` that holds the number of a chain. Keys are below it.
const HEAD: u32 = 1 << 31;

/// The `prev` of a node in no chain. No chain has that number.
const UNARMED: u32 = u32::MAX;

/// The `prev` of the first node of a chain.
#[inline]
fn head_link(slot: usize, chain: usize) -> u32 {
    HEAD | u32::try_from(slot * CHAINS + chain).expect("slots are at most MAX_SLOTS + 1")
}

/// The chain that a key joins, the same in each slot.
///
/// It is a hash. The low bits of the key would not do: keys and phases often follow the same
/// pattern, and then all keys of a slot would be in one of its four chains.
#[inline]
const fn chain_of(name: u32) -> usize {
    index((name ^ name >> 15).wrapping_mul(0x2C1B_3C6D) >> 30)
}

/// The tick that `now` has reached. It is less than the largest tick, so there is always a next
/// one.
fn floor(now: Micros, tick: u64) -> u64 {
    now.as_micros().min(u64::MAX - 1) / tick
}

/// A key as it is stored.
#[inline]
fn name(key: usize) -> u32 {
    u32::try_from(key).expect("keys are below MAX_KEYS")
}

/// A stored number as an index. An index is at least as wide.
#[inline]
const fn index(name: u32) -> usize {
    name as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    fn wheel() -> Wheel {
        Wheel::with_slots(ms(10), 8, Micros::ZERO)
    }

    fn expired(wheel: &mut Wheel, now: Micros) -> Vec<usize> {
        let mut expired = Vec::new();
        assert!(!wheel.advance(now, usize::MAX, &mut expired));
        wheel.assert_consistent();
        expired.sort_unstable();
        expired
    }

    #[test]
    fn a_node_takes_sixteen_bytes() {
        assert_eq!(Wheel::KEY_BYTES, 16);
    }

    #[test]
    fn the_default_slots_take_less_than_140_kilobytes() {
        let wheel = Wheel::new(ms(10), Micros::ZERO);
        let heads = size_of_val(&*wheel.heads);
        assert!(heads + wheel.slots() / 8 * 65 / 64 < 140_000);
    }

    #[test]
    fn a_deadline_rounds_up_and_now_rounds_down() {
        let mut wheel = wheel();
        wheel.schedule(0, Micros::new(20_001));
        assert_eq!(wheel.deadline(0), Some(ms(30)));
        assert_eq!(expired(&mut wheel, Micros::new(29_999)), []);
        assert_eq!(expired(&mut wheel, ms(30)), [0]);
        assert_eq!(wheel.deadline(0), None);
    }

    #[test]
    fn f38_timers_on_exact_multiples_fire_once_and_never_early() {
        // Multiples of the tick, of a turn, and of many turns; and as many from a start within a tick.
        for start in [0, 10, 80, 12_345] {
            let start = Micros::new(start * 1_000 + start % 7);
            let mut wheel = Wheel::with_slots(ms(10), 8, start);
            let deadlines: Vec<_> = [1, 7, 8, 9, 16, 64, 512, 4_096]
                .map(|ticks| ms(10 * (floor(start, 10_000) + ticks)))
                .into();
            for (key, &deadline) in deadlines.iter().enumerate() {
                wheel.schedule(key, deadline);
            }
            for (key, &deadline) in deadlines.iter().enumerate() {
                let just_before = deadline - Micros::new(1);
                assert_eq!(expired(&mut wheel, just_before), [], "{deadline:?}");
                assert_eq!(wheel.deadline(key), Some(deadline));
                assert_eq!(expired(&mut wheel, deadline), [key], "{deadline:?}");
                assert_eq!(expired(&mut wheel, deadline), [], "{deadline:?}");
            }
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn f38_a_timer_that_is_cancelled_in_its_own_tick_does_not_fire() {
        for limit in [1, 2, usize::MAX] {
            let mut wheel = wheel();
            (0..4).for_each(|key| wheel.schedule(key, ms(80)));
            assert!(wheel.cancel(3));
            let mut fired = Vec::new();
            // The first to come up has all others cancelled that are still armed.
            loop {
                let mut due = Vec::new();
                let is_more = wheel.advance(ms(80), limit, &mut due);
                let mut has_fired = !fired.is_empty();
                for key in due {
                    if !has_fired {
                        has_fired = true;
                        (0..4).for_each(|other| {
                            wheel.cancel(other);
                        });
                        // It arms itself again, for the tick that is: that is the next one.
                        wheel.schedule(key, ms(80));
                    }
                    fired.push(key);
                }
                if !is_more {
                    break;
                }
            }
            assert_eq!(fired.len(), limit.min(3), "at most {limit} at once");
            assert_eq!(expired(&mut wheel, Micros::new(89_999)), []);
            assert_eq!(expired(&mut wheel, ms(90)), [fired[0]]);
            assert_eq!(expired(&mut wheel, ms(10_000)), []);
        }
    }

    #[test]
    fn a_refresh_to_later_is_a_store_until_the_old_slot_comes_up() {
        let mut wheel = wheel();
        wheel.schedule(0, ms(20));
        wheel.schedule(0, ms(50));
        assert_eq!(wheel.deadline(0), Some(ms(50)));
        assert_eq!(wheel.next_deadline(), Some(ms(20)));
        assert_eq!(expired(&mut wheel, ms(20)), []);
        assert_eq!(wheel.next_deadline(), Some(ms(50)));
        assert_eq!(expired(&mut wheel, ms(50)), [0]);
    }

    #[test]
    fn a_refresh_to_earlier_moves_at_once() {
        let mut wheel = wheel();
        wheel.schedule(0, ms(50));
        wheel.schedule(0, ms(20));
        assert_eq!(wheel.next_deadline(), Some(ms(20)));
        assert_eq!(expired(&mut wheel, ms(20)), [0]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_on_the_next_tick() {
        let mut wheel = wheel();
        assert_eq!(expired(&mut wheel, ms(70)), []);
        wheel.schedule(0, ms(30));
        assert_eq!(wheel.deadline(0), Some(ms(80)));
        assert_eq!(expired(&mut wheel, Micros::new(79_999)), []);
        assert_eq!(expired(&mut wheel, ms(80)), [0]);
    }

    #[test]
    fn a_key_armed_between_bounded_calls_waits_for_the_next_tick() {
        let mut wheel = wheel();
        let mut out = Vec::new();
        (0..3).for_each(|key| wheel.schedule(key, ms(10)));
        assert!(wheel.advance(ms(50), 1, &mut out));
        wheel.schedule(out[0], ms(20));
        assert_eq!(wheel.deadline(out[0]), Some(ms(60)));
        assert!(!wheel.advance(ms(50), 10, &mut out));
        assert_eq!(out.len(), 3);
        assert_eq!(expired(&mut wheel, ms(60)), [out[0]]);
    }

    #[test]
    fn keys_kept_back_by_a_limit_can_be_cancelled_and_refreshed() {
        let mut wheel = wheel();
        let mut out = Vec::new();
        (0..8).for_each(|key| wheel.schedule(key, ms(10)));
        assert!(wheel.advance(ms(10), 6, &mut out));
        wheel.assert_consistent();
        assert_eq!(wheel.poll_timeout(ms(10)), Some(Micros::ZERO));
        let kept: Vec<_> = (0..8).filter(|key| !out.contains(key)).collect();
        assert!(wheel.cancel(kept[0]));
        wheel.schedule(kept[1], ms(30));
        wheel.assert_consistent();
        assert_eq!(expired(&mut wheel, ms(20)), []);
        assert_eq!(expired(&mut wheel, ms(30)), [kept[1]]);
        assert!(!wheel.cancel(kept[0]));
    }

    #[test]
    fn nothing_is_left_to_poll_for_once_kept_keys_are_cancelled() {
        let mut wheel = wheel();
        let mut out = Vec::new();
        wheel.schedule(0, ms(10));
        wheel.schedule(1, ms(20));
        assert!(wheel.advance(ms(20), 1, &mut out));
        assert!(wheel.cancel(1));
        assert_eq!(wheel.poll_timeout(ms(20)), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn the_end_of_time_never_comes() {
        for tick in [1, 3, 5, 10_000, u64::MAX] {
            let mut wheel = Wheel::with_slots(Micros::new(tick), 8, Micros::ZERO);
            wheel.schedule(0, Micros::MAX);
            wheel.schedule(1, Micros::new(1));
            let due: &[usize] = if tick < u64::MAX { &[1] } else { &[] };
            assert_eq!(expired(&mut wheel, Micros::MAX), due, "tick {tick}");
            wheel.schedule(2, Micros::ZERO);
            assert_eq!(expired(&mut wheel, Micros::MAX), []);
            assert_eq!(wheel.deadline(0), Some(Micros::MAX));
        }
    }

    #[test]
    fn a_key_the_wheel_has_never_seen_is_not_armed() {
        let mut wheel = wheel();
        assert!(!wheel.cancel(usize::MAX));
        assert_eq!(wheel.deadline(usize::MAX), None);
        assert!(wheel.is_empty());
    }

    #[test]
    #[should_panic(expected = "too large")]
    fn a_key_beyond_the_limit_panics() {
        wheel().schedule(Wheel::MAX_KEYS, Micros::ZERO);
    }

    #[test]
    #[should_panic(expected = "a tick takes time")]
    fn a_tick_of_zero_panics() {
        let _ = Wheel::new(Micros::ZERO, Micros::ZERO);
    }

    #[test]
    fn reserved_room_is_not_moved_by_arming() {
        let mut wheel = wheel();
        wheel.reserve(1000);
        wheel.schedule(0, ms(10));
        let address = wheel.nodes.as_ptr();
        (0..1000).for_each(|key| wheel.schedule(key, ms(10)));
        assert_eq!(wheel.nodes.as_ptr(), address);
    }

    #[test]
    fn keys_and_slots_in_step_still_fill_all_four_chains() {
        let mut wheel = Wheel::with_slots(ms(10), 64, Micros::ZERO);
        (0..64 * 64).for_each(|key| wheel.schedule(key, ms(10 * (1 + key as u64 % 64))));
        for slot in 0..64 {
            let chains = wheel.heads[slot];
            let lens = [0, 1, 2, 3].map(|chain| wheel.assert_chain(slot, chain, chains[chain]));
            assert!(lens.iter().all(|&len| len <= 32), "slot {slot}: {lens:?}");
        }
    }
}
