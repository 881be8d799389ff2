//! The hierarchical wheel of `hierarchical_hash_wheel_timer`.

use std::rc::Rc;
use std::time::Duration;

use heartwheel::proto::time::Micros;
use hierarchical_hash_wheel_timer::wheels::cancellable::{
    CancellableTimerEntry, QuadWheelWithOverflow,
};

use super::{TICK, Timers};

/// Four wheels of 256 slots. What it calls a millisecond is a tick here, so that its resolution is
/// that of the others.
pub(super) struct HashWheel {
    wheel: QuadWheelWithOverflow<Entry>,
    now: u64,
}

#[derive(Debug)]
struct Entry {
    key: u32,
}

impl CancellableTimerEntry for Entry {
    type Id = u32;

    fn id(&self) -> &u32 {
        &self.key
    }
}

impl Timers for HashWheel {
    const NAME: &'static str = "hierarchical_hash_wheel_timer";

    fn new(_: usize) -> Self {
        Self {
            wheel: QuadWheelWithOverflow::new(),
            now: 0,
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        let at = deadline.as_micros().div_ceil(TICK.as_micros());
        let delay = Duration::from_millis(at.max(self.now + 1) - self.now);
        let entry = Rc::new(Entry { key: key as u32 });
        let inserted = self.wheel.insert_ref_with_delay(entry, delay);
        inserted.expect("the delay is not zero");
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        self.cancel(key);
        self.schedule(key, deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.wheel.cancel(&(key as u32)).expect("armed");
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while self.now < now.as_micros() / TICK.as_micros() {
            self.now += 1;
            let entries = self.wheel.tick();
            expired.extend(entries.iter().map(|entry| entry.key as usize));
        }
    }
}
