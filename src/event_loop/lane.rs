//! Lanes: what other loops of a group have published and one loop has still to hand out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::token::ConnId;
use crate::proto::message::SharedMessage;
use crate::sys::Wake;

/// A message for all that subscribe to a topic.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) topic: Arc<str>,
    pub(super) message: SharedMessage,
    pub(super) except: Option<ConnId>,
}

impl Publication {
    /// Returns what it counts against limits: its bytes, and what is kept beside them.
    pub(super) fn cost(&self) -> usize {
        cost(&self.topic, &self.message)
    }
}

/// Returns what a message counts against limits.
pub(super) fn cost(topic: &str, message: &SharedMessage) -> usize {
    message.cost() + topic.len()
}

/// What other loops of the group have published and one loop has still to hand out.
pub(super) struct Lane {
    waiting: Mutex<Waiting>,
    /// Invariant, while `waiting` is not locked: it is not empty.
    has_any: AtomicBool,
    /// The loop has topics. Without any it is told nothing: so one that has ended holds nobody up.
    is_subscribed: AtomicBool,
    waker: Arc<dyn Wake>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Publication>,
    /// Invariant: what `queue` costs.
    bytes: usize,
    /// A wake-up was sent since the queue was last empty.
    is_woken: bool,
}

impl Lane {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        Self {
            waiting: Mutex::default(),
            has_any: AtomicBool::new(false),
            is_subscribed: AtomicBool::new(false),
            waker,
        }
    }

    /// Says whether anything waits.
    pub(super) fn has_any(&self) -> bool {
        self.has_any.load(Ordering::Acquire)
    }

    /// Takes the next message.
    pub(super) fn next(&self) -> Option<Publication> {
        if !self.has_any() {
            return None;
        }
        let mut waiting = self.waiting();
        let next = waiting.queue.pop_front();
        waiting.bytes -= next.as_ref().map_or(0, Publication::cost);
        if waiting.queue.is_empty() {
            forget_burst(&mut waiting.queue);
            waiting.is_woken = false;
            self.has_any.store(false, Ordering::Release);
        }
        next
    }

    /// Moves messages from the front of a queue to this loop as long as there is room, and wakes it. The first
    /// may be of any size. Returns what those cost that were moved.
    pub(super) fn take_from(&self, queue: &mut VecDeque<Publication>) -> usize {
        let mut waiting = self.waiting();
        let before = waiting.bytes;
        while let Some(next) = queue.front() {
            let after = waiting.bytes + next.cost();
            if after > MOST_BYTES && waiting.bytes > 0 {
                break;
            }
            waiting.bytes = after;
            waiting.queue.extend(queue.pop_front());
        }
        let moved = waiting.bytes - before;
        self.has_any.store(waiting.bytes > 0, Ordering::Release);
        let was_woken = std::mem::replace(&mut waiting.is_woken, true);
        drop(waiting);
        if !was_woken && let Err(error) = self.waker.wake() {
            // The next message tries again; the loop also looks whenever it turns.
            self.waiting().is_woken = false;
            log::warn!("could not wake a loop of the group: {error}");
        }
        moved
    }

    /// Says whether the loop has topics.
    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed.load(Ordering::Acquire)
    }

    /// Notes whether the loop has topics.
    pub(super) fn set_subscribed(&self, has_any: bool) {
        self.is_subscribed.store(has_any, Ordering::Release);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// Frees what a burst left behind in an empty queue, so that others need no new storage.
pub(super) fn forget_burst(queue: &mut VecDeque<Publication>) {
    if queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
}

/// Messages for which an empty queue keeps room.
const KEPT: usize = 1024;

/// Most bytes that wait for the other loops in one loop, and most in a lane.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::proto::message::Message;

    /// Counts wakes; the first ones may fail.
    #[derive(Default)]
    struct Bell {
        rung: AtomicUsize,
        broken: AtomicUsize,
    }

    impl Wake for Bell {
        fn wake(&self) -> io::Result<()> {
            self.rung.fetch_add(1, Ordering::Relaxed);
            let broken = self.broken.load(Ordering::Relaxed);
            self.broken
                .store(broken.saturating_sub(1), Ordering::Relaxed);
            match broken {
                0 => Ok(()),
                _ => Err(io::ErrorKind::Other.into()),
            }
        }
    }

    fn publications(sizes: &[usize]) -> VecDeque<Publication> {
        let one = |(number, &size): (usize, &usize)| Publication {
            topic: number.to_string().into(),
            message: SharedMessage::new(Message::binary(&vec![0; size])),
            except: None,
        };
        sizes.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_batch_wakes_once_and_the_next_one_after_the_lane_was_empty() {
        let bell = Arc::new(Bell::default());
        let lane = Lane::new(Arc::clone(&bell) as Arc<dyn Wake>);
        let rung = || bell.rung.load(Ordering::Relaxed);
        assert!(!lane.has_any() && lane.next().is_none());
        lane.take_from(&mut publications(&[1, 2]));
        lane.take_from(&mut publications(&[3]));
        assert_eq!((lane.has_any(), rung()), (true, 1));
        let names: Vec<_> = std::iter::from_fn(|| lane.next()).collect();
        let names: Vec<_> = names.iter().map(|one| &*one.topic).collect();
        assert_eq!(names, ["0", "1", "0"]);
        assert!(!lane.has_any());
        lane.take_from(&mut publications(&[1]));
        assert_eq!(rung(), 2);
    }

    #[test]
    fn a_wake_that_failed_is_tried_again() {
        let bell = Arc::new(Bell::default());
        bell.broken.store(1, Ordering::Relaxed);
        let lane = Lane::new(Arc::clone(&bell) as Arc<dyn Wake>);
        for rung in [1, 2, 2] {
            lane.take_from(&mut publications(&[1]));
            assert_eq!(bell.rung.load(Ordering::Relaxed), rung);
        }
    }

    #[test]
    fn a_lane_is_full_at_its_limit_and_takes_one_message_of_any_size() {
        let lane = Lane::new(Arc::new(Bell::default()) as Arc<dyn Wake>);
        let mut queue = publications(&[MOST_BYTES, 1]);
        let cost = queue[0].cost();
        assert_eq!(lane.take_from(&mut queue), cost);
        assert_eq!((queue.len(), lane.take_from(&mut queue)), (1, 0));
        assert_eq!(lane.next().map(|one| one.cost()), Some(cost));
        assert!(lane.take_from(&mut queue) > 0 && queue.is_empty());
    }
}
