//! Several loops of one program that count as one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::{Addresses, Rates};
use super::clock::Start;
use crate::error::ConfigError;

/// Loops that share their limits: one for each core, say, all listening on the same port.
///
/// Each loop stays on its own thread and shares nothing on the way of a message. What they have in
/// common is counted here: `max_connections`, the limits of each address, and the rates of new
/// connections (those of the listener of the same number in every loop, so give all loops the same
/// listeners in the same order). Each loop has a number, its shard, which its [`ConnId`]s carry, so
/// that no two connections of a group have the same name. Counters are summed up with
/// [`Stats::merge`](crate::stats::Stats::merge), and a [`Remote`] of each loop reaches the others.
///
/// ```
/// use heartwheel::config::ReactorConfig;
/// use heartwheel::reactor::{Group, Reactor};
///
/// let group = Group::new();
/// let loops = [(); 2].map(|()| Reactor::<()>::in_group(ReactorConfig::default(), &group));
/// for (number, reactor) in loops.into_iter().enumerate() {
///     assert_eq!(reactor?.shard(), number);
/// }
/// assert!(group.is_empty());
/// # Ok::<(), heartwheel::error::Error>(())
/// ```
///
/// [`ConnId`]: super::ConnId
/// [`Remote`]: super::Remote
#[derive(Clone, Debug)]
pub struct Group {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// From when on all loops count time, so that what one notes means the same to the others.
    start: Start,
    loops: AtomicUsize,
    connections: AtomicUsize,
    /// Listeners that rest because no socket could be had.
    pauses: AtomicUsize,
    arrivals: Mutex<Arrivals>,
}

/// Who is here, and what new connections have cost.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) addresses: Addresses,
    pub(super) rates: Rates,
}

impl Group {
    /// Most loops in a group.
    pub const MOST: usize = 64;

    /// Makes a group without loops.
    pub fn new() -> Self {
        let shared = Shared {
            start: Start::now(),
            loops: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            pauses: AtomicUsize::new(0),
            arrivals: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns how many connections all loops hold, in whatever phase.
    pub fn len(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Says whether no loop holds any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn start(&self) -> Start {
        self.shared.start
    }

    /// Returns the number of one more loop.
    pub(super) fn join(&self) -> Result<u8, ConfigError> {
        let number = self.shared.loops.fetch_add(1, Ordering::Relaxed);
        u8::try_from(number)
            .ok()
            .filter(|_| number < Self::MOST)
            .ok_or_else(|| {
                ConfigError::new(
                    "group",
                    format!("has {} loops already, the most", Self::MOST),
                )
            })
    }

    /// Takes the place of one more connection, if there are fewer than `most`.
    pub(super) fn enter(&self, most: usize) -> bool {
        self.shared
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < most).then_some(count + 1)
            })
            .is_ok()
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes that one more listener rests, until the pause is dropped, and says whether it is the first.
    pub(super) fn pause(&self) -> (Pause, bool) {
        let before = self.shared.pauses.fetch_add(1, Ordering::AcqRel);
        (Pause(Arc::clone(&self.shared)), before == 0)
    }

    /// Returns who is here. Held for a moment only: the other loops wait.
    pub(super) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        // A loop that panicked in between has left at most one count behind.
        let arrivals = self.shared.arrivals.lock();
        arrivals.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener that rests because no socket could be had.
#[derive(Debug)]
pub(super) struct Pause(Arc<Shared>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.pauses.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_no_more_places_than_it_is_asked_for() {
        let group = Group::new();
        let other = group.clone();
        assert!(group.enter(2) && other.enter(2));
        assert!(!group.enter(2) && !other.enter(2));
        other.leave();
        assert!(group.enter(2));
        assert_eq!(group.len(), 2);
    }

    #[test]
    fn one_pause_is_the_first_until_all_are_over() {
        let group = Group::new();
        let other = group.clone();
        let ((one, is_first), (two, is_second)) = (group.pause(), other.pause());
        assert!(is_first && !is_second);
        drop(one);
        let (three, is_first) = group.pause();
        assert!(!is_first);
        drop((two, three));
        assert!(other.pause().1);
    }

    #[test]
    fn loops_are_numbered_until_there_are_too_many() {
        let group = Group::new();
        for number in 0..Group::MOST {
            assert_eq!(group.join().map(usize::from), Ok(number));
        }
        assert_eq!(group.join().unwrap_err().field(), "group");
    }
}
