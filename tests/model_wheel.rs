//! The wheel against a sorted map, with a clock moved by hand.
//!
//! Every operation is done on both, and after each the structure is checked and every answer of the
//! wheel is compared. Operation lists come from proptest, which shrinks them, or from a printed seed.

#[path = "support/dice.rs"]
mod dice;

use std::collections::{BTreeMap, BTreeSet};

use dice::Dice;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

/// What the model knows of an armed key.
#[derive(Clone, Copy, Debug)]
struct Armed {
    /// The tick it is due at.
    at: u64,
    /// The slot it lies in, while the model can tell. A refresh to later leaves it where it was.
    slot: Option<u64>,
}

/// A wheel and its model in step.
struct Rig {
    wheel: Wheel,
    armed: BTreeMap<usize, Armed>,
    tick: u64,
    slots: u64,
    /// The tick of the latest time.
    now: u64,
    /// The tick at which the last drain that came to its end did so.
    settled_at: u64,
    /// Whether a drain is unfinished.
    left_over: bool,
}

impl Rig {
    fn new(tick: u64, slots: usize, start: u64) -> Self {
        let now = Micros::new(tick * start);
        let rig = Self {
            wheel: Wheel::with_slots(Micros::new(tick), slots, now),
            armed: BTreeMap::new(),
            tick,
            slots: slots as u64,
            now: start,
            settled_at: start,
            left_over: false,
        };
        assert_eq!(rig.wheel.slots(), slots);
        rig
    }

    fn time(&self, tick: u64) -> Micros {
        Micros::new(self.tick.saturating_mul(tick))
    }

    /// Arms a key `delay` microseconds after the latest tick, before it if negative.
    fn schedule_in(&mut self, key: usize, delay: i64) {
        let now = self.time(self.now).as_micros();
        self.schedule(key, Micros::new(now.saturating_add_signed(delay)));
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.wheel.schedule(key, deadline);
        let at = deadline.as_micros().div_ceil(self.tick).max(self.now + 1);
        let slot = match self.armed.get(&key) {
            Some(old) if at >= old.at && self.left_over => None,
            Some(old) if at >= old.at => old.slot,
            _ => Some(at % self.slots),
        };
        self.armed.insert(key, Armed { at, slot });
    }

    fn cancel(&mut self, key: usize) {
        assert_eq!(self.wheel.cancel(key), self.armed.remove(&key).is_some());
    }

    /// Advances both and returns the keys that expired, and whether work is left over.
    fn advance(&mut self, now: Micros, limit: usize) -> (Vec<usize>, bool) {
        let mut expired = Vec::new();
        let more = self.wheel.advance(now, limit, &mut expired);
        self.now = self.now.max(now.as_micros() / self.tick);
        assert!(expired.len() <= limit, "over the limit");
        for &key in &expired {
            let armed = self.armed.remove(&key).expect("only armed keys, once");
            assert!(armed.at <= self.now, "key {key} came early");
        }
        self.left_over = more;
        if !more {
            self.settle();
        }
        (expired, more)
    }

    /// A drain has ended: nothing due is left, and keys in the slots it passed lie where they belong.
    fn settle(&mut self) {
        let passed = self.now - self.settled_at;
        for (key, armed) in &mut self.armed {
            assert!(armed.at > self.now, "key {key} was lost");
            let visited = armed.slot.map(|slot| {
                let from = (self.settled_at + 1) % self.slots;
                (slot + self.slots - from) % self.slots < passed
            });
            if visited == Some(true) {
                armed.slot = Some(armed.at % self.slots);
            }
        }
        self.settled_at = self.now;
    }

    /// Drains at `now` with one limit after another until nothing is left over.
    fn drain(&mut self, now: Micros, limit: usize) -> Vec<usize> {
        let mut all = Vec::new();
        loop {
            let (expired, more) = self.advance(now, limit);
            all.extend(expired);
            if !more {
                return all;
            }
        }
    }

    /// The first tick after now at which a slot comes up.
    fn next_visit(&self, slot: u64) -> u64 {
        let from = (self.now + 1) % self.slots;
        self.now + 1 + (slot + self.slots - from) % self.slots
    }

    /// Compares every answer.
    fn check(&self) {
        self.wheel.assert_consistent();
        assert_eq!(self.wheel.len(), self.armed.len());
        assert_eq!(self.wheel.is_empty(), self.armed.is_empty());
        for key in 0..KEYS + 1 {
            let expected = self.armed.get(&key).map(|armed| self.time(armed.at));
            assert_eq!(self.wheel.deadline(key), expected, "key {key}");
        }
        self.check_next();
    }

    fn check_next(&self) {
        let now = self.time(self.now);
        let next = self.wheel.next_deadline();
        let timeout = self.wheel.poll_timeout(now);
        assert_eq!(next.map(|next| next - now), timeout);
        let Some(earliest) = self.armed.values().map(|armed| armed.at).min() else {
            return assert_eq!(next, None);
        };
        let next = next.expect("something is armed");
        assert!(next >= now, "in the past");
        assert!(next <= self.time(earliest.max(self.now)), "overslept");
        if self.left_over {
            return;
        }
        let visits = self.armed.values().map(|armed| armed.slot);
        if let Some(slots) = visits.collect::<Option<Vec<_>>>() {
            let brute = slots.into_iter().map(|slot| self.next_visit(slot)).min();
            assert_eq!(brute.map(|tick| self.time(tick)), Some(next), "brute force");
        }
    }
}

/// Keys that operation lists use: 0 to 23.
const KEYS: usize = 24;

#[derive(Clone, Debug)]
enum Op {
    Schedule { key: usize, delay: Delay },
    Cancel { key: usize },
    Advance { by: Delay, limit: usize },
    AdvanceToNext { limit: usize },
}

/// A span in units of the wheel at hand, plus some microseconds.
#[derive(Clone, Copy, Debug)]
struct Delay {
    turns: i64,
    ticks: i64,
    micros: i64,
}

impl Delay {
    fn resolve(self, rig: &Rig) -> i64 {
        let ticks = self.turns * rig.slots as i64 + self.ticks;
        ticks * rig.tick as i64 + self.micros
    }
}

impl Op {
    fn run(&self, rig: &mut Rig) {
        match *self {
            Self::Schedule { key, delay } => rig.schedule_in(key, delay.resolve(rig)),
            Self::Cancel { key } => rig.cancel(key),
            Self::Advance { by, limit } => {
                let now = rig.time(rig.now).as_micros();
                let now = Micros::new(now.saturating_add_signed(by.resolve(rig)));
                rig.advance(now, limit);
            }
            Self::AdvanceToNext { limit } => {
                if let Some(next) = rig.wheel.next_deadline() {
                    rig.advance(next, limit);
                }
            }
        }
        rig.check();
    }
}

fn delay() -> impl Strategy<Value = Delay> {
    let turns = prop_oneof![6 => Just(0), 3 => -1..4_i64, 1 => Just(1000)];
    let ticks = prop_oneof![4 => -2..3_i64, 4 => 0..70_i64, 1 => Just(1 << 32)];
    (turns, ticks, -1..2_i64).prop_map(|(turns, ticks, micros)| Delay {
        turns,
        ticks,
        micros,
    })
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(usize::MAX), 3 => 1..4_usize, 1 => Just(0)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..KEYS, delay()).prop_map(|(key, delay)| Op::Schedule { key, delay }),
        2 => (0..KEYS).prop_map(|key| Op::Cancel { key }),
        2 => (delay(), limit()).prop_map(|(by, limit)| Op::Advance { by, limit }),
        2 => limit().prop_map(|limit| Op::AdvanceToNext { limit }),
    ]
}

fn slots() -> impl Strategy<Value = usize> {
    // The last has a second word of summary; checking it is slow.
    prop_oneof![6 => Just(1), 6 => Just(2), 6 => Just(8), 6 => Just(64), 6 => Just(128), 1 => Just(8192)]
}

fn rig() -> impl Strategy<Value = (u64, usize, u64)> {
    let tick = prop_oneof![Just(1_u64), Just(7), Just(10_000)];
    let start = prop_oneof![0..300_u64, (1 << 32) - 200..1_u64 << 32];
    (tick, slots(), start)
}

proptest! {
    /// 1, 4, 6, 8, 10: any operations, any limits, time repeated, going back and jumping.
    #[test]
    fn any_operations_agree_with_the_sorted_map((tick, slots, start) in rig(), ops in vec(op(), 1..120)) {
        let mut rig = Rig::new(tick, slots, start);
        for op in &ops {
            op.run(&mut rig);
        }
        let last = rig.armed.values().map(|armed| armed.at).max().unwrap_or(rig.now);
        rig.drain(rig.time(last.max(rig.now)), 3);
        rig.check();
        assert!(rig.wheel.is_empty());
    }

    /// 2: a loop that only ever sleeps to `next_deadline` makes progress each time and ends.
    #[test]
    fn sleeping_to_the_next_deadline_always_makes_progress(
        (tick, slots, start) in rig(),
        deadlines in vec((0..KEYS, 0..12_u64, 0..64_u64), 1..60),
    ) {
        let mut rig = Rig::new(tick, slots, start);
        for &(key, turns, ticks) in &deadlines {
            rig.schedule(key, rig.time(start + turns * rig.slots + ticks));
        }
        // Each key wakes us at most once a turn, and once more where a refresh left it.
        let mut wakes = rig.armed.values().map(|armed| (armed.at - start) / rig.slots + 2).sum::<u64>();
        while let Some(next) = rig.wheel.next_deadline() {
            assert!(next > rig.time(rig.now), "a wake that is due at once is a spin");
            rig.drain(next, usize::MAX);
            rig.check();
            wakes = wakes.checked_sub(1).expect("more wakes than visits");
        }
        assert!(rig.armed.is_empty());
        assert_eq!(rig.wheel.poll_timeout(rig.time(rig.now)), None);
    }

    /// 7: handlers arm, cancel and refresh themselves and others due in the same tick.
    #[test]
    fn handlers_may_change_any_key(
        (tick, slots, start) in rig(),
        delays in vec(0..40_u64, KEYS),
        script in vec((0..5_u8, 0..KEYS, delay()), 1..100),
        limit in 1..6_usize,
        steps in vec(1..30_u64, 1..10),
    ) {
        let mut rig = Rig::new(tick, slots, start);
        for (key, &delay) in delays.iter().enumerate() {
            rig.schedule(key, rig.time(start + delay));
        }
        let mut script = script.iter().cycle();
        for step in steps {
            let now = rig.time(rig.now + step);
            let most = rig.armed.len();
            let mut fired = 0;
            loop {
                let (expired, more) = rig.advance(now, limit);
                rig.check();
                fired += expired.len();
                for key in expired {
                    if rig.wheel.deadline(key).is_some() {
                        continue; // armed again by a handler before this one
                    }
                    let &(action, other, delay) = script.next().expect("endless");
                    let delay = delay.resolve(&rig);
                    match action {
                        0 => rig.schedule_in(key, 0),
                        1 => rig.schedule_in(key, delay),
                        2 => rig.cancel(other),
                        3 => rig.schedule_in(other, delay),
                        _ => rig.cancel(key),
                    }
                    rig.check();
                }
                if !more {
                    break;
                }
            }
            prop_assert_eq!(fired.min(most), fired, "a key fired twice in one drain");
        }
    }

    /// 8: whatever the limits, the same keys expire as without one.
    #[test]
    fn bounded_drains_add_up_to_an_unbounded_one(
        (tick, slots, start) in rig(),
        ticks in vec(0..300_u64, KEYS),
        limits in vec(1..5_usize, 1..20),
        step in 1..400_u64,
    ) {
        let mut bounded = Rig::new(tick, slots, start);
        let mut unbounded = Rig::new(tick, slots, start);
        for rig in [&mut bounded, &mut unbounded] {
            for (key, &ticks) in ticks.iter().enumerate() {
                rig.schedule(key, rig.time(start + ticks));
            }
        }
        let now = bounded.time(start + step);
        let mut parts = BTreeSet::new();
        for &limit in limits.iter().cycle() {
            let (expired, more) = bounded.advance(now, limit);
            bounded.check();
            parts.extend(expired);
            if !more {
                break;
            }
        }
        let whole = BTreeSet::from_iter(unbounded.drain(now, usize::MAX));
        prop_assert_eq!(parts, whole);
        prop_assert_eq!(bounded.wheel.next_deadline(), unbounded.wheel.next_deadline());
    }

    /// 5: one long step ends like many short ones.
    #[test]
    fn a_stall_gives_what_small_steps_give(
        slots in prop_oneof![Just(1_usize), Just(8), Just(64)],
        start in any::<u16>(),
        ops in vec((0..KEYS, 0..200_u64), 1..80),
    ) {
        for stall in stalls(slots as u64) {
            let mut stalled = Rig::new(10_000, slots, start.into());
            let mut stepped = Rig::new(10_000, slots, start.into());
            for rig in [&mut stalled, &mut stepped] {
                for &(key, ticks) in &ops {
                    rig.schedule(key, rig.time(rig.now + ticks));
                }
            }
            let end = u64::from(start) + stall;
            let at_once = BTreeSet::from_iter(stalled.drain(stalled.time(end), usize::MAX));
            let mut one_by_one = BTreeSet::new();
            for tick in u64::from(start)..=end.min(u64::from(start) + 1000) {
                one_by_one.extend(stepped.drain(stepped.time(tick), usize::MAX));
            }
            one_by_one.extend(stepped.drain(stepped.time(end), usize::MAX));
            stalled.check();
            stepped.check();
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}

fn stalls(slots: u64) -> [u64; 6] {
    [0, 1, slots - 1, slots, slots + 1, 1000 * slots]
}

/// 3 and 4: each telling delay from each residue of the start and of the cursor.
#[test]
fn telling_delays_fire_on_their_tick_from_every_residue() {
    const SLOTS: u64 = 16;
    let turns = [1, 2, 3, 1000];
    let mut delays = vec![0, 1, 1 << 32, (1 << 32) + 1];
    delays.extend(
        turns
            .iter()
            .flat_map(|turn| [turn * SLOTS - 1, turn * SLOTS, turn * SLOTS + 1]),
    );
    for start in 0..SLOTS {
        for moved in 0..2 * SLOTS {
            for &delay in &delays {
                let mut rig = Rig::new(10_000, SLOTS as usize, start);
                rig.advance(rig.time(start + moved), usize::MAX);
                rig.schedule(0, rig.time(rig.now + delay));
                let at = rig.now + delay.max(1);
                assert_eq!(rig.drain(Micros::new(at * 10_000 - 1), usize::MAX), []);
                rig.check();
                assert_eq!(rig.drain(rig.time(at), usize::MAX), [0]);
                rig.check();
            }
        }
    }
}

/// 3: the end of time is a deadline like any other that stays away.
#[test]
fn the_last_deadline_stays_armed_through_every_jump() {
    for tick in [1, 3, 10_000] {
        let mut wheel = Wheel::with_slots(Micros::new(tick), 16, Micros::ZERO);
        wheel.schedule(0, Micros::MAX);
        let mut expired = Vec::new();
        for shift in 0..64 {
            wheel.advance(Micros::new(1 << shift), usize::MAX, &mut expired);
            wheel.assert_consistent();
        }
        wheel.advance(Micros::MAX, usize::MAX, &mut expired);
        wheel.assert_consistent();
        assert_eq!((expired.len(), wheel.len()), (0, 1));
        assert!(wheel.cancel(0));
    }
}

/// 4: jumps over whole turns land on each slot.
#[test]
fn jumps_over_a_turn_find_every_slot() {
    const SLOTS: u64 = 8;
    for start in 0..SLOTS {
        for jump in SLOTS..3 * SLOTS {
            let mut rig = Rig::new(1, SLOTS as usize, start);
            for key in 0..KEYS {
                rig.schedule(key, rig.time(start + 1 + key as u64));
            }
            let expired = BTreeSet::from_iter(rig.drain(rig.time(start + jump), usize::MAX));
            rig.check();
            assert_eq!(expired, (0..KEYS.min(jump as usize)).collect());
        }
    }
}

/// 6: time repeated and time gone back change nothing, in a drain and outside one.
#[test]
fn time_that_does_not_move_on_changes_nothing() {
    let mut rig = Rig::new(10_000, 8, 100);
    (0..6).for_each(|key| rig.schedule(key, rig.time(105)));
    assert_eq!(rig.drain(rig.time(50), usize::MAX), []);
    rig.check();
    let (first, more) = rig.advance(rig.time(110), 2);
    assert!(more);
    rig.check();
    let (second, more) = rig.advance(rig.time(50), 2);
    assert!(more);
    rig.check();
    assert_eq!(rig.wheel.next_deadline(), Some(rig.time(110)));
    let rest = rig.drain(Micros::ZERO, 2);
    assert_eq!((first.len(), second.len(), rest.len()), (2, 2, 2));
    assert_eq!(rig.drain(rig.time(110), usize::MAX), []);
    rig.schedule(0, rig.time(60));
    rig.check();
    assert_eq!(rig.wheel.deadline(0), Some(rig.time(111)));
}

/// 7: with a limit of one, re-arming at once is served next tick and not before.
#[test]
fn arming_with_no_delay_does_not_prolong_the_drain() {
    for limit in [1, 2, KEYS, usize::MAX] {
        let mut rig = Rig::new(10_000, 8, 0);
        (0..KEYS).for_each(|key| rig.schedule(key, rig.time(1 + key as u64 % 3)));
        for round in 0..20 {
            let now = rig.time(3 + round);
            let mut fired = 0;
            loop {
                let (expired, more) = rig.advance(now, limit);
                fired += expired.len();
                expired.into_iter().for_each(|key| rig.schedule_in(key, 0));
                rig.check();
                if !more {
                    break;
                }
            }
            assert_eq!(fired, KEYS);
        }
    }
}

/// 9: a key freed and given to a new owner at once knows nothing of the old deadline.
#[test]
fn the_next_owner_of_a_key_hears_nothing_of_the_old_deadline() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let mut rig = Rig::new(10_000, 16, dice.below(64));
        // Each owner in turn: its own deadline, and whether it is still there.
        let mut owners: Vec<u64> = Vec::new();
        for key in 0..KEYS {
            owners.push(rig.now + dice.between(1, 50));
            rig.schedule(key, rig.time(owners[key]));
        }
        for _ in 0..300 {
            let key = dice.index(KEYS);
            rig.cancel(key);
            owners[key] = rig.now + dice.between(1, 50);
            rig.schedule(key, rig.time(owners[key]));
            rig.check();
            let (expired, _) = rig.advance(rig.time(rig.now + dice.below(4)), 3);
            for key in expired {
                assert!(owners[key] <= rig.now, "the deadline of an owner before");
            }
            rig.check();
        }
    }
}

/// 11: a million operations on reserved room allocate nothing.
#[test]
fn a_million_operations_allocate_nothing() {
    const KEYS: usize = 4096;
    let mut dice = Dice::new(1);
    let mut wheel = Wheel::with_slots(Micros::new(10_000), 1024, Micros::ZERO);
    wheel.reserve(KEYS);
    let mut expired = Vec::with_capacity(KEYS);
    let mut now = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000_000 {
            let key = dice.index(KEYS);
            match dice.below(8) {
                0 => drop(wheel.cancel(key)),
                1 => {
                    now += dice.below(100_000);
                    expired.clear();
                    wheel.advance(Micros::new(now), 64, &mut expired);
                }
                _ => {
                    let delay = dice.below(20_000_000);
                    wheel.schedule(key, Micros::new(now + delay));
                }
            }
        }
    });
    assert_eq!(counted.count_total, 0);
    wheel.assert_consistent();
}

/// 11: a fast clock runs across 2^32 ticks, twice over the boundary of a 32-bit tick.
#[test]
fn a_soak_across_two_to_the_32_ticks_stays_in_step() {
    const END: u64 = (2 << 32) + 100;
    println!("seed 2");
    let mut dice = Dice::new(2);
    let mut rig = Rig::new(10_000, 64, 0);
    let mut turns = 0_u64;
    let mut fired = 0;
    while rig.now < END {
        // Slowly for a while at each boundary, else in strides of very different length.
        let to_boundary = (1 << 32) - rig.now % (1 << 32);
        let near = !(200..=(1 << 32) - 200).contains(&to_boundary);
        let longest = if near { 4 } else { 1 << dice.between(2, 22) };
        let step = dice.between(1, longest + 1).min(to_boundary.max(101) - 100);
        for _ in 0..4 {
            let key = dice.index(KEYS);
            match dice.below(6) {
                0 => rig.cancel(key),
                _ => {
                    let ticks = dice.below(longest * 2 + 1);
                    rig.schedule(key, rig.time(rig.now + ticks));
                }
            }
        }
        fired += rig.drain(rig.time(rig.now + step), 8).len();
        turns += 1;
        if near || turns.is_multiple_of(64) {
            rig.check();
        }
    }
    rig.check();
    assert!(fired > 10_000, "{fired} fired");
}

/// 10, 1: long lists of operations, longer than proptest would shrink.
#[test]
fn long_seeded_runs_agree_with_the_sorted_map() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let slots = 1 << dice.below(9);
        let mut rig = Rig::new(10_000, slots, dice.below(1000));
        for _ in 0..2500 {
            let key = dice.index(KEYS);
            let ticks = dice.below(3 * slots as u64 + 2) as i64 - 2;
            match dice.below(10) {
                0 => rig.cancel(key),
                1..=2 => {
                    let reach = 1 << dice.below(12);
                    let ahead = dice.below(reach + 1);
                    let limit = dice.index(6);
                    rig.advance(rig.time(rig.now + ahead), limit);
                }
                _ => rig.schedule_in(key, ticks * 10_000 + dice.below(10_000) as i64 - 5_000),
            }
            rig.check();
        }
    }
}
