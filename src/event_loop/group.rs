//! Several loops of one program with common limits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::Lane;
use super::listen::{Addresses, Rates};
use super::token::SLOT_BITS;
use crate::error::ConfigError;
use crate::proto::time::Micros;
use crate::sys::{Reserve, Start};

/// Loops that share their limits, for example one for each core, all listening on the same port.
///
/// Each loop stays on its own thread, and loops share nothing on the way of a message to a connection. The group
/// counts what they have in common:
///
/// - `max_connections`;
/// - the limits of each address;
/// - the rates of new connections. A rate is shared by the n-th listener that each loop has opened;
///   closed listeners count too. So open, change and close the same listeners in all loops, in the
///   same order.
///
/// What is [published](super::Context::publish) in one loop reaches the subscribers in all of them.
///
/// Each loop has a number, its shard. A [`ConnId`] contains it, so that all ids of a group are
/// different. Use [`Stats::merge`](crate::stats::Stats::merge) to add up the counters, and a
/// [`LoopHandle`] of each loop to reach the others.
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
/// [`LoopHandle`]: super::LoopHandle
#[derive(Clone, Debug)]
pub struct Group {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The start of time for all loops, so that their times are comparable.
    start: Start,
    loops: AtomicUsize,
    connections: AtomicUsize,
    /// A shortage of places for new connections.
    shortage: Episode,
    /// An address that has used up its share.
    crowding: Episode,
    /// Number of descriptors that are not connections, as far as known.
    others: AtomicUsize,
    reserve: Mutex<Reserve>,
    /// Where each loop is told what is published.
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// How often `lanes` has changed.
    changes: AtomicUsize,
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
            shortage: Episode::default(),
            crowding: Episode::default(),
            others: AtomicUsize::new(0),
            reserve: Mutex::default(),
            lanes: Mutex::default(),
            changes: AtomicUsize::new(0),
            arrivals: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns the number of connections of all loops, in any phase.
    pub fn len(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Says whether no loop has a connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn start(&self) -> Start {
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

    /// Notes where a loop is told what the others publish.
    pub(super) fn enroll(&self, lane: &Arc<Lane>) {
        self.lock_lanes().push(Arc::clone(lane));
        self.shared.changes.fetch_add(1, Ordering::Release);
    }

    /// Forgets a loop that is gone.
    pub(super) fn dismiss(&self, lane: &Arc<Lane>) {
        self.lock_lanes().retain(|other| !Arc::ptr_eq(other, lane));
        self.shared.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns how often loops have come and gone.
    pub(super) fn changes(&self) -> usize {
        self.shared.changes.load(Ordering::Acquire)
    }

    /// Returns where the loops are told what is published, and how often that has changed.
    pub(super) fn lanes(&self) -> (usize, Vec<Arc<Lane>>) {
        // Read first: at worst the caller looks once more.
        let changes = self.changes();
        (changes, self.lock_lanes().clone())
    }

    fn lock_lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        let lanes = self.shared.lanes.lock();
        lanes.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many loops there are.
    pub(super) fn loops(&self) -> usize {
        self.shared.loops.load(Ordering::Relaxed)
    }

    /// Takes a place for one more connection, if there are fewer than `most`. Returns how many
    /// there were.
    pub(super) fn enter(&self, most: usize) -> Option<usize> {
        self.shared
            .connections
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes that there is no place for a new connection. Returns whether a new episode starts, for
    /// all loops.
    pub(super) fn note_shortage(&self, now: Micros) -> bool {
        self.shared.shortage.note(now)
    }

    /// Notes that an address has used up its share. Returns whether a new episode starts, for all
    /// loops and addresses.
    pub(super) fn note_crowding(&self, now: Micros) -> bool {
        self.shared.crowding.note(now)
    }

    /// Opens the reserved descriptor. Its number, the lowest free one, shows how many descriptors
    /// are not connections.
    pub(super) fn set_aside(&self) {
        let Some(taken) = self.reserve().set_aside() else {
            return;
        };
        let others = taken.saturating_sub(self.len());
        self.shared.others.fetch_max(others, Ordering::AcqRel);
    }

    /// Returns how many connections of at most so many there is room for, where the system allows so many
    /// descriptors.
    pub(super) fn room(&self, most: usize, descriptors: Option<usize>) -> usize {
        let others = self.shared.others.load(Ordering::Acquire);
        descriptors.map_or(most, |limit| {
            most.min(limit.saturating_sub(others + SPARE).max(1))
        })
    }

    /// Does work that needs a descriptor when there is none, by closing the reserved one first.
    /// `None` if that is not there either.
    pub(super) fn with_reserve<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        self.reserve().lend(work)
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        let reserve = self.shared.reserve.lock();
        reserve.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the shared counts. Hold the lock only briefly, because other loops wait for it.
    pub(super) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        // A loop that panicked in between has left at most one count behind.
        let arrivals = self.shared.arrivals.lock();
        arrivals.unwrap_or_else(PoisonError::into_inner)
    }
}

/// When something was last so, in microseconds and one; zero: never.
#[derive(Debug, Default)]
struct Episode(AtomicU64);

impl Episode {
    /// Notes that the condition holds now. Returns whether a new episode starts: it did not hold
    /// for [`CALM`].
    fn note(&self, now: Micros) -> bool {
        let stamp = now.as_micros() + 1;
        let before = self.0.fetch_max(stamp, Ordering::AcqRel);
        before == 0 || stamp.saturating_sub(before) > CALM.as_micros()
    }
}

/// How long a condition must not hold before the next episode.
pub(super) const CALM: Micros = Micros::from_secs(30);

const _: () = assert!(
    Group::MOST << SLOT_BITS <= 1 << 32,
    "a shard fits beside a slot"
);

/// Descriptors left free for files that a program opens now and then.
const SPARE: usize = 8;

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
        assert_eq!((group.enter(2), other.enter(2)), (Some(0), Some(1)));
        assert_eq!((group.enter(2), other.enter(2)), (None, None));
        other.leave();
        assert_eq!(group.enter(2), Some(1));
        assert_eq!(group.len(), 2);
    }

    #[test]
    fn a_shortage_is_news_once_until_there_was_none_for_a_while() {
        let group = Group::new();
        let other = group.clone();
        let at = Micros::from_millis;
        assert!(group.note_shortage(Micros::ZERO));
        // Whatever comes and goes meanwhile, in whichever loop; one of them has an older time.
        for millis in (0..100_000).step_by(7_000) {
            assert!(!other.note_shortage(at(millis)));
            assert!(!group.note_shortage(at(millis.saturating_sub(3))));
        }
        assert!(!group.note_shortage(at(98_000) + CALM));
        assert!(group.note_shortage(at(98_001) + CALM + CALM));
    }

    #[test]
    fn the_descriptor_in_reserve_is_free_for_the_work_and_back_after_it() {
        let group = Group::new();
        group.set_aside();
        assert!(group.reserve().is_there());
        let seen = group.with_reserve(|| group.shared.reserve.try_lock().is_err());
        assert_eq!(seen, Some(true), "one loop at a time");
        assert!(group.reserve().is_there());
        let others = group.shared.others.load(Ordering::Acquire);
        assert!(others >= 3, "standard streams at least: {others}");
        assert_eq!(group.room(5, Some(1_000_000)), 5);
        assert_eq!(
            group.room(usize::MAX, Some(1_000_000)),
            1_000_000 - others - SPARE
        );
        assert_eq!(group.room(1_000_000, None), 1_000_000);
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
