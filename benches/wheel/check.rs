//! What must hold for the comparison to be worth anything, and what the wheel promises about memory.

use allocation_counter::measure;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;

use super::candidates::{CANDIDATES, TICK, Timers};
use super::load::{Load, PERIOD, Subject};

/// Keys that each candidate is checked with.
const KEYS: usize = 10_000;

pub(crate) fn all() {
    for candidate in CANDIDATES {
        (candidate.check)();
    }
    memory_of_the_wheel();
}

/// Panics unless each key fires once, in the tick its deadline falls in, and cancelled ones never.
pub(crate) fn keeps_time<T: Timers>() {
    let mut timers = T::new(KEYS);
    let runtime = timers.runtime();
    let _context = runtime.as_ref().map(Handle::enter);
    let mut expected = arm_and_change(&mut timers);
    let mut now = Micros::ZERO;
    let mut expired = Vec::new();
    while now < PERIOD + PERIOD {
        now = now + TICK;
        timers.advance(now, &mut expired);
        for key in expired.drain(..) {
            let deadline = expected[key].take().expect("armed");
            assert!(deadline <= now, "{}: {key} is early", T::NAME);
            assert!(now < deadline + TICK, "{}: {key} is late", T::NAME);
        }
    }
    let lost = expected.iter().flatten().count();
    assert_eq!(lost, 0, "{}: keys that never fired", T::NAME);
}

/// Arms all keys, cancels and refreshes some and returns the deadlines that are left.
fn arm_and_change(timers: &mut impl Timers) -> Vec<Option<Micros>> {
    let mut random = StdRng::seed_from_u64(11);
    let mut changed = |key| {
        let deadline = Micros::new(random.random_range(1..=PERIOD.as_micros()));
        timers.schedule(key, deadline);
        match key % 4 {
            0 => {
                timers.cancel(key);
                return None;
            }
            1 => {
                timers.refresh(key, deadline + PERIOD);
                return Some(deadline + PERIOD);
            }
            2 => {
                timers.refresh(key, deadline + PERIOD);
                timers.refresh(key, deadline);
            }
            _ => {}
        }
        Some(deadline)
    };
    (0..KEYS).map(&mut changed).collect()
}

/// Bytes of a wheel without keys: slots and bitmap.
pub(crate) fn fixed_bytes() -> usize {
    let mut wheel = None;
    let memory = measure(|| wheel = Some(Wheel::new(TICK, Micros::ZERO)));
    size_of::<Wheel>() + usize::try_from(memory.bytes_current).expect("a wheel takes memory")
}

fn memory_of_the_wheel() {
    let keys = 1_000_000;
    let each = Load::<Wheel>::armed(keys).bytes() as f64 / keys as f64;
    assert!(each <= 16.5, "{each} bytes a timer");
    let fixed = fixed_bytes();
    assert!(fixed < 140_000, "{fixed} bytes without keys");
}
