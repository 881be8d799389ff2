//! What is compared, all behind one trait.

mod btree;
mod heap;
mod hierarchical;
mod list;
mod tokio_time;

use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;
use tokio::runtime::Handle;

use super::check;
use super::load::{Load, Subject};

/// The resolution, as far as a candidate has one.
pub(crate) const TICK: Micros = Micros::from_millis(10);

pub(crate) const CANDIDATES: [Candidate; 8] = [
    Candidate::of::<Wheel>(),
    Candidate::of::<list::List<false>>(),
    Candidate::of::<list::List<true>>(),
    Candidate::of::<heap::Heap>(),
    Candidate::of::<btree::BTree>(),
    Candidate::of::<tokio_time::Queue>(),
    Candidate::of::<tokio_time::Sleeps>(),
    Candidate::of::<hierarchical::HashWheel>(),
];

/// What all candidates can do. Keys are below the number that `new` is given.
pub(crate) trait Timers: 'static {
    const NAME: &'static str;

    fn new(keys: usize) -> Self;
    fn schedule(&mut self, key: usize, deadline: Micros);
    fn refresh(&mut self, key: usize, deadline: Micros);
    fn cancel(&mut self, key: usize);
    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>);

    /// The runtime that calls are made in, where one is needed.
    fn runtime(&self) -> Option<Handle> {
        None
    }
}

/// A kind of timers, by what can be done with it.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    /// Arms so many keys.
    pub(crate) armed: fn(usize) -> Box<dyn Subject>,
    /// Panics unless its timers keep their time.
    pub(crate) check: fn(),
}

impl Candidate {
    const fn of<T: Timers>() -> Self {
        Self {
            name: T::NAME,
            armed: |keys| Box::new(Load::<T>::armed(keys)),
            check: check::keeps_time::<T>,
        }
    }
}

impl Timers for Wheel {
    const NAME: &'static str = "wheel";

    fn new(keys: usize) -> Self {
        let mut wheel = Self::new(TICK, Micros::ZERO);
        wheel.reserve(keys);
        wheel
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.schedule(key, deadline);
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        self.schedule(key, deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.cancel(key);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        self.advance(now, usize::MAX, expired);
    }
}
