//! The other loops of a group, as far as they are told what is published.
//!
//! A callback only notes a message for them. Once in each turn all that is noted goes to the other loops, each
//! of which has a lane for it: one lock and at most one wake for a whole batch. What a lane has no room for
//! stays here, in its order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group::Group;
use super::lane::{Lane, MOST_BYTES, Publication, cost, forget_burst};
use crate::error::SendError;
use crate::proto::message::SharedMessage;
use crate::proto::time::Micros;
use crate::sys::Wake;

/// The lane of a loop, and its way to those of the others.
#[derive(Debug)]
pub(super) struct Siblings {
    lane: Arc<Lane>,
    others: Vec<Sibling>,
    /// The group's count of changes when `others` was up to date.
    seen: usize,
    /// What the queues of `others` cost.
    bytes: usize,
    /// Something was noted since the queues were last offered.
    is_fresh: bool,
    /// When what lanes had no room for is offered again.
    retry: Option<Micros>,
    /// What the lane says of this loop.
    is_subscribed: bool,
}

/// Another loop of the group.
#[derive(Debug)]
struct Sibling {
    lane: Arc<Lane>,
    /// What its lane has still to take.
    queue: VecDeque<Publication>,
}

impl Siblings {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        Self {
            lane: Arc::new(Lane::new(waker)),
            others: Vec::new(),
            seen: 0,
            bytes: 0,
            is_fresh: false,
            retry: None,
            is_subscribed: false,
        }
    }

    /// Returns the lane of this loop.
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Says whether this loop has topics.
    pub(super) fn note_topics(&mut self, has_any: bool) {
        if self.is_subscribed != has_any {
            self.is_subscribed = has_any;
            self.lane.set_subscribed(has_any);
        }
    }

    /// Looks which loops the group has now.
    pub(super) fn look_around(&mut self, group: &Group) {
        if self.seen == group.changes() {
            return;
        }
        let (seen, lanes) = group.lanes();
        self.seen = seen;
        let is_there = |other: &Sibling| lanes.iter().any(|lane| Arc::ptr_eq(lane, &other.lane));
        self.others.retain(is_there);
        for lane in lanes {
            let is_known = self.others.iter().any(|one| Arc::ptr_eq(&lane, &one.lane));
            if !is_known && !Arc::ptr_eq(&lane, &self.lane) {
                let queue = VecDeque::new();
                self.others.push(Sibling { lane, queue });
            }
        }
        let queued = self.others.iter().flat_map(|other| &other.queue);
        self.bytes = queued.map(Publication::cost).sum();
    }

    /// Says whether another loop has topics.
    pub(super) fn any_subscribed(&self) -> bool {
        self.others.iter().any(|other| other.lane.is_subscribed())
    }

    /// Returns an error if there is no room for one more message, even after the others have taken what they
    /// can. The first may be of any size.
    pub(super) fn check_room(
        &mut self,
        topic: &str,
        message: &SharedMessage,
    ) -> Result<(), SendError> {
        let cost = cost(topic, message);
        if self.bytes > 0 && self.bytes + cost > MOST_BYTES {
            self.offer();
        }
        if self.bytes == 0 || self.bytes + cost <= MOST_BYTES {
            return Ok(());
        }
        Err(SendError::Full {
            queued: self.bytes,
            limit: MOST_BYTES,
        })
    }

    /// Says whether there is no room for one more message, however small it is.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }

    /// Notes a message for each loop that has topics.
    pub(super) fn publish(&mut self, publication: &Publication) {
        for other in &mut self.others {
            if other.lane.is_subscribed() {
                other.queue.push_back(publication.clone());
                self.bytes += publication.cost();
                self.is_fresh = true;
            }
        }
    }

    /// Says whether the others have still to take something.
    pub(super) fn has_any(&self) -> bool {
        self.bytes > 0
    }

    /// Returns when the others are to be offered what they have still to take.
    pub(super) fn due(&self, now: Micros) -> Option<Micros> {
        if !self.has_any() {
            return None;
        }
        match self.is_fresh {
            true => Some(now),
            false => self.retry,
        }
    }

    /// Passes on what the others have room for. The rest follows a little later.
    pub(super) fn pass_on(&mut self, now: Micros) {
        self.offer();
        self.is_fresh = false;
        self.retry = self.has_any().then(|| now + RETRY);
    }

    fn offer(&mut self) {
        for other in &mut self.others {
            if other.queue.is_empty() {
                continue;
            }
            if other.lane.is_subscribed() {
                self.bytes -= other.lane.take_from(&mut other.queue);
            } else {
                self.bytes -= other.queue.drain(..).map(|one| one.cost()).sum::<usize>();
            }
            if other.queue.is_empty() {
                forget_burst(&mut other.queue);
            }
        }
    }
}

/// Time after which a lane may have room again.
const RETRY: Micros = Micros::from_millis(2);
